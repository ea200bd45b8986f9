"""The totals of the embedded store: the table `counts`, one row per URL, with the indexes for top lists."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

from likd.model import Rows
from likd.stores.sqlite import actors
from likd.stores.sqlite.leaders import Leaders
from likd.stores.sqlite.sites import Sites
from likd.stores.sqlite.staging import open_stage, stage
from likd.stores.sqlite.sums import growth, open_sums

SCHEMA = "CREATE TABLE IF NOT EXISTS counts (id INTEGER PRIMARY KEY, url TEXT NOT NULL UNIQUE);"


class CountsTable:
    """Keeps the totals, including those by site, in the caller's database; the caller owns the transactions."""

    def __init__(self, sites: Sites) -> None:
        self.names: tuple[str, ...] = ()
        self.leaders = Leaders()
        self._sites = sites

    def open(self, connection: sqlite3.Connection, names: tuple[str, ...]) -> list[str]:
        """Update the table to the current counts. Returns the indexes that have to be created."""
        there = {row[1] for row in connection.execute("PRAGMA table_info(counts)")}
        for name in names:
            if name not in there:
                connection.execute(f'ALTER TABLE counts ADD COLUMN "{name}" INTEGER NOT NULL DEFAULT 0')
        self.names = names
        open_stage(connection, names)
        open_sums(connection)
        return self.leaders.open(connection, (*names, "net") if {"likes", "unlikes"} <= set(names) else names)

    def add(self, connection: sqlite3.Connection, rows: Rows) -> tuple[str, ...]:
        """Add `rows`, which are then staged. Returns the names of the counts that they have."""
        grown = stage(connection, self.names, rows)
        self.leaders.wrote(len(rows))
        self._sites.add(connection, rows, grown)
        columns = "".join(f', "{name}"' for name in grown)
        # Only the counts that grow are named, so that indexes of others are not touched.
        update = f"UPDATE SET {', '.join(map(growth, grown))}" if grown else "NOTHING"
        connection.execute(
            f"INSERT INTO counts (id, url{columns}) SELECT id, url{columns} FROM staged WHERE id > 0 ORDER BY id"
            f" ON CONFLICT (id) DO {update}"
        )
        return grown

    def read(self, connection: sqlite3.Connection, urls: Sequence[str]) -> Rows:
        """The totals of those `urls` that have any."""
        rows: Rows = {}
        for chunk in actors.chunks(urls):
            query = f"{self.select} WHERE url IN (?{', ?' * (len(chunk) - 1)})"
            rows.update(self.rows(connection.execute(query, chunk)))
        return rows

    def page(self, connection: sqlite3.Connection, after: str, limit: int) -> Rows:
        """The totals of the next `limit` URLs after `after`."""
        return self.rows(connection.execute(f"{self.select} WHERE url > ? ORDER BY url LIMIT ?", (after, limit)))

    def top(self, connection: sqlite3.Connection, by: str, limit: int) -> Rows:
        """The totals of the `limit` URLs with the most of `by`, in that order."""
        return self.rows(self.leaders.read(connection, self.select, by, limit))

    @property
    def select(self) -> str:
        """What to select, so that `rows` can read it."""
        columns = ", ".join(f'"{name}"' for name in self.names)
        return f"SELECT url, {columns} FROM counts"

    def rows(self, cursor: Iterable[Any]) -> Rows:
        """Rows of `select` as counts."""
        names = self.names
        return {url: {name: n for name, n in zip(names, counts, strict=True) if n} for url, *counts in cursor}
