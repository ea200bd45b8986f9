"""Histories: what a URL, a site or all sites got in each unit of a period, next to the period before."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, tzinfo
from functools import partial
from typing import Any, cast

import attrs
import msgspec

from likd.errors import StoreError
from likd.ingest.schema import short
from likd.model import Counts, add, total
from likd.queries.periods import (
    DAY_SECONDS,
    PERIOD_UNITS,
    TIME_MAX,
    Cut,
    Period,
    PeriodUnit,
    between,
    cut,
    last_units,
)
from likd.queries.unapplied import Growth, beyond
from likd.stores.protocol import Store, Unit, in_time
from likd.stores.sites import Past, SiteStore, Span, site_store
from likd.time_zones import zone_of
from likd.web.access.caller import Caller
from likd.web.answers import Answer, conditional, tagged
from likd.web.api.counts import CountReads
from likd.web.api.kept import Kept
from likd.web.api.sources import Sources
from likd.web.problems import Problem, store_away, wrong
from likd.web.query_string import query_value, query_values

HISTORY_MAX = 2000
HISTORY_DEFAULT: dict[PeriodUnit, int] = {"minute": 60, "hour": 48, "day": 30, "month": 12}
_FIELDS = ("url", "site", "unit", "last", "until", "begin", "end", "compare", "tz")


@attrs.frozen
class HistoryRequest:
    """The parameters of a request for a history."""

    url: str = ""
    site: str = ""
    unit: str = "hour"
    last: str = ""
    until: str = ""
    begin: str = ""
    end: str = ""
    compare: str = ""
    tz: str = ""
    if_none_match: str = ""
    of_url: bool = True
    """Whether it is about one URL; if not, it is about a site or all sites."""

    @classmethod
    def of(cls, query: bytes, if_none_match: str) -> HistoryRequest:
        """Read them from a query."""
        fields = {name: value for name in _FIELDS if (value := query_value(query, name))}
        return cls(**fields, if_none_match=if_none_match, of_url=bool(query_values(query, "url")))


@attrs.frozen
class _Asked:
    """Whose history, of which period, and whether the period before is included."""

    url: str
    name: str
    """The URLs under which the store has the URL; empty for a site or all sites."""
    site: str
    period: Period
    compare: bool
    zone: str

    @property
    def about(self) -> dict[str, str]:
        """What the answer says it is about."""
        return {"url": self.url} if self.name else {"site": self.site} if self.site else {}


class Histories:
    """Answers requests for histories. Every error of a client raises Problem.

    Answers are repeated from memory as long as nothing changes. A URL's history is what the store has; those of a site
    and of all sites are exact, including what the store does not have yet.
    """

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._of_urls = Kept(lambda: sources.totals.stored)
        self._of_sites = Kept(lambda: sources.totals.ledger.position)

    def nowait(self, request: HistoryRequest, caller: Caller) -> Answer | None:
        """The answer to `ask`, if it is in memory."""
        asked = self._read(request, caller)
        kept = self._kept(asked).get(asked)
        return None if kept is None else conditional(kept, request.if_none_match)

    async def ask(self, request: HistoryRequest, caller: Caller) -> Answer:
        """The history that was requested."""
        asked = self._read(request, caller)
        answer = await self._kept(asked).ask(asked, partial(self._answer, asked))
        return conditional(answer, request.if_none_match)

    def _kept(self, asked: _Asked) -> Kept:
        return self._of_urls if asked.name else self._of_sites

    def _read(self, request: HistoryRequest, caller: Caller) -> _Asked:
        period = self._period(request)
        if request.compare not in ("", "before"):
            raise wrong("compare", request.compare, "before")
        compare = request.compare == "before"
        if request.of_url:
            if request.site:
                raise wrong("site", request.site, "no site together with a url")
            (href,) = self._sources.urls.readable([request.url], caller)
            return _Asked(href, self._sources.totals.ledger.settled_name(href), "", period, compare, request.tz)
        site = self._sources.urls.readable_site(request.site, caller)
        if site_store(self._sources.store) is None:
            raise no_sites(self._sources.store)
        return _Asked("", "", site, period, compare, request.tz)

    def _period(self, request: HistoryRequest) -> Period:
        if request.unit not in PERIOD_UNITS:
            raise wrong("unit", request.unit, "minute, hour, day or month")
        unit = request.unit
        zone = zone_asked(request.tz)
        now = int(self._sources.clock())
        if not request.begin:
            if request.end:
                raise wrong("end", request.end, "a begin, too")
            units = number("last", request.last or str(HISTORY_DEFAULT[unit]), 1, HISTORY_MAX)
            return last_units(unit, zone, units, _time("until", request.until, now))
        for field in ("last", "until"):
            if value := getattr(request, field):
                raise wrong(field, value, f"no {field} together with a begin")
        begin = _time("begin", request.begin, now)
        end = _time("end", request.end, now + 1)
        if end <= begin:
            raise wrong("end", request.end, "a time after begin")
        period = between(unit, zone, begin, end, HISTORY_MAX)
        if period is None:
            raise wrong("begin", request.begin, f"at most {HISTORY_MAX} units until end")
        return period

    async def _answer(self, asked: _Asked) -> Answer:
        now = self._sources.clock()
        period, before = asked.period, asked.period.before()
        minutes_since = now - (self._sources.kept_for.minute_hours - 1) * 3600
        goes_on = cut(period, before, now, minutes_since) if asked.compare else None
        spans = self._spans(period, now)
        of_before = len(spans)
        if asked.compare:
            spans += self._spans(before, now)
            if goes_on is not None:
                unit: Unit = "minute" if goes_on.before_until % 3600 else "hour"
                spans.append(Span(unit, before.edges[goes_on.index], goes_on.before_until))
        grown = [] if asked.name else await self._sources.unapplied.by_site()
        try:
            applied, summed, past = await self._look(asked, spans)
        except StoreError as error:
            raise store_away(error) from None
        if period.zone is not UTC:
            past = [_by_noon(some) if span.unit == "day" else some for span, some in zip(spans, past, strict=True)]
        growth = _of_site(beyond(grown, applied), asked.site)
        rows = _by_unit(period, [*_flat(past[:of_before]), *growth])
        body: dict[str, Any] = {**asked.about, "unit": period.unit}
        if asked.zone:
            body["tz"] = asked.zone
        body |= {"begin": period.begin, "end": period.end, "history": self._rows(period, rows)}
        body["sum"] = self._row(total(rows))
        if asked.compare:
            body |= self._compared(before, goes_on, past[of_before:], growth)
        if summed < 1:
            body["summed"] = round(summed, 3)
        return tagged(Answer(200, msgspec.json.encode(body)))

    def _compared(self, before: Period, goes_on: Cut | None, past: Sequence[Past], growth: Past) -> dict[str, Any]:
        """The period before. If this period is still running, only the same part of the one before counts."""
        whole = past if goes_on is None else past[:-1]
        rows = _by_unit(before, [*_flat(whole), *growth])
        summed = rows
        if goes_on is not None:
            part: Counts = {}
            for _, counts in past[-1]:
                add(part, counts)
            rows[goes_on.index] = part
            summed = rows[: goes_on.index + 1]
        return {
            "before": self._rows(before, rows),
            "sum_before": self._row(total(summed)),
            "cut": None if goes_on is None else goes_on.until,
        }

    async def _look(self, asked: _Asked, spans: Sequence[Span]) -> tuple[int, float, Sequence[Past]]:
        """What the store has: as of which table, how much of it is in the sums, and the past in each of `spans`."""
        with in_time():
            if asked.name:
                past = [
                    await self._sources.store.history(asked.name, span.unit, span.begin, span.end) for span in spans
                ]
                return 0, 1.0, past
            read = await cast(SiteStore, self._sources.store).past(spans, site=asked.site)
            return read.applied, read.summed, read.past

    def _spans(self, period: Period, now: float) -> list[Span]:
        """What to read from the store. Days in a time zone are made of hours, as far back as these are kept."""
        if period.unit in ("minute", "hour"):
            return [Span(cast(Unit, period.unit), max(0, period.begin), period.end)]
        if period.zone is UTC:
            return [Span("day", period.begin, period.end)]
        begin, end = max(0, period.begin), period.end
        hours_since = (int(now) // DAY_SECONDS - self._sources.kept_for.hour_days + 1) * DAY_SECONDS
        since = min(max(begin, hours_since), end)
        spans = [Span("hour", since, end)]
        if begin < since:
            # Days in UTC, represented by their noon.
            spans.append(Span("day", begin, since))
        return spans

    def _rows(self, period: Period, rows: Sequence[Counts]) -> list[dict[str, Any]]:
        return [{"time": at, **self._row(counts)} for at, counts in zip(period.edges, rows, strict=False)]

    def _row(self, counts: Counts) -> dict[str, Any]:
        return counts_row(self._sources.counts, counts)


def counts_row(reads: CountReads, counts: Counts) -> dict[str, Any]:
    """Counts in the API's form, without a URL."""
    row = reads.row("", counts)
    del row["url"]
    return row


