"""The history in PostgreSQL: counts per minute, hour and day, kept and rolled up as in the embedded store.

Each node has its own open hour, and rolls up what it wrote: no node waits for another, and a read adds them up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import attrs
from psycopg import sql

from likd.model import Counts, add
from likd.stores.postgres.arrays import texts
from likd.stores.postgres.connection import Connection
from likd.stores.postgres.counts import summed, upsert
from likd.stores.postgres.schema import IMPORTED
from likd.stores.protocol import UNIT_SECONDS, Retention, Unit

HORIZON_HOURS_MAX = 24
"""How far the limit of what is kept moves with each hour that is over."""
UNITS = (("likd_minutes", "minute"), ("likd_hours", "hour"), ("likd_days", "day"))

_SPANS = """
WITH RECURSIVE spans (at) AS (
    SELECT min({unit}) FROM {table}
    UNION ALL SELECT (SELECT min({unit}) FROM {table} WHERE {unit} > at) FROM spans WHERE at IS NOT NULL
)
"""
"""Each existing span, at the cost of one index lookup: DISTINCT would read every row."""


Piece: TypeAlias = tuple[str, sql.Composable]
"""A table of the history, and which of its rows."""


def spans(table: str, unit: str) -> sql.Composable:
    """The beginning of a statement: the spans of time there are in `table`."""
    return sql.SQL(_SPANS).format(table=sql.Identifier(table), unit=sql.Identifier(unit))


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
        return self.read_all(connection, [url], unit, begin, end).get(url, [])

    def read_all(
        self, connection: Connection, urls: Sequence[str], unit: Unit, begin: int, end: int
    ) -> dict[str, list[tuple[int, Counts]]]:
        """The same for several URLs."""
        seconds = UNIT_SECONDS[unit]
        first, last = begin // seconds, -(-end // seconds)
        found: dict[str, dict[int, Counts]] = {}
        for table, of, where in _kept(unit, first, last):
            self._collect(connection, found, (table, of, seconds // UNIT_SECONDS[of]), urls, where)
        times = {url: ((at * seconds, counts) for at, counts in sorted(mine.items())) for url, mine in found.items()}
        return {url: [(at, counts) for at, counts in each if begin <= at < end] for url, each in times.items()}

    def pieces(self, begin: int, end: int) -> list[Piece]:
        """The tables that together have what came from `begin` until before `end` (seconds), and which rows of each.

        Begin and end count as far as they are kept: by minutes, hours or days. The rows are `t`, joined with `nodes`.
        """
        begin, end = begin // 60, max(begin // 60, -(-end // 60))
        first_hour, last_hour = -(-begin // 60), end // 60
        first_day, last_day = -(-first_hour // 24), last_hour // 24
        wanted: list[tuple[Unit, int, int]] = [("day", first_day, last_day)]
        for low, high in {
            (first_hour, min(last_hour, first_day * 24)),
            (max(first_hour, last_day * 24), last_hour),
        }:
            wanted.append(("hour", low, high))
        for low, high in {(begin, min(end, first_hour * 60)), (max(begin, last_hour * 60), end)}:
            wanted.append(("minute", low, high))
        kept = [each for unit, low, high in wanted if low < high for each in _kept(unit, low, high)]
        return [(table, where) for table, _, where in kept]

    def merge(self, connection: Connection, old: str, new: str) -> None:
        """Fold the history of `old`, of all nodes, into that of `new`."""
        for table, unit in UNITS:
            names = {"table": sql.Identifier(table), "unit": sql.Identifier(unit)}
            source = sql.SQL("FROM gone")
            values = [sql.Identifier(unit), sql.Placeholder("new"), sql.SQL("node")]
            moved = upsert(table, (unit, "url", "node"), values, self.names, source)
            connection.execute(
                sql.SQL(
                    "{spans}, gone AS (DELETE FROM {table} AS t USING spans WHERE t.{unit} = spans.at"
                    " AND t.url = %(old)s RETURNING t.*) {moved}"
                ).format(spans=spans(table, unit), moved=moved, **names),
                {"old": old, "new": new},
            )

    def end(self, connection: Connection) -> None:
        """Roll up all there is: the node writes no more."""
        row = connection.execute("SELECT max(minute) FROM likd_minutes WHERE node = %s", (self.node,)).fetchone()
        since = self._state(connection)[0]
        if row is not None and row[0] is not None and since is not None:
            until = (max(row[0] // 1440, since // 24) + 1) * 24
            self._roll_up(connection, ("likd_minutes", "minute", 60), ("likd_hours", "hour"), since * 60, until * 60)
            self._roll_up(connection, ("likd_hours", "hour", 24), ("likd_days", "day"), since // 24 * 24, until)

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
        # What belongs to nobody any more goes by the first whose hour is over.
        nodes = (self.node, IMPORTED)
        self._delete(connection, "likd_minutes", "minute < %s", (horizon - self.retention.minute_hours) * 60, nodes)
        self._delete(connection, "likd_hours", "hour < %s", (horizon // 24 - self.retention.hour_days) * 24, nodes)
        if horizon // 24 > before // 24:
            self._delete(connection, "likd_days", "day < %s", horizon // 24 - self.retention.day_days, nodes)
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
        self._delete(connection, "likd_hours", "hour >= %s", hour, (self.node,))
        self._delete(connection, "likd_days", "day >= %s", hour // 24, (self.node,))
        self._set(connection, hour, min(horizon, hour))
        return hour

    def _delete(self, connection: Connection, table: str, where: str, value: int, nodes: Sequence[int]) -> None:
        query = sql.SQL("DELETE FROM {} WHERE node = ANY(%s) AND " + where).format(sql.Identifier(table))
        connection.execute(query, (list(nodes), value))

    def _set(self, connection: Connection, hour: int, horizon: int) -> None:
        query = "UPDATE likd_nodes SET hour = %s, horizon = %s WHERE node = %s"
        connection.execute(query, (hour, horizon, self.node))

    def _collect(
        self,
        connection: Connection,
        found: dict[str, dict[int, Counts]],
        of: tuple[str, str, int],
        urls: Sequence[str],
        where: sql.Composable,
    ) -> None:
        """Add what a table has of `urls` to `found`, by so many of its units each."""
        table, unit, divisor = of
        query = sql.SQL(
            "SELECT t.url, t.{unit} / {divisor}, {sums} FROM {table} AS t JOIN likd_nodes AS nodes USING (node)"
            " WHERE t.url = ANY(%s::text[]) AND {where} GROUP BY 1, 2"
        ).format(
            unit=sql.Identifier(unit),
            divisor=sql.Literal(divisor),
            sums=sql.SQL(", ").join(map(summed, self.names)),
            table=sql.Identifier(table),
            where=where,
        )
        for url, at, *counts in connection.execute(query, [texts(urls)]):
            grown = {name: n for name, n in zip(self.names, counts, strict=True) if n}
            if grown:
                add(found.setdefault(url, {}).setdefault(at, {}), grown)


def _kept(unit: Unit, begin: int, end: int) -> list[tuple[str, Unit, sql.Composable]]:
    """Where what came in some units of time is kept: tables, their units, and which of their rows.

    What is not over yet for its node is in finer units still.
    """
    finer: dict[Unit, list[tuple[str, Unit, str]]] = {
        "minute": [("likd_minutes", "minute", "true")],
        "hour": [("likd_hours", "hour", "true"), ("likd_minutes", "minute", "t.minute / 60 >= nodes.hour")],
        "day": [
            ("likd_days", "day", "true"),
            ("likd_hours", "hour", "t.hour / 24 >= nodes.hour / 24"),
            ("likd_minutes", "minute", "t.minute / 60 >= nodes.hour"),
        ],
    }
    found: list[tuple[str, Unit, sql.Composable]] = []
    for table, of, where in finer[unit]:
        each = UNIT_SECONDS[unit] // UNIT_SECONDS[of]
        within = sql.SQL("t.{unit} >= {low} AND t.{unit} < {high} AND {where}").format(
            unit=sql.Identifier(of),
            low=sql.Literal(begin * each),
            high=sql.Literal(end * each),
            where=sql.SQL(where),
        )
        found.append((table, of, within))
    return found
