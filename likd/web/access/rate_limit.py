"""Rate limits: a token bucket for each caller, in bounded memory."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable

import attrs

CALLERS_MAX = 100_000


@attrs.frozen
class Allowance:
    """What a caller has left: how many events, and after how many seconds there are more."""

    remaining: int
    reset_seconds: int
    allowed: bool


class RateLimit:
    """Allows each caller `rate` events per second, and `burst` at once after a pause.

    Beyond `callers_max` callers, the least recently seen are forgotten: their buckets are the fullest.
    """

    def __init__(
        self,
        rate: float,
        burst: int,
        *,
        callers_max: int = CALLERS_MAX,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rate = rate
        self.burst = burst
        self._callers_max = callers_max
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    @property
    def policy(self) -> str:
        """The limit, as the RateLimit-Policy header states it."""
        return f'"events";q={self.burst};w={math.ceil(self.burst / self.rate)}'

    def headers(self, left: Allowance) -> dict[str, str]:
        """The headers that tell a caller what it has left."""
        return {
            "RateLimit-Policy": self.policy,
            "RateLimit": f'"events";r={left.remaining};t={left.reset_seconds}',
        }

    def take(self, caller: str, events: int = 1) -> Allowance:
        """Take that many events from the caller's bucket if it is not empty; it may then be in debt."""
        now = self._clock()
        level = self._level(caller, now)
        allowed = level >= 1
        if allowed:
            level -= events
        self._keep(caller, level, now)
        return Allowance(max(0, int(level)), max(0, math.ceil((1 - level) / self.rate)), allowed)

    def charge(self, caller: str, events: int) -> None:
        """Take that many more events for a request that was already let in."""
        now = self._clock()
        self._keep(caller, self._level(caller, now) - events, now)

    def _level(self, caller: str, now: float) -> float:
        level, at = self._buckets.get(caller, (float(self.burst), now))
        return min(float(self.burst), level + (now - at) * self.rate)

    def _keep(self, caller: str, level: float, now: float) -> None:
        self._buckets[caller] = level, now
        self._buckets.move_to_end(caller)
        while len(self._buckets) > self._callers_max:
            self._buckets.popitem(last=False)
