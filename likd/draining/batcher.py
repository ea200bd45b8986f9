"""The batcher: turns swapped tables into batch files."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable

import attrs
import structlog
import trio

from likd.counting.ledger import Ledger
from likd.counting.pool import PoolManager
from likd.counting.table import Table
from likd.durability import batch_file, dead_letters
from likd.durability.batch_file import Batch
from likd.durability.disk import Disk
from likd.durability.filenames import BATCH
from likd.durability.idempotency import KeyLog
from likd.durability.journal import Journal
from likd.durability.replay import replay_segment
from likd.plugins.handlers import Handlers, columns
from likd.runtime.backoff import Backoff
from likd.runtime.cooperative import finish_in_turns

RETRY_SECONDS = 0.1
RETRY_SECONDS_MAX = 5.0
ROWS_INLINE_MAX = 4000
"""How many rows are encoded on the event loop: a millisecond or two."""

log = structlog.get_logger(__name__)


@attrs.frozen
class BatcherStatistics:
    """The batcher in numbers, since the start."""

    tables_in_hand: int
    """Tables that are swapped and have no batch file yet."""
    batches_written: int
    """How many batch files were written."""
    mismatches: int
    """Tables whose counters differed from their journal."""
    dead_letter_bytes: int
    """Disk space of the files of events that a handler could not count."""
    fault: str | None
    """Why a batch file can't be written now; None if nothing is wrong."""


class Batcher:
    """Commits every counter of a swapped table, checks the sum, writes the batch file, drops the journal segment.

    Counters are given back as soon as they are committed. If the disk fails, it retries until it works: meanwhile the
    table is safe in memory and in its journal. Tables in progress belong to this object, so that `run` can be run again
    after a fault. `run` ends when `tables` ends, and then closes `batches`.
    """

    def __init__(
        self,
        *,
        tables: trio.MemoryReceiveChannel[Table],
        batches: trio.MemorySendChannel[Batch],
        disk: Disk,
        journal: Journal,
        keys: KeyLog,
        handlers: Handlers,
        pool: PoolManager,
        ledger: Ledger,
        dead_letter_bytes: int = 0,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._tables = tables
        self._batches = batches
        self._disk = disk
        self._journal = journal
        self._keys = keys
        self._handlers = handlers
        self._pool = pool
        self._ledger = ledger
        self._jitter = jitter
        self._in_hand: deque[Table] = deque()
        self._written: Batch | None = None
        self._spent: deque[int] = deque()
        self.dead_letter_bytes = dead_letter_bytes
        """Disk space of the files of events that were set aside."""
        self.mismatches = 0
        self.batches_written = 0
        self.fault: str | None = None

    @property
    def tables_in_hand(self) -> int:
        """How many swapped tables have no batch file yet."""
        return len(self._in_hand) + self._tables.statistics().current_buffer_used

    def statistics(self) -> BatcherStatistics:
        """The batcher in numbers."""
        return BatcherStatistics(
            tables_in_hand=self.tables_in_hand,
            batches_written=self.batches_written,
            mismatches=self.mismatches,
            dead_letter_bytes=self.dead_letter_bytes,
            fault=self.fault,
        )

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Work until `tables` ends."""
        task_status.started()
        while True:
            await self._drop_segments()
            if not self._in_hand:
                try:
                    self._in_hand.append(await self._tables.receive())
                except trio.EndOfChannel:
                    await self._batches.aclose()
                    return
            await self._commit_all_that_wait()
            await self._batch(self._in_hand[0])

    async def _commit_all_that_wait(self) -> None:
        while True:
            try:
                self._in_hand.append(self._tables.receive_nowait())
            except (trio.WouldBlock, trio.EndOfChannel):
                break
        for table in tuple(self._in_hand):
            if not table.committed:
                await finish_in_turns(table.commit(self._pool.donate))
            await finish_in_turns(self._ledger.committed(table))

    async def _batch(self, table: Table) -> None:
        if self._written is None:
            await self._check_double_entry(table)
            assert table.rows is not None
            # Even if everything in the table was refused: its segment may be back after a crash, and what said that it
            # is void may be gone.
            journaled = self._journal.holds(table.id)
            if journaled or table.rows or table.dead_letters or table.keys or table.actors or table.merge:
                self._written = await self._write(table)
            else:
                self._ledger.dropped(table)
        if self._written is not None:
            await self._batches.send(self._written)
            self._written = None
        # No await since it was sent: a task that takes over here must not send it again.
        self._in_hand.popleft()
        self._spent.append(table.id)

    async def _check_double_entry(self, table: Table) -> None:
        assert table.rows is not None
        committed = {name: n for name, n in table.sums.items() if n}
        if committed == {name: n for name, n in table.journaled.items() if n}:
            return
        self.mismatches += 1
        log.error(
            "committed counts differ from the journal",
            table=table.id,
            committed=committed,
            journaled=table.journaled,
        )
        replayed = await replay_segment(self._disk, table.id, self._journal.length(table.id), self._handlers)
        if replayed is not None:
            table.rows, table.dead_letters, table.actors = replayed.rows, replayed.dead_letters, replayed.actors

    async def _write(self, table: Table) -> Batch:
        assert table.rows is not None
        names = columns(table.rows.values(), self._handlers.counts)
        batch = Batch(table.id, table.opened_at, table.closed_at, names, table.rows, table.actors, table.merge)
        backoff = Backoff(RETRY_SECONDS, RETRY_SECONDS_MAX, self._jitter)
        while True:
            try:
                await self._keys.append(table.id, table.keys)
                kept = await dead_letters.write(
                    self._disk, table.id, dead_letters.listed(table.dead_letters), table.closed_at
                )
                await self._disk.write(BATCH.name(table.id), await _encode(batch))
            except OSError as error:
                self.fault = f"can't write batch file: {error.strerror}"
                pause = backoff.next()
                log.error("can't write batch file", table=table.id, fault=error.strerror, retry_in=round(pause, 2))
                await trio.sleep(pause)
            else:
                self.fault = None
                self.batches_written += 1
                self.dead_letter_bytes += kept
                return batch

    async def _drop_segments(self) -> None:
        while self._spent:
            try:
                await self._journal.drop(self._spent[0])
            except OSError as error:
                log.error("can't remove journal segment", table=self._spent[0], fault=error.strerror)
            self._spent.popleft()


async def _encode(batch: Batch) -> bytes:
    """The bytes of the file; encoded in a thread only if that would keep others waiting."""
    if len(batch.rows) + len(batch.actors) <= ROWS_INLINE_MAX:
        return batch_file.encode(batch)
    return await trio.to_thread.run_sync(batch_file.encode, batch)
