"""Groups: all submissions that are waiting at one moment, in order, with their events allotted to tables."""

from __future__ import annotations

import enum
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from math import inf
from typing import Protocol, TypeAlias

import attrs
import trio

from likd.counting.actors import Actors
from likd.counting.aliases import Aliases
from likd.counting.table import Table
from likd.counting.table_limit import TableLimit
from likd.model import ActorEvent, Events, Fold, Likings, Refused, Submission, add_events
from likd.runtime.cooperative import Steps, finish_in_turns

GROUP_SUBMISSIONS_MAX = 1024
GROUP_URLS_MAX = 20_000
"""A group ends at either limit, which bounds how long dispatch holds the event loop."""
SLICE_ACTS = 1000
"""How many acts are decided in one step."""
TABLE_ACTORS_MAX = 20_000
"""A table is also swapped at this many actors, of which one hot URL may have any number."""

ActorsBefore: TypeAlias = Mapping[bytes, tuple[bool, int] | None]
"""What undoes the changes of a group's actors."""


class TableLedger(Protocol):
    """Is told of each table as it opens, so that every total includes its counts from then on.

    It is also told of each merge as it becomes durable: everything assembled from then on comes after it.
    """

    def opened(self, table: Table) -> None:
        """`table` is the new open table."""

    def placed(self, table_id: int, merge: Fold) -> None:
        """`merge` is durable, and done once `table_id` is in the store."""


class Phase(enum.Enum):
    """The state of a group. It is assembled, then journaled or refused; END comes after the last group."""

    ASSEMBLED = enum.auto()
    """Its events belong to tables, but are only in memory."""
    JOURNALED = enum.auto()
    """It is durable: all of it counts."""
    REFUSED = enum.auto()
    """It could not be journaled: nothing in it counts."""
    END = enum.auto()
    """Not a group, but the sign that no more will come."""


@attrs.define(eq=False, kw_only=True)
class Part:
    """A group's events in one table, and the likings of their actors; `closes`: the table ends after them."""

    table: Table
    events: Events = attrs.field(factory=dict)
    actors: Likings = attrs.field(factory=dict)
    closes: bool = False
    counted: bool = False
    """Whether the counters have its events."""


@attrs.define(eq=False, kw_only=True)
class Group:
    """Submissions that are journaled, dispatched and acknowledged together.

    A merge ends a group, and closes the group's last table.
    """

    submissions: list[Submission] = attrs.field(factory=list)
    parts: deque[Part] = attrs.field(factory=deque)
    """The parts that are not dispatched yet."""
    actors_before: ActorsBefore = attrs.field(factory=dict)
    taken_at: float = 0.0
    phase: Phase = Phase.ASSEMBLED
    refused: Refused | None = None
    """The outcome of its submissions if it is refused."""

    @property
    def merge(self) -> Fold | None:
        """The merge that ends it, if any."""
        return self.submissions[-1].merge if self.submissions else None

    @property
    def journal_parts(self) -> list[Part]:
        """The parts that have to be journaled: those with events, or one for keys or a merge alone."""
        parts = [part for part in self.parts if part.events]
        keyed = self.merge is not None or any(submission.key is not None for submission in self.submissions)
        return parts or ([self.parts[-1]] if keyed else [])

    def refuse(self, why: Refused) -> None:
        """Let nothing in it count. Its tables end, because their segments take no more entries."""
        self.phase, self.refused = Phase.REFUSED, why
        for part in self.parts:
            part.events, part.actors = {}, {}
            part.closes = True


