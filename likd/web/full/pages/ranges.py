"""The range of time that a page covers: its links, its request for the history, its name."""

from __future__ import annotations

import calendar
import datetime as dt
from collections.abc import Callable
from typing import Literal, TypeAlias

import attrs

from likd.time_zones import zone_of
from likd.web.problems import wrong

Unit: TypeAlias = Literal["hour", "day", "month"]

PRESETS = (
    ("today", "Today", "Today"),
    ("7d", "7 days", "7 d"),
    ("30d", "30 days", "30 d"),
    ("12m", "12 months", "12 m"),
)
"""The presets: keys, names and short names."""
DEFAULT = "7d"
DAYS_BY_HOUR_MAX = 2
DAYS_BY_DAY_MAX = 400
DAYS_MAX = 20 * 366
_SAID = {"today": "today", "7d": "in 7 days", "30d": "in 30 days", "12m": "in 12 months", "dates": "in this time"}


@attrs.frozen
class Range:
    """From the beginning of the day `first` to the end of `last`, in pieces of a `unit`; days are those of `tz`."""

    key: str
    unit: Unit
    first: dt.date
    last: dt.date
    tz: str = ""

    @property
    def said(self) -> str:
        """The end of a sentence about the range."""
        return _SAID[self.key]

    @property
    def begin(self) -> int:
        """Its first second (Unix time)."""
        return _seconds(self.first, self.tz)

    @property
    def end(self) -> int:
        """The second after it."""
        return _seconds(self.last + dt.timedelta(days=1), self.tz)

    @property
    def parameters(self) -> dict[str, object]:
        """The parameters of a link to the same range."""
        if self.key == "dates":
            return {"range": "dates", "from": self.first.isoformat(), "to": self.last.isoformat()}
        return {} if self.key == DEFAULT else {"range": self.key}

    def words(self, until: int | None = None) -> str:
        """The range in words; up to `until` (Unix time), if given."""
        if self.unit == "hour" and self.first == self.last:
            end = f"{_time(until, self.tz):%H:%M}" if until is not None and until < self.end else "24:00"
            return f"{_weekday(self.first)}, 00:00–{end}"
        if self.unit == "month":
            return f"{self.first:%b %Y} – {self.last:%b %Y}"
        if (self.first.year, self.first.month) == (self.last.year, self.last.month):
            return f"{self.first.day}–{_day(self.last)} {self.last.year}"
        year = "" if self.first.year == self.last.year else f" {self.first.year}"
        return f"{_day(self.first)}{year} – {_day(self.last)} {self.last.year}"

    def before(self) -> Range:
        """The period before."""
        if self.unit == "month":
            months = (self.last.year - self.first.year) * 12 + self.last.month - self.first.month + 1
            return attrs.evolve(self, first=_months(self.first, -months), last=_months(self.last, -months))
        days = self.last - self.first + dt.timedelta(days=1)
        return attrs.evolve(self, first=self.first - days, last=self.last - days)

    def long(self, at: int) -> str:
        """The name of the piece that begins `at`."""
        time = _time(at, self.tz)
        if self.unit == "hour":
            return f"{_weekday(time)}, {time:%H:%M}–{(time.hour + 1):02d}:{time:%M}"
        return f"{time:%B %Y}" if self.unit == "month" else _weekday(time)

    def short(self, at: int) -> str:
        """The same for an axis."""
        time = _time(at, self.tz)
        if self.unit == "hour":
            return f"{time:%H:%M}" if time.hour or self.first == self.last else _day(time)
        if self.unit == "month":
            return f"{time:%b}"
        return f"{time:%a} {time.day}" if self.last - self.first < dt.timedelta(days=10) else _day(time)


def range_of(ask: Callable[[str], str], now: float, tz: str = "") -> Range:
    """The range that the parameters of a page say, by days of `tz`, `now` being the time (Unix). Raises Problem."""
    today = _time(int(now), tz).date()
    key = ask("range") or DEFAULT
    if key == "dates":
        first, last = sorted((_date("from", ask("from"), today), _date("to", ask("to"), today)))
        last = min(last, today)
        first = max(min(first, last), last - dt.timedelta(days=DAYS_MAX))
        days = (last - first).days + 1
        unit: Unit = "hour" if days <= DAYS_BY_HOUR_MAX else "day" if days <= DAYS_BY_DAY_MAX else "month"
        if unit == "month":
            first = first.replace(day=1)
        return Range(key, unit, first, last, tz)
    if key == "12m":
        return Range(key, "month", _months(today.replace(day=1), -11), today, tz)
    spans = {"today": 1, "7d": 7, "30d": 30}
    if key not in spans:
        raise wrong("range", key, f"{', '.join(preset for preset, _, _ in PRESETS)} or dates")
    return Range(key, "hour" if key == "today" else "day", today - dt.timedelta(days=spans[key] - 1), today, tz)


def _date(field: str, text: str, today: dt.date) -> dt.date:
    try:
        return dt.date.fromisoformat(text) if text else today
    except ValueError:
        raise wrong(field, text, "a day as YYYY-MM-DD") from None


def _months(day: dt.date, months: int) -> dt.date:
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return dt.date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


def _time(at: int, tz: str) -> dt.datetime:
    return dt.datetime.fromtimestamp(at, zone_of(tz))


def _seconds(day: dt.date, tz: str) -> int:
    return int(dt.datetime(day.year, day.month, day.day, tzinfo=zone_of(tz)).timestamp())


def _day(day: dt.date) -> str:
    return f"{day.day} {day:%b}"


def _weekday(day: dt.date) -> str:
    return f"{day:%a} {day.day} {day:%b}"
