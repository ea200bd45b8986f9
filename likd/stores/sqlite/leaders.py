"""The top lists of the embedded store: for each count an index of the URLs that have the most of it.

A row that grows moves in each index it is in, from one page to another of its own. In indexes of ten million URLs
that took most of a transaction. So an index of many URLs is bounded: it has its *leaders* only, one of some
hundred, which few rows of a transaction are among. Who asks for more than it has lets the table be read, once: then it
is made anew for as many.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Any, TypeAlias

LEADERS = 4000
"""An index is made for so many, or for one URL of SHARE where that is more, or for twice the longest list asked for."""
SHARE = 200
SLACK = 4
"""It is made anew when it has so many times as many, or only that part of them, or fewer than were asked for."""
DRAWS = 20_000
"""Rows drawn at random to find the bound of an index: near enough, and no scan of the table."""

_SCHEMA = "CREATE TABLE IF NOT EXISTS leaders (name TEXT PRIMARY KEY, value INTEGER NOT NULL, url TEXT NOT NULL);"

_DRAW = """
WITH RECURSIVE draws (id, left) AS (
    SELECT 1 + abs(random() % ?1), ?2 UNION ALL SELECT 1 + abs(random() % ?1), left - 1 FROM draws WHERE left > 1
)
SELECT {value}, url FROM draws CROSS JOIN counts USING (id)
    WHERE {value} > 0 ORDER BY {value} DESC, url LIMIT 1 OFFSET ?2 * ?3 / ?1
"""

Bound: TypeAlias = tuple[int, str] | None
"""The last that an index has, by value and URL; None if it has all that are above 0."""


class Leaders:
    """Keeps the indexes in the database of `connection`'s caller, who owns the transactions."""

    def __init__(self) -> None:
        self._values: dict[str, str] = {}
        self._rows_left = 0
        self._asked: dict[str, int] = {}
        """The longest list that was asked for by each name, where an index had fewer."""

    def open(self, connection: sqlite3.Connection, names: Iterable[str]) -> list[str]:
        """Be ready for indexes of `names`, counts and "net"; which of them are not there and have to be made."""
        self._values = {name: _value(name) for name in names}
        # What came before may have left them in any state.
        self._rows_left = 0
        connection.execute(_SCHEMA)
        there = {row[1] for row in connection.execute("PRAGMA index_list(counts)")}
        return [name for name in self._values if f"top_{name}" not in there]

    def wrote(self, rows: int) -> None:
        """Note that `rows` rows grew."""
        self._rows_left -= rows

    @property
    def due(self) -> bool:
        """Whether so many rows grew that the indexes want to be looked at."""
        return self._rows_left <= 0

    def ill_sized(self, connection: sqlite3.Connection) -> list[str]:
        """The names of indexes with too many leaders or too few; it is due again when as many rows grew."""
        self._rows_left = SLACK * self._wanted(connection)
        return [name for name in self._values if not self._is_well(connection, name)]

    def make(self, connection: sqlite3.Connection, name: str) -> None:
        """Make the index `name`, anew if it is there, for as many leaders as it ought to have now."""
        value = self._values[name]
        bound = self._draw_bound(connection, name)
        connection.execute(f'DROP INDEX IF EXISTS "top_{name}"')
        connection.execute("DELETE FROM leaders WHERE name = ?", (name,))
        if bound is not None:
            connection.execute("INSERT INTO leaders VALUES (?, ?, ?)", (name, *bound))
        connection.execute(f'CREATE INDEX "top_{name}" ON counts ({value} DESC, url) WHERE {_among(value, bound)}')

    def read(self, connection: sqlite3.Connection, select: str, by: str, limit: int) -> list[Any]:
        """What `select` says of the `limit` URLs with the most of `by`, highest first, ties by URL."""
        value = _value(by)
        order = f"ORDER BY {value} DESC, url LIMIT ?"
        bound = self._bound(connection, by)
        found = connection.execute(f"{select} WHERE {_among(value, bound)} {order}", (limit,)).fetchall()
        if len(found) < limit and bound is not None:
            # More are asked for than the index has: rare, and the table is read for it. The index follows.
            self._asked[by] = max(limit, self._asked.get(by, 0))
            self._rows_left = 0
            found = connection.execute(f"{select} WHERE {_among(value, None)} {order}", (limit,)).fetchall()
        return found

    def has(self, by: str) -> bool:
        """Whether there is an index by that name."""
        return by in self._values

    def among(self, connection: sqlite3.Connection, by: str) -> str:
        """The condition to be in the index `by`."""
        return _among(_value(by), self._bound(connection, by))

    def first(self, connection: sqlite3.Connection, by: str, limit: int) -> list[tuple[int, int]]:
        """The ids of the URLs with the most of `by`, and how much that is, as many as the index has of `limit`."""
        if by not in self._values:
            return []
        order = f"ORDER BY {_value(by)} DESC, url LIMIT ?"
        query = f'SELECT id, {_value(by)} FROM counts INDEXED BY "top_{by}" WHERE {self.among(connection, by)} {order}'
        return connection.execute(query, (limit,)).fetchall()

    def _draw_bound(self, connection: sqlite3.Connection, name: str) -> Bound:
        wanted, urls = self._wanted(connection, name), _urls(connection)
        if urls <= SLACK * wanted:
            return None
        query = _DRAW.format(value=self._values[name])
        row = connection.execute(query, (urls, DRAWS, wanted)).fetchone()
        return None if row is None else (row[0], row[1])

    def _is_well(self, connection: sqlite3.Connection, name: str) -> bool:
        bound, wanted = self._bound(connection, name), self._wanted(connection, name)
        among = f'FROM counts INDEXED BY "top_{name}" WHERE {_among(self._values[name], bound)}'
        (size,) = connection.execute(
            f"SELECT count(*) FROM (SELECT 1 {among} LIMIT ?)", (SLACK * wanted + 1,)
        ).fetchone()
        least = max(wanted // SLACK, self._asked.get(name, 0))
        return (size >= least or bound is None) and size <= SLACK * wanted

    def _wanted(self, connection: sqlite3.Connection, name: str = "") -> int:
        return max(LEADERS, _urls(connection) // SHARE, 2 * self._asked.get(name, 0))

    def _bound(self, connection: sqlite3.Connection, name: str) -> Bound:
        row = connection.execute("SELECT value, url FROM leaders WHERE name = ?", (name,)).fetchone()
        return None if row is None else (row[0], row[1])


def _urls(connection: sqlite3.Connection) -> int:
    """About how many URLs there are: some may have become parts of others."""
    return connection.execute("SELECT max(id) FROM counts").fetchone()[0] or 0


def _value(by: str) -> str:
    return "likes - unlikes" if by == "net" else f'"{by}"'


def _among(value: str, bound: Bound) -> str:
    """The condition to be in an index. SQLite takes an index for a query only if both say it in the same words."""
    if bound is None:
        return f"{value} > 0"
    least, last = bound[0], bound[1].replace("'", "''")
    return f"({value} > {least} OR ({value} = {least} AND url <= '{last}'))"
