"""The pool manager: keeps counters warm, leases them, takes them back, restarts hung ones, replaces worn ones."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence

import attrs
import structlog
import trio

from likd.counting.counter import UrlCounter
from likd.plugins.observers import Observer
from likd.runtime.notice import Notice

log = structlog.get_logger(__name__)

TURN_INTERVAL_SECONDS = 0.01
WAKES_PER_TURN_MAX = 20
"""Turns every 10 ms, for at most 20 counters: waking costs two or three percent of a processor, however busy it is."""
SLICE_COUNTERS = 200
"""How many counters are released, or whose tasks are started, in one step."""


@attrs.frozen
class PoolStatistics:
    """The pool in numbers: how many counters there are, and what has happened to them since the start."""

    counters: int
    """All counters."""
    leased: int
    """Counters leased to a URL of a table."""
    idle: int
    """Counters that can be leased."""
    busy: int
    """Counters whose observer is running."""
    hung: int
    """How many were restarted because their observer did not return."""
    crashed: int
    """How many were restarted because they crashed."""
    worn: int
    """How many were replaced after their last lease."""


class PoolManager:
    """Owns all counters and runs their tasks.

    `size` counters and a buffer of 10 % are kept warm. A counter gets a turn, and with its first one a task, when there
    is something to do: an observer to be told, or a second delta to be added to the first. With many URLs, most get a
    single delta in a table, which simply waits to be committed. When all counters are leased, the pool grows up to
    `counters_max`; callers observe that limit by checking `free` before they accept work. Idle counters beyond the warm
    ones are released after `idle_seconds`. A counter whose observer does not return within `hung_timeout_seconds` is
    cancelled, and a new task takes over its state. One that has served `max_leases` tables is replaced. Time in which
    nothing ran, because the process was stopped or the event loop blocked, is not held against an observer.
    """

    def __init__(
        self,
        *,
        size: int,
        counters_max: int,
        max_leases: int,
        hung_timeout_seconds: float,
        idle_seconds: float = 30.0,
        observers: Sequence[Observer] = (),
    ) -> None:
        self._warm = size + math.ceil(size / 10)
        self._counters_max = counters_max
        self._max_leases = max_leases
        self._hung_timeout = hung_timeout_seconds
        self._idle_seconds = idle_seconds
        self._observers = tuple(observers)
        self._numbers = 0
        self._counters: dict[int, UrlCounter] = {}
        self._idle: deque[UrlCounter] = deque()
        self._leased = 0
        self._due: deque[UrlCounter] = deque()
        self._hung = self._crashed = self._worn = 0
        self._work = Notice()
        self._tended: dict[int, UrlCounter] = {}
        for _ in range(self._warm):
            self._idle.append(self._new())

    @property
    def free(self) -> int:
        """How many counters can be leased: those that are idle, and those that may still be created.

        A counter that still has news for an observer is neither, although it is no longer leased.
        """
        return self._counters_max - (len(self._counters) - len(self._idle))

    @property
    def exhausted(self) -> bool:
        """Whether no more counters can be leased."""
        return self.free <= 0

    def statistics(self) -> PoolStatistics:
        """The pool in numbers."""
        return PoolStatistics(
            counters=len(self._counters),
            leased=self._leased,
            idle=len(self._idle),
            busy=sum(counter.busy_since is not None for counter in self._tended.values()),
            hung=self._hung,
            crashed=self._crashed,
            worn=self._worn,
        )

    def post(self, counters: dict[str, UrlCounter], name: str, increments: Mapping[str, int]) -> None:
        """Add `increments` (URL → n) of the count `name` to the deltas of `counters`, and make sure they get a turn.

        Missing counters are leased; if none is idle, a new one is created. Never waits. Of everything done for a like,
        this is done most often, so it is written out here instead of calling methods.
        """
        before = len(counters)
        idle, due, observed = self._idle, self._due, bool(self._observers)
        rested = not due
        for url, n in increments.items():
            counter = counters.get(url)
            if counter is None:
                counter = counters[url] = idle.pop() if idle else self._new()
                counter.url = url
                counter.leases += 1
            delta = counter.delta
            if delta is None:
                counter.delta = {name: n}
                if not observed:
                    continue
            else:
                delta[name] = delta.get(name, 0) + n
            if not counter.due:
                counter.due = True
                due.append(counter)
        if rested and due:
            self._work.give()
        self._leased += len(counters) - before

    def donate(self, counters: Iterable[UrlCounter]) -> None:
        """Take committed counters back. Those that still have news for observers become idle afterwards."""
        for counter in counters:
            self._leased -= 1
            if counter.quiet:
                self._take_in(counter)
            else:
                counter.when_quiet(self._take_in)
                if not counter.due:
                    self._enlist(counter)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the counters' tasks. When run again after a fault, it finds all counters as they were."""
        self._work.give()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._patrol)
            for number, counter in enumerate(list(self._tended.values()), start=1):
                nursery.start_soon(self._tend, counter)
                if number % SLICE_COUNTERS == 0:
                    await trio.lowlevel.checkpoint()
            task_status.started()
            while True:
                await self._work.wait()
                if self._due:
                    self._give_turns(nursery)
                    if self._due:
                        self._work.give()
                    await trio.sleep(TURN_INTERVAL_SECONDS)

    async def dismiss(self) -> None:
        """Release all idle counters, in steps. To be called when nothing more will be posted.

        Otherwise their tasks would all be cancelled in a single step.
        """
        while self._idle:
            for _ in range(min(len(self._idle), SLICE_COUNTERS)):
                self._let_go(self._idle.popleft())
            await trio.lowlevel.checkpoint()

    def _new(self) -> UrlCounter:
        self._numbers += 1
        counter = self._counters[self._numbers] = UrlCounter(self._numbers, self._observers)
        return counter

    def _enlist(self, counter: UrlCounter) -> None:
        counter.due = True
        if not self._due:
            self._work.give()
        self._due.append(counter)

    def _give_turns(self, nursery: trio.Nursery) -> None:
        for _ in range(min(len(self._due), WAKES_PER_TURN_MAX)):
            counter = self._due.popleft()
            counter.due = False
            if counter.waits and not counter.has_task:
                counter.open()
                self._tended[counter.number] = counter
                nursery.start_soon(self._tend, counter)
            if not counter.wake():
                counter.due = True
                self._due.append(counter)

    def _take_in(self, counter: UrlCounter) -> None:
        if counter.leases >= self._max_leases:
            self._worn += 1
            self._let_go(counter)
            if len(self._counters) < self._warm:
                self._idle.append(self._new())
        else:
            self._idle.append(counter)

    def _let_go(self, counter: UrlCounter) -> None:
        del self._counters[counter.number]
        self._tended.pop(counter.number, None)
        counter.close()

    async def _tend(self, counter: UrlCounter) -> None:
        while counter.number in self._counters:
            with trio.CancelScope() as counter.scope:
                try:
                    await counter.run()
                except Exception as error:
                    self._crashed += 1
                    counter.restarts += 1
                    log.error("counter crashed, restarting it", counter=counter.number, fault=repr(error))
                    await trio.sleep(TURN_INTERVAL_SECONDS)
            if counter.scope.cancelled_caught:
                counter.restarts += 1

    async def _patrol(self) -> None:
        trimmed_at = trio.current_time()
        while True:
            look_at = trio.current_time() + self._hung_timeout / 4
            await trio.sleep_until(look_at)
            now = trio.current_time()
            for counter in self._tended.values():
                if counter.busy_since is None:
                    continue
                # Observers did not run, either, while this check was delayed.
                counter.busy_since = min(now, counter.busy_since + now - look_at)
                if now - counter.busy_since >= self._hung_timeout:
                    self._restart_hung(counter)
            if now - trimmed_at >= self._idle_seconds:
                trimmed_at = now
                await self._trim()

    async def _trim(self) -> None:
        while self._idle and len(self._counters) > self._warm:
            for _ in range(min(len(self._idle), len(self._counters) - self._warm, SLICE_COUNTERS)):
                self._let_go(self._idle.popleft())
            await trio.lowlevel.checkpoint()

    def _restart_hung(self, counter: UrlCounter) -> None:
        self._hung += 1
        log.error("counter hung, restarting it", counter=counter.number, url=counter.url)
        if counter.scope is not None:
            counter.scope.cancel()
