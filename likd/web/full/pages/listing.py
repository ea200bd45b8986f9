"""Lists of pages and of sites, as links and forms move through them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from likd.web.full.pages.asking import Api, asked
from likd.web.full.pages.ranges import Range

ROWS = 25
SITES_ROWS = 20
HOSTS_OFFERED_MAX = 200
"""Sites among which the list of pages is offered to be narrowed down."""
START_DIGITS_MAX = 9


@attrs.frozen
class Listing:
    """A part of a list: `rows` from the `start`th of `total` on, and what a link to the next says."""

    rows: Sequence[Mapping[str, Any]]
    start: int
    total: int
    next: Mapping[str, object] | None
    by: str
    order: str = "desc"

    @property
    def end(self) -> int:
        """Which row is the last."""
        return self.start + len(self.rows) - 1


async def pages_listing(api: Api, chosen: Range, site: str) -> Listing:
    """The list of pages that the parameters of this page ask for. Raises Problem."""
    by, order = asked("by") or "likes", asked("order") or "desc"
    found = await api.pages(
        chosen, site=site, q=asked("q").strip(), by=by, order=order, limit=ROWS, after=asked("after")
    )
    start = _start("after", "start")
    following = None if found["next"] is None else {"after": found["next"], "start": start + len(found["pages"])}
    return Listing(found["pages"], start, found["total"], following, by, order)


async def sites_listing(api: Api) -> tuple[Listing, float]:
    """The list of sites that the parameters of this page ask for, and how much of the past is in it. Raises Problem."""
    by = asked("sites_by") or "likes"
    found = await api.sites(by=by, limit=SITES_ROWS, after=asked("sites_after"))
    start = _start("sites_after", "sites_start")
    after = {"sites_after": found["next"], "sites_start": start + len(found["sites"])}
    following = None if found["next"] is None else after
    return Listing(found["sites"], start, found["total"], following, by), found.get("summed", 1)


def _start(after: str, start: str) -> int:
    """Which row the first one is, as the link says that led here."""
    said = asked(start)
    return int(said) if asked(after) and said.isdecimal() and said.isascii() and len(said) <= START_DIGITS_MAX else 1
