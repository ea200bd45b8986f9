"""Recent events for people: the newest faults, and the refusals of a day by reason."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import structlog

FAULTS_MAX = 50
REASONS_MAX = 100
"""How many reasons are counted separately; there are few, and any others count as one."""
HOURS = 24
TEXT_MAX = 300
_HOUR_SECONDS = 3600.0


@attrs.frozen
class Fault:
    """Something that failed: when (seconds since 1970), in which part, and what the log says about it."""

    time: float
    part: str
    text: str


class RecentFaults:
    """The newest logged errors; a structlog processor that changes nothing."""

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
"""The faults of this process, as there is one log."""


class LastDay:
    """Counts by reason for the last 24 hours: whole hours, and the current one."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._hours: deque[tuple[int, Counter[str]]] = deque(maxlen=HOURS)

    def add(self, reason: str) -> None:
        """Count once more."""
        hour = int(self._clock() // _HOUR_SECONDS)
        if not self._hours or self._hours[-1][0] != hour:
            self._hours.append((hour, Counter()))
        counts = self._hours[-1][1]
        counts[reason if reason in counts or len(counts) < REASONS_MAX else "other"] += 1

    def counts(self) -> Mapping[str, int]:
        """How often each reason occurred."""
        first = int(self._clock() // _HOUR_SECONDS) - HOURS
        found: Counter[str] = Counter()
        for hour, counts in self._hours:
            if hour > first:
                found += counts
        return dict(found)
