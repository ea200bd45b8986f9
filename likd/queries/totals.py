"""Totals: the store's counts plus every table it does not have yet, exact, of one moment."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Protocol, TypeAlias

import attrs
import trio

from likd.counting.actors import Actors
from likd.counting.aliases import Aliases
from likd.counting.table import Table
from likd.durability.batch_file import Batch
from likd.model import Counts, Fold, Rows, add, add_likings
from likd.queries.bases import Bases
from likd.queries.pending import Pending
from likd.runtime.cooperative import Steps, finish
from likd.runtime.notice import Notice
from likd.stores.protocol import ActorStore, Applied, CountStore, Increments, in_time

TRANSACTION_ROWS_MAX = 65_536
"""Rows that waiting tables are merged up to: more in one transaction would save little and hold the store long."""
TRANSACTION_BYTES_MAX = 16 << 20
"""The same for the bytes of their URLs."""
TRANSACTION_ACTORS_MAX = 8192
"""The same for actors, of whom each is a row, and is settled in one step with all others."""

ROW_BYTES = 256
"""What a row that waits takes in memory beside its URL's bytes: measured, with what Python keeps for its dicts."""
ROW_BYTES_MAX = 400
"""So much may rows that wait take each, on average: more, and they are too many before they are as many as may wait."""

OldNames: TypeAlias = Mapping[str, Collection[str]]
"""URL → names under which the store may still have counts of it, because it was counted by other rules."""
NO_OLD_NAMES: OldNames = MappingProxyType({})


@attrs.define(eq=False)
class Waiting:
    """Consecutive tables that will be applied together; `frozen` once that was tried.

    `sums` has those of each
    table, `url_bytes` is what their URLs take.
    """

    increments: Increments
    sums: dict[int, Counts]
    since: float
    url_bytes: int
    frozen: bool = False

    @property
    def tables(self) -> list[int]:
        """Which they are, in their order."""
        return list(self.sums)


class Follower(Protocol):
    """Who is told of what grows the totals, in the step in which it happens. Must not raise."""

    def committed(self, table: int, rows: Rows) -> None:
        """The counts of `table` are `rows` for good."""
        ...

    def forgotten(self, urls: Collection[str]) -> None:
        """The totals of `urls` changed otherwise."""
        ...

    def store_went_back(self) -> None:
        """What the store has of any URL may be less than it was."""
        ...


class TotalsStore(CountStore, ActorStore, Protocol):
    """Whom totals and actors are read from."""


