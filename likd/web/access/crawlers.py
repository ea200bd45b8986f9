"""Crawlers: programs among the callers, recognised by their User-Agent."""

from __future__ import annotations

import re
from functools import cache, lru_cache

import attrs

AGENT_CHARACTERS_MAX = 256
"""How much of a User-Agent is examined, because callers can make up any."""
AGENTS_MAX = 4096
"""How many User-Agents are remembered."""

_ESCAPED = re.compile(r"\\([^\w])")
_SPECIAL = re.compile(r"[.^$*+?{}\[\]()|\\]")


def is_crawler(agent: str, characters_max: int = AGENT_CHARACTERS_MAX) -> bool:
    """Whether `agent`, of which `characters_max` are examined, is the User-Agent of an unattended program."""
    return _is_crawler(agent[:characters_max])


@lru_cache(AGENTS_MAX)
def _is_crawler(agent: str) -> bool:
    return _names().found_in(agent)


@attrs.frozen
class _Names:
    """The names of the crawlers that crawlerdetect knows.

    Its own expression, which contains all of them, takes several times as long; for contrived input, fifty times.
    """

    browsers: re.Pattern[str]
    plain: tuple[str, ...]
    patterns: re.Pattern[str]

    def found_in(self, agent: str) -> bool:
        """Whether any of the names is in `agent`, apart from those that browsers have, too."""
        rest = self.browsers.sub("", agent)
        lowered = rest.lower()
        return any(name in lowered for name in self.plain) or self.patterns.search(rest) is not None


@cache
def _names() -> _Names:
    # Importing and compiling them takes some milliseconds, and not every daemon needs them.
    from crawlerdetect.providers import crawlers, exclusions

    plain: list[str] = []
    patterns: list[str] = []
    for name in crawlers.data:
        if _SPECIAL.search(_ESCAPED.sub("", name)):
            # An optional beginning of a name makes no difference, and would be tried from each character on.
            patterns.append(name.removeprefix(r"[a-z0-9\-_]*"))
        else:
            plain.append(_ESCAPED.sub(r"\1", name).lower())
    return _Names(
        re.compile("|".join(exclusions.data), re.IGNORECASE),
        tuple(plain),
        re.compile("|".join(patterns), re.IGNORECASE),
    )
