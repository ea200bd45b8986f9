"""Lists of pages and sites, with the links and forms that page through them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import msgspec

from likd.web.full.pages.asking import Api, asked
from likd.web.full.pages.ranges import Range

ROWS = 25
SITES_ROWS = 20
HOSTS_OFFERED_MAX = 200
"""How many sites the list of pages offers as a filter."""
START_DIGITS_MAX = 9


TRAIL_CHARACTERS_MAX = 1500
"""A link to the next part remembers the way back in so many characters: some ten parts, as long as addresses are."""


@attrs.frozen
class Listing:
    """A part of a list: `rows` from the `start`th of `total` on, and what links to the next and the previous say.

    A `total` of None is not known, as not all addresses were searched.
    """

    rows: Sequence[Mapping[str, Any]]
    start: int
    total: int | None
    next: Mapping[str, object] | None
    previous: Mapping[str, object] | None
    by: str
    order: str = "desc"

    @property
    def end(self) -> int:
        """The number of the last row."""
        return self.start + len(self.rows) - 1


async def pages_listing(api: Api, chosen: Range, site: str) -> Listing:
    """The list of pages that this page's parameters ask for. Raises Problem."""
    by, order = asked("by") or "likes", asked("order") or "desc"
    found = await api.pages(
        chosen, site=site, q=asked("q").strip(), by=by, order=order, limit=ROWS, after=asked("after")
    )
    way = _Way.asked("after", "start", "trail")
    rows = found["pages"]
    return Listing(rows, way.start, found["total"], way.on(found["next"], len(rows)), way.back(), by, order)


async def sites_listing(api: Api) -> tuple[Listing, float]:
    """The list of sites that this page's parameters ask for, and how much of the past it includes. Raises Problem."""
    by = asked("sites_by") or "likes"
    found = await api.sites(by=by, limit=SITES_ROWS, after=asked("sites_after"))
    way = _Way.asked("sites_after", "sites_start", "sites_trail")
    rows = found["sites"]
    listing = Listing(rows, way.start, found["total"], way.on(found["next"], len(rows)), way.back(), by)
    return listing, found.get("summed", 1)


_Step = tuple[str, int]
"""Where a part of a list begins: behind what, and as which row."""


@attrs.frozen
class _Way:
    """Where a part of a list begins, by which parts it was come to, and the parameters that links say it with."""

    names: tuple[str, str, str]
    after: str
    start: int
    trail: list[_Step]

    @classmethod
    def asked(cls, after: str, start: str, trail: str) -> _Way:
        """As the link says that led here. A trail that is none is as if there were none."""
        said = asked(start)
        is_row = asked(after) and said.isdecimal() and said.isascii() and len(said) <= START_DIGITS_MAX
        try:
            steps = msgspec.json.decode(asked(trail) or "[]", type=list[_Step])
        except (msgspec.DecodeError, UnicodeError):
            steps = []
        return cls((after, start, trail), asked(after), int(said) if is_row else 1, steps)

    def on(self, following: str | None, rows: int) -> dict[str, object] | None:
        """The parameters of the next part, if there is one."""
        if following is None:
            return None
        return self._to((following, self.start + rows), [*self.trail, (self.after, self.start)])

    def back(self) -> dict[str, object] | None:
        """Those of the previous part, if the way there is known."""
        return self._to(self.trail[-1], self.trail[:-1]) if self.trail else None

    def _to(self, step: _Step, trail: list[_Step]) -> dict[str, object]:
        told = msgspec.json.encode(trail).decode()
        while len(told) > TRAIL_CHARACTERS_MAX:
            trail = trail[1:]
            told = msgspec.json.encode(trail).decode()
        after, start, names = *step, self.names
        values = (after, start if after else "", told if trail else "")
        return dict(zip(names, values, strict=True))
