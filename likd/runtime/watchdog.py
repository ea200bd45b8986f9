"""The watchdog: a thread that reports a blocked event loop."""

from __future__ import annotations

import sys
import threading
import time
import traceback
from typing import NamedTuple

import attrs
import structlog
import trio

log = structlog.get_logger(__name__)


class Seen(NamedTuple):
    """What a check found, in seconds; each is 0 if there is nothing to report."""

    stood: float
    """How long the process did not run at all."""
    blocked: float
    """How long the event loop has not run so far."""
    went_on: float
    """After how long it runs again."""


@attrs.define
class Looks:
    """Distinguishes a blocked event loop from a stopped process, by checks every `limit` / 4 seconds.

    A process that is stopped (SIGSTOP), or whose machine is, uses no processor time and makes no checks. So the delay
    of a check, minus the time used meanwhile, is not the event loop's fault.
    """

    limit: float
    _at: float
    _used: float
    _beat: float
    _stood: float = 0.0
    _reported: float | None = None

    def look(self, now: float, used: float, beat: float) -> Seen:
        """What to report at `now`, after `used` seconds of processor time and with the last beat at `beat`."""
        stood = max(0.0, now - self._at - self.limit / 4 - (used - self._used))
        # It may have been stopped before or after a new beat, but not for longer than the beat's age.
        self._stood = min(stood + (self._stood if beat == self._beat else 0.0), now - beat)
        self._at, self._used, self._beat = now, used, beat
        blocked = went_on = 0.0
        if self._reported is not None and beat != self._reported:
            went_on, self._reported = beat - self._reported, None
        late = now - beat - self._stood
        if late >= self.limit and self._reported is None:
            blocked, self._reported = late, beat
        return Seen(stood if stood >= self.limit else 0.0, blocked, went_on)


@attrs.frozen
class WatchdogStatistics:
    """The watchdog in numbers, since the start."""

    blocked: int
    """How often the event loop was blocked for longer than allowed."""


class Watchdog:
    """Reports, once each time, that the event loop was blocked for `blocked_seconds`, with the stack that blocks it.

    No cancel scope can reach such a task: this shows where to look, and systemd's watchdog, whose keep-alive messages
    come from the event loop, too, ends a process that stays blocked.
    """

    def __init__(self, *, blocked_seconds: float) -> None:
        self._limit = blocked_seconds
        self._beat_at = time.monotonic()
        self._stop = threading.Event()
        self.blocked = 0
        self.last_stack = ""

    def statistics(self) -> WatchdogStatistics:
        """The watchdog in numbers."""
        return WatchdogStatistics(self.blocked)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Beat until cancelled, with the thread listening."""
        self._stop = threading.Event()
        self._beat_at = time.monotonic()
        loop = threading.get_ident()
        threading.Thread(target=self._watch, args=(loop, self._stop), name="likd watchdog", daemon=True).start()
        try:
            task_status.started()
            while True:
                self._beat_at = time.monotonic()
                await trio.sleep(self._limit / 4)
        finally:
            self._stop.set()

    def _watch(self, loop: int, stop: threading.Event) -> None:
        looks = Looks(self._limit, time.monotonic(), time.process_time(), self._beat_at)
        while not stop.wait(self._limit / 4):
            seen = looks.look(time.monotonic(), time.process_time(), self._beat_at)
            if seen.stood:
                log.warning("the process did not run", seconds=round(seen.stood, 3))
            if seen.went_on:
                log.warning("event loop runs again", blocked_seconds=round(seen.went_on, 3))
            if seen.blocked:
                self.blocked += 1
                self.last_stack = "".join(traceback.format_stack(sys._current_frames().get(loop)))
                log.error("event loop is blocked", seconds=round(seen.blocked, 3), stack=self.last_stack)
