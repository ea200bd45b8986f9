"""Crawlers: programs among the callers, told by their User-Agent."""

from __future__ import annotations

import re
from functools import cache, lru_cache

import attrs

AGENT_CHARACTERS_MAX = 256
"""So much of a User-Agent is looked at, for callers can make up any."""
AGENTS_MAX = 4096
"""So many of them are remembered."""

_ESCAPED = re.compile(r"\\([^\w])")
_SPECIAL = re.compile(r"[.^$*+?{}\[\]()|\\]")


def is_crawler(agent: str, characters_max: int = AGENT_CHARACTERS_MAX) -> bool:
    """Whether `agent`, of which so much is looked at, is the User-Agent of a program that nobody sits at."""
    return _is_crawler(agent[:characters_max])


@lru_cache(AGENTS_MAX)
def _is_crawler(agent: str) -> bool:
    return _names().found_in(agent)


@attrs.frozen
class _Names:
    """The names of crawlers that crawlerdetect knows.

    Its own expression, with all of them in it, takes several times as long; for what is contrived, fifty times.
    """

    browsers: re.Pattern[str]
    plain: tuple[str, ...]
    patterns: re.Pattern[str]

    def found_in(self, agent: str) -> bool:
        """Whether any of them is in `agent`, apart from what browsers have, too."""
        rest = self.browsers.sub("", agent)
        lowered = rest.lower()
        return any(name in lowered for name in self.plain) or self.patterns.search(rest) is not None


@cache
def _names() -> _Names:
    # They take some milliseconds to import and compile, which not every daemon needs.
    from crawlerdetect.providers import crawlers, exclusions

    plain: list[str] = []
    patterns: list[str] = []
    for name in crawlers.data:
        if _SPECIAL.search(_ESCAPED.sub("", name)):
            # What a name may begin with makes no difference, and would be tried from each character on.
            patterns.append(name.removeprefix(r"[a-z0-9\-_]*"))
        else:
            plain.append(_ESCAPED.sub(r"\1", name).lower())
    return _Names(
        re.compile("|".join(exclusions.data), re.IGNORECASE),
        tuple(plain),
        re.compile("|".join(patterns), re.IGNORECASE),
    )
