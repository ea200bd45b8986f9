"""Sites and pages: sums by host, and lists of URLs by what they got in a period."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC
from functools import partial
from typing import Any, cast, get_args

import attrs
import msgspec

from likd.errors import StoreError
from likd.ingest.schema import short
from likd.model import Counts, add, host_of, total
from likd.queries.periods import DAY_SECONDS, TIME_MAX, Cut, Period, cut
from likd.queries.totals import Totals
from likd.queries.unapplied import Growth, Unapplied, beyond
from likd.stores.protocol import UNIT_SECONDS, Store, in_time
from likd.stores.sites import (
    SITES_MAX,
    By,
    Page,
    PagesQuery,
    PagesRead,
    Past,
    Site,
    SiteStore,
    Span,
    net,
    site_store,
    value_of,
)
from likd.web.access.caller import Caller
from likd.web.answers import Answer, conditional, tagged
from likd.web.api.counts import CountReads
from likd.web.api.histories import KeptFor, counts_row, no_sites, number
from likd.web.api.kept import Kept
from likd.web.api.urls import Urls
from likd.web.problems import store_away, wrong
from likd.web.query_string import query_value

SITES_DEFAULT = 50
PAGES_DEFAULT = 50
PAGES_MAX = 500
SEARCH_MAX = 200
DAYS_TOLD = 30
UNAPPLIED_MAX = 1000
"""Of the pages not completely in the store yet, this many that grew most are shown exactly; the others follow."""
SITES_BY = ("likes", "today", "last7", "last30", "change", "impressions", "pages", "host")


@attrs.frozen
class SitesRequest:
    """The parameters of a request for the list of sites."""

    by: str
    limit: str
    after: str
    if_none_match: str

    @classmethod
    def of(cls, query: bytes, if_none_match: str) -> SitesRequest:
        """Read them from a query."""
        return cls(
            query_value(query, "by", "likes"),
            query_value(query, "limit", str(SITES_DEFAULT)),
            query_value(query, "after"),
            if_none_match,
        )


@attrs.frozen
class PagesRequest:
    """The parameters of a request for a list of pages."""

    site: str
    q: str
    begin: str
    end: str
    by: str
    order: str
    limit: str
    after: str
    if_none_match: str

    @classmethod
    def of(cls, query: bytes, if_none_match: str) -> PagesRequest:
        """Read them from a query."""
        return cls(
            query_value(query, "site"),
            query_value(query, "q"),
            query_value(query, "begin"),
            query_value(query, "end"),
            query_value(query, "by", "likes"),
            query_value(query, "order", "desc"),
            query_value(query, "limit", str(PAGES_DEFAULT)),
            query_value(query, "after"),
            if_none_match,
        )


@attrs.define
class _SiteRow:
    """A site, with its likes by day."""

    host: str
    counts: Counts
    urls: int = 0
    days: dict[int, int] = attrs.field(factory=dict)
    until_cut: int = 0


class SiteLists:
    """Lists sites and pages, exactly, including what the store does not have yet. Raises Problem.

    Answers are repeated from memory as long as nothing changes.
    """

    def __init__(
        self,
        urls: Urls,
        counts: CountReads,
        totals: Totals,
        store: Store,
        unapplied: Unapplied,
        kept_for: KeptFor,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._urls = urls
        self._counts = counts
        self._totals = totals
        self._store = store
        self._unapplied = unapplied
        self._kept_for = kept_for
        self._clock = clock
        self._kept = Kept(lambda: totals.ledger.position)

    async def sites(self, request: SitesRequest, caller: Caller) -> Answer:
        """The sites with their totals, the likes of the last 30 days, and those of the 7 days before the last 7."""
        self._urls.readable_site("", caller)
        if request.by not in SITES_BY:
            raise wrong("by", request.by, f"one of {', '.join(SITES_BY)}")
        limit = number("limit", request.limit, 1, SITES_MAX)
        after = _key("after", request.after, tuple[float, str]) if request.after else None
        look = partial(self._sites, request.by, limit, after)
        return conditional(await self._kept.ask(("sites", request.by, limit, after), look), request.if_none_match)

    async def _sites(self, by: str, limit: int, after: tuple[float, str] | None) -> Answer:
        now = self._clock()
        today = int(now) // DAY_SECONDS * DAY_SECONDS
        goes_on = _cut(today, today + DAY_SECONDS, 7 * DAY_SECONDS, now, self._kept_for)
        spans = [Span("day", today - (DAYS_TOLD - 1) * DAY_SECONDS, today + DAY_SECONDS)]
        spans.append(Span("hour", today - 7 * DAY_SECONDS, goes_on.before_until))
        grown = await self._unapplied.by_site()
        try:
            with in_time():
                read = await self._sites_store.sites(spans)
        except StoreError as error:
            raise store_away(error) from None
        rows = {site.host: _site_row(site) for site in read.sites}
        for part in beyond(grown, read.applied):
            for host, counts in part.sums.items():
                if host not in rows and len(read.sites) == SITES_MAX:
                    continue
                row = rows.setdefault(host, _SiteRow(host, {}))
                add(row.counts, counts)
                day = part.minute // 1440 * DAY_SECONDS
                row.days[day] = row.days.get(day, 0) + counts.get("likes", 0)
        told = [self._told(row, today) for row in rows.values()]
        told = [row for row in told if row["pages"] or any(rows[row["host"]].counts.values())]
        ranked = sorted((-_rank(row, by), row["host"]) for row in told)
        by_host = {row["host"]: row for row in told}
        left = [key for key in ranked if after is None or key > (-after[0], after[1])]
        body: dict[str, Any] = {
            "sites": [by_host[host] for _, host in left[:limit]],
            "total": max(read.total, len(told)),
            "cut": goes_on.until,
            "next": _told_key((-left[limit - 1][0], left[limit - 1][1])) if len(left) > limit else None,
        }
        if read.summed < 1:
            body["summed"] = round(read.summed, 3)
        return tagged(Answer(200, msgspec.json.encode(body)))

    def _told(self, row: _SiteRow, today: int) -> dict[str, Any]:
        days = [row.days.get(today - n * DAY_SECONDS, 0) for n in range(DAYS_TOLD)]
        return {
            "host": row.host,
            **counts_row(self._counts, row.counts),
            "pages": row.urls,
            "today": days[0],
            "last7": sum(days[:7]),
            "last30": sum(days),
            "before7": sum(days[8:14]) + row.until_cut,
            "trend": days[::-1],
        }

    @property
    def _sites_store(self) -> SiteStore:
        store = site_store(self._store)
        if store is None:
            raise no_sites(self._store)
        return store

    async def pages(self, request: PagesRequest, caller: Caller) -> Answer:
        """A part of a list of pages."""
        site = self._urls.readable_site(request.site, caller)
        query, goes_on = self._query(request, site)
        # The current time does not make it a different list.
        key = attrs.evolve(query, before=(query.before[0], 0))
        return conditional(
            await self._kept.ask(("pages", key), partial(self._pages, query, goes_on)), request.if_none_match
        )

    def _query(self, request: PagesRequest, site: str) -> tuple[PagesQuery, Cut | None]:
        if request.by not in get_args(By):
            raise wrong("by", request.by, f"one of {', '.join(get_args(By))}")
        if request.order not in ("asc", "desc"):
            raise wrong("order", request.order, "asc or desc")
        if len(request.q) > SEARCH_MAX:
            raise wrong("q", short(request.q), f"at most {SEARCH_MAX} characters")
        now = self._clock()
        tomorrow = (int(now) // DAY_SECONDS + 1) * DAY_SECONDS
        end = number("end", request.end, 1, TIME_MAX) if request.end else tomorrow
        begin = number("begin", request.begin, 0, TIME_MAX) if request.begin else max(0, end - DAYS_TOLD * DAY_SECONDS)
        if begin >= end:
            raise wrong("begin", request.begin, "a time before end")
        length = min(end - begin, begin)
        goes_on = _cut(begin, end, length, now, self._kept_for) if begin <= now < end else None
        before = (begin - length, goes_on.before_until if goes_on is not None else begin)
        unit = "hour" if end - begin <= 2 * DAY_SECONDS else "day"
        first = max(begin, (end - 1) // DAY_SECONDS * DAY_SECONDS - (DAYS_TOLD - 1) * DAY_SECONDS)
        trend = Span("hour", begin, end) if unit == "hour" else Span("day", first // DAY_SECONDS * DAY_SECONDS, end)
        query = PagesQuery(
            site=site,
            search=request.q,
            period=(begin, end),
            before=before,
            trend=trend,
            by=cast(By, request.by),
            ascending=request.order == "asc",
            limit=number("limit", request.limit, 1, PAGES_MAX),
            after=_key("after", request.after, tuple[float, int, str]) if request.after else None,
        )
        return query, goes_on

    async def _pages(self, query: PagesQuery, goes_on: Cut | None) -> Answer:
        store = self._sites_store
        grown = _most_grown(await self._unapplied.by_url(_wanted(query)))
        try:
            with in_time():
                read = await store.pages(attrs.evolve(query, without=sorted(grown), limit=query.limit + 1))
        except StoreError as error:
            raise store_away(error) from None
        named = self._grow(query, read, grown)
        keyed = [(self._key(query, page), page) for page in [*read.pages, *named]]
        after = None if query.after is None else _order(query, query.after)
        left = sorted(
            (pair for pair in keyed if after is None or _order(query, pair[0]) > after),
            key=lambda pair: _order(query, pair[0]),
        )
        shown = left[: query.limit]
        await self._add_trends(query, [page for _, page in shown if page.url in grown], grown)
        known = {page.url for page in read.named}
        body: dict[str, Any] = {
            "begin": query.period[0],
            "end": query.period[1],
            "pages": [self._row(query, page) for _, page in shown],
            "total": read.total + sum(page.url not in known for page in named),
            "cut": None if goes_on is None else goes_on.until,
            "next": _told_key(shown[-1][0]) if len(left) > query.limit else None,
        }
        if read.summed < 1:
            body["summed"] = round(read.summed, 3)
        return tagged(Answer(200, msgspec.json.encode(body)))

    def _grow(self, query: PagesQuery, read: PagesRead, grown: dict[str, list[Growth]]) -> list[Page]:
        """The exact rows of the pages that are not completely in the store yet."""
        named = {page.url: page for page in read.named}
        for url, parts in grown.items():
            left = beyond(parts, read.applied)
            if not left:
                continue
            page = named.setdefault(url, Page(url, {}, {}, {}, []))
            for part in left:
                counts, at = part.sums[url], part.minute * 60
                add(page.counts, counts)
                for stretch, sums in ((query.period, page.period), (query.before, page.before)):
                    if stretch[0] <= at < stretch[1]:
                        add(sums, counts)
        return list(named.values())

    async def _add_trends(self, query: PagesQuery, pages: list[Page], grown: dict[str, list[Growth]]) -> None:
        """Add the trend of pages that are not completely in the store yet; only those that are shown are looked up."""
        if not pages:
            return
        try:
            with in_time():
                asked = attrs.evolve(query, without=[page.url for page in pages], limit=0)
                read = await self._sites_store.pages(asked)
        except StoreError as error:
            raise store_away(error) from None
        known = {page.url: page.trend for page in read.named}
        for page in pages:
            left = beyond(grown[page.url], read.applied)
            page.trend = known.get(page.url, []) + [(part.minute * 60, part.sums[page.url]) for part in left]

    def _key(self, query: PagesQuery, page: Page) -> tuple[float, int, str]:
        return value_of(query.by, page.counts, page.period, page.before), net(page.counts), page.url

    def _row(self, query: PagesQuery, page: Page) -> dict[str, Any]:
        return {
            **self._counts.row(page.url, page.period),
            "before": page.before.get("likes", 0),
            "all": net(page.counts),
            "trend": _trend(query.trend, page.trend),
        }


def _site_row(site: Site) -> _SiteRow:
    days, until_cut = site.past
    likes = {at: counts.get("likes", 0) for at, counts in days}
    return _SiteRow(
        site.host, site.counts, site.urls, likes, total([counts for _, counts in until_cut]).get("likes", 0)
    )


def _rank(row: dict[str, Any], by: str) -> float:
    match by:
        case "host":
            return 0
        case "likes":
            return float(row["net"])
        case "change":
            return float(row["last7"] - row["before7"])
    return float(row[by])


def _cut(begin: int, end: int, back: int, now: float, kept_for: KeptFor) -> Cut:
    """How much of an equally long period, `back` seconds earlier, compares with this one so far."""
    period, before = Period("day", UTC, (begin, end)), Period("day", UTC, (begin - back, end - back))
    found = cut(period, before, now, now - (kept_for.minute_hours - 1) * 3600)
    assert found is not None, "now is in the period"
    return found


def _wanted(query: PagesQuery) -> Callable[[str], bool]:
    search = query.search.lower()
    return lambda url: (not query.site or host_of(url) == query.site) and search in url.lower()


def _most_grown(parts: Sequence[Growth]) -> dict[str, list[Growth]]:
    """The parts of each of the URLs that grew most."""
    by_url: dict[str, list[Growth]] = {}
    for part in parts:
        for url in part.sums:
            by_url.setdefault(url, []).append(part)
    if len(by_url) > UNAPPLIED_MAX:
        sizes = {url: sum(sum(part.sums[url].values()) for part in mine) for url, mine in by_url.items()}
        most = sorted(sizes, key=lambda url: (-sizes[url], url))[:UNAPPLIED_MAX]
        by_url = {url: by_url[url] for url in most}
    return by_url


def _order(query: PagesQuery, key: tuple[float, int, str]) -> tuple[float, int, str]:
    return key[0] if query.ascending else -key[0], -key[1], key[2]


def _trend(span: Span | None, past: Past) -> list[int]:
    """The likes in each unit of `span`."""
    if span is None:
        return []
    seconds = UNIT_SECONDS[span.unit]
    units = [0] * -(-(span.end - span.begin) // seconds)
    for at, counts in past:
        index = (at - span.begin // seconds * seconds) // seconds
        if 0 <= index < len(units):
            units[index] += counts.get("likes", 0)
    return units


def _told_key(key: tuple[float | int | str, ...]) -> str:
    return msgspec.json.encode(key).decode()


def _key(field: str, text: str, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, UnicodeEncodeError):
        raise wrong(field, text, "the value of next from an answer") from None
