"""The embedded store: one SQLite file."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import trio

from likd.model import LIKE, Counts, Fold, Rows, add, count_of, rename_likings, total, undo_of
from likd.stores.protocol import Applied, Folding, Increments, StoreError, Unit
from likd.stores.sites import PagesQuery, PagesRead, PastRead, SitesRead, Span
from likd.stores.sqlite import actors
from likd.stores.sqlite.history import History, Retention
from likd.stores.sqlite.leaders import Leaders
from likd.stores.sqlite.site_reads import SiteReads
from likd.stores.sqlite.sites import Sites, prefixes_of
from likd.stores.sqlite.staging import json_array, open_stage, slices, stage
from likd.stores.sqlite.sums import check_staged, growth, open_sums

BUSY_TIMEOUT_SECONDS = 5.0
CACHE_MIB = 64
WAL_BYTES = 64 << 20
"""So much is written to the log before it is brought into the database: a page that changes again meanwhile is brought
there once. A log that an outside reader made longer is cut back to this when the reader has gone."""
T = TypeVar("T")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS applied (source TEXT PRIMARY KEY, table_id INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS counts (id INTEGER PRIMARY KEY, url TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS aliases (old TEXT PRIMARY KEY, new TEXT NOT NULL, old_key BLOB, new_key BLOB) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS alias_keys ON aliases (old_key, new_key);
CREATE TABLE IF NOT EXISTS rules (rules TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS folding (rules TEXT NOT NULL, url TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS loads (name TEXT PRIMARY KEY) WITHOUT ROWID;
"""


