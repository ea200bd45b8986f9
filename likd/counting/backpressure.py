"""Bounds: when the daemon accepts no more, and what it answers then."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import attrs

from likd.model import Refused
from likd.runtime.recent import LastDay


@attrs.frozen
class Bound:
    """A limit: whether it is reached, what to tell the client, and after how many seconds a retry may help."""

    name: str
    reached: Callable[[], bool]
    reason: str
    retry_after: int = 1


@attrs.frozen
class BoundsStatistics:
    """What was refused because a bound was reached."""

    refused: Mapping[str, int]
    """Refused requests since the start, by bound."""
    refused_24h: Mapping[str, int]
    """Refused requests in the last 24 hours, by the reason given to the client."""


class Bounds:
    """All limits on accepting events, checked before a request is accepted; nothing accepted is ever dropped."""

    def __init__(self) -> None:
        self._bounds: list[Bound] = []
        self.refused: dict[str, int] = {}
        self.last_day = LastDay()

    def add(self, name: str, reached: Callable[[], bool], reason: str, retry_after: int = 1) -> None:
        """Add a limit."""
        self._bounds.append(Bound(name, reached, reason, retry_after))
        self.refused[name] = 0

    def reached(self, *, count: bool = True) -> Refused | None:
        """The first limit that is reached, if any. With `count`, it is counted as the refusal of a request."""
        for bound in self._bounds:
            if bound.reached():
                self.refused[bound.name] += count
                if count:
                    self.last_day.add(bound.reason)
                return Refused(bound.reason, bound.retry_after)
        return None

    def refuse(self, name: str) -> Refused:
        """The refusal of a request that is too large for what a limit leaves."""
        bound = next(bound for bound in self._bounds if bound.name == name)
        self.refused[name] += 1
        self.last_day.add(bound.reason)
        return Refused(bound.reason, bound.retry_after)

    def statistics(self) -> BoundsStatistics:
        """The refusals in numbers."""
        return BoundsStatistics(dict(self.refused), self.last_day.counts())
