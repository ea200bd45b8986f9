"""Sites with their sums."""

from __future__ import annotations

from datetime import tzinfo
from functools import partial
from typing import Any

import attrs
import msgspec

from likd.errors import StoreError
from likd.model import Counts, add, total
from likd.queries.periods import Period, cut, last_units, span_of
from likd.queries.unapplied import beyond
from likd.stores.protocol import in_time
from likd.stores.sites import SITES_MAX, SiteStore, Span, site_store
from likd.web.access.caller import Caller
from likd.web.answers import Answer, conditional, tagged
from likd.web.api.histories import counts_row, no_sites, number, zone_asked
from likd.web.api.kept import Kept
from likd.web.api.sources import Sources
from likd.web.problems import store_away, wrong
from likd.web.query_string import query_value

SITES_DEFAULT = 50
DAYS_TOLD = 30
SITES_BY = ("likes", "today", "last7", "last30", "change", "impressions", "pages", "host")


@attrs.frozen
class SitesRequest:
    """The parameters of a request for the list of sites."""

    by: str
    limit: str
    after: str
    tz: str
    if_none_match: str

    @classmethod
    def of(cls, query: bytes, if_none_match: str) -> SitesRequest:
        """Read them from a query."""
        return cls(
            query_value(query, "by", "likes"),
            query_value(query, "limit", str(SITES_DEFAULT)),
            query_value(query, "after"),
            query_value(query, "tz"),
            if_none_match,
        )


@attrs.define
class _SiteRow:
    """A site, with its likes by day, oldest first."""

    host: str
    counts: Counts
    urls: int = 0
    days: list[int] = attrs.field(factory=lambda: [0] * DAYS_TOLD)
    until_cut: int = 0

    def grow(self, day: int | None, counts: Counts) -> None:
        """Add the likes of a day, if it is one of those that are told."""
        if day is not None:
            self.days[day] += counts.get("likes", 0)


class SiteLists:
    """Lists sites, exactly, including what the store does not have yet. Raises Problem.

    Answers are repeated from memory as long as nothing changes.
    """

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._kept = Kept(lambda: sources.totals.ledger.position)

    async def sites(self, request: SitesRequest, caller: Caller) -> Answer:
        """The sites with their totals, the likes of the last 30 days, and those of the 7 days before the last 7."""
        self._sources.urls.readable_site("", caller)
        if request.by not in SITES_BY:
            raise wrong("by", request.by, f"one of {', '.join(SITES_BY)}")
        limit = number("limit", request.limit, 1, SITES_MAX)
        after = read_key("after", request.after, tuple[float, str]) if request.after else None
        zone = zone_asked(request.tz)
        look = partial(self._sites, request.by, limit, after, zone)
        key = ("sites", request.by, limit, after, request.tz)
        return conditional(await self._kept.ask(key, look), request.if_none_match)

    async def _sites(self, by: str, limit: int, after: tuple[float, str] | None, zone: tzinfo) -> Answer:
        now = self._sources.clock()
        days = last_units("day", zone, DAYS_TOLD, int(now))
        today, week_ago = (Period("day", zone, days.edges[end - 2 :][:2]) for end in (len(days) + 1, len(days) - 6))
        goes_on = cut(today, week_ago, now, now - (self._sources.kept_for.minute_hours - 1) * 3600)
        assert goes_on is not None, "now is today"
        spans = [span_of(days), Span("hour", week_ago.begin, goes_on.before_until)]
        grown = await self._sources.unapplied.by_site()
        try:
            with in_time():
                read = await self._sites_store.sites(spans)
        except StoreError as error:
            raise store_away(error) from None
        rows = {site.host: _SiteRow(site.host, site.counts, site.urls) for site in read.sites}
        for site in read.sites:
            of_days, until_cut = site.past
            row = rows[site.host]
            row.until_cut = total([counts for _, counts in until_cut]).get("likes", 0)
            for at, counts in of_days:
                row.grow(days.index(at), counts)
        for part in beyond(grown, read.applied):
            for host, counts in part.sums.items():
                if host not in rows and len(read.sites) == SITES_MAX:
                    continue
                row = rows.setdefault(host, _SiteRow(host, {}))
                add(row.counts, counts)
                row.grow(days.index(part.minute * 60), counts)
        told = [self._told(row) for row in rows.values()]
        told = [row for row in told if row["pages"] or any(rows[row["host"]].counts.values())]
        ranked = sorted((-_rank(row, by), row["host"]) for row in told)
        by_host = {row["host"]: row for row in told}
        left = [key for key in ranked if after is None or key > (-after[0], after[1])]
        body: dict[str, Any] = {
            "sites": [by_host[host] for _, host in left[:limit]],
            "total": max(read.total, len(told)),
            "cut": goes_on.until,
            "next": told_key((-left[limit - 1][0], left[limit - 1][1])) if len(left) > limit else None,
        }
        if read.summed < 1:
            body["summed"] = round(read.summed, 3)
        return tagged(Answer(200, msgspec.json.encode(body)))

    def _told(self, row: _SiteRow) -> dict[str, Any]:
        days = row.days[::-1]
        return {
            "host": row.host,
            **counts_row(self._sources.counts, row.counts),
            "pages": row.urls,
            "today": days[0],
            "last7": sum(days[:7]),
            "last30": sum(days),
            "before7": sum(days[8:14]) + row.until_cut,
            "trend": row.days,
        }

    @property
    def _sites_store(self) -> SiteStore:
        store = site_store(self._sources.store)
        if store is None:
            raise no_sites(self._sources.store)
        return store


def _rank(row: dict[str, Any], by: str) -> float:
    match by:
        case "host":
            return 0
        case "likes":
            return float(row["net"])
        case "change":
            return float(row["last7"] - row["before7"])
    return float(row[by])


def told_key(key: object) -> str:
    """Where a list goes on, as a text."""
    return msgspec.json.encode(key).decode()


def read_key(field: str, text: str, kind: type[Any]) -> Any:
    """The same out of a text. Raises Problem."""
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, UnicodeEncodeError):
        raise wrong(field, text, "the value of next from an answer") from None
