"""Lists of URLs by what they got in a period."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, tzinfo
from functools import partial
from typing import Any, cast, get_args

import attrs
import msgspec

from likd.errors import StoreError
from likd.ingest.schema import short
from likd.model import add, host_of
from likd.queries.periods import DAY_SECONDS, TIME_MAX, Period, between, cut, last_units, span_of
from likd.queries.unapplied import Growth, beyond
from likd.stores.protocol import in_time
from likd.stores.sites import By, Page, PagesQuery, PagesRead, Past, SiteStore, net, site_store, value_of
from likd.web.access.caller import Caller
from likd.web.answers import Answer, conditional, tagged
from likd.web.api.histories import no_sites, number, zone_asked
from likd.web.api.kept import Kept
from likd.web.api.sites import DAYS_TOLD, read_key, told_key
from likd.web.api.sources import Sources
from likd.web.problems import store_away, wrong
from likd.web.query_string import query_value

PAGES_DEFAULT = 50
PAGES_MAX = 500
SEARCH_MAX = 200
HOURS_TOLD_MAX = 60
UNAPPLIED_MAX = 1000
"""Of the pages not completely in the store yet, this many that grew most are shown exactly; the others follow."""


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
    tz: str
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
            query_value(query, "tz"),
            if_none_match,
        )


class _After(msgspec.Struct, array_like=True):
    """Where a list of pages goes on: behind the page of a value in the part `since`, without one where that begins."""

    value: float | None
    net: int
    url: str
    since: str | None = None

    @property
    def key(self) -> tuple[float, int, str] | None:
        """By what the page before is ranked."""
        return None if self.value is None else (self.value, self.net, self.url)


@attrs.frozen
class _Asked:
    """What the store is asked, and what the answer says of it."""

    query: PagesQuery
    begin: int
    end: int
    trend: Period
    cut: int | None


class PageLists:
    """Lists pages, exactly, including what the store does not have yet. Raises Problem.

    Answers are repeated from memory as long as nothing changes.
    """

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._kept = Kept(lambda: sources.totals.ledger.position)

    async def pages(self, request: PagesRequest, caller: Caller) -> Answer:
        """A part of a list of pages."""
        site = self._sources.urls.readable_site(request.site, caller)
        asked = self._query(request, site)
        # The current time does not make it a different list.
        key = (attrs.evolve(asked.query, before=(asked.query.before[0], 0)), asked.trend.edges)
        return conditional(await self._kept.ask(key, partial(self._pages, asked)), request.if_none_match)

    def _query(self, request: PagesRequest, site: str) -> _Asked:
        if request.by not in get_args(By):
            raise wrong("by", request.by, f"one of {', '.join(get_args(By))}")
        if request.order not in ("asc", "desc"):
            raise wrong("order", request.order, "asc or desc")
        if len(request.q) > SEARCH_MAX:
            raise wrong("q", short(request.q), f"at most {SEARCH_MAX} characters")
        now, zone = self._sources.clock(), zone_asked(request.tz)
        days = last_units("day", zone, DAYS_TOLD, int(now))
        end = number("end", request.end, 1, TIME_MAX) if request.end else days.end
        begin = number("begin", request.begin, 0, TIME_MAX) if request.begin else max(0, end - (days.end - days.begin))
        if begin >= end:
            raise wrong("begin", request.begin, "a time before end")
        length = min(end - begin, begin)
        goes_on = None
        if begin <= now < end:
            period, earlier = Period("day", zone, (begin, end)), Period("day", zone, (begin - length, end - length))
            goes_on = cut(period, earlier, now, now - (self._sources.kept_for.minute_hours - 1) * 3600)
        before = (begin - length, goes_on.before_until if goes_on is not None else begin)
        trend = _units(begin, end, zone)
        query = PagesQuery(
            site=site,
            search=request.q,
            period=self._as_kept((begin, end), zone, now),
            before=self._as_kept(before, zone, now),
            trend=span_of(trend),
            by=cast(By, request.by),
            ascending=request.order == "asc",
            limit=number("limit", request.limit, 1, PAGES_MAX),
        )
        if request.after:
            after = read_key("after", request.after, _After)
            query = attrs.evolve(query, after=after.key, since=after.since)
        return _Asked(query, begin, end, trend, None if goes_on is None else goes_on.until)

    def _as_kept(self, stretch: tuple[int, int], zone: tzinfo, now: float) -> tuple[int, int]:
        """Days of a time zone, where hours are no longer kept: the days in UTC that are nearest to them."""
        if zone is UTC:
            return stretch
        since = (int(now) // DAY_SECONDS - self._sources.kept_for.hour_days + 1) * DAY_SECONDS
        begin, end = (at if at >= since else (at + DAY_SECONDS // 2) // DAY_SECONDS * DAY_SECONDS for at in stretch)
        return begin, end

    async def _pages(self, asked: _Asked) -> Answer:
        query, store = asked.query, self._sites_store
        grown = _most_grown(await self._sources.unapplied.by_url(_wanted(query)))
        try:
            with in_time():
                read = await store.pages(attrs.evolve(query, without=sorted(grown), limit=query.limit + 1))
        except StoreError as error:
            raise store_away(error) from None
        named = self._grow(query, read, grown)
        keyed = [(self._key(query, page), page) for page in [*read.pages, *named]]
        after = None if query.after is None else _order(query, query.after)
        left = sorted(
            (
                (key, page)
                for key, page in keyed
                if (after is None or _order(query, key) > after) and _is_in_part(query, read, page.url)
            ),
            key=lambda pair: _order(query, pair[0]),
        )
        shown = left[: query.limit]
        await self._add_trends(query, [page for _, page in shown if page.url in grown], grown)
        known = {page.url for page in read.named}
        following = None
        if len(left) > query.limit:
            following = _After(*shown[-1][0], query.since)
        elif read.goes_on is not None:
            following = _After(None, 0, "", read.goes_on)
        total = None if read.total is None else read.total + sum(page.url not in known for page in named)
        body: dict[str, Any] = {
            "begin": asked.begin,
            "end": asked.end,
            "pages": [self._row(asked.trend, page) for _, page in shown],
            "total": total,
            "cut": asked.cut,
            "next": None if following is None else told_key(following),
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

    def _row(self, trend: Period, page: Page) -> dict[str, Any]:
        return {
            **self._sources.counts.row(page.url, page.period),
            "before": page.before.get("likes", 0),
            "all": net(page.counts),
            "trend": _trend(trend, page.trend),
        }

    @property
    def _sites_store(self) -> SiteStore:
        store = site_store(self._sources.store)
        if store is None:
            raise no_sites(self._sources.store)
        return store


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


def _is_in_part(query: PagesQuery, read: PagesRead, url: str) -> bool:
    """Whether a page is listed in this part of a list, if it is not in the first."""
    return query.since is None or (url > query.since and (read.goes_on is None or url <= read.goes_on))


def _order(query: PagesQuery, key: tuple[float, int, str]) -> tuple[float, int, str]:
    return key[0] if query.ascending else -key[0], -key[1], key[2]


def _units(begin: int, end: int, zone: tzinfo) -> Period:
    """The units of a trend: hours, or the last of the days."""
    if end - begin <= 2 * DAY_SECONDS:
        hours = between("hour", zone, begin, end, HOURS_TOLD_MAX)
        assert hours is not None, "these are few"
        return hours
    days = last_units("day", zone, DAYS_TOLD, end - 1)
    first = sum(edge <= begin for edge in days.edges[1:])
    return Period("day", zone, days.edges[first:])


def _trend(period: Period, past: Past) -> list[int]:
    """The likes in each unit of `period`."""
    units = [0] * len(period)
    for at, counts in past:
        index = period.index(at)
        if index is not None:
            units[index] += counts.get("likes", 0)
    return units
