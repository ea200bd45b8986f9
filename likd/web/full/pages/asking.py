"""The data of pages, from the functions that answer the API's requests."""

from __future__ import annotations

import time
from typing import Any

import attrs
import msgspec
from quart import request

from likd.web.answers import Answer
from likd.web.api.admin import Admin
from likd.web.api.counts import CountReads
from likd.web.api.histories import HistoryRequest
from likd.web.api.page_lists import PageLists, PagesRequest
from likd.web.api.reads import Reads
from likd.web.api.shares import ShareLinks
from likd.web.api.sites import SiteLists, SitesRequest
from likd.web.api.urls import Urls
from likd.web.full.auth import caller
from likd.web.full.pages.board import Board, board_of
from likd.web.full.pages.ranges import Range, range_of
from likd.web.full.pages.render import at, zone_chosen
from likd.web.query_string import query_value

ALIASES = 50
"""How many other addresses of a URL its page lists."""


def asked(name: str) -> str:
    """A parameter of the page."""
    return query_value(request.query_string, name)


@attrs.frozen
class Api:
    """Reads on behalf of whoever opened the page. All methods raise Problem."""

    urls: Urls
    counts_read: CountReads
    reads: Reads
    site_lists: SiteLists
    page_lists: PageLists
    admin: Admin
    share_links: ShareLinks
    time_zone: str = ""
    """Whose days are told to those who chose none."""

    def range(self) -> Range:
        """The range of time that the page is about."""
        return range_of(asked, time.time(), zone_chosen(self.time_zone))

    async def counts(self, url: str) -> dict[str, Any]:
        """The counts of a URL."""
        counts: dict[str, Any] = _read(await self.counts_read.counts([url], caller()))["counts"][0]
        return counts

    async def board(self, chosen: Range, **of: str) -> Board:
        """What came in a range of time, of a `url`, a `site` or all, beside the same part of the period before."""
        asking = {
            **of,
            "unit": chosen.unit,
            "begin": chosen.begin,
            "end": chosen.end,
            "compare": "before",
            "tz": chosen.tz,
        }
        now = int(time.time())
        return board_of(_read(await self.reads.history(HistoryRequest.of(_query(asking), ""), caller())), chosen, now)

    def aliases(self, url: str) -> dict[str, Any]:
        """The first of the other addresses that count for a URL."""
        return _read(self.admin.aliases(url, str(ALIASES), ""))

    def shares(self, *, url: str = "", site: str = "") -> list[dict[str, Any]]:
        """The share links to a URL or a site."""
        shares = _read(self.share_links.all())["shares"]
        return [share for share in shares if (share.get("url", ""), share.get("site", "")) == (url, site)]

    async def sites(self, **asking: object) -> dict[str, Any]:
        """The list of sites."""
        query = _query({**asking, "tz": zone_chosen(self.time_zone)})
        return _read(await self.site_lists.sites(SitesRequest.of(query, ""), caller()))

    async def pages(self, chosen: Range, **asking: object) -> dict[str, Any]:
        """A part of the list of pages, by what they got in a range of time."""
        query = _query({**asking, "begin": chosen.begin, "end": chosen.end, "tz": chosen.tz})
        return _read(await self.page_lists.pages(PagesRequest.of(query, ""), caller()))


def _query(parameters: dict[str, object]) -> bytes:
    return at("", **parameters)[1:].encode()


def _read(answer: Answer) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(answer.body)
    return found
