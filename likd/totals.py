"""Totals: the store's counts plus every table it does not have yet, exact, of one moment."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Collection, Iterator, Sequence
from typing import Protocol

import attrs
import trio

from likd.actors import Actors
from likd.batchfile import Batch
from likd.events import Counts, Rows, add
from likd.store import Increments, Store, in_time
from likd.table import Table

TRANSACTION_ROWS_MAX = 8192
"""Rows that waiting tables are merged up to: more in one transaction would save little and hold the store long."""


@attrs.define(eq=False)
class Waiting:
    """Consecutive tables that will be applied together; `frozen` once that was tried."""

    increments: Increments
    tables: list[int]
    since: float
    frozen: bool = False


class Follower(Protocol):
    """Who is told of what grows the totals, in the step in which it happens. Must not raise."""

    def committed(self, table: int, rows: Rows) -> None:
        """The counts of `table` are `rows` for good."""
        ...

    def forgotten(self, urls: Collection[str]) -> None:
        """The totals of `urls` changed otherwise."""
        ...


class Totals:
    """Follows every table from its opening until the store has it, so that any total can be told at any time.

    A table is in exactly one of four places: open or swapped (its counters have the counts), committed (in the
    batcher's hands), waiting (`waiting`, merged where that saves rows), or applied (the store has it). Each move
    from one to the next is one step without an `await`, and a total is added up in such a step, too: none is
    ever counted twice. What is committed or waits is also kept as one sum a URL, so that adding up costs the
    same however much there is. What was read from the store is kept for `cache_urls_max` URLs, and follows what
    is applied.
    """

    def __init__(self, store: Store, *, applied: int, cache_urls_max: int, actors: Actors | None = None) -> None:
        self._store = store
        self._actors = actors or Actors(store, applied=applied, cached_max=cache_urls_max)
        self._epoch = 0
        self.applied = applied
        self.waiting: deque[Waiting] = deque()
        self.rows_waiting = 0
        self.tables_waiting = 0
        self.aliases: dict[str, str] = {}
        """URLs that were merged into others, whose totals are theirs."""
        self.followers: list[Follower] = []
        self._tables: dict[int, Table] = {}
        self._committed: dict[int, Rows] = {}
        self._pending: Rows = {}
        """Sums of all that is committed or waits. They may be a row's own counts, which nobody changes in place."""
        self._cache: OrderedDict[str, Counts] = OrderedDict()
        self._cache_max = cache_urls_max
        self._moved = trio.Event()

    def opened(self, table: Table) -> None:
        """A table is open: what it counts is part of the totals from now on."""
        self._tables[table.id] = table

    def committed(self, table: Table) -> None:
        """The counters of `table` gave up their counts: `table.rows` has them."""
        if table.rows is not None and self._tables.pop(table.id, None) is not None:
            self._commit(table.id, table.rows)

    def dropped(self, table: Table) -> None:
        """A table ended without any counts."""
        self._tables.pop(table.id, None)
        self._take_back(table.id)
        self._tell()

    def batched(self, batch: Batch) -> None:
        """A table's counts are in its batch file, and wait to be applied. Batches come in the order of their ids.

        The counts of `batch` must not be changed from now on.
        """
        self._tables.pop(batch.table, None)
        if self._committed.get(batch.table) is not batch.rows:
            # It was found at the start, or its counters were found to be wrong.
            self._take_back(batch.table)
            self._commit(batch.table, batch.rows)
        del self._committed[batch.table]
        minute = int(batch.closed // 60)
        last = self.waiting[-1] if self.waiting else None
        if (
            last is not None
            and not last.frozen
            and last.increments.minute == minute
            and last.increments.size + len(batch.rows) + len(batch.actors) <= TRANSACTION_ROWS_MAX
        ):
            increments = last.increments
            self.rows_waiting -= increments.size
            _merge(increments.rows, batch.rows)
            increments.actors.update(batch.actors)
            increments.last = batch.table
            last.tables.append(batch.table)
        else:
            increments = Increments(batch.table, batch.table, minute, batch.rows.copy(), batch.actors)
            self.waiting.append(Waiting(increments, [batch.table], since=batch.closed))
        self.rows_waiting += increments.size
        self.tables_waiting += 1
        self._actors.batched(batch.table, batch.actors)

    def applied_first(self) -> Waiting:
        """The store has the first of `waiting`: its counts move over to the store's side."""
        first = self.waiting.popleft()
        increments = first.increments
        self.rows_waiting -= increments.size
        self.tables_waiting -= len(first.tables)
        self._actors.applied(increments)
        _subtract(self._pending, increments.rows)
        for url in self._cache.keys() & increments.rows.keys():
            add(self._cache[url], increments.rows[url])
        self.applied = increments.last
        self._tell()
        return first

    def counts_nowait(self, url: str) -> Counts | None:
        """The total of `url` if that needs no look into the store, else None."""
        url = self.aliases.get(url, url)
        base = self._cache.get(url)
        if base is None:
            return None
        self._cache.move_to_end(url)
        return self._add_up(url, base)

    async def counts(self, urls: Sequence[str], *, keep: bool = True) -> Rows:
        """The totals of `urls`, all of one moment. Raises StoreError.

        What is read is kept for the next who asks, unless `keep` says that this is not likely.
        """
        bases: Rows | None = None
        with in_time():
            moved = False
            while bases is None:
                bases = await self._bases({self.aliases.get(url, url) for url in urls}, use_cache=not moved, keep=keep)
                moved = True
        return {asked: self._add_up(url := self.aliases.get(asked, asked), bases[url]) for asked in urls}

    def increments(self, url: str) -> Counts:
        """What the store does not have yet of `url`."""
        return self._add_up(url, {})

    def unapplied(self, url: str) -> bool:
        """Whether the store does not have all counts of `url` yet."""
        return url in self._pending or any(url in table.urls for table in self._tables.values())

    def unapplied_urls(self) -> set[str]:
        """All URLs of which the store does not have all counts yet."""
        return set().union(*self.unapplied_steps(1000))

    def unapplied_steps(self, size: int) -> Iterator[list[str]]:
        """The same, `size` at once, some of them again and again; what comes or goes meanwhile may be there or not."""
        parts = [
            *(table.urls for table in self._tables.values()),
            *self._committed.values(),
            *(item.increments.rows for item in self.waiting),
        ]
        urls: list[str] = []
        for part in parts:
            urls += part
            while len(urls) >= size:
                yield urls[:size]
                del urls[:size]
        yield urls

    @property
    def tables(self) -> list[Table]:
        """The tables that still count."""
        return list(self._tables.values())

    def forget(self, urls: Collection[str]) -> None:
        """The store's counts of `urls` were changed by others than the drainer."""
        self._epoch += 1
        for url in urls:
            self._cache.pop(url, None)
        for follower in tuple(self.followers):
            follower.forgotten(urls)

    def merged(self, old: str, new: str) -> None:
        """The store made `old` a part of `new`."""
        for alias, target in self.aliases.items():
            if target == old:
                self.aliases[alias] = new
        self.aliases[old] = new
        self.forget([old, new])

    async def wait_moved(self) -> None:
        """Wait until the next table is applied, or ended without counts."""
        await self._moved.wait()

    def _tell(self) -> None:
        self._moved.set()
        self._moved = trio.Event()

    def _commit(self, table: int, rows: Rows) -> None:
        self._committed[table] = rows
        _merge(self._pending, rows)
        for follower in tuple(self.followers):
            follower.committed(table, rows)

    def _take_back(self, table: int) -> None:
        rows = self._committed.pop(table, None)
        if rows:
            _subtract(self._pending, rows)
            for follower in tuple(self.followers):
                follower.forgotten(rows)

    async def _bases(self, urls: set[str], *, use_cache: bool, keep: bool) -> Rows | None:
        """The store's counts of `urls` as of `applied`, in the step in which this returns.

        None if tables or URLs moved meanwhile, so that they have to be asked for again. What others let the
        cache forget meanwhile does no harm: an answer goes to who asked for it, whatever becomes of the cache.
        """
        cache = self._cache
        bases = {url: cache[url] for url in urls if url in cache} if use_cache else {}
        for url in bases:
            cache.move_to_end(url)
        unknown = urls.difference(bases)
        if unknown:
            epoch, before = self._epoch, self.applied
            applied, rows = await self._store.read(sorted(unknown))
            if epoch != self._epoch or applied < self.applied:
                return None
            if before != self.applied and any(cache.get(url) is not base for url, base in bases.items()):
                return None
            read = {url: rows.get(url) or {} for url in unknown}
            if applied != self.applied:
                self._take_off(read, applied)
            elif keep:
                self._keep(read)
            bases |= read
        return bases

    def _keep(self, bases: Rows) -> None:
        for url, base in bases.items():
            self._cache[url] = base
            self._cache.move_to_end(url)
        while len(self._cache) > self._cache_max:
            self._cache.popitem(last=False)

    def _take_off(self, bases: Rows, applied: int) -> None:
        """Make bases as of table `applied` such as of `self.applied`: the store is ahead if its word was lost.

        How long the drainer takes to ask it again is nothing that a reader has to wait for.
        """
        for item in self.waiting:
            if item.increments.last > applied:
                break
            for url in bases.keys() & item.increments.rows.keys():
                add(bases[url], {name: -n for name, n in item.increments.rows[url].items()})

    def _add_up(self, url: str, base: Counts) -> Counts:
        counts = base.copy()
        pending = self._pending.get(url)
        if pending is not None:
            add(counts, pending)
        for table in self._tables.values():
            open_counts = table.counts(url)
            if open_counts is not None:
                add(counts, open_counts)
        return counts


def _merge(rows: Rows, more: Rows) -> None:
    """Add `more` to `rows`; counts that are new there are taken over as they are, others are made anew."""
    if rows.keys().isdisjoint(more):
        rows.update(more)
        return
    for url, counts in more.items():
        mine = rows.get(url)
        if mine is not None:
            counts = counts.copy()
            add(counts, mine)
        rows[url] = counts


def _subtract(rows: Rows, less: Rows) -> None:
    """Take `less`, which are part of `rows`, out of them."""
    for url, counts in less.items():
        mine = rows.pop(url)
        if mine is not counts:
            left = {name: rest for name, n in mine.items() if (rest := n - counts.get(name, 0))}
            if left:
                rows[url] = left
