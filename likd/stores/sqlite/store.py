"""The embedded store: one SQLite file."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar

from likd.errors import Behind, StoreError
from likd.model import Counts, Fold, Rows, rename_likings
from likd.stores import rows as rows_of
from likd.stores.database import Database
from likd.stores.marks import Chain
from likd.stores.protocol import Applied, Folding, Increments, Retention, Unit
from likd.stores.sites import PagesQuery, PagesRead, PastRead, SitesRead, Span
from likd.stores.sqlite import actors, counts, mark_rows, merges
from likd.stores.sqlite.counts import CountsTable
from likd.stores.sqlite.erasures import Erasures
from likd.stores.sqlite.history import History, newest
from likd.stores.sqlite.merges import Merges, alias_keys_of, aliases_of
from likd.stores.sqlite.page_lists import PageLists
from likd.stores.sqlite.site_reads import SiteReads
from likd.stores.sqlite.sites import Sites
from likd.stores.sqlite.staging import stage
from likd.stores.sqlite.sums import check_staged, open_sums
from likd.stores.threaded import ThreadedStore

BUSY_TIMEOUT_SECONDS = 5.0
CACHE_MIB = 64
WAL_BYTES = 64 << 20
"""How much is written to the log before it is written back into the database: a page that changes again meanwhile is
written once. A log that an outside reader made longer is truncated to this when the reader is gone."""
T = TypeVar("T")

_LOADS = "CREATE TABLE IF NOT EXISTS loads (name TEXT PRIMARY KEY) WITHOUT ROWID;"


class SqliteDatabase(Database):
    """Totals in the SQLite file at `path`: table `counts` has one row per URL, `actors` one for each like by an actor.

    `source` identifies the data directory whose tables are applied; `url_key` returns the beginning of the keys of a
    URL's actors. Writes are durable when they return. One connection writes, one transaction at a time; two read, one
    read at a time each; one of these lists sites and pages, which may take long. The writing one caches up to
    `cache_mib` MiB of the database.
    """

    kind = "sqlite"
    faults = (sqlite3.Error,)

    def __init__(
        self,
        path: Path,
        source: str,
        retention: Retention | None = None,
        *,
        cache_mib: int = CACHE_MIB,
        url_key: Callable[[str], bytes] | None = None,
    ) -> None:
        self._path = path
        self.chain = Chain(source)
        self._cache_mib = cache_mib
        self._url_key = url_key
        self._history = History(retention or Retention())
        self._sites = Sites(self._history)
        self._counts = CountsTable(self._sites)
        self._site_reads = SiteReads(self._history, self._sites)
        self._page_lists = PageLists(self._history, self._sites, self._counts.leaders)
        self._merges = Merges(self._counts, self._history, self._sites)
        self._erasures = Erasures(self._counts, self._history, self._sites, url_key)
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._lister: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._log: tuple[int, int] | None = None

    def open(self, names: tuple[str, ...]) -> int:
        if self._is_replaced():
            self._let_go_of_replaced()
        if self._writer is None:
            self._writer = self._connect()
            self._file = self._identity()
            (page_bytes,) = self._writer.execute("PRAGMA page_size").fetchone()
            self._writer.execute(f"PRAGMA cache_size = {-1024 * self._cache_mib}")
            self._writer.execute(f"PRAGMA wal_autocheckpoint = {WAL_BYTES // page_bytes}")
            self._writer.execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")
        mark_rows.check_version(self._writer, str(self._path))
        self._writer.executescript(mark_rows.SCHEMA + _LOADS + counts.SCHEMA + merges.SCHEMA + actors.SCHEMA)
        self._make(self._counts.open(self._writer, names))
        self._history.open(self._writer, names)
        self._sites.open(self._writer, names)
        self._erasures.open(self._writer)
        self._site_reads.open(names)
        self._page_lists.open(names)
        if self._reader is None:
            self._reader = self._connect()
            self._reader.execute("PRAGMA query_only = ON")
            self._lister = self._connect()
            self._lister.execute("PRAGMA query_only = ON")
            open_sums(self._lister)
        with self._transaction() as connection:
            mark = mark_rows.begin(connection, self.chain)
        self._log = _identity(self._log_path)
        return mark

    def peek(self) -> int:
        return read_applied(self._path, self.chain.source)

    def newest(self) -> float:
        return read_newest(self._path)

    def close(self) -> None:
        for connection in (self._lister, self._reader, self._writer):
            if connection is not None:
                connection.close()
        self._lister = self._reader = self._writer = self._file = self._log = None

    def apply(self, increments: Increments, now: int) -> Applied | None:
        if self._is_replaced():
            raise Behind(0)
        if self._counts.leaders.due:
            self._make(self._counts.leaders.ill_sized(_open_or_raise(self._writer)))
        with self._transaction() as connection:
            if not self.chain.is_next(mark_rows.read(connection, self.chain.source), increments):
                return None
            rows = rows_of.renamed(increments.rows, aliases_of(connection, increments.rows))
            changes = rename_likings(increments.actors, alias_keys_of(connection, increments.actors))
            off = actors.apply(connection, changes, folding=merges.is_folding(connection))
            corrections = rows_of.corrections(off, rows, self._url_key) if self._url_key else {}
            grown = self._counts.add(connection, rows_of.summed(rows, corrections))
            self._history.add(connection, grown, increments.minute, now)
            both = 0
            if increments.merge is not None and increments.merge.erases:
                self._erasures.end(connection, increments.merge, increments.last)
            elif increments.merge is not None:
                both = self._merges.merge(connection, increments.merge)
            mark_rows.move(connection, self.chain.source, increments.last)
        self.chain.known = increments.last
        return Applied(corrections, both)

    def erase_part(self, increments: Increments) -> bool:
        if increments.merge is None or self._is_replaced():
            return False
        with self._transaction() as connection:
            if not self.chain.is_next(mark_rows.read(connection, self.chain.source), increments):
                return False
            return self._erasures.part(connection, increments.merge, increments.last)

    def read(self, urls: Sequence[str]) -> tuple[int, Rows]:
        with self._snapshot() as connection:
            return self._applied(connection), self._counts.read(connection, urls)

    def read_actors(self, keys: Sequence[bytes]) -> tuple[int, set[bytes]]:
        with self._snapshot() as connection:
            return self._applied(connection), actors.read(connection, keys)

    def top(self, by: str, limit: int) -> tuple[int, list[tuple[str, Counts]]]:
        with self._snapshot() as connection:
            return self._applied(connection), list(self._counts.top(connection, by, limit).items())

    def history(self, url: str, unit: Unit, begin: int, end: int) -> list[tuple[int, Counts]]:
        with self._snapshot() as connection:
            row = connection.execute("SELECT id FROM counts WHERE url = ?", (url,)).fetchone()
            return [] if row is None else self._history.read(connection, row[0], unit, begin, end)

    def page(self, after: str, limit: int) -> list[tuple[str, Counts]]:
        with self._snapshot() as connection:
            return list(self._counts.page(connection, after, limit).items())

    def aliases(self) -> dict[str, str]:
        return merges.aliases(_open_or_raise(self._writer))

    def fold(self, folds: Sequence[Fold], folding: Folding, changing: Sequence[bytes]) -> None:
        with self._transaction() as connection:
            self.chain.check(mark_rows.read(connection, self.chain.source))
            self._merges.fold_by_rules(connection, folds, folding, changing)

    def folding(self) -> Folding:
        return merges.folding(_open_or_raise(self._writer))

    def load(self, name: str, rows: Rows, past: Mapping[int, Rows], now: int) -> bool:
        with self._transaction() as connection:
            self.chain.check(mark_rows.read(connection, self.chain.source))
            fresh = connection.execute("INSERT OR IGNORE INTO loads VALUES (?)", (name,)).rowcount == 1
            if fresh:
                aliases = aliases_of(connection, rows)
                self._counts.add(connection, rows_of.renamed(rows, aliases))
                check_staged(connection, self._counts.names)
                for minute, some in past.items():
                    some = rows_of.renamed(some, aliases)
                    grown = stage(connection, self._counts.names, some)
                    self._sites.stage(connection, some, grown)
                    self._history.add_past(connection, grown, minute, now)
        return fresh

    def loaded(self, name: str) -> bool:
        found = _open_or_raise(self._writer).execute("SELECT 1 FROM loads WHERE name = ?", (name,))
        return found.fetchone() is not None

    def sum_up(self) -> bool:
        with self._transaction() as connection:
            self.chain.check(mark_rows.read(connection, self.chain.source))
            return self._sites.sum_up(connection)

    def sites(self, spans: Sequence[Span], hosts: Sequence[str] | None) -> SitesRead:
        with self._snapshot(self._lister) as connection:
            return self._site_reads.sites(connection, self._applied(connection), spans, hosts)

    def past(self, spans: Sequence[Span], url: str, site: str) -> PastRead:
        with self._snapshot(self._lister) as connection:
            return self._site_reads.past(connection, self._applied(connection), spans, url, site)

    def pages(self, query: PagesQuery) -> PagesRead:
        with self._snapshot(self._lister) as connection:
            return self._page_lists.pages(connection, self._applied(connection), query)

    def liked_both(self, old_key: bytes, new_key: bytes) -> int:
        with self._snapshot(self._lister) as connection:
            return actors.liked_both(connection, old_key, new_key)

    def remove_alias(self, old: str) -> None:
        with self._transaction() as connection:
            self.chain.check(mark_rows.read(connection, self.chain.source))
            connection.execute("DELETE FROM aliases WHERE old = ?", (old,))

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, timeout=BUSY_TIMEOUT_SECONDS, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        # Pages that are no longer needed are not overwritten for it.
        connection.execute("PRAGMA secure_delete = FAST")
        return connection

    def _applied(self, connection: sqlite3.Connection) -> int:
        return mark_rows.applied(connection, self.chain.source)

    def _is_replaced(self) -> bool:
        """Whether the file is not the one that is open, because somebody restored a copy or removed it."""
        return self._file is not None and self._identity() != self._file

    def _identity(self) -> tuple[int, int] | None:
        return _identity(self._path)

    @property
    def _log_path(self) -> Path:
        return self._path.with_name(self._path.name + "-wal")

    def _let_go_of_replaced(self) -> None:
        log = self._log
        self.close()
        if log is not None and _identity(self._log_path) == log:
            # It belongs to the earlier database: SQLite would write its pages into the current one.
            self._log_path.unlink()
            self._path.with_name(self._path.name + "-shm").unlink(missing_ok=True)

    def _make(self, leaders: Iterable[str]) -> None:
        for name in leaders:
            with self._transaction() as connection:
                self._counts.leaders.make(connection, name)

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

    @contextmanager
    def _snapshot(self, reader: sqlite3.Connection | None = None) -> Iterator[sqlite3.Connection]:
        connection = _open_or_raise(reader or self._reader)
        connection.execute("BEGIN")
        try:
            yield connection
        finally:
            connection.execute("COMMIT")


class SqliteStore(ThreadedStore):
    """An SqliteDatabase in threads."""

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
        super().__init__(
            SqliteDatabase(path, source, retention, cache_mib=cache_mib, url_key=url_key), wall_clock=wall_clock
        )


def _identity(path: Path) -> tuple[int, int] | None:
    """What distinguishes the file at `path` from every other, None if there is none."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_dev, stat.st_ino


def _open_or_raise(connection: sqlite3.Connection | None) -> sqlite3.Connection:
    if connection is None:
        raise StoreError("sqlite: the store is not open")
    return connection


def read_applied(path: Path, source: str) -> int:
    """The newest table of `source` that is applied in the database at `path`, 0 if there is none.

    Changes nothing: what a crash left in the database's log is only read. Raises StoreError.
    """
    return _look_into(path, lambda db: mark_rows.applied(db, source)) or 0


def read_newest(path: Path) -> float:
    """When anything was last counted in the database at `path`, in seconds since 1970; 0 if unknown.

    Changes nothing, either.
    """
    return _look_into(path, newest) or 0.0


def _look_into(path: Path, look: Callable[[sqlite3.Connection], T]) -> T | None:
    if not path.exists():
        return None
    log = path.with_name(path.name + "-wal")
    # SQLite would create an empty log, and leave it behind.
    immutable = 0 if log.exists() and log.stat().st_size else 1
    try:
        uri = f"{path.absolute().as_uri()}?mode=ro&immutable={immutable}"
        with closing(sqlite3.connect(uri, uri=True)) as connection:
            return look(connection)
    except sqlite3.Error as error:
        raise StoreError(f"{path}: {error}") from error
