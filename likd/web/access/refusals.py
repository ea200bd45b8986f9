"""Refusals in the log: whom the daemon refuses, and which setting would let them in."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping

import attrs
import structlog

from likd.runtime.recent import LastDay

AGAIN_SECONDS = 60.0
"""How long a name is not logged again."""
NAMES_MAX = 20
"""How many names are logged for each reason in that time: callers can make them up."""
NAME_CHARACTERS_MAX = 120

log = structlog.get_logger(__name__)


@attrs.define(eq=False)
class _Told:
    at: float
    suppressed: int = 0
    """Refusals since then."""


@attrs.define(eq=False)
class _Reason:
    names: OrderedDict[str, _Told] = attrs.field(factory=OrderedDict)
    """By the time at which they were logged, the earliest first."""
    others: int = 0
    """Refusals of names for which there was no room, or that did not come again."""


@attrs.frozen
class RefusalsStatistics:
    """Who was refused."""

    refused_24h: Mapping[str, int]
    """Refused callers in the last 24 hours, by reason."""


class Refusals:
    """Warns about refusals: at most one line a minute for each reason and name, and only for a few names."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._reasons: dict[str, _Reason] = {}
        self.last_day = LastDay(clock)

    def statistics(self) -> RefusalsStatistics:
        """Who was refused, in numbers."""
        return RefusalsStatistics(self.last_day.counts())

    def tell(self, reason: str, name: str, setting: str) -> None:
        """Somebody who called itself `name` was refused for `reason`, one of a few; `setting` would let it in."""
        self.last_day.add(reason)
        now = self._clock()
        name = _shown(name)
        known = self._reasons.setdefault(reason, _Reason())
        told = known.names.get(name)
        if told is None:
            self._forget(known, now)
            if len(known.names) >= NAMES_MAX:
                known.others += 1
                return
            told = known.names[name] = _Told(now)
        elif now - told.at < AGAIN_SECONDS:
            told.suppressed += 1
            return
        log.warning(
            "refused: " + reason, name=name, setting=setting, suppressed=told.suppressed, of_others=known.others
        )
        told.at, told.suppressed, known.others = now, 0, 0
        known.names.move_to_end(name)

    def _forget(self, known: _Reason, now: float) -> None:
        """Make room by dropping names that may be logged again."""
        while known.names:
            name, told = next(iter(known.names.items()))
            if now - told.at < AGAIN_SECONDS:
                return
            known.others += told.suppressed
            del known.names[name]


def _shown(name: str) -> str:
    """A name made safe for the log."""
    cut = name[:NAME_CHARACTERS_MAX]
    return "".join(char if char.isascii() and char.isprintable() else "?" for char in cut)
