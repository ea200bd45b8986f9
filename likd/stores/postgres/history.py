"""The history in PostgreSQL: counts per minute, hour and day, kept and rolled up as in the embedded store.

Each node has its own open hour, and rolls up what it wrote: no node waits for another, and a read adds them up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
from psycopg import sql

from likd.model import Counts
from likd.stores.postgres.connection import Connection
from likd.stores.postgres.counts import summed, upsert
from likd.stores.protocol import UNIT_SECONDS, Retention, Unit

HORIZON_HOURS_MAX = 24
"""How far the limit of what is kept moves with each hour that is over."""
_UNITS = (("likd_minutes", "minute"), ("likd_hours", "hour"), ("likd_days", "day"))

_SPANS = """
WITH RECURSIVE spans (at) AS (
    SELECT min({unit}) FROM {table}
    UNION ALL SELECT (SELECT min({unit}) FROM {table} WHERE {unit} > at) FROM spans WHERE at IS NOT NULL
)
"""
"""Each existing span, at the cost of one index lookup: DISTINCT would read every row."""


@attrs.define
class History:
    """Keeps the history of a `node` in its caller's transactions."""

    retention: Retention
    node: int = 0
    names: tuple[str, ...] = ()

    def targets(self, connection: Connection, minute: int, now: int) -> list[tuple[str, str, int]]:
        """Where counts of `minute` are to be added: the tables, their units of time, and the time.

        Hours that are over by then are rolled up.
        """
        hour, day = minute // 60, minute // 1440
        reached = min(hour, now // 60)
        open_hour = self._open_hour(connection, reached)
        if reached > open_hour:
            self._roll(connection, open_hour, reached)
            open_hour = reached
        elif open_hour > now // 60 + 1:
            open_hour = self._roll_back(connection, open_hour, now // 60)
        targets = [("likd_minutes", "minute", minute)]
        if hour < open_hour:
            targets.append(("likd_hours", "hour", hour))
            if day < open_hour // 24:
                targets.append(("likd_days", "day", day))
        return targets

    def begin(self, connection: Connection, now: int) -> None:
        """Let the history begin now, if it has not: otherwise the oldest past counts would begin it."""
        self._open_hour(connection, now // 60)

    def statement(self, table: str, unit: str, at: int, names: Sequence[str]) -> sql.Composable:
        """A statement that adds the table `s` to the counts of the time `at`."""
        values = [sql.Literal(at), sql.SQL("url"), sql.Literal(self.node)]
        return upsert(table, (unit, "url", "node"), values, names, sql.SQL("FROM s ORDER BY url"))

    def read(self, connection: Connection, url: str, unit: Unit, begin: int, end: int) -> list[tuple[int, Counts]]:
        """What `url` got from `begin` up to `end` (seconds since 1970), by unit."""
        seconds = UNIT_SECONDS[unit]
        first, last = begin // seconds, -(-end // seconds) - 1
        found: dict[int, Counts] = {}
        if unit == "minute":
            self._collect(connection, found, "likd_minutes", "minute", 1, (first, last), url, "true")
        elif unit == "hour":
            self._collect(connection, found, "likd_hours", "hour", 1, (first, last), url, "true")
            minutes = first * 60, last * 60 + 59
            self._collect(connection, found, "likd_minutes", "minute", 60, minutes, url, "minute / 60 >= nodes.hour")
        else:
            self._collect(connection, found, "likd_days", "day", 1, (first, last), url, "true")
            hours = first * 24, last * 24 + 23
            self._collect(connection, found, "likd_hours", "hour", 24, hours, url, "t.hour / 24 >= nodes.hour / 24")
            minutes = first * 1440, last * 1440 + 1439
            self._collect(connection, found, "likd_minutes", "minute", 1440, minutes, url, "minute / 60 >= nodes.hour")
        times = ((at * seconds, counts) for at, counts in sorted(found.items()))
        return [(time, counts) for time, counts in times if begin <= time < end]

    def merge(self, connection: Connection, old: str, new: str) -> None:
        """Fold the history of `old`, of all nodes, into that of `new`."""
        for table, unit in _UNITS:
            names = {"table": sql.Identifier(table), "unit": sql.Identifier(unit)}
            spans = sql.SQL(_SPANS).format(**names)
            source = sql.SQL("FROM gone")
            values = [sql.Identifier(unit), sql.Placeholder("new"), sql.SQL("node")]
            moved = upsert(table, (unit, "url", "node"), values, self.names, source)
            connection.execute(
                sql.SQL(
                    "{spans}, gone AS (DELETE FROM {table} AS t USING spans WHERE t.{unit} = spans.at"
                    " AND t.url = %(old)s RETURNING t.*) {moved}"
                ).format(spans=spans, moved=moved, **names),
                {"old": old, "new": new},
            )

    def _open_hour(self, connection: Connection, default: int) -> int:
        hour = self._state(connection)[0]
        if hour is not None:
            return hour
        if default:
            query = "UPDATE likd_nodes SET hour = %s, horizon = %s WHERE node = %s"
            connection.execute(query, (default, default, self.node))
        return default

    def _state(self, connection: Connection) -> tuple[int | None, int | None]:
        row = connection.execute("SELECT hour, horizon FROM likd_nodes WHERE node = %s", (self.node,)).fetchone()
        return (row[0], row[1]) if row is not None else (None, None)

    def _roll(self, connection: Connection, since: int, hour: int) -> None:
        """The hours from `since` up to `hour` are over."""
        self._roll_up(connection, ("likd_minutes", "minute", 60), ("likd_hours", "hour"), since * 60, hour * 60)
        self._roll_up(connection, ("likd_hours", "hour", 24), ("likd_days", "day"), since // 24 * 24, hour // 24 * 24)
        before = self._state(connection)[1] or since
        horizon = max(before, min(since, before + HORIZON_HOURS_MAX))
        self._delete(connection, "likd_minutes", "minute < %s", (horizon - self.retention.minute_hours) * 60)
        self._delete(connection, "likd_hours", "hour < %s", (horizon // 24 - self.retention.hour_days) * 24)
        if horizon // 24 > before // 24:
            self._delete(connection, "likd_days", "day < %s", horizon // 24 - self.retention.day_days)
        self._set(connection, hour, horizon)

    def _roll_up(
        self, connection: Connection, of: tuple[str, str, int], to: tuple[str, str], begin: int, end: int
    ) -> None:
        (table, unit, times), (into, by) = of, to
        grouped = sql.SQL(
            "SELECT {unit} / {times} AS at, url, {sums} FROM {table} WHERE node = {node}"
            " AND {unit} >= %s AND {unit} < %s GROUP BY 1, 2 ORDER BY 1, 2"
        ).format(
            unit=sql.Identifier(unit),
            times=sql.Literal(times),
            sums=sql.SQL(", ").join(
                sql.SQL("{} AS {}").format(summed(name), sql.Identifier(name)) for name in self.names
            ),
            table=sql.Identifier(table),
            node=sql.Literal(self.node),
        )
        values = [sql.SQL("at"), sql.SQL("url"), sql.Literal(self.node)]
        source = sql.SQL("FROM ({}) AS grouped").format(grouped)
        statement = sql.SQL("{}").format(upsert(into, (by, "url", "node"), values, self.names, source))
        connection.execute(statement, (begin, end))

    def _roll_back(self, connection: Connection, open_hour: int, hour: int) -> int:
        """The clock was wrong: the hours from `hour` on are not over. Returns the hour that is open now.

        This goes back only as far as all minutes still exist: other sums could not be made again.
        """
        horizon = self._state(connection)[1]
        horizon = hour if horizon is None else horizon
        if hour < horizon - self.retention.minute_hours:
            return open_hour
        self._delete(connection, "likd_hours", "hour >= %s", hour)
        self._delete(connection, "likd_days", "day >= %s", hour // 24)
        self._set(connection, hour, min(horizon, hour))
        return hour

    def _delete(self, connection: Connection, table: str, where: str, value: int) -> None:
        query = sql.SQL("DELETE FROM {} WHERE node = %s AND " + where).format(sql.Identifier(table))
        connection.execute(query, (self.node, value))

    def _set(self, connection: Connection, hour: int, horizon: int) -> None:
        query = "UPDATE likd_nodes SET hour = %s, horizon = %s WHERE node = %s"
        connection.execute(query, (hour, horizon, self.node))

    def _collect(
        self,
        connection: Connection,
        found: dict[int, Counts],
        table: str,
        unit: str,
        divisor: int,
        span: tuple[int, int],
        url: str,
        where: str,
    ) -> None:
        """Add what `table` has of `url` in the `span`, both ends included, to `found`, by its unit."""
        query: Any = sql.SQL(
            "SELECT t.{unit} / {divisor}, {sums} FROM {table} AS t JOIN likd_nodes AS nodes USING (node)"
            " WHERE t.{unit} >= %s AND t.{unit} <= %s AND t.url = %s AND " + where + " GROUP BY 1"
        ).format(
            unit=sql.Identifier(unit),
            divisor=sql.Literal(divisor),
            sums=sql.SQL(", ").join(map(summed, self.names)),
            table=sql.Identifier(table),
        )
        for at, *counts in connection.execute(query, (*span, url)):
            mine = found.setdefault(at, {})
            for name, n in zip(self.names, counts, strict=True):
                if n:
                    mine[name] = mine.get(name, 0) + n
