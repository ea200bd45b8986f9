"""Periods: stretches of time in units, by a time zone's days and months, and the same part of the one before."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Literal, TypeAlias

import attrs

from likd.stores.protocol import UNIT_SECONDS, Unit
from likd.stores.sites import Span

PeriodUnit: TypeAlias = Literal["minute", "hour", "day", "month"]
PERIOD_UNITS: tuple[PeriodUnit, ...] = ("minute", "hour", "day", "month")
TIME_MAX = 200_000_000_000
"""In the year 8307: nothing can have been counted later."""
DAY_SECONDS = UNIT_SECONDS["day"]
HOUR_SECONDS = UNIT_SECONDS["hour"]


@attrs.frozen
class Period:
    """Consecutive units of time: when each begins, and when the last one ends, in seconds since 1970."""

    unit: PeriodUnit
    zone: tzinfo
    edges: tuple[int, ...]

    @property
    def begin(self) -> int:
        """When the first unit begins."""
        return self.edges[0]

    @property
    def end(self) -> int:
        """When the last one ends."""
        return self.edges[-1]

    def __len__(self) -> int:
        return len(self.edges) - 1

    def index(self, at: float) -> int | None:
        """The index of the unit that `at` is in, None if it is in none."""
        found = bisect_right(self.edges, at) - 1
        return found if 0 <= found < len(self) else None

    def before(self) -> Period:
        """An equal number of units, up to the beginning of this period."""
        return last_units(self.unit, self.zone, len(self), self.begin - 1)


@attrs.frozen
class Cut:
    """The current unit: its index, and up to when it counts, in this period and in the one before."""

    index: int
    until: int
    before_until: int


def last_units(unit: PeriodUnit, zone: tzinfo, units: int, until: int) -> Period:
    """The `units` units up to and including the one that `until` is in."""
    begin = floor(unit, zone, until)
    edges = [_next(unit, zone, begin), begin]
    while len(edges) <= units and edges[-1] > 0:
        edges.append(floor(unit, zone, edges[-1] - 1))
    return Period(unit, zone, tuple(reversed(edges)))


def between(unit: PeriodUnit, zone: tzinfo, begin: int, end: int, units_max: int) -> Period | None:
    """The units from the one of `begin` to the last before `end`; None if there are more than `units_max`."""
    edges = [floor(unit, zone, begin)]
    while edges[-1] < end:
        if len(edges) > units_max:
            return None
        edges.append(_next(unit, zone, edges[-1]))
    return Period(unit, zone, tuple(edges))


def span_of(period: Period) -> Span:
    """What to ask the store for, which keeps days in UTC: those of another time zone are made of hours."""
    unit: Unit = "day" if period.unit == "day" and period.zone is UTC else "hour"
    return Span(unit, max(0, period.begin), period.end)


def cut(period: Period, before: Period, now: float, minutes_since: float) -> Cut | None:
    """How far the unit that `now` is in has got; None if the period has ended or not yet begun.

    To the minute if the period before is kept in minutes, as everything since `minutes_since` is; else to the hour.
    """
    index = period.index(now)
    if index is None or index >= len(before):
        return None
    length = before.edges[index + 1] - before.edges[index]
    passed = int(now) - period.edges[index]
    step = 60 if before.edges[index] + passed >= minutes_since else HOUR_SECONDS
    passed = min(length, (passed // step + 1) * step)
    return Cut(index, min(period.edges[index] + passed, period.edges[index + 1]), before.edges[index] + passed)


def floor(unit: PeriodUnit, zone: tzinfo, at: int) -> int:
    """When the unit that `at` is in began."""
    if unit in ("minute", "hour"):
        seconds = UNIT_SECONDS[unit]
        return at // seconds * seconds
    if unit == "day" and zone is UTC:
        return at // DAY_SECONDS * DAY_SECONDS
    day = datetime.fromtimestamp(max(0, at), zone).date()
    return _begin_of(day.replace(day=1) if unit == "month" else day, zone)


def _next(unit: PeriodUnit, zone: tzinfo, begin: int) -> int:
    if unit in ("minute", "hour"):
        return begin + UNIT_SECONDS[unit]
    if unit == "day" and zone is UTC:
        return begin + DAY_SECONDS
    # Only the first day in a zone ahead of UTC begins before 1970.
    day = (datetime.fromtimestamp(begin, UTC) + timedelta(hours=12)).astimezone(zone).date()
    after = (day.replace(day=1) + timedelta(days=32)).replace(day=1) if unit == "month" else day + timedelta(days=1)
    return _begin_of(after, zone)


def _begin_of(day: date, zone: tzinfo) -> int:
    return int(datetime.combine(day, time.min, tzinfo=zone).timestamp())


def days_of(begin: int, end: int) -> Iterator[int]:
    """When each day (UTC) from `begin` until before `end` begins."""
    yield from range(begin // DAY_SECONDS * DAY_SECONDS, end, DAY_SECONDS)
