"""Supervision: a nursery that restarts its children, as OTP's one_for_one supervisor does."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Literal, TypeAlias

import attrs
import structlog
import trio

from likd.errors import LikdError
from likd.runtime.backoff import Backoff

log = structlog.get_logger(__name__)

Run: TypeAlias = Callable[..., Coroutine[Any, Any, None]]
"""A child's `run(*, task_status)`: reports when it is ready, then works until cancelled or out of work."""

State: TypeAlias = Literal["starting", "running", "backoff", "finished", "failed", "stopped"]


class RestartIntensityExceeded(LikdError):
    """A supervisor gave up: its children needed more restarts than `intensity` allows within `period_seconds`."""


@attrs.frozen
class ChildStatistics:
    """One supervised task in numbers, over all its restarts."""

    name: str
    """Its name in the tree."""
    state: State
    """Its current state."""
    restarts: int
    """How often it was restarted."""
    last_fault: str | None
    """Why it was last restarted; None if it never was."""
    children: tuple[ChildStatistics, ...] | None
    """What it supervises itself; None if it is not a supervisor."""


@attrs.define(eq=False)
class Child:
    """One supervised task, over all its restarts.

    A child that is not `permanent` may end by itself; once the supervisor drains, every child may.
    """

    name: str
    run: Run
    permanent: bool = True
    below: Supervisor | None = None
    """What it supervises itself, if it is a supervisor."""
    state: State = "starting"
    restarts: int = 0
    last_fault: str | None = None
    scope: trio.CancelScope | None = attrs.field(default=None, repr=False)
    finished: trio.Event = attrs.field(factory=trio.Event, repr=False)
    _crash: str | None = None

    def statistics(self) -> ChildStatistics:
        """The task in numbers."""
        below = None if self.below is None else self.below.statistics()
        return ChildStatistics(self.name, self.state, self.restarts, self.last_fault, below)

    def crash(self, why: str) -> None:
        """Make the task end at its next checkpoint as if it had raised: fault injection, for tests."""
        if self.scope is not None:
            self._crash = why
            self.scope.cancel()

    def take_crash(self) -> str | None:
        """Why the task was made to crash; returned once."""
        why, self._crash = self._crash, None
        return why


class Supervisor:
    """Runs children one_for_one: one that raises or ends is restarted, the others are left alone.

    A restart waits for a backoff that doubles from `backoff_seconds` to `backoff_max_seconds`, with jitter, while
    faults follow each other. After more than `intensity` restarts within `period_seconds` it gives up: `run` raises
    RestartIntensityExceeded, which its own supervisor sees as a child's fault. A `fatal` fault of a child, which no
    restart can fix, is raised at once.
    """

    def __init__(
        self,
        name: str,
        *,
        intensity: int = 10,
        period_seconds: float = 60.0,
        backoff_seconds: float = 0.05,
        backoff_max_seconds: float = 5.0,
        jitter: Callable[[], float] = random.random,
        fatal: tuple[type[Exception], ...] = (),
    ) -> None:
        self.name = name
        self.children: list[Child] = []
        self._intensity = intensity
        self._period = period_seconds
        self._backoff_seconds = backoff_seconds
        self._backoff_max_seconds = backoff_max_seconds
        self._jitter = jitter
        self._fatal = fatal
        self._restarts: deque[float] = deque()
        self._draining = False
        self._scope = trio.CancelScope()
        self._stopped = False
        self.ended = trio.Event()

    def add(self, name: str, run: Run, *, permanent: bool = True, below: Supervisor | None = None) -> Child:
        """Add a child before the supervisor runs; children start in the order they were added."""
        child = Child(name, run, permanent, below)
        self.children.append(child)
        return child

    def statistics(self) -> tuple[ChildStatistics, ...]:
        """The children in numbers, in order."""
        return tuple(child.statistics() for child in self.children)

    def drain(self) -> None:
        """From now on, a child that ends by itself is finished, not restarted. One that raises is still restarted."""
        self._draining = True

    async def wait_finished(self, *names: str) -> None:
        """Wait until the children of these names are finished."""
        for child in self.children:
            if child.name in names:
                await child.finished.wait()

    def stop(self) -> None:
        """Cancel all children; `run` ends."""
        self._stopped = True
        self._scope.cancel()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the children; ready when all of them are, done when all are finished or it was stopped.

        When it is run again after a fault, as the child of another supervisor, all children start again. Raises
        RestartIntensityExceeded, and fatal faults.
        """
        self._restarts.clear()
        with trio.CancelScope() as self._scope:
            if self._stopped:
                return
            async with trio.open_nursery() as nursery:
                for child in self.children:
                    await nursery.start(self._keep, child)
                task_status.started()
        self.ended.set()

    async def _keep(self, child: Child, *, task_status: trio.TaskStatus[None]) -> None:
        backoff = Backoff(self._backoff_seconds, self._backoff_max_seconds, self._jitter)
        ready = _Ready(child, task_status)
        while True:
            began = trio.current_time()
            fault = await self._run_once(child, ready)
            if fault is None and (self._draining or not child.permanent):
                ready.started()
                child.state = "finished"
                child.finished.set()
                return
            child.last_fault = fault or "ended by itself"
            child.restarts += 1
            log.error("restarting", supervisor=self.name, child=child.name, fault=child.last_fault)
            self._count_restart(child)
            if trio.current_time() - began > self._period:
                backoff.reset()
            child.state = "backoff"
            await trio.sleep(backoff.next())
            child.state = "starting"

    async def _run_once(self, child: Child, ready: _Ready) -> str | None:
        """Run the child until it ends. Returns None if it ended by itself, else the fault."""
        fault: str | None = None
        try:
            with trio.CancelScope() as child.scope:
                await child.run(task_status=ready)
            fault = child.take_crash()
        except* self._fatal:
            raise
        except* Exception as faults:
            fault = describe(faults)
            log.error("child failed", supervisor=self.name, child=child.name, exc_info=faults)
        finally:
            child.state = "stopped"
        return fault

    def _count_restart(self, child: Child) -> None:
        now = trio.current_time()
        self._restarts.append(now)
        while self._restarts and now - self._restarts[0] > self._period:
            self._restarts.popleft()
        if len(self._restarts) > self._intensity:
            child.state = "failed"
            raise RestartIntensityExceeded(
                f"{self.name}: {child.name} failed once too often "
                f"({len(self._restarts)} restarts in {self._period:g} s): {child.last_fault}"
            )


@attrs.define(eq=False)
class _Ready:
    """Passes a child's first readiness on to the supervisor's start, and records that of later runs."""

    child: Child
    parent: trio.TaskStatus[None]
    done: bool = False

    def started(self, value: object = None) -> None:
        self.child.state = "running"
        if not self.done:
            self.done = True
            self.parent.started()


def describe(error: BaseException) -> str:
    """One line that names the faults at the bottom of `error`."""
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(describe(inner) for inner in error.exceptions)
    return f"{type(error).__name__}: {error}"
