"""Canonical URLs: what counts as one URL."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import can_ada

URL_BYTES_MAX = 2048
EXPECTED = f"an absolute http or https URL of at most {URL_BYTES_MAX} bytes"

_SCHEMES = ("http://", "https://")
_HOST = r"(?:[a-z0-9]++(?:-[a-z0-9]++)*+\.)*+[a-z]++"
_PATH = r"/(?![^?]*/(?:\.|%2[eE]))(?!\.|%2[eE])[\w.~!$&'()*+,;=:@%/-]*+"
_QUERY = r"(?:\?[\w.~!$&()*+,;=:@%/?-]*+)?"
"""The parts of most URLs, which are already in canonical form; recognising that takes half the time of parsing.

No host in this form can be a number or Punycode, and no path segment a dot.
"""


def canonical(url: str) -> str:
    """`url` in its canonical WHATWG form, without its fragment. Raises ValueError if it is not what is EXPECTED.

    The limit applies to the URL as written and to its canonical form, which is ASCII.
    """
    return _NO_RULES(url)


@attrs.define
class UrlRules:
    """Which canonical URLs count as one.

    With `unify_schemes`, http and https on their default ports are one, counted as https. Query parameters whose names
    are in `drop_parameters`, where `utm_*` means all with that beginning, are ignored.
    """

    unify_schemes: bool = False
    drop_parameters: tuple[str, ...] = ()
    _names: frozenset[str] = attrs.field(init=False)
    _prefixes: tuple[str, ...] = attrs.field(init=False)
    _is_plain: Callable[[str], object] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        scheme = "https" if self.unify_schemes else "https?"
        self._is_plain = re.compile(
            f"{scheme}://{_HOST}{_PATH}{'' if self.drop_parameters else _QUERY}", re.ASCII
        ).fullmatch
        self._names = frozenset(name for name in self.drop_parameters if not name.endswith("*"))
        self._prefixes = tuple(name[:-1] for name in self.drop_parameters if name.endswith("*"))

    def __call__(self, url: str) -> str:
        """What `url` counts as. Raises ValueError if it is not what is EXPECTED."""
        parsed = _parse(url)
        if self.drop_parameters and parsed.has_search():
            self._drop(parsed)
        href: str = parsed.href
        if self.unify_schemes and href.startswith("http:") and not parsed.has_port():
            href = "https" + href[4:]
        if len(href) > URL_BYTES_MAX:
            raise ValueError(f"expected {EXPECTED}")
        return href

    def all(self, urls: Sequence[str]) -> list[str]:
        """What each of `urls` counts as. Raises ValueError if one is not what is EXPECTED."""
        is_plain = self._is_plain if max(map(len, urls), default=0) <= URL_BYTES_MAX else _never
        return [url if is_plain(url) else self(url) for url in urls]

    @property
    def text(self) -> str:
        """The rules in words: equal words mean equal rules."""
        return f"schemes {'one' if self.unify_schemes else 'two'}, without {' '.join(sorted(self.drop_parameters))}"

    def _drop(self, parsed: Any) -> None:
        pairs = parsed.search[1:].split("&")
        kept = [pair for pair in pairs if not self._dropped(pair.partition("=")[0])]
        if len(kept) < len(pairs):
            parsed.search = "&".join(kept)

    def _dropped(self, name: str) -> bool:
        return name in self._names or (bool(self._prefixes) and name.startswith(self._prefixes))


def _parse(url: str) -> Any:
    if not url.startswith(_SCHEMES) and not url[:8].lower().startswith(_SCHEMES):
        raise ValueError(f"expected {EXPECTED}")
    # A character is at least one byte, so only URLs near the limit need to be encoded to be measured.
    if len(url) > URL_BYTES_MAX // 4 and len(url.encode(errors="replace")) > URL_BYTES_MAX:
        raise ValueError(f"expected {EXPECTED}")
    try:
        parsed = can_ada.parse(url)
    except (ValueError, TypeError):  # TypeError: a lone surrogate
        raise ValueError(f"expected {EXPECTED}") from None
    if "#" in url:
        parsed.hash = ""
    return parsed


def _never(_: str) -> bool:
    return False


_NO_RULES = UrlRules()