class Totals:
    """Follows every table from its opening until the store has it, so that any total can be told at any time.

    A table is in exactly one of four places: open or swapped (its counters have the counts), committed (in the
    batcher's hands), waiting (`waiting`, merged where that saves rows), or applied (the store has it). Each move
    from one to the next is one step without an `await`, and a total is added up in such a step, too: none is
    ever counted twice. What is committed or waits is also kept as one sum a URL, so that adding up costs the
    same however much there is. What was read from the store is kept for `cache_urls_max` URLs, and follows what
    is applied. Tables that wait are merged up to `transaction_rows_max` rows.

    A URL that was merged has the total of the one it counts for, from the moment in which the merge is durable.
    Until the store has done it, that is the sum of both.
    """

    def __init__(
        self,
        store: TotalsStore,
        *,
        applied: int | None,
        cache_urls_max: int,
        transaction_rows_max: int = TRANSACTION_ROWS_MAX,
        actors: Actors | None = None,
        aliases: Aliases | None = None,
        behind: Notice | None = None,
    ) -> None:
        self._store = store
        self._behind = behind or Notice()
        self._actors = actors or Actors(store, applied=applied or 0, cached_max=cache_urls_max)
        self._epoch = 0
        self._moves = 0
        self.applied = applied or 0
        self._apart = applied is None
        """Whether each table waits by itself: which of them the store has is not known yet."""
        self.waiting: deque[Waiting] = deque()
        self.rows_waiting = 0
        self.tables_waiting = 0
        self._url_bytes_waiting = 0
        self.aliases = aliases or Aliases(str.encode)
        self.merging: dict[int, Fold] = {}
        """Merges that the store has not done yet, by their tables."""
        self.liked_both: dict[str, int] = {}
        """How many actors had liked a URL that was merged in this life and the one that it is part of, where known."""
        self.store_ahead = trio.Event()
        """Is set when a reader saw that the store has more than it said: asking it again will tell."""
        self.followers: list[Follower] = []
        self._stored_as: dict[str, list[str]] = {}
        self._tables: dict[int, Table] = {}
        self._committed: dict[int, Rows] = {}
        self._pending = Pending()
        self._cache_urls_max = cache_urls_max
        self._bases = Bases(cache_urls_max)
        self._transaction_rows_max = transaction_rows_max
        self._moved = trio.Event()

    def too_many_wait(self, rows_max: int) -> bool:
        """Whether `rows_max` rows wait for the store, or take the memory that is for so many."""
        bytes_waiting = self.rows_waiting * ROW_BYTES + self._url_bytes_waiting
        return self.rows_waiting >= rows_max or bytes_waiting >= rows_max * ROW_BYTES_MAX

    def opened(self, table: Table) -> None:
        """A table is open: what it counts is part of the totals from now on."""
        self._tables[table.id] = table
        self._moves += 1

    def committed(self, table: Table) -> None:
        """The counters of `table` gave up their counts: `table.rows` has them."""
        if table.rows is not None and self._tables.pop(table.id, None) is not None:
            self._commit(table.id, table.rows)

    def dropped(self, table: Table) -> None:
        """A table ended without any counts."""
        self._tables.pop(table.id, None)
        self._moves += 1
        self._take_back(table.id)
        self._tell()

    def placed(self, table: int, merge: Fold) -> None:
        """A merge is durable, behind all that is in the tables up to `table`: reads follow it from now on."""
        self.merging[table] = merge
        self._actors.place_merge(table)
        if merge.erases:
            # Reads follow when the store does.
            return
        self.aliases.add(merge.old, merge.new)
        for name in self._stored_as.pop(merge.old, ()):
            self.is_stored_as(merge.new, name)
        self._tell_followers([merge.old, merge.new])

    def is_stored_as(self, url: str, name: str) -> None:
        """The store may have counts of `url` by another `name`, on which something stands that waits for it.

        They are part of each total until `nothing_is_stored_otherwise`: what takes back a like by the old name must
        not be read without that like.
        """
        self._stored_as.setdefault(self.aliases(url), []).append(name)

    def nothing_is_stored_otherwise(self) -> None:
        """All that the store had by other names is folded into what counts now."""
        self._stored_as = {}

    def settled_name(self, url: str) -> str:
        """What `url` counts for in the store, where merges that wait are not done yet."""
        if any(url == merge.old for merge in self.merging.values()):
            return url
        return self.aliases(url)

    def batched(self, batch: Batch) -> None:
        """A table's counts are in its batch file, and wait to be applied. Batches come in the order of their ids.

        The counts of `batch` must not be changed from now on.
        """
        self._tables.pop(batch.table, None)
        self._moves += 1
        if self._committed.get(batch.table) is not batch.rows:
            # It was found at the start, or its counters were found to be wrong.
            self._take_back(batch.table)
            self._commit(batch.table, batch.rows)
        del self._committed[batch.table]
        self._queue(batch)
        self._actors.batched(batch.table, batch.actors)

    def _queue(self, batch: Batch) -> None:
        """Let `batch` wait, behind all that waits."""
        minute = int(batch.closed // 60)
        last = self.waiting[-1] if self.waiting else None
        alone = self._apart or last is None or last.frozen or last.increments.minute != minute
        if alone or last is None or not self._take_along(last, batch):
            increments = Increments(batch.table, batch.table, minute, batch.rows.copy(), batch.actors)
            last = Waiting(
                increments, {batch.table: batch.sums}, since=batch.closed, url_bytes=sum(map(len, batch.rows))
            )
            self.waiting.append(last)
            self.rows_waiting += increments.size
            self._url_bytes_waiting += last.url_bytes
        if batch.merge is not None:
            # What is in later tables comes after it.
            last.increments.merge = batch.merge
            last.frozen = True
        self.tables_waiting += 1

    def leave(self) -> Steps[None]:
        """Get ready for the first of `waiting` to be applied, which takes no more tables from now on.

        `applied_first` does what is left of it in one step.
        """
        self.waiting[0].frozen = True
        return self._pending.leave(self.waiting[0].increments.rows)

    def settle(self) -> Steps[None]:
        """Do what `applied_first` left to be done, which nobody waits for."""
        return self._bases.settle()

    def applied_first(self, applied: Applied | None = None) -> Waiting:
        """The store has the first of `waiting`: its counts move over to the store's side.

        What the store made of it is in `applied`, None if that is not known.
        """
        finish(self.leave())
        first = self.waiting.popleft()
        increments = first.increments
        self.rows_waiting -= increments.size
        self._url_bytes_waiting -= first.url_bytes
        self.tables_waiting -= len(first.tables)
        self._actors.applied(increments)
        self._pending.gone()
        self._bases.applied(increments.rows.copy())
        if applied is not None:
            self._bases.add(applied.corrections)
        if applied is None and increments.actors:
            self.forget(increments.rows)
        elif applied is not None and applied.corrections:
            self._tell_followers(applied.corrections)
        if increments.merge is not None:
            self._merged(first.tables, applied)
        self.applied = increments.last
        self._tell()
        return first

    def resume(self, applied: int, again: Sequence[Batch] = ()) -> dict[int, Counts]:
        """The store has what is up to table `applied`, whatever was thought, and is given what comes behind that.

        `again` are the tables behind it that it had, as far as there is anything left of them, oldest first. Returns
        the sums of those that wait no longer, because the store has them.
        """
        self._apart = False
        had: dict[int, Counts] = {}
        self._pending.stay()
        while self.waiting and self.waiting[0].increments.last <= applied:
            had |= self.applied_first().sums
        if applied != self.applied:
            self._actors.resume(applied)
        if applied < self.applied:
            self._epoch += 1
            self._bases = Bases(self._cache_urls_max)
            later, self.waiting = self.waiting, deque()
            for batch in again:
                self._pending.add(batch.rows)
                self._queue(batch)
                self._actors.batched(batch.table, batch.actors)
                if batch.merge is not None:
                    self.merging[batch.table] = batch.merge
            for waiting in self.waiting:
                waiting.frozen = True
            self.waiting += later
            for follower in tuple(self.followers):
                follower.store_went_back()
        self.applied = applied
        self._moves += 1
        self._tell()
        return had

    @property
    def position(self) -> tuple[int, ...]:
        """Is never the same again once any total has changed, from before that is acknowledged."""
        return self._moves, *(table.posts for table in self._tables.values())

    @property
    def stored(self) -> tuple[int, int]:
        """The same of what the store has, once that is known."""
        return self.applied, self._epoch

    def counts_nowait(self, url: str, also: OldNames = NO_OLD_NAMES) -> Counts | None:
        """The total of `url` if that needs no look into the store, else None."""
        names = self._names(url, also)
        bases: Rows = {}
        for name in names:
            base = self._bases.get(name)
            if base is None:
                return None
            bases[name] = base
        return self._add_up(names, bases)

    async def counts(self, urls: Sequence[str], also: OldNames = NO_OLD_NAMES, *, keep: bool = True) -> Rows:
        """The totals of `urls`, all of one moment. Raises StoreError.

        What the store still has under the old names in `also` is a part of them. What is read is kept for the next
        who asks, unless `keep` says that this is not likely.
        """
        bases: Rows | None = None
        with in_time():
            moved = False
            while bases is None:
                asked = [self._names(url, also) for url in urls]
                bases = await self._look(asked, use_cache=not moved, keep=keep)
                moved = True
        return {url: self._add_up(names, bases) for url, names in zip(urls, asked, strict=True)}

    def increments(self, url: str) -> Counts:
        """What the store does not have yet of `url`."""
        return self._add_up(self._names(url), {})

    def unapplied_parts(self) -> list[tuple[int, int, int | None, Rows]]:
        """What is committed or waits: the first and the last table, the minute if it is known, and the rows.

        The rows get no more.
        """
        parts: list[tuple[int, int, int | None, Rows]] = []
        for waiting in self.waiting:
            it = waiting.increments
            parts.append((it.first, it.last, it.minute, it.rows if waiting.frozen else it.rows.copy()))
        return parts + [(table, table, None, rows) for table, rows in self._committed.items()]

    def unapplied_urls(self) -> set[str]:
        """All URLs of which the store does not have all counts yet."""
        return {self.aliases(url) for urls in self.unapplied_steps(1000) for url in urls}

    def unapplied_steps(self, size: int) -> Iterator[list[str]]:
        """The same, `size` at once, some of them again and again, some by the names of URLs that are being merged.

        What comes or goes meanwhile may be there or not.
        """
        yield from self.counting_steps(size)
        yield from _steps([*self._committed.values(), *(item.increments.rows for item in self.waiting)], size)

    def counting_steps(self, size: int) -> Iterator[list[str]]:
        """Those of them that are in tables that still count, or are being merged."""
        merging = [merge.new for merge in self.merging.values() if not merge.erases]
        return _steps([merging, *(table.urls for table in self._tables.values())], size)

    def pending_steps(self) -> Iterator[Mapping[str, Counts]]:
        """The others, by their own names, and what the store does not have of them: to be looked at, not to be kept."""
        return self._pending.parts()

    @property
    def tables(self) -> list[Table]:
        """The tables that still count."""
        return list(self._tables.values())

    def forget(self, urls: Collection[str]) -> None:
        """The store's counts of `urls` were changed by others than the drainer."""
        self._epoch += 1
        self._bases.forget(urls)
        self._tell_followers(urls)

    def forget_all(self) -> None:
        """The store's counts of any URL may have been changed by others."""
        self._epoch += 1
        self._bases = Bases(self._cache_urls_max)
        self._moves += 1
        for follower in tuple(self.followers):
            follower.store_went_back()

    async def wait_moved(self) -> None:
        """Wait until the next table is applied, or ended without counts."""
        await self._moved.wait()

    def _merged(self, tables: Iterable[int], applied: Applied | None) -> None:
        for table in tables:
            merge = self.merging.pop(table, None)
            if merge is not None:
                if merge.erases:
                    self.forget({merge.old, *self._bases.of_host(merge.host), *(applied.erased if applied else ())})
                    continue
                self.forget([merge.old, merge.new])
                if applied is not None:
                    self.liked_both[merge.old] = applied.liked_both

    def _names(self, asked: str, also: OldNames = NO_OLD_NAMES) -> Sequence[str]:
        """Under which names the store has the counts of what is asked for."""
        url = self.aliases(asked)
        if not self.merging and not also and not self._stored_as:
            return (url,)
        merging = [merge.old for merge in self.merging.values() if merge.new == url]
        return list(dict.fromkeys([url, *merging, *self._stored_as.get(url, ()), *also.get(asked, ())]))

    def _tell_followers(self, urls: Collection[str]) -> None:
        self._moves += 1
        for follower in tuple(self.followers):
            follower.forgotten(urls)

    def _tell(self) -> None:
        self._moved.set()
        self._moved = trio.Event()

    def _commit(self, table: int, rows: Rows) -> None:
        self._committed[table] = rows
        self._moves += 1
        self._pending.add(rows)
        for follower in tuple(self.followers):
            follower.committed(table, rows)

    def _take_along(self, waiting: Waiting, batch: Batch) -> bool:
        """Merge `batch` into the transaction of those who wait, if there is room."""
        increments = waiting.increments
        fresh = batch.rows.keys() - increments.rows.keys()
        url_bytes = waiting.url_bytes + sum(map(len, fresh))
        actors = len(increments.actors) + len(batch.actors)
        if (
            len(increments.rows) + len(fresh) + actors > self._transaction_rows_max
            or url_bytes > TRANSACTION_BYTES_MAX
            or actors > TRANSACTION_ACTORS_MAX
        ):
            return False
        self.rows_waiting -= increments.size
        _merge(increments.rows, batch.rows)
        add_likings(increments.actors, batch.actors)
        self.rows_waiting += increments.size
        increments.last = batch.table
        waiting.sums[batch.table] = batch.sums
        self._url_bytes_waiting += url_bytes - waiting.url_bytes
        waiting.url_bytes = url_bytes
        return True

    def _take_back(self, table: int) -> None:
        rows = self._committed.pop(table, None)
        if rows:
            self._pending.subtract(rows)
            self._tell_followers(rows)

    async def _look(self, asked: Sequence[Sequence[str]], *, use_cache: bool, keep: bool) -> Rows | None:
        """The store's counts under all the names that are `asked`, as of `applied`, in the step in which this returns.

        None if tables or URLs moved meanwhile, so that they have to be asked for again. What others let the
        cache forget meanwhile does no harm: an answer goes to who asked for it, whatever becomes of the cache.
        """
        kept = self._bases
        bases: Rows = {}
        unknown: set[str] = set()
        for names in asked:
            # All names of a URL are read together: what one of them has may just be moving to another.
            if use_cache and all(map(kept.__contains__, names)):
                bases |= {name: base for name in names if (base := kept.get(name)) is not None}
            else:
                unknown.update(names)
        if unknown:
            epoch, before = self._epoch, self.applied
            applied, rows = await self._store.read(sorted(unknown))
            if epoch == self._epoch and applied < before:
                # It had more when it was asked. Who writes to it finds out, and goes on from there.
                self._behind.give()
                await self._moved.wait()
            if epoch != self._epoch or applied < self.applied:
                return None
            if before != self.applied and any(kept.get(url) is not base for url, base in bases.items()):
                return None
            read = {url: rows.get(url) or {} for url in unknown}
            if applied != self.applied:
                if not self._take_off(read, applied):
                    self.store_ahead.set()
                    await self._moved.wait()
                    return None
            elif keep:
                kept.keep(read)
            bases |= read
        return bases

    def _take_off(self, bases: Rows, applied: int) -> bool:
        """Make bases as of table `applied` such as of `self.applied`: the store is ahead if its word was lost.

        How long the drainer takes to ask it again is nothing that a reader has to wait for. False where it can't be
        told what the store made of actors and merges.
        """
        ahead = [item.increments for item in self.waiting if item.increments.last <= applied]
        if any(increments.actors or increments.merge is not None for increments in ahead):
            return False
        for increments in ahead:
            for url in bases.keys() & increments.rows.keys():
                add(bases[url], {name: -n for name, n in increments.rows[url].items()})
        return True

    def _add_up(self, names: Sequence[str], bases: Mapping[str, Counts]) -> Counts:
        counts: Counts = {}
        for name in names:
            base = bases.get(name)
            if base:
                add(counts, base)
            self._pending.add_to(name, counts)
            for table in self._tables.values():
                open_counts = table.counts(name)
                if open_counts:
                    add(counts, open_counts)
        return counts


def _steps(parts: Iterable[Collection[str]], size: int) -> Iterator[list[str]]:
    """The URLs of all `parts`, each as it is when its turn comes, `size` at once."""
    left: list[str] = []
    for part in parts:
        urls = list(part)
        for begin in range(0, len(urls), size):
            left += urls[begin : begin + size]
            if len(left) >= size:
                yield left[:size]
                del left[:size]
    yield left


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
