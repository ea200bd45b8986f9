"""The top lists of the embedded store: for each count, an index of the URLs with the most of it.

A row that grows moves in each index that contains it, from one page to another. In indexes of ten million URLs, that
took most of a transaction. So an index of many URLs is bounded: it has only the *leaders*, one URL in some hundred, and
few rows of a transaction are among them. A request for more than it has reads the table, once: then the index is
rebuilt for that many.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Any, TypeAlias

LEADERS = 4000
"""For how many URLs an index is made; or for one URL in SHARE, or twice the longest list asked for, if that is more."""
SHARE = 200
SLACK = 4
"""It is rebuilt when it has this many times as many, or only that fraction of them, or fewer than were asked for."""
DRAWS = 20_000
"""How many rows are drawn at random to find the bound of an index: accurate enough, without scanning the table."""

_SCHEMA = "CREATE TABLE IF NOT EXISTS leaders (name TEXT PRIMARY KEY, value INTEGER NOT NULL, url TEXT NOT NULL);"

_DRAW = """
WITH RECURSIVE draws (id, left) AS (
    SELECT 1 + abs(random() % ?1), ?2 UNION ALL SELECT 1 + abs(random() % ?1), left - 1 FROM draws WHERE left > 1
)
SELECT {value}, url FROM draws CROSS JOIN counts USING (id)
    WHERE {value} > 0 ORDER BY {value} DESC, url LIMIT 1 OFFSET ?2 * ?3 / ?1
"""

Bound: TypeAlias = tuple[int, str] | None
"""The last entry of an index, by value and URL; None if it has all above 0."""


class Leaders:
    """Keeps the indexes in the caller's database; the caller owns the transactions."""

    def __init__(self) -> None:
        self._values: dict[str, str] = {}
        self._rows_left = 0
        self._asked: dict[str, int] = {}
        """The longest list that was asked for by each name, if its index had fewer."""

    def open(self, connection: sqlite3.Connection, names: Iterable[str]) -> list[str]:
        """Prepare for indexes of `names` (counts and "net"). Returns those that are missing and have to be created."""
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
        """Whether enough rows have grown that the indexes should be checked."""
        return self._rows_left <= 0

    def ill_sized(self, connection: sqlite3.Connection) -> list[str]:
        """The names of indexes with too many or too few leaders; due again after as many rows have grown."""
        self._rows_left = SLACK * self._wanted(connection)
        return [name for name in self._values if not self._is_well(connection, name)]

    def make(self, connection: sqlite3.Connection, name: str) -> None:
        """Create or rebuild the index `name` for as many leaders as it should have now."""
        value = self._values[name]
        bound = self._draw_bound(connection, name)
        connection.execute(f'DROP INDEX IF EXISTS "top_{name}"')
        connection.execute("DELETE FROM leaders WHERE name = ?", (name,))
        if bound is not None:
            connection.execute("INSERT INTO leaders VALUES (?, ?, ?)", (name, *bound))
        connection.execute(f'CREATE INDEX "top_{name}" ON counts ({value} DESC, url) WHERE {_among(value, bound)}')

    def read(self, connection: sqlite3.Connection, select: str, by: str, limit: int) -> list[Any]:
        """What `select` selects for the `limit` URLs with the most of `by`, highest first, ties by URL."""
        value = _value(by)
        order = f"ORDER BY {value} DESC, url LIMIT ?"
        bound = self._bound(connection, by)
        found = connection.execute(f"{select} WHERE {_among(value, bound)} {order}", (limit,)).fetchall()
        if len(found) < limit and bound is not None:
            # More are asked for than the index has, which is rare: read the table, and let the index follow.
            self._asked[by] = max(limit, self._asked.get(by, 0))
            self._rows_left = 0
            found = connection.execute(f"{select} WHERE {_among(value, None)} {order}", (limit,)).fetchall()
        return found

    def has(self, by: str) -> bool:
        """Whether there is an index by that name."""
        return by in self._values

    def among(self, connection: sqlite3.Connection, by: str) -> str:
        """The condition for being in the index `by`."""
        return _among(_value(by), self._bound(connection, by))

    def first(self, connection: sqlite3.Connection, by: str, limit: int) -> list[tuple[int, int]]:
        """The ids of the URLs with the most of `by`, and how much: `limit` of them, or as many as the index has."""
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
    """The condition for being in an index. SQLite uses an index for a query only if both state it in the same words."""
    if bound is None:
        return f"{value} > 0"
    least, last = bound[0], bound[1].replace("'", "''")
    return f"({value} > {least} OR ({value} = {least} AND url <= '{last}'))"
