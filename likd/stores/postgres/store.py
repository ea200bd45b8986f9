"""The store in PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TypeVar

import attrs
import psycopg
from psycopg import errors, sql

from likd.errors import Behind, StoreError, TotalTooLarge
from likd.model import Counts, Fold, IdempotencyKey, Rows, rename_likings
from likd.stores import rows as rows_of
from likd.stores.database import Database
from likd.stores.keys import Claim, Settled
from likd.stores.marks import Chain, Entry
from likd.stores.nodes import Node, RetireError
from likd.stores.postgres import actors, counts, erasing, feed, keys, merges, nodes, schema, sites
from likd.stores.postgres.connection import Connection, Line, explain
from likd.stores.postgres.history import History
from likd.stores.postgres.merges import Merges
from likd.stores.postgres.site_reads import SiteReads
from likd.stores.protocol import TOTAL_MAX, Applied, Folding, Increments, News, Retention, SharedRead, Unit
from likd.stores.sites import PagesQuery, PagesRead, PastRead, SitesRead, Span

FEED_SECONDS = 600.0
"""How long other nodes can look up what a node applied."""
TRIM_SECONDS = 60.0
CLAIM_SECONDS_MAX = 10.0
"""Whoever sends a request with a key waits so long for a server that does not answer."""

T = TypeVar("T")


class PostgresDatabase(Database):
    """Totals in the database that the libpq `conninfo` names, for the data directory `source`.

    `url_key` returns the beginning of the keys of a URL's actors, and `secret_fingerprint` identifies the secret that
    they are made with. With `top_indexes`, top lists are read from indexes. When writes return, they are as durable as
    the server's synchronous_commit says; what a server lost is given again.
    """

    kind = "postgresql"
    faults = (psycopg.Error,)
    replay_seconds = 60.0

    def __init__(
        self,
        conninfo: str,
        source: str,
        retention: Retention | None = None,
        *,
        url_key: Callable[[str], bytes] | None = None,
        secret_fingerprint: str = "",
        top_indexes: bool = True,
    ) -> None:
        self.chain = Chain(source)
        self._url_key = url_key
        self._top_indexes = top_indexes
        self._secret_fingerprint = secret_fingerprint
        self._history = History(retention or Retention())
        self._merges = Merges(self._history)
        self._writer = Line(conninfo, read_only=False)
        self._reader = Line(conninfo, read_only=True)
        self._lister = Line(conninfo, read_only=True)
        self._claimer = Line(conninfo, read_only=False, answer_seconds=CLAIM_SECONDS_MAX)
        self._keys_trimmed_at = -TRIM_SECONDS
        self._site_reads = SiteReads(self._history)
        self._names: tuple[str, ...] = ()
        self._trimmed_at = -TRIM_SECONDS

    def explain(self, fault: Exception) -> StoreError:
        if isinstance(fault, errors.UndefinedTable | errors.UndefinedColumn):
            # It existed when it was opened: a different database is in its place now.
            return Behind(0)
        return explain(fault)

    def open(self, names: tuple[str, ...]) -> int:
        self._writer.closed = False
        try:
            mark = self._writer.tried(partial(self._open, names))
        except (errors.UniqueViolation, errors.DuplicateTable, errors.DuplicateObject):
            # Another node created the same at the same time.
            mark = self._writer.tried(partial(self._open, names))
        except errors.InsufficientPrivilege as fault:
            raise explain(fault) from fault
        # Nobody reads before it is known which counts there are: they would be taken for zero.
        for line in self._lines:
            line.closed = False
        return mark

    def _open(self, names: tuple[str, ...], connection: Connection) -> int:
        if not schema.check_version(connection):
            schema.make(connection)
        schema.lock(connection)
        schema.add_names(connection, names)
        schema.index_top(connection, names, wanted=self._top_indexes)
        self._check_secret(connection)
        mark = nodes.begin(connection, self.chain)
        self._history.node = self.chain.node
        self._names = self._history.names = names
        return mark

    def peek(self) -> int:
        self._reader.closed = False
        try:
            entry = self._reader.tried(self._entry)
        except errors.UndefinedTable:
            return 0
        finally:
            self._reader.close()
        return entry.mark if entry else 0

    def close(self) -> None:
        for line in self._lines:
            line.close()

    @property
    def _lines(self) -> tuple[Line, ...]:
        return self._lister, self._reader, self._claimer, self._writer

    def apply(self, increments: Increments, now: int) -> Applied | None:
        applied = self._writer.tried(partial(self._apply, increments, now))
        if applied is not None:
            self.chain.known = increments.last
        return applied

    def _apply(self, increments: Increments, now: int, connection: Connection) -> Applied | None:
        if increments.merge is not None:
            merges.lock(connection)
        if not self.chain.is_next(self._entry(connection, lock=True), increments):
            return None
        rows, changes, folding = increments.rows, increments.actors, False
        (merged, folding, nodes_there) = self._situation(connection)
        if merged:
            rows = rows_of.renamed(rows, self._new_names(connection, rows))
            changes = rename_likings(changes, merges.alias_keys_of(connection, changes))
        off = actors.apply(connection, changes, folding=folding)
        corrections = rows_of.corrections(off, rows, self._url_key) if self._url_key else {}
        rows = rows_of.summed(rows, corrections)
        self._add(connection, rows, self.chain.node, increments.minute, now)
        both = 0
        if increments.merge is not None and increments.merge.erases:
            self._erase(connection, increments.merge)
        elif increments.merge is not None:
            both = self._merges.merge(connection, increments.merge)
        query = "UPDATE likd_nodes SET mark = %s, seen = now() WHERE node = %s"
        connection.execute(query, (increments.last, self.chain.node))
        if nodes_there > 1:
            self._feed(connection, increments, rows)
        return Applied(corrections, both)

    def _erase(self, connection: Connection, fold: Fold) -> None:
        merges.note_change(connection, merges.ERASED)
        url_key = self._url_key or (lambda _: fold.old_key)
        erasing.erase(connection, self._names, self.chain.node, fold, url_key)

    def read(self, urls: Sequence[str]) -> tuple[int, Rows]:
        return self._look(lambda connection: counts.read(connection, self._names, urls))

    def read_actors(self, keys: Sequence[bytes]) -> tuple[int, set[bytes]]:
        return self._look(lambda connection: actors.read(connection, keys))

    def top(self, by: str, limit: int) -> tuple[int, list[tuple[str, Counts]]]:
        mark, found = self._look(lambda connection: counts.top(connection, self._names, by, limit))
        return mark, list(found.items())

    def history(self, url: str, unit: Unit, begin: int, end: int) -> list[tuple[int, Counts]]:
        return self._look(lambda connection: self._history.read(connection, url, unit, begin, end))[1]

    def page(self, after: str, limit: int) -> list[tuple[str, Counts]]:
        return list(self._look(lambda connection: counts.page(connection, self._names, after, limit))[1].items())

    def aliases(self) -> dict[str, str]:
        return self._writer.tried(merges.aliases)

    def fold(self, folds: Sequence[Fold], folding: Folding, changing: Sequence[bytes]) -> None:
        def work(connection: Connection) -> None:
            merges.lock(connection)
            self.chain.check(self._entry(connection))
            self._merges.fold_by_rules(connection, folds, folding, changing)

        self._writer.tried(work)

    def folding(self) -> Folding:
        return self._writer.tried(merges.folding)

    def load(self, name: str, rows: Rows, past: Mapping[int, Rows], now: int) -> bool:
        return self._writer.tried(partial(self._load, name, rows, past, now))

    def _load(self, name: str, rows: Rows, past: Mapping[int, Rows], now: int, connection: Connection) -> bool:
        self.chain.check(self._entry(connection, lock=True))
        if not connection.execute("INSERT INTO likd_loads VALUES (%s) ON CONFLICT DO NOTHING", (name,)).rowcount:
            return False
        names = self._new_names(connection, rows)
        rows = rows_of.renamed(rows, names)
        sites.add_totals(connection, self._names, schema.IMPORTED, rows)
        self._check_totals(connection, rows)
        if past:
            self._history.begin(connection, now)
        for minute, some in past.items():
            self._add(connection, rows_of.renamed(some, names), None, minute, now)
        return True

    def loaded(self, name: str) -> bool:
        query = "SELECT 1 FROM likd_loads WHERE name = %s"
        return self._writer.tried(lambda connection: connection.execute(query, (name,)).fetchone()) is not None

    def news(self, last: News | None) -> News:
        return self._reader.tried(partial(feed.news, self.chain.source, last))

    def read_shared(self, urls: Sequence[str]) -> SharedRead:
        def work(connection: Connection) -> tuple[Rows, dict[str, str], dict[int, int]]:
            found = counts.read(connection, self._names, urls), self._new_names(connection, urls)
            return *found, feed.marks_of_others(connection, self.chain.source)

        mark, (rows, merged, marks) = self._look(work)
        return SharedRead(mark, rows, merged, marks)

    def claim_keys(self, asked: Sequence[IdempotencyKey], settled: Settled, window_seconds: float) -> list[Claim]:
        is_time = time.monotonic() - self._keys_trimmed_at > TRIM_SECONDS

        def work(connection: Connection) -> list[Claim]:
            if is_time:
                keys.trim(connection, window_seconds)
            return keys.claim(connection, self.chain, asked, settled, window_seconds)

        claims = self._claimer.tried(work)
        if is_time:
            self._keys_trimmed_at = time.monotonic()
        return claims

    def claims_left(self) -> list[IdempotencyKey]:
        return self._claimer.tried(lambda connection: keys.left(connection, self.chain))

    def sum_up(self) -> bool:
        # There is nothing from before there were sums.
        return True

    def sites(self, spans: Sequence[Span], hosts: Sequence[str] | None) -> SitesRead:
        mark, found = self._list(lambda connection: self._site_reads.sites(connection, spans, hosts))
        return attrs.evolve(found, applied=mark)

    def past(self, spans: Sequence[Span], url: str, site: str) -> PastRead:
        mark, found = self._list(lambda connection: self._site_reads.past(connection, spans, url, site))
        return attrs.evolve(found, applied=mark)

    def pages(self, query: PagesQuery) -> PagesRead:
        mark, found = self._list(lambda connection: self._site_reads.pages(connection, query))
        return attrs.evolve(found, applied=mark)

    def liked_both(self, old_key: bytes, new_key: bytes) -> int:
        return self._list(lambda connection: actors.liked_both(connection, old_key, new_key))[1]

    def remove_alias(self, old: str) -> None:
        def work(connection: Connection) -> None:
            merges.lock(connection)
            self.chain.check(self._entry(connection))
            merges.remove_alias(connection, old)

        self._writer.tried(work)

    def beat(self, name: str, lag_seconds: float) -> list[Node]:
        return self._writer.tried(lambda connection: nodes.beat(connection, self.chain, name, lag_seconds))

    def retire(self, which: str, *, force: bool) -> Node:
        def work(connection: Connection) -> Node:
            return nodes.retire(connection, which, sorted(schema.names_there(connection)), force=force)

        self._writer.closed = False
        try:
            return self._writer.tried(work)
        except errors.UndefinedTable:
            raise RetireError("there are no nodes: the database has no tables of likd") from None
        finally:
            self._writer.close()

    def _list(self, what: Callable[[Connection], T]) -> tuple[int, T]:
        return self._look(what, self._lister)

    def _look(self, what: Callable[[Connection], T], line: Line | None = None) -> tuple[int, T]:
        """The mark, and what is found, of one moment."""

        def work(connection: Connection) -> tuple[int, T]:
            entry = self._entry(connection)
            return entry.mark if entry else 0, what(connection)

        return (line or self._reader).tried(work)

    def _entry(self, connection: Connection, *, lock: bool = False) -> Entry | None:
        return nodes.entry(connection, self.chain.source, lock=lock)

    def _situation(self, connection: Connection) -> tuple[bool, bool, int]:
        """Whether any URL was merged, whether URLs are being folded, and how many nodes there are.

        It is read once the lock is held, so that a merge that was waited for is seen.
        """
        row = connection.execute(
            "SELECT EXISTS (SELECT 1 FROM likd_aliases), EXISTS (SELECT 1 FROM likd_settings WHERE name = %s),"
            " (SELECT count(*) FROM likd_nodes WHERE NOT retired)",
            (merges.FOLDING,),
        ).fetchone()
        assert row is not None
        return row[0], row[1], row[2]

    def _new_names(self, connection: Connection, urls: Iterable[str]) -> dict[str, str]:
        return {old: new for old, (new, _) in merges.aliases_of(connection, urls).items()}

    def _check_secret(self, connection: Connection) -> None:
        """Check that all who share actors hash them with one secret: the first to come determines it."""
        query = "INSERT INTO likd_settings VALUES ('actor secret', %s) ON CONFLICT DO NOTHING"
        connection.execute(query, (self._secret_fingerprint,))
        row = connection.execute("SELECT value FROM likd_settings WHERE name = 'actor secret'").fetchone()
        if row is not None and row[0] != self._secret_fingerprint:
            raise StoreError(
                "postgresql: actors in this store are hashed with another secret: give all who share it the same one by"
                " --actor-secret-file or LIKD_ACTOR_SECRET, or the file `secret` of the data directory that came first"
            )

    def _add(self, connection: Connection, rows: Rows, node: int | None, minute: int, now: int) -> None:
        """Add `rows` to the history and to the totals of a `node`, in one statement, so that they are sent once."""
        targets = self._history.targets(connection, minute, now)
        if not rows:
            return
        grown, literals = sites.literals(self._names, rows)
        statements = [self._history.statement(table, unit, at, grown) for table, unit, at in targets]
        last = statements.pop() if node is None else None
        parts: list[sql.Composable] = [counts.given(grown)]
        for n, statement in enumerate(statements):
            parts.append(sql.SQL("{} AS ({})").format(sql.Identifier(f"x{n}"), statement))
        if node is not None:
            *more, last = sites.totals(node, grown)
            parts += more
        connection.execute(sql.SQL("WITH {} {}").format(sql.SQL(", ").join(parts), last), literals)

    def _check_totals(self, connection: Connection, rows: Rows) -> None:
        """Raise TotalTooLarge if a total is beyond what events may be added to."""
        for url, totals in counts.read(connection, self._names, list(rows)).items():
            for name, n in totals.items():
                if n > TOTAL_MAX:
                    raise TotalTooLarge(url, name)

    def _feed(self, connection: Connection, increments: Increments, rows: Rows) -> None:
        """Tell the other nodes what grew, in one packed row; remove old rows now and then."""
        connection.execute(
            "INSERT INTO likd_feed (node, last, first, minute, body) VALUES (%s, %s, %s, %s, %s)"
            " ON CONFLICT (node, last) DO UPDATE SET first = excluded.first, body = excluded.body, at = now()",
            (self.chain.node, increments.last, increments.first, increments.minute, feed.packed(rows, increments)),
        )
        if time.monotonic() - self._trimmed_at > TRIM_SECONDS:
            query = "DELETE FROM likd_feed WHERE node = %s AND at < now() - make_interval(secs => %s)"
            connection.execute(query, (self.chain.node, FEED_SECONDS))
            self._trimmed_at = time.monotonic()
