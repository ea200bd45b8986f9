"""The history of the embedded store: counts per minute, hour and day, each kept for its own time.

Minutes are written with every transaction. When an hour is over, its minutes are added up into an hour, and when a day
is over, its hours into a day; late counts are added where their time is already summed up, and early ones wait for
their hour. So each unit is exact at every moment, and most rows are written once.

An hour is over when there are counts of a later one, and the clock says so, too. What is too old is removed according
to the hour that was open before, and never more than a day at once: no single reading of a clock removes anything, and
a clock that is wrong for hours removes little.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from likd.model import Counts
from likd.stores.protocol import UNIT_SECONDS, Retention, Unit
from likd.stores.sqlite.sums import growth, summed

_SCHEMA = """
CREATE TABLE IF NOT EXISTS minutes (hour INTEGER, url INTEGER, minute INTEGER, PRIMARY KEY (hour, url, minute))
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS hours (day INTEGER, url INTEGER, hour INTEGER, PRIMARY KEY (day, url, hour)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS days (url INTEGER, day INTEGER, PRIMARY KEY (url, day)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS history (hour INTEGER NOT NULL);
"""

_SPANS = """
WITH RECURSIVE spans (at) AS (
    SELECT min({span}) FROM {table}
    UNION ALL SELECT (SELECT min({span}) FROM {table} WHERE {span} > at) FROM spans WHERE at IS NOT NULL
) SELECT at FROM spans WHERE at IS NOT NULL
"""
"""Each existing span, at the cost of one index lookup: DISTINCT would read every row."""

TABLES: Mapping[str, tuple[str, str]] = {"minutes": ("hour", "minute"), "hours": ("day", "hour"), "days": ("", "day")}
"""For each table, the span by which a URL's rows are found, and the unit of a row."""
LISTED_MAX = 20
"""How many ids are written out in a query."""
HORIZON_HOURS_MAX = 24
"""How far the limit of what is kept moves with each hour that is over."""


class History:
    """Keeps the history in the caller's database; the caller owns the transactions."""

    def __init__(self, retention: Retention) -> None:
        self._keep = retention
        self._names: tuple[str, ...] = ()

    def open(self, connection: sqlite3.Connection, names: tuple[str, ...]) -> None:
        """Create the tables, or update them to the current counts."""
        connection.executescript(_SCHEMA)
        for table in TABLES:
            there = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
            for name in names:
                if name not in there:
                    connection.execute(f'ALTER TABLE {table} ADD COLUMN "{name}" INTEGER NOT NULL DEFAULT 0')
        if "horizon" not in {row[1] for row in connection.execute("PRAGMA table_info(history)")}:
            connection.execute("ALTER TABLE history ADD COLUMN horizon INTEGER")
        self._names = names

    def add(self, connection: sqlite3.Connection, grown: Sequence[str], minute: int, now: int) -> None:
        """Add the counts `grown` of the staged rows, which came in `minute`; it is `now`.

        Both are minutes since 1970.
        """
        hour, day = minute // 60, minute // 1440
        open_hour = self._open_hour(connection, min(hour, now // 60))
        if min(hour, now // 60) > open_hour:
            self._roll(connection, open_hour, min(hour, now // 60))
            open_hour = min(hour, now // 60)
        elif open_hour > now // 60 + 1:
            open_hour = self._roll_back(connection, open_hour, now // 60)
        self._upsert(connection, "minutes", grown, "hour, url, minute", f"{hour}, id, {minute}")
        if hour < open_hour:
            self._upsert(connection, "hours", grown, "day, url, hour", f"{day}, id, {hour}")
            if day < open_hour // 24:
                self._upsert(connection, "days", grown, "url, day", f"id, {day}")

    def add_past(self, connection: sqlite3.Connection, grown: Sequence[str], minute: int, now: int) -> None:
        """The same for rows of a past `minute`, from before likd counted them."""
        # Otherwise the oldest would begin the history, and hours would end one by one from there.
        self._open_hour(connection, now // 60)
        self.add(connection, grown, minute, now)

    def read(
        self, connection: sqlite3.Connection, row_id: int, unit: Unit, begin: int, end: int
    ) -> list[tuple[int, Counts]]:
        """What the URL or site with this id got from `begin` up to `end` (seconds since 1970), by unit."""
        return self.read_all(connection, [row_id], unit, begin, end)[row_id]

    def read_all(
        self, connection: sqlite3.Connection, row_ids: Sequence[int], unit: Unit, begin: int, end: int
    ) -> dict[int, list[tuple[int, Counts]]]:
        """The same for many of them."""
        open_hour = self._open_hour(connection, 0)
        found: dict[int, dict[int, Counts]] = {row_id: {} for row_id in row_ids}
        collect = partial(self._collect, connection, found, UNIT_SECONDS[unit])
        if unit == "minute":
            for hour in range(begin // 3600, -(-end // 3600)):
                collect("minutes", "minute", f"hour = {hour}")
        elif unit == "hour":
            for day in range(begin // 86_400, -(-end // 86_400)):
                collect("hours", "hour", f"day = {day}")
            for hour in self._open_hours(connection, open_hour):
                if begin <= hour * 3600 < end:
                    collect("minutes", "hour", f"hour = {hour}")
        else:
            collect("days", "day", f"day >= {begin // 86_400} AND day < {-(-end // 86_400)}")
            if begin // 86_400 <= open_hour // 24 < end / 86_400:
                collect("hours", "day", f"day = {open_hour // 24}")
            for hour in self._open_hours(connection, open_hour):
                if begin // 86_400 <= hour // 24 < end / 86_400:
                    collect("minutes", f"{hour // 24}", f"hour = {hour}")
        return {
            row_id: [(time, counts) for time, counts in sorted(past.items()) if begin <= time < end]
            for row_id, past in found.items()
        }

    def pieces(self, connection: sqlite3.Connection, begin: int, end: int) -> list[tuple[str, str]]:
        """The tables that together have what came from `begin` up to `end` (seconds), and which rows of each.

        Begin and end are as exact as what is kept: minutes, hours or days.
        """
        begin, end = begin // 60, max(begin // 60, -(-end // 60))
        open_hour = self._open_hour(connection, 0)
        open_hours = list(self._open_hours(connection, open_hour))
        first_hour, last_hour = -(-begin // 60), end // 60
        first_day, last_day = -(-first_hour // 24), last_hour // 24
        found = [("days", f"day >= {first_day} AND day < {min(last_day, open_hour // 24)}")]
        hours = {(first_hour, min(last_hour, first_day * 24)), (max(first_hour, last_day * 24), last_hour)}
        if first_day <= open_hour // 24 < last_day:
            hours.add((open_hour // 24 * 24, open_hour // 24 * 24 + 24))
        minutes = {(begin, min(end, first_hour * 60)), (max(begin, last_hour * 60), end)}
        minutes |= {(hour * 60, hour * 60 + 60) for hour in open_hours if first_hour <= hour < last_hour}
        for low, high in sorted(hours):
            if low < high:
                found.append(("hours", f"day = {low // 24} AND hour >= {low} AND hour < {high}"))
        for low, high in sorted(minutes):
            if low < high:
                found.append(("minutes", f"hour = {low // 60} AND minute >= {low} AND minute < {high}"))
        return found

    def spans(self, connection: sqlite3.Connection, table: str) -> list[int | None]:
        """The existing spans in `table`; None stands for all if rows are found without."""
        span = TABLES[table][0]
        if not span:
            return [None]
        return [at for (at,) in connection.execute(_SPANS.format(span=span, table=table)).fetchall()]

    def book(
        self,
        connection: sqlite3.Connection,
        table: str,
        at: int | None,
        given: str,
        values: Sequence[int],
        *,
        sign: int = 1,
    ) -> None:
        """Add what the rows `given` have in span `at` of `table`, under the ids `id`.

        `given` is what follows FROM in a query whose rows have `id` in addition to the columns of `table`.
        """
        span, unit = TABLES[table]
        keys, where = (f"{span}, url, {unit}", f"{span} = {at}") if span else (f"url, {unit}", "true")
        selected = (f"{at}, id, {unit}") if span else f"id, {unit}"
        sums = ", ".join(f"{'-' if sign < 0 else ''}({summed(name)})" for name in self._names)
        connection.execute(
            f"INSERT INTO {table} ({keys}, {self._columns}) SELECT {selected}, {sums} FROM {given} AND {where}"
            f" GROUP BY id, {unit} ON CONFLICT DO UPDATE SET {self._growth}",
            values,
        )

    def forget(self, connection: sqlite3.Connection, row_ids: str) -> None:
        """Remove the history of the ids that the query `row_ids` finds."""
        for table, (span, _) in TABLES.items():
            for at in self.spans(connection, table):
                where = f"{span} = {at} AND" if span else ""
                connection.execute(f"DELETE FROM {table} WHERE {where} url IN ({row_ids})")

    def merge(self, connection: sqlite3.Connection, ids: Sequence[tuple[int, int]]) -> None:
        """Fold the history of the first of each pair in `ids` into that of the second."""
        for table, span, unit in (("minutes", "hour", "minute"), ("hours", "day", "hour")):
            # A URL's rows are found by their span, so the existing spans have to be known.
            for (at,) in connection.execute(_SPANS.format(span=span, table=table)).fetchall():
                self._move(connection, table, f"{span}, url, {unit}", f"{span}, ?1, {unit}", f"{span} = {at} AND", ids)
        self._move(connection, "days", "url, day", "?1, day", "", ids)

    def _move(
        self,
        connection: sqlite3.Connection,
        table: str,
        keys: str,
        values: str,
        where: str,
        ids: Sequence[tuple[int, int]],
    ) -> None:
        connection.executemany(
            f"INSERT INTO {table} ({keys}, {self._columns}) SELECT {values}, {self._columns} FROM {table}"
            f" WHERE {where} url = ?2 ON CONFLICT DO UPDATE SET {self._growth}",
            [(new, old) for old, new in ids],
        )
        connection.executemany(f"DELETE FROM {table} WHERE {where} url = ?", [(old,) for old, _ in ids])

    @property
    def _columns(self) -> str:
        return ", ".join(f'"{name}"' for name in self._names)

    @property
    def _growth(self) -> str:
        return ", ".join(map(growth, self._names))

    @property
    def _sums(self) -> str:
        return ", ".join(map(summed, self._names))

    def _open_hour(self, connection: sqlite3.Connection, default: int) -> int:
        row = connection.execute("SELECT hour FROM history").fetchone()
        if row is not None:
            return int(row[0])
        if default:
            connection.execute("INSERT INTO history VALUES (?1, ?1)", (default,))
        return default

    def _open_hours(self, connection: sqlite3.Connection, open_hour: int) -> Iterator[int]:
        """The hours that are not summed up: the open one, and those with early counts."""
        hour = open_hour - 1
        while (row := connection.execute("SELECT min(hour) FROM minutes WHERE hour > ?", (hour,)).fetchone())[0]:
            hour = row[0]
            yield hour

    def _upsert(self, connection: sqlite3.Connection, table: str, grown: Sequence[str], keys: str, values: str) -> None:
        columns = "".join(f', "{name}"' for name in grown)
        update = f"UPDATE SET {', '.join(map(growth, grown))}" if grown else "NOTHING"
        connection.execute(
            f"INSERT INTO {table} ({keys}{columns}) SELECT {values}{columns}"
            f" FROM staged WHERE true ORDER BY id ON CONFLICT DO {update}"
        )

    def _roll(self, connection: sqlite3.Connection, since: int, hour: int) -> None:
        """The hours from `since` up to `hour` are over."""
        connection.execute(
            f"INSERT INTO hours (day, url, hour, {self._columns}) SELECT hour / 24, url, hour, {self._sums}"
            f" FROM minutes WHERE hour >= ? AND hour < ? GROUP BY hour, url ON CONFLICT DO UPDATE SET {self._growth}",
            (since, hour),
        )
        connection.execute(
            f"INSERT INTO days (url, day, {self._columns}) SELECT url, day, {self._sums}"
            f" FROM hours WHERE day >= ? AND day < ? GROUP BY day, url ON CONFLICT DO UPDATE SET {self._growth}",
            (since // 24, hour // 24),
        )
        before = self._horizon(connection, since)
        horizon = max(before, min(since, before + HORIZON_HOURS_MAX))
        connection.execute("DELETE FROM minutes WHERE hour < ?", (horizon - self._keep.minute_hours,))
        connection.execute("DELETE FROM hours WHERE day < ?", (horizon // 24 - self._keep.hour_days,))
        if horizon // 24 > before // 24:
            connection.execute("DELETE FROM days WHERE day < ?", (horizon // 24 - self._keep.day_days,))
        connection.execute("UPDATE history SET hour = ?, horizon = ?", (hour, horizon))

    def _roll_back(self, connection: sqlite3.Connection, open_hour: int, hour: int) -> int:
        """The clock was wrong: the hours from `hour` on are not over. Returns the hour that is open now.

        This goes back only as far as all minutes still exist: other sums could not be made again.
        """
        horizon = self._horizon(connection, hour)
        if hour < horizon - self._keep.minute_hours:
            return open_hour
        connection.execute("DELETE FROM hours WHERE day >= ? AND hour >= ?", (hour // 24, hour))
        connection.execute("DELETE FROM days WHERE day >= ?", (hour // 24,))
        connection.execute("UPDATE history SET hour = ?, horizon = ?", (hour, min(horizon, hour)))
        return hour

    def _horizon(self, connection: sqlite3.Connection, default: int) -> int:
        """The hour according to which old rows were last removed."""
        row = connection.execute("SELECT horizon FROM history").fetchone()
        return default if row is None or row[0] is None else int(row[0])

    def _collect(
        self,
        connection: sqlite3.Connection,
        found: dict[int, dict[int, Counts]],
        seconds: int,
        table: str,
        column: str,
        where: str,
    ) -> None:
        """Add what is in these rows of `table`, by id and by `column`, whose unit is that many `seconds` long."""
        row_ids = ", ".join(map(str, found))
        listed = f"url IN ({row_ids})" if len(found) <= LISTED_MAX else "url IN (SELECT value FROM json_each(?))"
        values = () if len(found) <= LISTED_MAX else (f"[{row_ids}]",)
        query = f"SELECT url, {column}, {self._columns} FROM {table} WHERE {where} AND {listed}"
        for row_id, time, *counts in _rows(connection.execute(query, values)):
            mine = found[row_id].setdefault(time * seconds, {})
            for name, n in zip(self._names, counts, strict=True):
                if n:
                    mine[name] = mine.get(name, 0) + n


def _rows(cursor: sqlite3.Cursor) -> Iterator[tuple[int, ...]]:
    yield from cursor


def newest(connection: sqlite3.Connection) -> float:
    """The beginning of the last minute, or else hour, with any counts, in seconds since 1970; 0 if there is none."""
    there = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    minute = hour = None
    if "minutes" in there:
        (minute,) = connection.execute(
            "SELECT max(minute) FROM minutes WHERE hour = (SELECT max(hour) FROM minutes)"
        ).fetchone()
    if "hours" in there:
        (hour,) = connection.execute("SELECT max(hour) FROM hours WHERE day = (SELECT max(day) FROM hours)").fetchone()
    return max(60.0 * (minute or 0), 3600.0 * (hour or 0))
