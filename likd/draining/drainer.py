"""The drainer: writes batches to the store, oldest first, at its write tolerance, each exactly once."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TypeVar

import attrs
import structlog
import trio

from likd.counting.ledger import Ledger
from likd.counting.waiting import Waiting
from likd.draining.applied_tables import AppliedTables
from likd.draining.write_rate import WriteTolerance
from likd.durability.batch_file import Batch
from likd.errors import Behind, CountTooLarge, Fenced, StoreError, TooNew
from likd.runtime.backoff import Backoff
from likd.runtime.cooperative import finish_in_turns
from likd.runtime.notice import Notice
from likd.stores.protocol import Applied, CountStore, Increments

BACKOFF_SECONDS = 0.2
BACKOFF_SECONDS_MAX = 10.0

T = TypeVar("T")

log = structlog.get_logger(__name__)


class _GivenUp(Exception):
    """The store fails and there will be no more batches: the next start continues."""


@attrs.frozen
class DrainerStatistics:
    """The drainer in numbers, since the start."""

    write_tolerance: float
    """The most rows per second that are written to the store."""
    rows_written: int
    """How many rows were written to the store."""
    went_back: int
    """How often the store was found to have gone back in time."""
    fault: str | None
    """Why the store can't be written to now; None if nothing is wrong."""


class Drainer:
    """Applies what is waiting in `ledger` to the store.

    `prepare` has to succeed before anything is applied. If the store fails, it retries after a pause with jitter until
    it works. If the store went back in time (found by applying, or given in `behind`), it is reopened for counts with
    these `names`, and given again what `applied_tables` kept, `renamed` by rules and merges. `run` can be run again
    after a fault; it ends when `batches` has ended and everything is applied, or when the store fails after that: then
    the next start continues. Raises Fenced, TooNew. A store that is `away` at the start is opened here, and `learn`
    then gets what else a start would have asked it; the tables of this run begin at `next_table`.
    """

    def __init__(
        self,
        *,
        batches: trio.MemoryReceiveChannel[Batch],
        store: CountStore,
        ledger: Ledger,
        tolerance: WriteTolerance,
        applied_tables: AppliedTables,
        names: Sequence[str] = (),
        behind: Notice | None = None,
        jitter: Callable[[], float] = random.random,
        prepare: Callable[[], Awaitable[None]] | None = None,
        renamed: Callable[[Batch], Batch] | None = None,
        away: str | None = None,
        learn: Callable[[], Awaitable[None]] | None = None,
        next_table: int = 1,
    ) -> None:
        self._batches = batches
        self._store = store
        self._ledger = ledger
        self._tolerance = tolerance
        self._applied_tables = applied_tables
        self._names = names
        self._behind = behind or Notice()
        self._jitter = jitter
        self._prepare = prepare
        self._renamed = renamed
        self._learn = learn
        self._next_table = next_table
        self._paid_for: Waiting | None = None
        self._unopened = self._doubtful = away is not None
        self._news = Notice()
        self._end = trio.Event()
        self.fault = away
        self.rows_written = 0
        self.went_back = 0
        """How often the store was found to have gone back in time."""

    def statistics(self) -> DrainerStatistics:
        """The drainer in numbers."""
        return DrainerStatistics(
            write_tolerance=self._tolerance.rows_per_second,
            rows_written=self.rows_written,
            went_back=self.went_back,
            fault=self.fault,
        )

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Work until `batches` has ended and everything is applied, or the store fails after that."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._collect)
            nursery.start_soon(self._hear_of_doubt)
            task_status.started()
            with suppress(_GivenUp):
                await self._work()
            await self._applied_tables.close()
            nursery.cancel_scope.cancel()

    async def _work(self) -> None:
        while True:
            if self._applied_tables.untended:
                await self._applied_tables.tend()
            elif self._doubtful:
                await self._resume()
            elif self._ledger.waiting:
                await self._apply(self._ledger.waiting[0])
            elif self._end.is_set():
                return
            else:
                await self._news.wait()

    async def _collect(self) -> None:
        async for batch in self._batches:
            self._ledger.batched(batch)
            self._news.give()
        self._end.set()
        # A failure is retried once more, without its pause.
        self._ledger.store_ahead.set()
        self._news.give()

    async def _hear_of_doubt(self) -> None:
        while True:
            await self._behind.wait()
            self._doubtful = True
            self._ledger.store_ahead.set()
            self._news.give()

    async def _apply(self, waiting: Waiting) -> None:
        """Apply until it works, or the store turns out to have gone back in time."""
        increments = waiting.increments
        waiting.frozen = True
        if self._paid_for is not waiting:
            await self._tolerance.take(increments.row_count)
            self._paid_for = waiting
        try:
            applied = await self._until_it_works(lambda: self._give(increments), waiting)
        except Behind:
            self._doubtful = True
            return
        self.rows_written += increments.row_count
        self._applied_tables.applied(self._ledger.applied_first(applied).sums)
        await finish_in_turns(self._ledger.settle())

    async def _give(self, increments: Increments) -> Applied | None:
        if self._prepare is not None:
            await self._prepare()
        # `prepare` may still add to what is waiting.
        await finish_in_turns(self._ledger.leave())
        began = trio.current_time()
        try:
            applied = await self._store.apply(increments)
        except CountTooLarge as error:
            # What comes after it must not wait for ever.
            log.error("a count was reduced to what the store can hold", fault=str(error), last=increments.last)
            increments.cut_down()
            applied = await self._store.apply(increments)
        self._tolerance.wrote(increments.row_count, trio.current_time() - began)
        return applied

    async def _resume(self) -> None:
        """Ask the store how far it is, and continue from there."""
        mark = await self._until_it_works(self._open)
        known = self._ledger.applied
        again: list[Batch] = []
        if mark < known or self._unopened:
            # More may come to wait while files are read.
            waiting = [table for item in self._ledger.waiting for table in item.sums]
            again = await self._applied_tables.after(mark, waiting)
        # No await from here on: a kept table is either applied or waiting.
        self._doubtful = self._unopened = False
        if mark < known:
            self.went_back += 1
            log.error("the store went back in time", had=known, has=mark, tables_given_again=len(again))
            self._applied_tables.forget_after(mark)
        had = self._ledger.resume(mark, again if self._renamed is None else list(map(self._renamed, again)))
        self._applied_tables.applied(had)

    async def _open(self) -> int:
        mark = await self._store.open(self._names)
        self._ledger.ends = self._store.ends
        if self._unopened:
            if mark >= self._next_table:
                raise Fenced(
                    f"the store has table {mark} of this data directory, whose own tables begin at {self._next_table}:"
                    " were its files removed?"
                )
            if self._learn is not None:
                await self._learn()
        return mark

    async def _until_it_works(self, what: Callable[[], Awaitable[T]], waiting: Waiting | None = None) -> T:
        """Retry `what` until it works. Raises Behind, Fenced, TooNew, _GivenUp."""
        backoff = Backoff(BACKOFF_SECONDS, BACKOFF_SECONDS_MAX, self._jitter)
        while True:
            try:
                done = await what()
            except (Behind, Fenced, TooNew):
                raise
            except StoreError as error:
                self.fault = str(error)
                self._tolerance.failed()
                about = {"first": waiting.increments.first, "last": waiting.increments.last} if waiting else {}
                log.error("store failed", fault=self.fault, **about)
            else:
                self.fault = None
                return done
            if self._end.is_set():
                raise _GivenUp
            self._ledger.store_ahead = trio.Event()
            with trio.move_on_after(backoff.next()):
                await self._ledger.store_ahead.wait()
