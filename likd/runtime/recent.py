"""What happened of late, for people who look: the newest faults, and how often what was refused in a day."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import structlog

FAULTS_MAX = 50
REASONS_MAX = 100
"""So many reasons are counted; there are few, and all others are one."""
HOURS = 24
TEXT_MAX = 300
_HOUR_SECONDS = 3600.0


@attrs.frozen
class Fault:
    """Something that failed: when (seconds since 1970), in which part, and what the log says of it."""

    time: float
    part: str
    text: str


class RecentFaults:
    """The newest errors that were logged: a processor of structlog that changes nothing."""

    def __init__(self, wall_clock: Callable[[], float] = time.time) -> None:
        self._wall_clock = wall_clock
        self._newest: deque[Fault] = deque(maxlen=FAULTS_MAX)
        self._where = structlog.processors.CallsiteParameterAdder(
            {structlog.processors.CallsiteParameter.MODULE}, additional_ignores=[__name__]
        )

    def __call__(self, logger: Any, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        """Keep `event`, if it is an error."""
        if method in ("error", "critical", "exception"):
            part = event.get("child") or self._where(logger, method, {}).get("module", "")
            fault = event.get("fault")
            text = str(event.get("event", "")) + (f": {fault}" if fault else "")
            self._newest.appendleft(Fault(round(self._wall_clock(), 3), str(part), text[:TEXT_MAX]))
        return event

    def newest(self) -> list[Fault]:
        """The newest first."""
        return list(self._newest)


FAULTS = RecentFaults()
"""Those of this process, as there is one log."""


class LastDay:
    """Counts by reason, of the last 24 hours: whole hours, and the one that goes on."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._hours: deque[tuple[int, Counter[str]]] = deque(maxlen=HOURS)

    def add(self, reason: str) -> None:
        """Once more."""
        hour = int(self._clock() // _HOUR_SECONDS)
        if not self._hours or self._hours[-1][0] != hour:
            self._hours.append((hour, Counter()))
        counts = self._hours[-1][1]
        counts[reason if reason in counts or len(counts) < REASONS_MAX else "other"] += 1

    def counts(self) -> Mapping[str, int]:
        """How often each."""
        first = int(self._clock() // _HOUR_SECONDS) - HOURS
        found: Counter[str] = Counter()
        for hour, counts in self._hours:
            if hour > first:
                found += counts
        return dict(found)
