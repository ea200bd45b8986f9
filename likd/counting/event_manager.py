"""The event manager: orders, journals and dispatches events, and never waits for those who take tables away."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from math import inf
from typing import Protocol

import attrs
import structlog
import trio

from likd.counting.actors import Actors
from likd.counting.aliases import Aliases
from likd.counting.pool import PoolManager
from likd.counting.table import Table
from likd.durability import dead_letters
from likd.durability.journal import Entry, Journal, JournalError
from likd.model import (
    Accepted,
    Act,
    Counts,
    Events,
    Fold,
    Likings,
    Outcome,
    Refused,
    Submission,
    add_events,
    add_likings,
)
from likd.plugins.handlers import Handlers
from likd.runtime.cooperative import Steps, finish_in_turns
from likd.runtime.histogram import Histogram

GROUP_SUBMISSIONS_MAX = 1024
GROUP_URLS_MAX = 20_000
"""A group ends at either: the longest that dispatch keeps the event loop."""
GATHERING_TURNS = 6
"""Turns of the event loop between two groups: one to answer the last, the others to receive what its clients send then.

Without them the last group's clients miss the next group, and the groups are twice as many and half as large. Small
requests are there after one turn; those of some ten thousand bytes arrive in pieces.
"""
SLICE_ACTS = 1000
"""Acts that are decided in one step."""
TABLE_ACTORS_MAX = 20_000
"""A table is swapped at so many, too: one hot URL may have any number of actors."""

log = structlog.get_logger(__name__)


class Ledger(Protocol):
    """Who is told of each table as it opens, so that its counts are part of every total from then on.

    And of each merge as it is durable: all that is assembled from then on comes after it.
    """

    def opened(self, table: Table) -> None:
        """`table` is the one that fills now."""

    def placed(self, table: int, merge: Fold) -> None:
        """`merge` is durable, and done once `table` is in the store."""


@attrs.define(eq=False)
class _Part:
    """A group's events of one table, and what became of their actors; `closes` the table after them."""

    table: Table
    events: Events
    actors: Likings = attrs.field(factory=dict)
    closes: bool = False
    counted: bool = False


@attrs.define(eq=False)
class _Group:
    """All submissions that waited at one moment: journaled together, dispatched together. The `last` is empty.

    A merge ends a group, and closes the group's last table.
    """

    submissions: list[Submission] = attrs.field(factory=list)
    parts: deque[_Part] = attrs.field(factory=deque)
    actors_before: Mapping[bytes, tuple[bool, int] | None] = attrs.field(factory=dict)
    last: bool = False
    taken_at: float = 0.0
    journaled: bool = False
    refused: JournalError | None = None

    @property
    def merge(self) -> Fold | None:
        """The merge that ends it."""
        return self.submissions[-1].merge if self.submissions else None


