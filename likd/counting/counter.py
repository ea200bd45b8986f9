"""The per-URL counter: one task, one memory channel, one URL's counts while its table is open."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs
import structlog
import trio

from likd.model import Counts, add
from likd.plugins.observers import Observer

log = structlog.get_logger(__name__)


@attrs.define(eq=False)
class UrlCounter:
    """The state of one counter, which outlives the task that works on it.

    Posting a delta costs an addition; its task is woken through its memory channel only when the pool gives it a turn,
    so that under load many deltas cost one wake-up. The delta on the channel may still grow until somebody takes it:
    taking is one step without an `await`, which is why each delta is counted exactly once, whoever takes it and
    whatever happens to the task.
    """

    number: int
    observers: Sequence[Observer] = ()
    url: str = ""
    """The URL that it counts, empty if it is not leased."""
    counts: Counts = attrs.field(factory=dict)
    leases: int = 0
    busy_since: float | None = None
    restarts: int = 0
    due: bool = False
    scope: trio.CancelScope | None = None
    delta: Counts | None = None
    """What was posted but not counted yet. Only the pool adds to it."""
    _on_quiet: Callable[[UrlCounter], object] | None = None
    _news: Counts | None = None
    _news_url: str = ""
    _wake: trio.MemorySendChannel[Counts] | None = None
    _woken: trio.MemoryReceiveChannel[Counts] | None = None

    @property
    def waits(self) -> bool:
        """Whether there is a reason to wake its task."""
        return self.delta is not None or self._news is not None

    @property
    def has_task(self) -> bool:
        """Whether it has ever needed a task. A URL that is liked once in a table is counted without one."""
        return self._wake is not None

    def open(self) -> None:
        """Prepare for a task: create the channel by which it is woken."""
        self._wake, self._woken = trio.open_memory_channel[Counts](1)

    def wake(self) -> bool:
        """Send the waiting delta, if any, to the task. Returns False if the task has not taken the last one yet."""
        if not self.waits:
            return True
        assert self._wake is not None
        try:
            self._wake.send_nowait(self.delta or {})
        except trio.WouldBlock:
            return False
        return True

    def settle(self) -> Counts:
        """The counts, including everything posted so far."""
        delta = self.delta
        if delta is not None:
            self.delta = None
            if self.observers:
                self._note(delta)
            if self.counts:
                add(self.counts, delta)
            else:
                self.counts = delta
        return self.counts

    def commit(self) -> Counts:
        """Give up the counts, including everything posted so far. This ends the lease.

        Whoever leases the counter again sets its `url`; it then counts from zero.
        """
        counts = self.settle()
        self.counts = {}
        self.url = ""
        return counts

    @property
    def quiet(self) -> bool:
        """Whether the counter owes nobody anything: no observer is being told, or yet to be told, anything."""
        return self._news is None and self.busy_since is None

    def when_quiet(self, tell: Callable[[UrlCounter], object]) -> None:
        """Call `tell` once the observers have been told the last news. One call may be due at a time."""
        assert self._on_quiet is None, "who asked first would never be told"
        self._on_quiet = tell

    def close(self) -> None:
        """Let the task, if there is one, end after its current work."""
        if self._wake is not None:
            self._wake.close()

    async def run(self) -> None:
        """Take deltas and tell the observers, until closed. Can be run again after it raised or was cancelled."""
        if self.busy_since is not None:
            log.error("observer did not return, its news is dropped", counter=self.number, url=self.url)
            self.busy_since = None
        self._say_if_quiet()
        assert self._woken is not None
        async for _ in self._woken:
            self.settle()
            await self._tell_observers()
            self._say_if_quiet()

    async def _tell_observers(self) -> None:
        while self._news is not None:
            url, news = self._news_url, self._news
            self._news = None
            self.busy_since = trio.current_time()
            for observer in self.observers:
                try:
                    await observer(url, news)
                except Exception as error:
                    log.error("observer failed", url=url, fault=f"{type(error).__name__}: {error}")
            self.busy_since = None

    def _say_if_quiet(self) -> None:
        if self._on_quiet is not None and self.quiet:
            tell, self._on_quiet = self._on_quiet, None
            tell(self)

    def _note(self, delta: Counts) -> None:
        if self._news is not None and self._news_url == self.url:
            add(self._news, delta)
        else:
            self._news, self._news_url = delta.copy(), self.url
