"""Refusals in the log: whom the daemon does not let in, and which setting would."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping

import attrs
import structlog

from likd.runtime.recent import LastDay

AGAIN_SECONDS = 60.0
"""So long nothing more is told of a name that was told of."""
NAMES_MAX = 20
"""Names of each reason that are told of in that time: callers make them up."""
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
    """By the time they were told of, the longest ago first."""
    others: int = 0
    """Refusals of names that there was no room for, or that nothing was heard of again."""


@attrs.frozen
class RefusalsStatistics:
    """Who was refused."""

    refused_24h: Mapping[str, int]
    """Callers in the last 24 hours, by reason."""


class Refusals:
    """Warns of refusals: one line a minute for each reason and name, and for few names only."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._reasons: dict[str, _Reason] = {}
        self.last_day = LastDay(clock)

    def statistics(self) -> RefusalsStatistics:
        """Who was refused, in numbers."""
        return RefusalsStatistics(self.last_day.counts())

    def tell(self, reason: str, name: str, setting: str) -> None:
        """Somebody was refused for `reason`, one of few, by the `name` that it gave; `setting` would let it in."""
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
        """Names that may be told of again make room."""
        while known.names:
            name, told = next(iter(known.names.items()))
            if now - told.at < AGAIN_SECONDS:
                return
            known.others += told.suppressed
            del known.names[name]


def _shown(name: str) -> str:
    """A name as a log can bear it."""
    cut = name[:NAME_CHARACTERS_MAX]
    return "".join(char if char.isascii() and char.isprintable() else "?" for char in cut)