def number(field: str, text: str, low: int, high: int) -> int:
    """`text` as a number. Raises Problem."""
    if not (text.isdecimal() and text.isascii() and len(text) <= 18 and low <= int(text) <= high):
        raise wrong(field, text, f"a whole number from {low} to {high}")
    return int(text)


def zone_asked(name: str) -> tzinfo:
    """The time zone of that name. Raises Problem."""
    try:
        return zone_of(name)
    except ValueError:
        raise wrong("tz", name, "the name of a time zone, such as Europe/Paris") from None


def no_sites(store: Store) -> Problem:
    """The problem of a store that has no sums by site."""
    return Problem(501, f"a {short(store.kind)} store keeps no sums by site")


def _time(field: str, text: str, default: int) -> int:
    return number(field, text, 0, TIME_MAX) if text else default


def _of_site(grown: Sequence[Growth], site: str) -> Past:
    """What a site got, or all sites."""
    past: Past = []
    for part in grown:
        for host, counts in part.sums.items():
            if not site or host == site:
                past.append((part.minute * 60, counts))
    return past


def _by_noon(past: Past) -> Past:
    return [(at + DAY_SECONDS // 2, counts) for at, counts in past]


def _flat(past: Sequence[Past]) -> Past:
    return [each for some in past for each in some]


def _by_unit(period: Period, past: Past) -> list[Counts]:
    """The counts in each unit of `period`."""
    rows: list[Counts] = [{} for _ in range(len(period))]
    for at, counts in past:
        index = period.index(at)
        if index is not None:
            add(rows[index], counts)
    return rows
