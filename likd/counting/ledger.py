"""The ledger: where each table is, and what is waiting for the store."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from types import MappingProxyType
from typing import Protocol, TypeAlias

import attrs
import trio

from likd.counting.actors import Actors
from likd.counting.aliases import Aliases
from likd.counting.pending import Pending
from likd.counting.table import Table
from likd.counting.waiting import TRANSACTION_ROWS_MAX, Waiting
from likd.durability.batch_file import Batch
from likd.model import Counts, Fold, Rows, add, total
from likd.runtime.cooperative import Steps, finish
from likd.stores.protocol import Applied, Increments

ROW_BYTES = 256
"""The memory of a waiting row besides its URL's bytes: measured, including what Python keeps for its dicts."""
ROW_BYTES_MAX = 400
"""The average memory allowed for each waiting row: with more, the limit is reached at fewer rows."""
SLICE_ROWS = 1000
"""How many rows a step adds to the pending sums: well under a millisecond."""

OldNames: TypeAlias = Mapping[str, Collection[str]]
"""URL → names under which the store may still have its counts, because it was counted under other rules."""
NO_OLD_NAMES: OldNames = MappingProxyType({})


class Follower(Protocol):
    """Is told what makes totals grow, in the step in which it happens. Must not raise."""

    def committed(self, table_id: int, rows: Rows) -> None:
        """The final counts of `table_id` are `rows`."""
        ...

    def forgotten(self, urls: Collection[str]) -> None:
        """The totals of `urls` changed for another reason."""
        ...

    def store_went_back(self) -> None:
        """The store may have less of any URL than before."""
        ...


class Reader(Protocol):
    """Caches what the store has, and is told in the step in which it has more."""

    def applied(self, increments: Increments, applied: Applied | None) -> None:
        """The store has `increments`; `applied` is what they became there, None if unknown."""
        ...

    def settle(self) -> Steps[None]:
        """Do the rest of `applied`'s work, for which nobody waits."""
        ...

    def store_went_back(self) -> None:
        """The store has less than it had."""
        ...


@attrs.frozen
class LedgerStatistics:
    """What is waiting for the store."""

    applied: int
    """The last table that the store has; 0 if it has none, or that is unknown."""
    tables_waiting: int
    """How many tables with a batch file the store does not have."""
    rows_waiting: int
    """How many rows they have, after merging where that saves some."""
    oldest_waiting: float | None
    """When the oldest of them was closed, in seconds since 1970; None if none is waiting."""
    merging: tuple[str, ...]
    """The old URLs of merges that the store has not carried out yet."""


