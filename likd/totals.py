"""Totals: the store's counts plus every table it does not have yet, exact, of one moment."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence

import attrs
import trio

from likd.actors import Actors
from likd.batchfile import Batch
from likd.events import Counts, Rows, add
from likd.store import Increments, Store
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


class Totals:
    """Follows every table from its opening until the store has it, so that any total can be told at any time.

    A table is in exactly one of three places: open or swapped (its counters have the counts), waiting
    (`waiting`, merged where that saves rows), or applied (the store has it). Each move from one to the next is
    one step without an `await`, and a total is added up in such a step, too: none is ever counted twice.
    What was read from the store is kept for `cache_urls_max` URLs, and follows what is applied.
    """

    def __init__(self, store: Store, *, applied: int, cache_urls_max: int, actors: Actors | None = None) -> None:
        self._store = store
        self._actors = actors or Actors(store, applied=applied, cached_max=cache_urls_max)
        self._epoch = 0
        self.applied = applied
        self.waiting: deque[Waiting] = deque()
        self.rows_waiting = 0
        self.aliases: dict[str, str] = {}
        """URLs that were merged into others, whose totals are theirs."""
        self.on_batched: Callable[[Batch], object] | None = None
        """Is told of each batch as its table goes."""
        self._tables: dict[int, Table] = {}
        self._cache: OrderedDict[str, Counts] = OrderedDict()
        self._cache_max = cache_urls_max
        self._moved = trio.Event()

    def opened(self, table: Table) -> None:
        """A table is open: what it counts is part of the totals from now on."""
        self._tables[table.id] = table

    def dropped(self, table: Table) -> None:
        """A table ended without any counts."""
        del self._tables[table.id]
        self._tell()

    def batched(self, batch: Batch) -> None:
        """A table's counts are in its batch file, and wait to be applied. Batches come in the order of their ids.

        The rows of `batch` belong to the totals from now on.
        """
        self._tables.pop(batch.table, None)
        if self.on_batched is not None:
            self.on_batched(batch)
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
            increments = Increments(batch.table, batch.table, minute, batch.rows, batch.actors)
            self.waiting.append(Waiting(increments, [batch.table], since=batch.closed))
        self.rows_waiting += increments.size
        self._actors.batched(batch.table, batch.actors)

    def applied_first(self) -> Waiting:
        """The store has the first of `waiting`: its counts move over to the store's side."""
        first = self.waiting.popleft()
        increments = first.increments
        self.rows_waiting -= increments.size
        self._actors.applied(increments)
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

    async def counts(self, urls: Sequence[str]) -> Rows:
        """The totals of `urls`, all of one moment; at most `cache_urls_max` of them. Raises StoreError."""
        cache = self._cache
        while unknown := [each for url in urls if (each := self.aliases.get(url, url)) not in cache]:
            await self._read(unknown)
        totals: Rows = {}
        for asked in urls:
            url = self.aliases.get(asked, asked)
            cache.move_to_end(url)
            totals[asked] = self._add_up(url, cache[url])
        return totals

    def increments(self, url: str) -> Counts:
        """What the store does not have yet of `url`."""
        return self._add_up(url, {})

    def unapplied_urls(self) -> set[str]:
        """All URLs of which the store does not have all counts yet."""
        return set().union(
            *(table.urls for table in self._tables.values()),
            *(item.increments.rows for item in self.waiting),
        )

    @property
    def tables(self) -> list[Table]:
        """The tables that have no batch file yet."""
        return list(self._tables.values())

    def forget(self, urls: Iterable[str]) -> None:
        """The store's counts of `urls` were changed by others than the drainer."""
        self._epoch += 1
        for url in urls:
            self._cache.pop(url, None)

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

    async def _read(self, urls: Sequence[str]) -> None:
        """Cache the store's counts of `urls`, read when it had just the tables up to `applied`."""
        while True:
            epoch = self._epoch
            applied, rows = await self._store.read(urls)
            if applied == self.applied and epoch == self._epoch:
                break
            if applied > self.applied:
                await self._moved.wait()
        for url in urls:
            self._cache[url] = rows.get(url) or {}
        while len(self._cache) > self._cache_max:
            self._cache.popitem(last=False)

    def _add_up(self, url: str, base: Counts) -> Counts:
        counts = base.copy()
        for item in self.waiting:
            waiting = item.increments.rows.get(url)
            if waiting is not None:
                add(counts, waiting)
        for table in self._tables.values():
            open_counts = table.counts(url)
            if open_counts is not None:
                add(counts, open_counts)
        return counts


def _merge(rows: Rows, more: Rows) -> None:
    """Add `more` to `rows` in place; counts that are new there are taken over as they are."""
    if rows.keys().isdisjoint(more):
        rows.update(more)
        return
    for url, counts in more.items():
        mine = rows.get(url)
        if mine is None:
            rows[url] = counts
        else:
            add(mine, counts)
