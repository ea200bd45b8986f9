"""The embedded store: one SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import trio

from likd.events import Counts, Rows
from likd.store import Increments, StoreError

BUSY_TIMEOUT_SECONDS = 5.0
READ_URLS_MAX = 500
"""URLs asked for in one statement, well under SQLite's limit on variables."""

T = TypeVar("T")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS applied (source TEXT PRIMARY KEY, table_id INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS counts (id INTEGER PRIMARY KEY, url TEXT NOT NULL UNIQUE);
"""


class SqliteStore:
    """Totals in the SQLite file at `path`, in tables `counts` (one row a URL) and `applied`.

    `source` names the data directory whose tables are applied. Writes are durable when they return. One
    connection writes and is used by one task, the drainer; the other reads, one read at a time.
    """

    kind = "sqlite"

    def __init__(self, path: Path, source: str) -> None:
        self._path = path
        self._source = source
        self._names: tuple[str, ...] = ()
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._writing = trio.CapacityLimiter(1)
        self._reading = trio.CapacityLimiter(1)

    async def open(self, names: Sequence[str]) -> int:
        return await self._in_thread(self._open, tuple(names), limiter=self._writing)

    async def apply(self, increments: Increments) -> None:
        await self._in_thread(self._apply, increments, limiter=self._writing)

    async def read(self, urls: Sequence[str]) -> tuple[int, Rows]:
        return await self._in_thread(self._read, urls, limiter=self._reading)

    async def top(self, by: str, limit: int) -> tuple[int, list[tuple[str, Counts]]]:
        return await self._in_thread(self._top, by, limit, limiter=self._reading)

    async def aclose(self) -> None:
        for connection in (self._reader, self._writer):
            if connection is not None:
                await trio.to_thread.run_sync(connection.close)
        self._reader = self._writer = None

    async def _in_thread(self, work: Callable[..., T], *args: object, limiter: trio.CapacityLimiter) -> T:
        try:
            return await trio.to_thread.run_sync(work, *args, limiter=limiter)
        except sqlite3.Error as error:
            raise StoreError(f"sqlite: {error}") from error

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, timeout=BUSY_TIMEOUT_SECONDS, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        return connection

    def _open(self, names: tuple[str, ...]) -> int:
        if self._writer is None:
            self._writer = self._connect()
        self._writer.executescript(_SCHEMA)
        there = {row[1] for row in self._writer.execute("PRAGMA table_info(counts)")}
        for name in names:
            if name not in there:
                self._writer.execute(f'ALTER TABLE counts ADD COLUMN "{name}" INTEGER NOT NULL DEFAULT 0')
            self._index(name, f'"{name}"')
        if {"likes", "unlikes"} <= set(names):
            self._index("net", "likes - unlikes")
        self._names = names
        if self._reader is None:
            self._reader = self._connect()
            self._reader.execute("PRAGMA query_only = ON")
        return self._applied(self._writer)

    def _index(self, name: str, value: str) -> None:
        # Most URLs have few kinds of counts: indexes without the zeros stay small and cheap to keep.
        assert self._writer is not None
        self._writer.execute(f'CREATE INDEX IF NOT EXISTS "top_{name}" ON counts ({value} DESC, url) WHERE {value} > 0')

    def _applied(self, connection: sqlite3.Connection) -> int:
        row = connection.execute("SELECT table_id FROM applied WHERE source = ?", (self._source,)).fetchone()
        return row[0] if row else 0

    def _apply(self, increments: Increments) -> None:
        connection = _open_or_raise(self._writer)
        quoted = [f'"{name}"' for name in self._names]
        statement = (
            f"INSERT INTO counts (url, {', '.join(quoted)}) VALUES (?{', ?' * len(quoted)})"
            f" ON CONFLICT (url) DO UPDATE SET {', '.join(f'{q} = {q} + excluded.{q}' for q in quoted)}"
        )
        connection.execute("BEGIN IMMEDIATE")
        try:
            if self._applied(connection) < increments.last:
                names = self._names
                connection.executemany(
                    statement,
                    ((url, *(counts.get(name, 0) for name in names)) for url, counts in increments.rows.items()),
                )
                connection.execute(
                    "INSERT INTO applied VALUES (?, ?) ON CONFLICT (source) DO UPDATE SET table_id = excluded.table_id",
                    (self._source, increments.last),
                )
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _read(self, urls: Sequence[str]) -> tuple[int, Rows]:
        connection = _open_or_raise(self._reader)
        rows: Rows = {}
        connection.execute("BEGIN")
        try:
            applied = self._applied(connection)
            for begin in range(0, len(urls), READ_URLS_MAX):
                chunk = urls[begin : begin + READ_URLS_MAX]
                query = f"{self._select} WHERE url IN (?{', ?' * (len(chunk) - 1)})"
                rows.update(self._rows(connection.execute(query, chunk)))
        finally:
            connection.execute("COMMIT")
        return applied, rows

    def _top(self, by: str, limit: int) -> tuple[int, list[tuple[str, Counts]]]:
        connection = _open_or_raise(self._reader)
        value = "likes - unlikes" if by == "net" else f'"{by}"'
        query = f"{self._select} WHERE {value} > 0 ORDER BY {value} DESC, url LIMIT ?"
        connection.execute("BEGIN")
        try:
            return self._applied(connection), list(self._rows(connection.execute(query, (limit,))).items())
        finally:
            connection.execute("COMMIT")

    @property
    def _select(self) -> str:
        columns = ", ".join(f'"{name}"' for name in self._names)
        return f"SELECT url, {columns} FROM counts"

    def _rows(self, cursor: sqlite3.Cursor) -> Rows:
        names = self._names
        return {url: {name: n for name, n in zip(names, counts, strict=True) if n} for url, *counts in cursor}


def _open_or_raise(connection: sqlite3.Connection | None) -> sqlite3.Connection:
    if connection is None:
        raise StoreError("sqlite: the store is not open")
    return connection


def read_applied(path: Path) -> int:
    """The newest table that is applied in the database at `path`, 0 if there is none; nothing is changed.

    Raises StoreError.
    """
    if not path.exists():
        return 0
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            row = connection.execute("SELECT max(table_id) FROM applied").fetchone()
    except sqlite3.Error as error:
        raise StoreError(f"{path}: {error}") from error
    return int(row[0] or 0)