class Ledger:
    """Follows every table from its opening until the store has it: where it is, and what is waiting.

    A table is in exactly one of four places: open or swapped (its counters have the counts), committed (in the
    batcher's hands), waiting (in `waiting`, merged where that saves rows, up to `transaction_rows_max` of them), or
    applied (the store has it). Each move from one to the next is one step without an `await`. What is committed or
    waiting is also kept as one sum per URL, so that adding up costs the same however much there is.

    A merged URL counts for the other from the moment at which the merge is durable.
    """

    def __init__(
        self,
        *,
        applied: int | None,
        actors: Actors,
        aliases: Aliases | None = None,
        transaction_rows_max: int = TRANSACTION_ROWS_MAX,
    ) -> None:
        self._actors = actors
        self._moves = 0
        self.applied = applied or 0
        self._apart = applied is None
        """Whether each table waits separately, because it is not known yet which of them the store has."""
        self.ends: Set[int] = frozenset()
        """Tables behind which waiting ones are not merged with others: some parts of the store have them."""
        self.waiting: deque[Waiting] = deque()
        self.rows_waiting = 0
        self.tables_waiting = 0
        self._url_bytes_waiting = 0
        self.aliases = aliases or Aliases(str.encode)
        self.merging: dict[int, Fold] = {}
        """Merges that the store has not carried out yet, by table."""
        self.liked_both: dict[str, int] = {}
        """For URLs merged since the start: how many actors had liked both, where known."""
        self.store_ahead = trio.Event()
        """Set when a reader saw that the store has more than it had confirmed: asking again will confirm it."""
        self.followers: list[Follower] = []
        self.readers: list[Reader] = []
        self._stored_as: dict[str, list[str]] = {}
        self._late_names: dict[str, int] = {}
        """URLs that were merged elsewhere, and the last table that may count them under these names."""
        self._tables: dict[int, Table] = {}
        self._committed: dict[int, Rows] = {}
        self._pending = Pending()
        self._transaction_rows_max = transaction_rows_max
        self._moved = trio.Event()

    def statistics(self) -> LedgerStatistics:
        """What is waiting, in numbers."""
        return LedgerStatistics(
            applied=self.applied,
            tables_waiting=self.tables_waiting,
            rows_waiting=self.rows_waiting,
            oldest_waiting=self.waiting[0].since if self.waiting else None,
            merging=tuple(merge.old for merge in self.merging.values()),
        )

    def too_many_wait(self, rows_max: int) -> bool:
        """Whether `rows_max` rows are waiting for the store, or take the memory allowed for that many."""
        bytes_waiting = self.rows_waiting * ROW_BYTES + self._url_bytes_waiting
        return self.rows_waiting >= rows_max or bytes_waiting >= rows_max * ROW_BYTES_MAX

    def lag(self, now: float) -> float:
        """How old the oldest table is that the store does not have, in seconds."""
        return max(0.0, now - self.waiting[0].since) if self.waiting else 0.0

    def opened(self, table: Table) -> None:
        """A table is open: totals include what it counts from now on."""
        self._tables[table.id] = table
        self._moves += 1

    def committed(self, table: Table) -> Steps[None]:
        """The counters of `table` gave up their counts: `table.rows` has them. Does nothing if that is already known.

        In steps: totals include each row through the table, or through the pending sums.
        """
        rows = table.rows
        if rows is None or table.id not in self._tables:
            return
        while table.unsummed:
            some = {}
            for _ in range(min(len(table.unsummed), SLICE_ROWS)):
                url, counts = table.unsummed.popitem()
                some[url] = counts
            self._pending.add(some)
            rows.update(some)
            if table.unsummed:
                yield
        del self._tables[table.id]
        self._keep(table.id, rows)

    def dropped(self, table: Table) -> None:
        """A table ended without any counts."""
        self._tables.pop(table.id, None)
        self._moves += 1
        self._take_back(table.id)
        self._tell()

    def placed(self, table_id: int, merge: Fold) -> None:
        """A merge is durable, after everything in the tables up to `table_id`: reads follow it from now on."""
        self.merging[table_id] = merge
        self._actors.place_merge(table_id)
        if merge.host:
            self.any_forgotten()
            return
        if merge.erases:
            self.forgotten([merge.old])
            return
        self.aliases.add(merge.old, merge.new)
        for name in self._stored_as.pop(merge.old, ()):
            self.is_stored_as(merge.new, name)
        self.forgotten([merge.old, merge.new])

    def merged_elsewhere(self, aliases: Iterable[tuple[str, str]]) -> list[str]:
        """The store has these merges by other nodes: reads follow them. Returns the URLs whose totals changed."""
        moved: list[str] = []
        newest = max([self.applied, *self._tables, *self._committed, *(it.increments.last for it in self.waiting)])
        for old, new in aliases:
            olds = self.aliases.follow(old, new)
            for name in olds:
                self._late_names[name] = newest
                for stored in self._stored_as.pop(name, ()):
                    self.is_stored_as(new, stored)
            moved += [*olds, new] if olds else []
        if moved:
            self.forgotten(moved)
        return moved

    def parted_elsewhere(self, olds: Iterable[str]) -> list[str]:
        """Others let these aliases count for themselves again. Returns the URLs whose totals are others."""
        moved: list[str] = []
        for old in [each for each in olds if each in self.aliases]:
            moved += [old, self.aliases(old)]
            self.aliases.remove(old)
            self._late_names.pop(old, None)
        if moved:
            self.forgotten(moved)
        return moved

    def late_names(self, rows: Rows) -> list[str]:
        """Those of `rows` that the store has under other names, because they were merged elsewhere."""
        return [name for name in self._late_names if name in rows] if self._late_names else []

    def is_stored_as(self, url: str, name: str) -> None:
        """The store may have counts of `url` under another `name`, on which something that is waiting for it depends.

        Totals include them until `nothing_is_stored_otherwise`: an unlike must not be read without the like, under the
        old name, that it takes back.
        """
        self._stored_as.setdefault(self.aliases(url), []).append(name)

    def nothing_is_stored_otherwise(self) -> None:
        """Everything that the store had under other names is folded into the current ones."""
        self._stored_as = {}

    def settled_name(self, url: str) -> str:
        """What `url` counts for in the store, which has not carried out waiting merges yet."""
        if any(url == merge.old for merge in self.merging.values()):
            return url
        return self.aliases(url)

    def batched(self, batch: Batch) -> None:
        """A table's counts are in its batch file, waiting to be applied. Batches come in order of their ids.

        The counts of `batch` must not be changed from now on.
        """
        self._tables.pop(batch.table_id, None)
        self._moves += 1
        if self._committed.get(batch.table_id) is not batch.rows:
            # It was found at the start, or its counters turned out to be wrong.
            self._take_back(batch.table_id)
            self._commit(batch.table_id, batch.rows)
            self._actors.batched(batch.table_id, batch.actors)
        del self._committed[batch.table_id]
        self._queue(batch)

    def _queue(self, batch: Batch) -> None:
        """Let `batch` wait, after everything that is waiting."""
        minute = int(batch.closed // 60)
        last = self.waiting[-1] if self.waiting else None
        alone = self._apart or last is None or last.frozen or last.increments.minute != minute
        alone = alone or (last is not None and any(last.increments.last <= end < batch.table_id for end in self.ends))
        if alone or last is None or not self._take_along(last, batch):
            increments = Increments(batch.table_id, batch.table_id, minute, batch.rows.copy(), batch.actors)
            last = Waiting(
                increments, {batch.table_id: batch.sums}, since=batch.closed, url_bytes=sum(map(len, batch.rows))
            )
            self.waiting.append(last)
            self.rows_waiting += increments.row_count
            self._url_bytes_waiting += last.url_bytes
        if batch.merge is not None:
            # Whatever is in later tables comes after it.
            last.increments.merge = batch.merge
            last.frozen = True
        self.tables_waiting += 1

    def correct(self, waiting: Waiting, rows: Rows) -> None:
        """Add these counts to waiting ones of the same URLs."""
        for url, counts in rows.items():
            waiting.increments.rows[url] = total([waiting.increments.rows[url], counts])
        self._pending.add(rows)
        self.forgotten(rows)

    def leave(self) -> Steps[None]:
        """Prepare the first of `waiting` for being applied; it takes no more tables from now on.

        `applied_first` does the rest in one step.
        """
        self.waiting[0].frozen = True
        return self._pending.leave(self.waiting[0].increments.rows)

    def settle(self) -> Steps[None]:
        """Do the rest of `applied_first`'s work, for which nobody waits."""
        for reader in self.readers:
            yield from reader.settle()
        yield from self._actors.settle()

    def applied_first(self, applied: Applied | None = None) -> Waiting:
        """The store has the first of `waiting`: its counts move over to the store's side.

        `applied` is what it became there, None if unknown.
        """
        finish(self.leave())
        first = self.waiting.popleft()
        increments = first.increments
        self.rows_waiting -= increments.row_count
        self._url_bytes_waiting -= first.url_bytes
        self.tables_waiting -= len(first.tables)
        self._actors.applied(increments)
        self._pending.gone()
        for reader in self.readers:
            reader.applied(increments, applied)
        for table_id in first.tables:
            merge = self.merging.pop(table_id, None)
            if merge is not None and not merge.erases and applied is not None:
                self.liked_both[merge.old] = applied.liked_both
        self.applied = increments.last
        if self._late_names:
            self._late_names = {name: last for name, last in self._late_names.items() if last > self.applied}
        self._tell()
        return first

    def resume(self, applied: int, again: Sequence[Batch] = ()) -> dict[int, Counts]:
        """The store has the tables up to `applied`, whatever was assumed, and is given what comes after.

        `again` has the later tables that it had before, as far as anything is left of them, oldest first. Returns the
        sums of those that are no longer waiting, because the store has them.
        """
        self._apart = False
        had: dict[int, Counts] = {}
        self._pending.stay()
        while self.waiting and self.waiting[0].increments.last <= applied:
            had |= self.applied_first().sums
        if applied != self.applied:
            self._actors.resume(applied)
        if applied < self.applied:
            for reader in self.readers:
                reader.store_went_back()
            later, self.waiting = self.waiting, deque()
            for batch in again:
                self._pending.add(batch.rows)
                self._queue(batch)
                self._actors.batched(batch.table_id, batch.actors)
                if batch.merge is not None:
                    self.merging[batch.table_id] = batch.merge
            for waiting in self.waiting:
                waiting.frozen = True
            self.waiting += later
            for follower in tuple(self.followers):
                follower.store_went_back()
        self.applied = applied
        self._moves += 1
        self._tell()
        return had

    def any_forgotten(self) -> None:
        """The total of any URL may have changed other than through tables."""
        self._moves += 1
        for follower in tuple(self.followers):
            follower.store_went_back()

    @property
    def position(self) -> tuple[int, ...]:
        """A value that changes whenever any total changes, before that is acknowledged, and never repeats."""
        return self._moves, *(table.posts for table in self._tables.values())

    def unapplied_parts(self) -> list[tuple[int, int, int | None, Rows]]:
        """What is committed or waiting: the first and the last table, the minute if it is known, and the rows.

        The rows are final.
        """
        parts: list[tuple[int, int, int | None, Rows]] = []
        for waiting in self.waiting:
            it = waiting.increments
            parts.append((it.first, it.last, it.minute, it.rows if waiting.frozen else it.rows.copy()))
        return parts + [(table_id, table_id, None, rows) for table_id, rows in self._committed.items()]

    def unapplied_urls(self) -> set[str]:
        """All URLs with counts that the store does not have yet."""
        return {self.aliases(url) for urls in self.unapplied_steps(1000) for url in urls}

    def unapplied_steps(self, size: int) -> Iterator[list[str]]:
        """The same, `size` at once; some may repeat, and some may be under the names of URLs that are being merged.

        What is added or removed meanwhile may or may not be included.
        """
        yield from self.counting_steps(size)
        yield from _steps([*self._committed.values(), *(item.increments.rows for item in self.waiting)], size)

    def counting_steps(self, size: int) -> Iterator[list[str]]:
        """Those that are in tables that are still counting, or are being merged."""
        merging = [merge.new for merge in self.merging.values() if not merge.erases]
        return _steps([merging, *(table.urls for table in self._tables.values())], size)

    def pending_steps(self) -> Iterator[Mapping[str, Counts]]:
        """The others, under their own names, with the counts that the store does not have: to be read, not kept."""
        return self._pending.parts()

    @property
    def tables(self) -> list[Table]:
        """The tables that are still counting."""
        return list(self._tables.values())

    async def wait_moved(self) -> None:
        """Wait until the next table is applied, or ended without counts."""
        await self._moved.wait()

    def names(self, asked: str, also: OldNames = NO_OLD_NAMES) -> Sequence[str]:
        """The names under which the store has the requested URLs' counts, plus, for some URLs, those in `also`."""
        url = self.aliases(asked)
        if not self.merging and not also and not self._stored_as and not self._late_names:
            return (url,)
        merging = [merge.old for merge in self.merging.values() if merge.new == url]
        late = [name for name in self._late_names if self.aliases(name) == url]
        return list(dict.fromkeys([url, *merging, *late, *self._stored_as.get(url, ()), *also.get(asked, ())]))

    def forgotten(self, urls: Collection[str]) -> None:
        """The totals of `urls` changed other than through tables."""
        self._moves += 1
        for follower in tuple(self.followers):
            follower.forgotten(urls)

    def add_to(self, name: str, counts: Counts) -> None:
        """Add to `counts` what the store does not have yet under `name`."""
        self._pending.add_to(name, counts)
        for table in self._tables.values():
            open_counts = table.unsummed_counts(name)
            if open_counts:
                add(counts, open_counts)

    def erased_with(self, url: str) -> int | None:
        """The last table that counts nothing of `url` any more, because the store has yet to erase what it has so far.

        It may have erased a part of it, and none of it is read.
        """
        return max((table for table, merge in self.merging.items() if merge.erases and merge.takes(url)), default=None)

    def add_later(self, name: str, table_id: int, counts: Counts) -> None:
        """Add to `counts` what came under `name` after table `table_id`."""
        rows = [item.increments.rows for item in self.waiting if item.increments.first > table_id]
        rows += [committed for number, committed in self._committed.items() if number > table_id]
        later = [each.get(name) for each in rows]
        tables = (table for table in self._tables.values() if table.id > table_id)
        later += [(table.rows or {}).get(name) or table.unsummed_counts(name) for table in tables]
        for each in later:
            add(counts, each or {})

    def _tell(self) -> None:
        self._moved.set()
        self._moved = trio.Event()

    def _commit(self, table_id: int, rows: Rows) -> None:
        self._pending.add(rows)
        self._keep(table_id, rows)

    def _keep(self, table_id: int, rows: Rows) -> None:
        self._committed[table_id] = rows
        self._moves += 1
        for follower in tuple(self.followers):
            follower.committed(table_id, rows)

    def _take_along(self, waiting: Waiting, batch: Batch) -> bool:
        rows, url_bytes = waiting.increments.row_count, waiting.url_bytes
        if not waiting.take_along(batch, self._transaction_rows_max):
            return False
        self.rows_waiting += waiting.increments.row_count - rows
        self._url_bytes_waiting += waiting.url_bytes - url_bytes
        return True

    def _take_back(self, table_id: int) -> None:
        rows = self._committed.pop(table_id, None)
        if rows:
            self._pending.subtract(rows)
            self.forgotten(rows)


def _steps(parts: Iterable[Collection[str]], size: int) -> Iterator[list[str]]:
    """The URLs of all `parts`, `size` at once, each part as it is in its turn."""
    left: list[str] = []
    for part in parts:
        urls = list(part)
        for begin in range(0, len(urls), size):
            left += urls[begin : begin + size]
            if len(left) >= size:
                yield left[:size]
                del left[:size]
    yield left
