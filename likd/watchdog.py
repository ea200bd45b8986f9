"""The watchdog: a thread that reports an event loop which something blocks."""

from __future__ import annotations

import sys
import threading
import time
import traceback

import structlog
import trio

log = structlog.get_logger(__name__)


class Watchdog:
    """Reports, once each time, that the event loop did not turn for `blocked_seconds`, with the stack that holds it up.

    No cancel scope can reach such a task: this tells where to look, and systemd's watchdog, which is fed from the
    event loop, too, ends what stays blocked.
    """

    def __init__(self, *, blocked_seconds: float) -> None:
        self._limit = blocked_seconds
        self._beat_at = time.monotonic()
        self._stop = threading.Event()
        self.blocked = 0
        self.last_stack = ""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Beat until cancelled, and have the thread listen."""
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
        reported_beat = None
        while not stop.wait(self._limit / 4):
            beat = self._beat_at
            if reported_beat is not None and beat != reported_beat:
                log.warning("event loop goes on", blocked_seconds=round(beat - reported_beat, 3))
                reported_beat = None
            late = time.monotonic() - beat
            if late >= self._limit and reported_beat is None:
                reported_beat = beat
                self.blocked += 1
                self.last_stack = "".join(traceback.format_stack(sys._current_frames().get(loop)))
                log.error("event loop is blocked", seconds=round(late, 3), stack=self.last_stack)