class Groups:
    """Assembles what is waiting in `submissions`, group by group, and owns the open table.

    No table has more unique URLs than `table_limit` allows, events of more than one minute, or (going by
    `segment_bytes`) a segment much longer than `segment_bytes_max`. A table that is not empty is closed after
    `flush_interval_seconds`.
    """

    def __init__(
        self,
        *,
        submissions: trio.MemoryReceiveChannel[Submission],
        actors: Actors,
        ledger: TableLedger,
        aliases: Aliases,
        segment_bytes: Callable[[int], int],
        next_table: int,
        table_limit: TableLimit,
        flush_interval_seconds: float,
        segment_bytes_max: int,
        wall_clock: Callable[[], float],
    ) -> None:
        self._submissions = submissions
        self._actors = actors
        self._ledger = ledger
        self._aliases = aliases
        self._segment_bytes = segment_bytes
        self._limit = table_limit
        self._flush_interval = flush_interval_seconds
        self._segment_bytes_max = segment_bytes_max
        self._wall_clock = wall_clock
        self._next_table = next_table
        self._flush_at = inf
        self.open_table = self._open_table()

    async def next(self) -> Group:
        """Everything that is waiting, as a group allotted to tables, once there is anything; END after the last."""
        with trio.move_on_at(self._flush_at):
            try:
                first = await self._submissions.receive()
            except trio.EndOfChannel:
                # A table may have nothing but idempotency keys: it ends like any other, and uses up its id.
                return self._flush() if self._flush_at < inf else Group(phase=Phase.END)
            # What was received belongs only to us: nothing may be cancelled in between.
            with trio.CancelScope(shield=True):
                return await finish_in_turns(self.assemble(first))
        return self._flush()

    def swap(self, *, full: bool = False) -> None:
        """Open another table. The current one is `full`, or has to end for another reason."""
        filling_since = min(trio.current_time(), self._flush_at - self._flush_interval)
        self._limit.swapped(trio.current_time() - filling_since, full=full)
        self.open_table = self._open_table()
        self._flush_at = inf

    def assemble(self, first: Submission) -> Steps[Group]:
        """`first` and what is waiting after it, in steps."""
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
            parts = yield from self._allot(aliases.events(first.events))
            return Group(submissions=submissions, parts=parts, taken_at=time.monotonic())
        events: Events = {}
        actors: Likings = {}
        acts: list[ActorEvent] = []
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
            self.swap()
        return Group(submissions=submissions, parts=parts, actors_before=before, taken_at=time.monotonic())

    def _allot_actors(
        self, actors: Likings, acts: Sequence[ActorEvent], parts: Sequence[Part]
    ) -> Steps[dict[bytes, tuple[bool, int] | None]]:
        """Put each actor's liking into the part with the last events of its URL. Returns what can undo it."""
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

    def _allot(self, events: Events) -> Steps[deque[Part]]:
        now = self._wall_clock()
        old: deque[Part] = deque()
        if self._flush_at < inf and self.open_table.closed_at // 60 != now // 60:
            # All events in a table are of one minute, in which the history books them.
            old.append(Part(table=self.open_table, closes=True))
            self.swap()
        # A group that changes nothing has a part, too: its requests' keys are journaled with it.
        parts = deque([Part(table=self.open_table)])
        for kind, urls in events.items():
            for taken in self._portions(urls):
                if parts[-1].closes:
                    yield
                    parts.append(Part(table=self.open_table))
                parts[-1].events[kind] = taken
                if len(self.open_table.urls) >= self._limit.urls:
                    parts[-1].closes = True
                    self.swap(full=True)
        if self._flush_at == inf and not parts[-1].closes:
            self._flush_at = trio.current_time() + self._flush_interval
        if self._segment_bytes(self.open_table.id) > self._segment_bytes_max:
            parts[-1].closes = True
            self.swap()
        for part in parts:
            part.table.closed_at = now
        return old + parts

    def _portions(self, urls: dict[str, int]) -> Iterator[dict[str, int]]:
        """Portions of `urls`, each as much as the table open at that moment has had room for and taken in."""
        if urls and self.open_table.take_all(urls, self._limit.urls):
            yield urls
            return
        left = iter(urls.items())
        while taken := self.open_table.take(left, self._limit.urls):
            yield taken

    def _flush(self) -> Group:
        part = Part(table=self.open_table, closes=True)
        self.swap()
        return Group(parts=deque([part]))

    def _open_table(self) -> Table:
        table = Table(self._next_table, opened_at=self._wall_clock())
        self._next_table += 1
        self._ledger.opened(table)
        return table
