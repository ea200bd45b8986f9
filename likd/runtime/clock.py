"""The time of day, as far as the system's clock can be trusted."""

from __future__ import annotations

import time
from collections.abc import Callable

import attrs
import structlog

JUMP_SECONDS = 60.0
"""If the clock is set by more than this, it jumped; smaller changes are followed at once."""
BELIEVED_SECONDS = 600.0
"""A clock that jumped, or that is doubtful at the start, is trusted after it has been steady for this long."""
AHEAD_SECONDS_MAX = 30 * 86_400.0
"""If a start is this long after the last write, the clock may be wrong."""

log = structlog.get_logger(__name__)


def elapsed() -> float:
    """Seconds of a clock that is never set, and that keeps running while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@attrs.frozen
class ClockStatistics:
    """The judgement on the system's clock."""

    doubtful: bool
    """Whether it is not trusted, or not yet."""


class Clock:
    """The time of day in seconds since 1970, by which events are booked (`now`) and old things removed (`settled`).

    While the process runs, the system's clock is compared with one that is never set: after a jump, time goes on as
    before until the new time has proved steady. At the start it is compared with `newest`, the latest time in the data
    directory: if it is earlier, or much later, events are booked by it, but nothing is removed by it at first.
    """

    def __init__(
        self,
        *,
        newest: float = 0.0,
        wall: Callable[[], float] = time.time,
        elapsed: Callable[[], float] = elapsed,
    ) -> None:
        self._wall = wall
        self._elapsed = elapsed
        self._newest = newest
        self._started = elapsed()
        self._offset = self._first_offset = wall() - self._started
        self._jumped: tuple[float, float] | None = None
        self._doubtful = newest > 0 and not self._is_plausible(self._offset)
        if self._doubtful:
            ahead = round(wall() - newest)
            log.error("the clock is doubtful: nothing is removed by it for now", seconds_after_last_write=ahead)

    @property
    def doubtful(self) -> bool:
        """Whether the system's clock is not trusted, or not yet."""
        return self._doubtful or self._jumped is not None

    def statistics(self) -> ClockStatistics:
        """The judgement on it."""
        return ClockStatistics(self.doubtful)

    def now(self) -> float:
        """The time by which events are booked."""
        elapsed = self._elapsed()
        offset = self._wall() - elapsed
        if abs(offset - self._offset) <= JUMP_SECONDS:
            self._offset = offset
            self._jumped = None
        elif self._jumped is None or abs(offset - self._jumped[0]) > JUMP_SECONDS:
            self._jumped = offset, elapsed
            log.error("the clock jumped: time goes on as before", seconds=round(offset - self._offset))
        if self._jumped is not None and self._is_over(elapsed - self._jumped[1], offset):
            log.warning("the clock is trusted again", seconds=round(offset - self._offset))
            self._offset = offset
            self._jumped = None
            self._doubtful = False
        if self._doubtful and elapsed - self._started >= BELIEVED_SECONDS:
            log.warning("the clock is trusted: it has been steady since the start")
            self._doubtful = False
        return elapsed + self._offset

    def settled(self) -> float:
        """The time by which old things are removed: never later than `now`, and never by a doubtful clock."""
        now = self.now()
        return min(now, self._newest + self._elapsed() - self._started) if self._doubtful else now

    def noted(self) -> float:
        """The time to record with what is forgotten after a while: not before `newest`, or it would seem too old."""
        now = self.now()
        return max(now, self._newest + self._elapsed() - self._started) if self._newest else now

    def forgetting(self) -> float:
        """The time by which that is forgotten: like `settled`, but unaffected by the clock having been set since."""
        return min(self.settled(), self._elapsed() + self._first_offset)

    def _is_over(self, steady_seconds: float, offset: float) -> bool:
        """Whether the clock is trusted after its jump; at once, if the jump corrects a doubtful clock."""
        return steady_seconds >= BELIEVED_SECONDS or (self._doubtful and self._is_plausible(offset))

    def _is_plausible(self, offset: float) -> bool:
        at_start = offset + self._started
        return self._newest - JUMP_SECONDS <= at_start <= self._newest + AHEAD_SECONDS_MAX
