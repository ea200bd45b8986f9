"""The event manager: orders, journals and dispatches events, and never waits for the parts that take its tables."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import attrs
import structlog
import trio

from likd.counting.actors import Actors
from likd.counting.aliases import Aliases
from likd.counting.groups import Group, Groups, Part, Phase, TableLedger
from likd.counting.pool import PoolManager
from likd.counting.table import Table
from likd.counting.table_limit import TableLimit
from likd.durability import dead_letters
from likd.durability.journal import Entry, Journal, JournalError
from likd.model import Accepted, Counts, Events, Outcome, Refused, Submission, add_likings
from likd.plugins.handlers import Handlers
from likd.runtime.histogram import Histogram, HistogramStatistics

GATHERING_TURNS = 6
"""Turns of the event loop between two groups: one to answer the last, the others to receive its clients' next requests.

Without them, the last group's clients miss the next group, and there are twice as many groups, half as large. Small
requests arrive in one turn; those of ten thousand bytes or more arrive in pieces.
"""
log = structlog.get_logger(__name__)


@attrs.frozen
class EventManagerStatistics:
    """The event manager in numbers, since the start."""

    accepted: Mapping[str, int]
    """Accepted events by kind."""
    refused: Mapping[str, int]
    """Events that the journal failed to write, by kind."""
    events_accepted: int
    """Events that were acknowledged, of all kinds."""
    requests_accepted: int
    """Requests that were acknowledged."""
    acknowledgements: HistogramStatistics
    """From taking a group to acknowledging it, seconds."""
    listener_faults: int
    """How often somebody who waited for an outcome failed when told."""
    journal_fault: str | None
    """Why the last group was not journaled; None if it was."""
    open_table: int
    """The id of the open table."""
    open_urls: int
    """How many unique URLs it has so far."""


class EventManager:
    """Takes all waiting submissions as one group, journals it, dispatches it and acknowledges it, in this order.

    Journaling one group overlaps with receiving the next. Groups in progress belong to this object, so that `run` can
    be run again after a fault, and still journals and dispatches each group exactly once. `run` ends when `submissions`
    ends, after handing the last table to the batcher, whose channel it then closes.
    """

    def __init__(
        self,
        *,
        submissions: trio.MemoryReceiveChannel[Submission],
        tables: trio.MemorySendChannel[Table],
        journal: Journal,
        handlers: Handlers,
        pool: PoolManager,
        actors: Actors,
        ledger: TableLedger,
        aliases: Aliases,
        next_table: int,
        table_limit: TableLimit,
        flush_interval_seconds: float,
        segment_bytes_max: int = 64 << 20,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._tables = tables
        self._journal = journal
        self._handlers = handlers
        self._pool = pool
        self._actors = actors
        self._ledger = ledger
        self._wall_clock = wall_clock
        self.groups = Groups(
            submissions=submissions,
            actors=actors,
            ledger=ledger,
            aliases=aliases,
            segment_bytes=journal.length,
            next_table=next_table,
            table_limit=table_limit,
            flush_interval_seconds=flush_interval_seconds,
            segment_bytes_max=segment_bytes_max,
            wall_clock=wall_clock,
        )
        self._written = 0
        self._epoch = time.time_ns()
        self._in_journal: Group | None = None
        self._in_dispatch: Group | None = None
        self._journaled_send, self._journaled = trio.open_memory_channel[Group](1)
        self.journal_fault: str | None = None
        self.accepted: Counts = {}
        """Accepted events by kind."""
        self.refused: Counts = {}
        """Events refused here so far, by kind."""
        self.acknowledgements = Histogram()
        """From taking a group to acknowledging it, seconds."""
        self.events_accepted = 0
        self.requests_accepted = 0
        self.listener_faults = 0
        """How often a listener for an outcome failed when called."""

    @property
    def open_table(self) -> Table:
        """The table that is being filled."""
        return self.groups.open_table

    def statistics(self) -> EventManagerStatistics:
        """The event manager in numbers."""
        return EventManagerStatistics(
            accepted=dict(self.accepted),
            refused=dict(self.refused),
            events_accepted=self.events_accepted,
            requests_accepted=self.requests_accepted,
            acknowledgements=self.acknowledgements.statistics(),
            listener_faults=self.listener_faults,
            journal_fault=self.journal_fault,
            open_table=self.open_table.id,
            open_urls=len(self.open_table.urls),
        )

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Work until `submissions` ends."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._journal_groups)
            nursery.start_soon(self._dispatch_groups)
            task_status.started()

    async def _journal_groups(self) -> None:
        while True:
            if self._in_journal is None:
                self._in_journal = await self.groups.next()
            group = self._in_journal
            if group.phase is Phase.ASSEMBLED:
                # A half-finished write must not be left to the next run: it could not tell what is on the disk.
                with trio.CancelScope(shield=True):
                    await self._write(group)
            await self._journaled_send.send(group)
            self._in_journal = None
            if group.phase is Phase.END:
                return
            for _ in range(GATHERING_TURNS):
                await trio.lowlevel.checkpoint()

    async def _write(self, group: Group) -> None:
        """Make the group durable, or mark it as refused and leave no trace of it in the journal."""
        keys = [(s.key.key, s.key.digest, s.event_count) for s in group.submissions if s.key is not None]
        parts = group.journal_parts
        self._written += 1
        written: list[tuple[int, int]] = []
        try:
            for index, part in enumerate(parts):
                last = index == len(parts) - 1
                table_id = part.table.id
                length = self._journal.length(table_id)
                entry = Entry(
                    group=self._epoch + self._written,
                    part=index,
                    parts=len(parts),
                    keys=keys if last else [],
                    events=part.events,
                    actors=part.actors,
                    merge=group.merge if last else None,
                )
                await self._journal.append(table_id, entry)
                written.append((table_id, length))
        except JournalError as error:
            log.error("refused events", fault=str(error), requests=len(group.submissions))
            for table_id, length in written:
                self._journal.withdraw(table_id, length)
            self._refuse(group, error)
        else:
            self.journal_fault = None
            group.phase = Phase.JOURNALED
            if group.merge is not None:
                self._ledger.placed(group.parts[-1].table.id, group.merge)

    def _refuse(self, group: Group, error: JournalError) -> None:
        self.journal_fault = str(error)
        self._actors.undo(group.actors_before)
        for part in group.parts:
            for kind, urls in part.events.items():
                self.refused[kind] = self.refused.get(kind, 0) + sum(urls.values())
        group.refuse(Refused(str(error), certain=error.certain))
        if any(part.table is self.open_table for part in group.parts):
            self.groups.swap()

    async def _dispatch_groups(self) -> None:
        while True:
            if self._in_dispatch is None:
                self._in_dispatch = await self._journaled.receive()
            group = self._in_dispatch
            if group.phase is Phase.END:
                await self._tables.aclose()
                return
            while group.parts:
                await self._dispatch(group, group.parts[0])
                group.parts.popleft()
            self._acknowledge(group)
            self._in_dispatch = None

    async def _dispatch(self, group: Group, part: Part) -> None:
        table = part.table
        if not part.counted:
            self._count(table, part.events)
            if table.actors:
                add_likings(table.actors, part.actors)
            else:
                table.actors = part.actors
            part.counted = True
            if len(group.parts) == 1 and group.phase is Phase.JOURNALED:
                table.keys += [(s.key, s.event_count) for s in group.submissions if s.key is not None]
                table.merge = group.merge
        if part.closes:
            table.closed_at = table.closed_at or self._wall_clock()
            await self._tables.send(table)

    def _count(self, table: Table, events: Events) -> None:
        for kind, urls in events.items():
            self.accepted[kind] = self.accepted.get(kind, 0) + sum(urls.values())
        columns, kept = self._handlers.increments(events)
        dead_letters.add(table.dead_letters, kept)
        table.posts += 1
        for name, increments in columns.items():
            self._pool.post(table.counters, name, increments)
            table.journaled[name] = table.journaled.get(name, 0) + sum(increments.values())

    def _acknowledge(self, group: Group) -> None:
        self.acknowledgements.observe(time.monotonic() - group.taken_at, len(group.submissions))
        for submission in group.submissions:
            if group.refused is not None:
                outcome: Outcome = group.refused
            else:
                self.events_accepted += submission.event_count
                self.requests_accepted += submission.requests
                outcome = Accepted(submission.event_count)
            self.listener_faults += submission.settle(outcome)
