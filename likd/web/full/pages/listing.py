"""Lists of pages and sites, with the links and forms that page through them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from likd.web.full.pages.asking import Api, asked
from likd.web.full.pages.ranges import Range

ROWS = 25
SITES_ROWS = 20
HOSTS_OFFERED_MAX = 200
"""How many sites the list of pages offers as a filter."""
START_DIGITS_MAX = 9


@attrs.frozen
class Listing:
    """A part of a list: `rows` from the `start`th of `total` on, and the parameters of a link to the next part."""

    rows: Sequence[Mapping[str, Any]]
    start: int
    total: int
    next: Mapping[str, object] | None
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
    start = _start("after", "start")
    following = None if found["next"] is None else {"after": found["next"], "start": start + len(found["pages"])}
    return Listing(found["pages"], start, found["total"], following, by, order)


async def sites_listing(api: Api) -> tuple[Listing, float]:
    """The list of sites that this page's parameters ask for, and how much of the past it includes. Raises Problem."""
    by = asked("sites_by") or "likes"
    found = await api.sites(by=by, limit=SITES_ROWS, after=asked("sites_after"))
    start = _start("sites_after", "sites_start")
    after = {"sites_after": found["next"], "sites_start": start + len(found["sites"])}
    following = None if found["next"] is None else after
    return Listing(found["sites"], start, found["total"], following, by), found.get("summed", 1)


def _start(after: str, start: str) -> int:
    """The number of the first row, according to the link that led here."""
    said = asked(start)
    return int(said) if asked(after) and said.isdecimal() and said.isascii() and len(said) <= START_DIGITS_MAX else 1
