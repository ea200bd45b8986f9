"""The drainer: batches into the store, oldest first, at its write tolerance, each exactly once."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Awaitable, Callable

import structlog
import trio

from likd.counting.ledger import Ledger
from likd.counting.waiting import Waiting
from likd.draining.write_rate import WriteTolerance
from likd.durability import batch_file
from likd.durability.batch_file import Batch
from likd.durability.disk import Disk
from likd.runtime.backoff import Backoff
from likd.runtime.cooperative import finish_in_turns
from likd.stores.protocol import CountTooLarge, Store, StoreError

BACKOFF_SECONDS = 0.2
BACKOFF_SECONDS_MAX = 10.0

log = structlog.get_logger(__name__)


class Drainer:
    """Applies what waits in `ledger` to the store, and removes the batch files that are applied.

    `prepare` has to succeed before anything is applied. The newest `keep_batches` applied files are kept. A store
    that fails is tried again, after a pause with jitter, until it works. `run` can be run again after a fault; it
    ends when `batches` ended and all is applied, or when the store fails after that: the next start goes on then.
    """

    def __init__(
        self,
        *,
        batches: trio.MemoryReceiveChannel[Batch],
        store: Store,
        ledger: Ledger,
        disk: Disk,
        tolerance: WriteTolerance,
        keep_batches: int = 0,
        jitter: Callable[[], float] = random.random,
        prepare: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._batches = batches
        self._store = store
        self._ledger = ledger
        self._disk = disk
        self._tolerance = tolerance
        self._keep = keep_batches
        self._jitter = jitter
        self._prepare = prepare
        self._paid_for: Waiting | None = None
        self._applied_files: deque[int] = deque()
        self._news = trio.Event()
        self._end = trio.Event()
        self.fault: str | None = None
        self.rows_written = 0

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Work until `batches` ended and all is applied, or the store fails after that."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._collect)
            task_status.started()
            while True:
                news = self._news
                if self._ledger.waiting:
                    if not await self._apply(self._ledger.waiting[0]):
                        return
                    await self._remove_applied_files()
                elif self._end.is_set():
                    return
                else:
                    await news.wait()

    async def _collect(self) -> None:
        async for batch in self._batches:
            self._ledger.batched(batch)
            self._tell()
        self._end.set()
        # What fails is tried once more, and not after its pause.
        self._ledger.store_ahead.set()
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = trio.Event()

    async def _apply(self, waiting: Waiting) -> bool:
        """Apply until it works. False if it did not and there will be no more batches: the next start goes on."""
        increments = waiting.increments
        waiting.frozen = True
        if self._paid_for is not waiting:
            await self._tolerance.take(increments.size)
            self._paid_for = waiting
        backoff = Backoff(BACKOFF_SECONDS, BACKOFF_SECONDS_MAX, self._jitter)
        while True:
            try:
                if self._prepare is not None:
                    await self._prepare()
                await finish_in_turns(self._ledger.leave())
                applied = await self._store.apply(increments)
                break
            except CountTooLarge as error:
                # What is behind it must not wait for ever.
                log.error("a count is cut down to what the store can hold", fault=str(error), last=increments.last)
                increments.cut_down()
                continue
            except StoreError as error:
                self.fault = str(error)
                log.error("store failed", fault=self.fault, first=increments.first, last=increments.last)
            if self._end.is_set():
                return False
            self._ledger.store_ahead = trio.Event()
            with trio.move_on_after(backoff.next()):
                await self._ledger.store_ahead.wait()
        self.fault = None
        self.rows_written += increments.size
        self._applied_files += self._ledger.applied_first(applied).tables
        await finish_in_turns(self._ledger.settle())
        return True

    async def _remove_applied_files(self) -> None:
        while len(self._applied_files) > self._keep:
            table = self._applied_files[0]
            try:
                await self._disk.remove(batch_file.name(table))
            except OSError as error:
                log.error("can't remove applied batch file", table=table, fault=error.strerror)
            self._applied_files.popleft()