class EventManager:
    """Takes all submissions that wait as one group, journals it, dispatches it, acknowledges it, in this order.

    Journaling one group overlaps with receiving the next. Groups in hand belong to this object, so
    that `run` can be run again after a fault: a group is then journaled and dispatched exactly once all the
    same. `run` ends when `submissions` ends, after the last table was handed to the batcher, whose channel it
    then closes.
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
        ledger: Ledger,
        aliases: Aliases,
        next_table: int,
        table_urls_max: int,
        flush_interval_seconds: float,
        segment_bytes_max: int = 64 << 20,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._submissions = submissions
        self._tables = tables
        self._journal = journal
        self._handlers = handlers
        self._pool = pool
        self._actors = actors
        self._ledger = ledger
        self._aliases = aliases
        self._urls_max = table_urls_max
        self._flush_interval = flush_interval_seconds
        self._segment_bytes_max = segment_bytes_max
        self._wall_clock = wall_clock
        self._next_table = next_table
        self._groups = 0
        self._epoch = time.time_ns()
        self._flush_at = inf
        self._in_journal: _Group | None = None
        self._in_dispatch: _Group | None = None
        self._journaled_send, self._journaled = trio.open_memory_channel[_Group](1)
        self.journal_fault: str | None = None
        self.accepted: Counts = {}
        """Accepted events by kind."""
        self.refused: Counts = {}
        """Refused events by kind, of those that came so far."""
        self.acknowledgements = Histogram()
        """From taking a group to acknowledging it, seconds."""
        self.events_accepted = 0
        self.requests_accepted = 0
        self.listener_faults = 0
        """How often somebody who waited for an outcome failed when told."""
        self.open_table = self._open_table()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Work until `submissions` ends."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._journal_groups)
            nursery.start_soon(self._dispatch_groups)
            task_status.started()

    async def _journal_groups(self) -> None:
        while True:
            if self._in_journal is None:
                self._in_journal = await self._next_group()
            group = self._in_journal
            if not group.journaled:
                # Half a write must not be left to whoever runs this next: it could not tell what is on the disk.
                with trio.CancelScope(shield=True):
                    await self._write(group)
            await self._journaled_send.send(group)
            self._in_journal = None
            if group.last:
                return
            for _ in range(GATHERING_TURNS):
                await trio.lowlevel.checkpoint()

    async def _next_group(self) -> _Group:
        """All that waits, as a group allotted to tables; the last one when there will be no more."""
        with trio.move_on_at(self._flush_at):
            try:
                first = await self._submissions.receive()
            except trio.EndOfChannel:
                # A table may hold nothing but idempotency keys: it ends as any other does, and with it its id.
                return self._flush() if self._flush_at < inf else _Group(last=True)
            # What was received is nobody else's: no cancellation comes in between.
            with trio.CancelScope(shield=True):
                return await finish_in_turns(self._assemble(first))
        return self._flush()

    def _assemble(self, first: Submission) -> Steps[_Group]:
        submissions = [first]
        urls = len(first.acts) + sum(map(len, first.events.values()))
        while submissions[-1].merge is None and len(submissions) < GROUP_SUBMISSIONS_MAX and urls < GROUP_URLS_MAX:
            try:
                submission = self._submissions.receive_nowait()
            except (trio.WouldBlock, trio.EndOfChannel):
                break
            submissions.append(submission)
            urls += len(submission.acts) + sum(map(len, submission.events.values()))
        aliases = self._aliases
        if len(submissions) == 1 and not first.acts and first.merge is None:
            return _Group(
                submissions, (yield from self._allot(aliases.events(first.events))), taken_at=time.monotonic()
            )
        events: Events = {}
        actors: Likings = {}
        acts: list[Act] = []
        for submission in submissions:
            add_events(events, aliases.events(submission.events))
            for begin in range(0, len(submission.acts), SLICE_ACTS):
                if begin:
                    yield
                mapped = aliases.acts(submission.acts[begin : begin + SLICE_ACTS])
                self._actors.decide(mapped, events, actors)
                acts += mapped
        parts = yield from self._allot(events)
        before = yield from self._allot_actors(actors, acts, parts)
        last = parts[-1]
        if not last.closes and (last.table.actors_allotted >= TABLE_ACTORS_MAX or submissions[-1].merge is not None):
            last.closes = True
            self._swap()
        return _Group(submissions, parts, before, taken_at=time.monotonic())

    def _allot_actors(
        self, actors: Likings, acts: Sequence[Act], parts: Sequence[_Part]
    ) -> Steps[dict[bytes, tuple[bool, int] | None]]:
        """Let what became of each actor be where the last events of its URL are. Returns what can undo it."""
        if len(parts) == 1:
            parts[0].actors = actors
        else:
            part_of = {url: part for part in parts for urls in part.events.values() for url in urls}
            for number, act in enumerate(acts, start=1):
                if act.key in actors:
                    part_of[act.url].actors[act.key] = actors[act.key]
                if number % SLICE_ACTS == 0:
                    yield
        before: dict[bytes, tuple[bool, int] | None] = {}
        for part in parts:
            left = iter(part.actors.items())
            while some := dict(islice(left, SLICE_ACTS)):
                before |= self._actors.change(part.table.id, some)
                if len(some) == SLICE_ACTS:
                    yield
            part.table.actors_allotted += len(part.actors)
        return before

    def _allot(self, events: Events) -> Steps[deque[_Part]]:
        now = self._wall_clock()
        old: deque[_Part] = deque()
        if self._flush_at < inf and self.open_table.closed_at // 60 != now // 60:
            # All events of a table are of one minute, in which the history books them.
            old.append(_Part(self.open_table, {}, closes=True))
            self._swap()
        # A group that changes nothing has a part, too: the keys of its requests are journaled with it.
        parts = deque([_Part(self.open_table, {})])
        for kind, urls in events.items():
            for taken in self._portions(urls):
                if parts[-1].closes:
                    yield
                    parts.append(_Part(self.open_table, {}))
                parts[-1].events[kind] = taken
                if len(self.open_table.urls) >= self._urls_max:
                    parts[-1].closes = True
                    self._swap()
        if self._flush_at == inf and not parts[-1].closes:
            self._flush_at = trio.current_time() + self._flush_interval
        if self._journal.length(self.open_table.id) > self._segment_bytes_max:
            parts[-1].closes = True
            self._swap()
        for part in parts:
            part.table.closed_at = now
        return old + parts

    def _portions(self, urls: dict[str, int]) -> Iterator[dict[str, int]]:
        """Portions of `urls`, each as much as the table that is open then had room for and has taken in."""
        if urls and self.open_table.take_all(urls, self._urls_max):
            yield urls
            return
        left = iter(urls.items())
        while taken := self.open_table.take(left, self._urls_max):
            yield taken

    def _flush(self) -> _Group:
        part = _Part(self.open_table, {}, closes=True)
        self._swap()
        return _Group(parts=deque([part]))

    def _swap(self) -> None:
        self.open_table = self._open_table()
        self._flush_at = inf

    def _open_table(self) -> Table:
        table = Table(self._next_table, opened_at=self._wall_clock())
        self._next_table += 1
        self._ledger.opened(table)
        return table

    async def _write(self, group: _Group) -> None:
        """Make the group durable, or mark it refused, with no trace of it left in the journal."""
        keys = [(s.key.key, s.key.digest, s.size) for s in group.submissions if s.key is not None]
        parts = [part for part in group.parts if part.events]
        if (keys or group.merge) and not parts:
            parts = [group.parts[-1]]
        self._groups += 1
        written: list[tuple[int, int]] = []
        try:
            for index, part in enumerate(parts):
                last = index == len(parts) - 1
                length = self._journal.length(part.table.id)
                await self._journal.append(
                    part.table.id,
                    Entry(
                        self._epoch + self._groups,
                        index,
                        len(parts),
                        keys if last else [],
                        part.events,
                        part.actors,
                        group.merge if last else None,
                    ),
                )
                written.append((part.table.id, length))
            self.journal_fault = None
            if group.merge is not None:
                self._ledger.placed(group.parts[-1].table.id, group.merge)
        except JournalError as error:
            log.error("refused events", fault=str(error), requests=len(group.submissions))
            for table, length in written:
                self._journal.withdraw(table, length)
            self._refuse(group, error)
        group.journaled = True

    def _refuse(self, group: _Group, error: JournalError) -> None:
        self.journal_fault = str(error)
        group.refused = error
        self._actors.undo(group.actors_before)
        for part in group.parts:
            for kind, urls in part.events.items():
                self.refused[kind] = self.refused.get(kind, 0) + sum(urls.values())
            part.events, part.actors = {}, {}
            if part.table is self.open_table:
                self._swap()
            part.closes = True

    async def _dispatch_groups(self) -> None:
        while True:
            if self._in_dispatch is None:
                self._in_dispatch = await self._journaled.receive()
            group = self._in_dispatch
            if group.last:
                await self._tables.aclose()
                return
            while group.parts:
                await self._dispatch(group, group.parts[0])
                group.parts.popleft()
            self._acknowledge(group)
            self._in_dispatch = None

    async def _dispatch(self, group: _Group, part: _Part) -> None:
        table = part.table
        if not part.counted:
            self._count(table, part.events)
            if table.actors:
                add_likings(table.actors, part.actors)
            else:
                table.actors = part.actors
            part.counted = True
            if len(group.parts) == 1 and group.refused is None:
                table.keys += [(s.key, s.size) for s in group.submissions if s.key is not None]
                table.merge = group.merge
        if part.closes:
            table.closed_at = table.closed_at or self._wall_clock()
            await self._tables.send(table)

    def _count(self, table: Table, events: Events) -> None:
        for kind, urls in events.items():
            self.accepted[kind] = self.accepted.get(kind, 0) + sum(urls.values())
        columns, kept = self._handlers.increments(events)
        dead_letters.add(table.aside, kept)
        table.posts += 1
        for name, increments in columns.items():
            self._pool.post(table.counters, name, increments)
            table.journaled[name] = table.journaled.get(name, 0) + sum(increments.values())

    def _acknowledge(self, group: _Group) -> None:
        self.acknowledgements.observe(time.monotonic() - group.taken_at, len(group.submissions))
        for submission in group.submissions:
            if group.refused is not None:
                outcome: Outcome = Refused(str(group.refused), certain=group.refused.certain)
            else:
                self.events_accepted += submission.size
                self.requests_accepted += submission.requests
                outcome = Accepted(submission.size)
            self.listener_faults += submission.settle(outcome)
