"""A URL's own page."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import urlsplit

import msgspec
from quart import Response, request
from quart_trio import QuartTrio

from likd.web.access.tokens import Role
from likd.web.api.events import Operations
from likd.web.api.reads import HistoryRequest, Reads
from likd.web.full.auth import caller, needs
from likd.web.full.pages.board import Board, board_of
from likd.web.full.pages.ranges import Range, range_of
from likd.web.full.pages.render import Pages, at
from likd.web.query_string import query_value


def add_url(app: QuartTrio, *, pages: Pages, operations: Operations, reads: Reads) -> None:
    """Add the page of a URL."""

    @app.get("/url")
    @needs(Role.ADMIN)
    async def url_page() -> Response:
        (url,) = operations.readable([asked("url")], caller())
        chosen = range_of(asked, time.time())
        counts: dict[str, Any] = msgspec.json.decode((await operations.counts([url], caller())).body)["counts"][0]
        address = urlsplit(url)
        return await pages(
            "url.html",
            url=url,
            site=address.hostname or "",
            path=url.partition("//")[2].partition("/")[1] + url.partition("//")[2].partition("/")[2],
            counts=counts,
            board=await history(reads, chosen, url),
            link={"url": url, **chosen.parameters},
        )


def asked(name: str) -> str:
    """A parameter of the page."""
    return query_value(request.query_string, name)


async def history(reads: Reads, chosen: Range, url: str) -> Board:
    """What came in the range that was chosen, as the API tells it. Raises Problem."""
    now = int(time.time())
    units = {"hour": 3600, "day": 86400, "month": 86400}[chosen.unit]
    last = min(chosen.end, (now // units + 1) * units)
    query = at(
        "",
        url=url,
        unit="hour" if chosen.unit == "hour" else "day",
        last=(last - chosen.begin) // units,
        until=last - 1,
    )
    answer = await reads.history(HistoryRequest.of(query[1:].encode(), ""), caller())
    told = msgspec.json.decode(answer.body)
    if chosen.unit == "month":
        told["history"] = by_month(told["history"])
    return board_of(told, chosen, now)


def by_month(days: list[dict[str, int]]) -> list[dict[str, int]]:
    """The sums of the months of `days`."""
    months: dict[str, dict[str, int]] = {}
    for day in days:
        month = months.setdefault(time.strftime("%Y%m", time.gmtime(day["time"])), {"time": day["time"]})
        for name, count in day.items():
            if name != "time":
                month[name] = month.get(name, 0) + count
    return list(months.values())