class SqliteStore:
    """Totals in the SQLite file at `path`: table `counts` has one row a URL, `actors` one for each like by an actor.

    `source` names the data directory whose tables are applied, `url_key` tells how the keys of a URL's actors
    begin. Writes are durable when they return. One connection writes, one transaction at a time; two
    read, one read at a time: of these one lists sites and pages, which may take long. The one that writes keeps up to
    `cache_mib` MiB of the database in memory. `wall_clock` is the time by which old history is removed.
    """

    kind = "sqlite"

    def __init__(
        self,
        path: Path,
        source: str,
        retention: Retention | None = None,
        *,
        cache_mib: int = CACHE_MIB,
        wall_clock: Callable[[], float] = time.time,
        url_key: Callable[[str], bytes] | None = None,
    ) -> None:
        self._path = path
        self._url_key = url_key
        self._history = History(retention or Retention())
        self._leaders = Leaders()
        self._sites = Sites(self._history)
        self._site_reads = SiteReads(self._history, self._sites, self._leaders)
        self._source = source
        self._cache_mib = cache_mib
        self._wall_clock = wall_clock
        self._names: tuple[str, ...] = ()
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._lister: sqlite3.Connection | None = None
        self._abandoned = False
        self._writing = trio.CapacityLimiter(1)
        self._reading = trio.CapacityLimiter(1)
        self._listing = trio.CapacityLimiter(1)

    async def open(self, names: Sequence[str]) -> int:
        try:
            return await self._in_thread(self._open, tuple(names), limiter=self._writing, abandon=True)
        except trio.Cancelled:
            self._abandoned = True
            raise

    async def apply(self, increments: Increments) -> Applied | None:
        now = int(self._wall_clock() // 60)
        if self._leaders.due:
            await self._in_thread(self._tend, limiter=self._writing)
        return await self._in_thread(self._apply, increments, now, limiter=self._writing)

    async def read(self, urls: Sequence[str]) -> tuple[int, Rows]:
        return await self._in_thread(self._read, urls, limiter=self._reading)

    async def top(self, by: str, limit: int) -> tuple[int, list[tuple[str, Counts]]]:
        return await self._in_thread(self._top, by, limit, limiter=self._reading)

    async def read_actors(self, keys: Sequence[bytes]) -> tuple[int, set[bytes]]:
        return await self._in_thread(self._read_actors, keys, limiter=self._reading)

    async def history(self, url: str, unit: Unit, begin: int, end: int) -> list[tuple[int, Counts]]:
        return await self._in_thread(self._read_history, url, unit, begin, end, limiter=self._reading)

    async def page(self, after: str, limit: int) -> list[tuple[str, Counts]]:
        return await self._in_thread(self._page, after, limit, limiter=self._reading)

    async def sum_up(self) -> bool:
        return await self._in_thread(self._sum_up, limiter=self._writing)

    async def sites(self, spans: Sequence[Span], hosts: Sequence[str] | None = None) -> SitesRead:
        return await self._in_thread(self._look, self._site_reads.sites, spans, hosts, limiter=self._listing)

    async def past(self, spans: Sequence[Span], *, url: str = "", site: str = "") -> PastRead:
        return await self._in_thread(self._look, self._site_reads.past, spans, url, site, limiter=self._listing)

    async def pages(self, query: PagesQuery) -> PagesRead:
        return await self._in_thread(self._look, self._site_reads.pages, query, limiter=self._listing)

    async def remove_alias(self, old: str) -> None:
        await self._in_thread(self._remove_alias, old, limiter=self._writing)

    async def liked_both(self, old_key: bytes, new_key: bytes) -> int:
        return await self._in_thread(self._liked_both, old_key, new_key, limiter=self._listing)

    async def aliases(self) -> dict[str, str]:
        return await self._in_thread(self._aliases, limiter=self._writing)

    async def fold(self, folds: Sequence[Fold], folding: Folding) -> None:
        await self._in_thread(self._fold_by_rules, folds, folding, limiter=self._writing)

    async def folding(self) -> Folding:
        return await self._in_thread(self._folding, limiter=self._writing)

    async def load(self, name: str, rows: Rows, past: Mapping[int, Rows] | None = None) -> bool:
        now = int(self._wall_clock() // 60)
        return await self._in_thread(self._load, name, rows, past or {}, now, limiter=self._writing)

    async def loaded(self, name: str) -> bool:
        return await self._in_thread(self._loaded, name, limiter=self._writing)

    async def aclose(self) -> None:
        if self._abandoned:
            # A thread still makes the indexes of a large database; what it did not commit ends with the process.
            return
        open_ones = [(self._lister, self._listing), (self._reader, self._reading), (self._writer, self._writing)]
        for connection, limiter in open_ones:
            if connection is not None:
                await self._in_thread(connection.close, limiter=limiter)
        self._lister = self._reader = self._writer = None

    async def _in_thread(
        self, work: Callable[..., T], *args: object, limiter: trio.CapacityLimiter, abandon: bool = False
    ) -> T:
        # A read may be given up: its thread ends it and holds the limiter until then. A write is waited for.
        abandon |= limiter is not self._writing
        try:
            return await trio.to_thread.run_sync(work, *args, limiter=limiter, abandon_on_cancel=abandon)
        except sqlite3.Error as error:
            raise StoreError(f"sqlite: {error}") from error

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, timeout=BUSY_TIMEOUT_SECONDS, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        # Pages that nothing needs any more are not written once again for it.
        connection.execute("PRAGMA secure_delete = FAST")
        return connection

    def _open(self, names: tuple[str, ...]) -> int:
        if self._writer is None:
            self._writer = self._connect()
            (page_bytes,) = self._writer.execute("PRAGMA page_size").fetchone()
            self._writer.execute(f"PRAGMA cache_size = {-1024 * self._cache_mib}")
            self._writer.execute(f"PRAGMA wal_autocheckpoint = {WAL_BYTES // page_bytes}")
            self._writer.execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")
        self._writer.executescript(_SCHEMA + actors.SCHEMA)
        there = {row[1] for row in self._writer.execute("PRAGMA table_info(counts)")}
        for name in names:
            if name not in there:
                self._writer.execute(f'ALTER TABLE counts ADD COLUMN "{name}" INTEGER NOT NULL DEFAULT 0')
        self._names = names
        self._make(self._leaders.open(self._writer, (*names, "net") if {"likes", "unlikes"} <= set(names) else names))
        self._history.open(self._writer, names)
        self._sites.open(self._writer, names)
        self._site_reads.open(names)
        open_stage(self._writer, names)
        open_sums(self._writer)
        if self._reader is None:
            self._reader = self._connect()
            self._reader.execute("PRAGMA query_only = ON")
            self._lister = self._connect()
            self._lister.execute("PRAGMA query_only = ON")
            open_sums(self._lister)
        return self._applied(self._writer)

    def _applied(self, connection: sqlite3.Connection) -> int:
        row = connection.execute("SELECT table_id FROM applied WHERE source = ?", (self._source,)).fetchone()
        return row[0] if row else 0

    def _tend(self) -> None:
        self._make(self._leaders.ill_sized(_open_or_raise(self._writer)))

    def _make(self, leaders: Iterable[str]) -> None:
        for name in leaders:
            with self._transaction() as connection:
                self._leaders.make(connection, name)

    def _apply(self, increments: Increments, now: int) -> Applied | None:
        with self._transaction() as connection:
            if self._applied(connection) >= increments.last:
                return None
            rows = _renamed(increments.rows, self._aliases_of(connection, increments.rows))
            changes = rename_likings(increments.actors, self._alias_keys_of(connection, increments.actors))
            folding = connection.execute("SELECT 1 FROM folding").fetchone() is not None
            off = actors.apply(connection, changes, folding=folding)
            corrections = actors.corrections(off, rows, self._url_key) if self._url_key else {}
            grown = self._add(connection, _sum(rows, corrections))
            self._history.add(connection, grown, increments.minute, now)
            both, erased = 0, []
            if increments.merge is not None and increments.merge.erases:
                erased = self._erase(connection, increments.merge)
            elif increments.merge is not None:
                both = self._merge(connection, increments.merge)
            connection.execute(
                "INSERT INTO applied VALUES (?, ?) ON CONFLICT (source) DO UPDATE SET table_id = excluded.table_id",
                (self._source, increments.last),
            )
        return Applied(corrections, both, erased)

    def _add(self, connection: sqlite3.Connection, rows: Rows) -> tuple[str, ...]:
        """Add `rows`, which are staged then; the names of the counts that they have."""
        grown = stage(connection, self._names, rows)
        self._leaders.wrote(len(rows))
        self._sites.add(connection, rows, grown)
        columns = "".join(f', "{name}"' for name in grown)
        # Only what grows is named: an index of another count is not looked at.
        update = f"UPDATE SET {', '.join(map(growth, grown))}" if grown else "NOTHING"
        connection.execute(
            f"INSERT INTO counts (id, url{columns}) SELECT id, url{columns} FROM staged WHERE id > 0 ORDER BY id"
            f" ON CONFLICT (id) DO {update}"
        )
        return grown

    def _aliases_of(self, connection: sqlite3.Connection, urls: Iterable[str]) -> dict[str, str]:
        """What those of `urls` count for that were merged: costs their number, not that of the aliases."""
        if connection.execute("SELECT 1 FROM aliases").fetchone() is None:
            return {}
        query = "SELECT old, new FROM json_each(?) CROSS JOIN aliases ON old = value"
        found: dict[str, str] = {}
        for some in slices(urls):
            found.update(connection.execute(query, (json_array(some),)))
        return found

    def _alias_keys_of(self, connection: sqlite3.Connection, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """The same for the beginnings of actors' keys."""
        row = connection.execute("SELECT length(old_key) FROM aliases").fetchone()
        found: dict[bytes, bytes] = {}
        if row is not None:
            for chunk in actors.chunks(sorted({key[: row[0]] for key in keys})):
                query = f"SELECT old_key, new_key FROM aliases WHERE old_key IN (?{', ?' * (len(chunk) - 1)})"
                found.update(connection.execute(query, chunk))
        return found

    def _loaded(self, name: str) -> bool:
        found = _open_or_raise(self._writer).execute("SELECT 1 FROM loads WHERE name = ?", (name,))
        return found.fetchone() is not None

    def _load(self, name: str, rows: Rows, past: Mapping[int, Rows], now: int) -> bool:
        with self._transaction() as connection:
            fresh = connection.execute("INSERT OR IGNORE INTO loads VALUES (?)", (name,)).rowcount == 1
            if fresh:
                aliases = self._aliases_of(connection, rows)
                self._add(connection, _renamed(rows, aliases))
                check_staged(connection, self._names)
                for minute, some in past.items():
                    some = _renamed(some, aliases)
                    grown = stage(connection, self._names, some)
                    self._sites.stage(connection, some, grown)
                    self._history.add_past(connection, grown, minute, now)
        return fresh

    def _merge(self, connection: sqlite3.Connection, merge: Fold) -> int:
        """Fold, and note the alias; how many actors had liked both."""
        both = self._fold(connection, [merge], heed_unliked=False)
        old, new, old_key, new_key = merge
        connection.execute("UPDATE aliases SET new = ?, new_key = ? WHERE new = ?", (new, new_key, old))
        connection.execute("INSERT OR REPLACE INTO aliases VALUES (?, ?, ?, ?)", (old, new, old_key, new_key))
        return both

    def _erase(self, connection: sqlite3.Connection, fold: Fold) -> list[str]:
        """Remove counts, history and actors of a URL or a site; of which URLs."""
        ranges = list(prefixes_of(fold.host)) if fold.host else [(fold.old, fold.old + "\0")]
        connection.execute("DELETE FROM erasing")
        for bounds in ranges:
            connection.execute("INSERT INTO erasing SELECT id, url FROM counts WHERE url >= ? AND url < ?", bounds)
        (found,) = connection.execute("SELECT json_group_array(json_array(id, url)) FROM erasing").fetchone()
        urls = msgspec.json.decode(found, type=list[tuple[int, str]])
        if fold.host:
            self._sites.erase(connection, fold.host)
        else:
            self._sites.leave(connection, [(row_id, None) for row_id, _ in urls])
        self._history.forget(connection, "SELECT id FROM erasing")
        if fold.new:
            zeros = ", ".join(f'"{name}" = 0' for name in self._names)
            connection.execute(f"UPDATE counts SET {zeros} WHERE id IN (SELECT id FROM erasing)")
            self._sites.count(connection, "SELECT id FROM erasing")
        else:
            connection.execute("DELETE FROM counts WHERE id IN (SELECT id FROM erasing)")
        key_of = self._url_key or (lambda _: fold.old_key)
        for key in [*(key_of(url) for _, url in urls), fold.old_key]:
            actors.remove(connection, key)
        return [url for _, url in urls]

    def _fold_by_rules(self, folds: Sequence[Fold], folding: Folding) -> None:
        with self._transaction() as connection:
            # What was merged a moment ago is not there any more to be folded into.
            query = "SELECT new, new_key FROM aliases WHERE old = ?"
            merged = [(fold, connection.execute(query, (fold.new,)).fetchone()) for fold in folds]
            targets = [fold._replace(new=row[0], new_key=row[1]) if row else fold for fold, row in merged]
            self._fold(connection, [fold for fold in targets if fold.old != fold.new], heed_unliked=True)
            connection.execute("DELETE FROM folding")
            if folding.to is not None:
                connection.execute("INSERT INTO folding VALUES (?, ?)", (folding.to, folding.after))
                return
            connection.execute("DELETE FROM unliked")
            connection.execute("DELETE FROM rules")
            connection.execute("INSERT INTO rules VALUES (?)", (folding.rules,))

    def _fold(self, connection: sqlite3.Connection, folds: Sequence[Fold], *, heed_unliked: bool) -> int:
        """Make each old URL a part of its new one; how many likes of actors were one too many."""
        liked_both = 0
        ids: list[tuple[int, int]] = []
        for old, new, old_key, new_key in folds:
            both = actors.merge(connection, old_key, new_key, heed_unliked=heed_unliked)
            rows = self._rows(connection.execute(f"{self._select} WHERE url = ?", (old,)))
            self._add(connection, {new: rows.get(old, {})})
            if both:
                self._add(connection, {new: {count_of(undo_of(done)): n for done, n in both.items()}})
            found = dict(connection.execute("SELECT url, id FROM counts WHERE url IN (?, ?)", (old, new)))
            if old in found:
                ids.append((found[old], found[new]))
            liked_both += both[LIKE]
        self._sites.leave(connection, ids)
        self._history.merge(connection, ids)
        connection.executemany("DELETE FROM counts WHERE id = ?", [(old,) for old, _ in ids])
        return liked_both

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = _open_or_raise(self._writer)
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _read(self, urls: Sequence[str]) -> tuple[int, Rows]:
        rows: Rows = {}
        with self._snapshot() as connection:
            applied = self._applied(connection)
            for chunk in actors.chunks(urls):
                query = f"{self._select} WHERE url IN (?{', ?' * (len(chunk) - 1)})"
                rows.update(self._rows(connection.execute(query, chunk)))
        return applied, rows

    def _read_actors(self, keys: Sequence[bytes]) -> tuple[int, set[bytes]]:
        with self._snapshot() as connection:
            return self._applied(connection), actors.read(connection, keys)

    def _top(self, by: str, limit: int) -> tuple[int, list[tuple[str, Counts]]]:
        with self._snapshot() as connection:
            ranked = self._leaders.read(connection, self._select, by, limit)
            return self._applied(connection), list(self._rows(ranked).items())

    def _read_history(self, url: str, unit: Unit, begin: int, end: int) -> list[tuple[int, Counts]]:
        with self._snapshot() as connection:
            row = connection.execute("SELECT id FROM counts WHERE url = ?", (url,)).fetchone()
            return [] if row is None else self._history.read(connection, row[0], unit, begin, end)

    def _look(self, look: Callable[..., T], *args: object) -> T:
        """What `look` finds, as of the applied mark."""
        with self._snapshot(self._lister) as connection:
            return look(connection, self._applied(connection), *args)

    def _remove_alias(self, old: str) -> None:
        with self._transaction() as connection:
            connection.execute("DELETE FROM aliases WHERE old = ?", (old,))

    def _liked_both(self, old_key: bytes, new_key: bytes) -> int:
        with self._snapshot(self._lister) as connection:
            return actors.liked_both(connection, old_key, new_key)

    def _sum_up(self) -> bool:
        with self._transaction() as connection:
            return self._sites.sum_up(connection)

    def _page(self, after: str, limit: int) -> list[tuple[str, Counts]]:
        with self._snapshot() as connection:
            query = f"{self._select} WHERE url > ? ORDER BY url LIMIT ?"
            return list(self._rows(connection.execute(query, (after, limit))).items())

    def _folding(self) -> Folding:
        connection = _open_or_raise(self._writer)
        row = connection.execute("SELECT rules FROM rules").fetchone()
        to, after = connection.execute("SELECT rules, url FROM folding").fetchone() or (None, "")
        return Folding(row[0] if row else "", to, after)

    def _aliases(self) -> dict[str, str]:
        return dict(_open_or_raise(self._writer).execute("SELECT old, new FROM aliases"))

    @contextmanager
    def _snapshot(self, reader: sqlite3.Connection | None = None) -> Iterator[sqlite3.Connection]:
        connection = _open_or_raise(reader or self._reader)
        connection.execute("BEGIN")
        try:
            yield connection
        finally:
            connection.execute("COMMIT")

    @property
    def _select(self) -> str:
        columns = ", ".join(f'"{name}"' for name in self._names)
        return f"SELECT url, {columns} FROM counts"

    def _rows(self, cursor: Iterable[Any]) -> Rows:
        names = self._names
        return {url: {name: n for name, n in zip(names, counts, strict=True) if n} for url, *counts in cursor}


def _renamed(rows: Rows, names: Mapping[str, str]) -> Rows:
    """`rows` with the counts of some URLs under new `names`."""
    if not names:
        return rows
    renamed: Rows = {}
    for url, counts in rows.items():
        add(renamed.setdefault(names.get(url, url), {}), counts)
    return renamed


def _sum(rows: Rows, more: Rows) -> Rows:
    """Both together; neither is changed."""
    return {**rows, **{url: total([rows.get(url, {}), counts]) for url, counts in more.items()}} if more else rows


def _open_or_raise(connection: sqlite3.Connection | None) -> sqlite3.Connection:
    if connection is None:
        raise StoreError("sqlite: the store is not open")
    return connection


def read_applied(path: Path) -> int:
    """The newest table that is applied in the database at `path`, which nobody uses, 0 if there is none.

    Nothing is changed: what a crash left in the database's log is only read. Raises StoreError.
    """
    if not path.exists():
        return 0
    log = path.with_name(path.name + "-wal")
    # SQLite would make an empty log, and leave it.
    immutable = 0 if log.exists() and log.stat().st_size else 1
    try:
        uri = f"{path.absolute().as_uri()}?mode=ro&immutable={immutable}"
        with closing(sqlite3.connect(uri, uri=True)) as connection:
            row = connection.execute("SELECT max(table_id) FROM applied").fetchone()
    except sqlite3.Error as error:
        raise StoreError(f"{path}: {error}") from error
    return int(row[0] or 0)
