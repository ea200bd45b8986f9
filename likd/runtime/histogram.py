"""A histogram that costs next to nothing to feed."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import attrs

SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


@attrs.frozen
class HistogramStatistics:
    """A histogram as of one moment."""

    bounds: tuple[float, ...]
    """The upper bounds of its buckets; there is one more for values above them all."""
    counts: tuple[int, ...]
    """How many values each bucket has."""
    sum: float
    """The sum of the values."""

    def quantile(self, share: float) -> float | None:
        """The quantile of that share of the values: a bucket's bound. None without values, or beyond all bounds."""
        left = share * sum(self.counts)
        if not left:
            return None
        for bound, count in zip(self.bounds, self.counts, strict=False):
            left -= count
            if left <= 0:
                return bound
        return None

    def cumulative(self) -> list[tuple[str, float]]:
        """How many values were at most as large as each bound, in Prometheus's form; the last bound is infinity."""
        total = 0
        buckets: list[tuple[str, float]] = []
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            total += count
            buckets.append(("+Inf" if bound == float("inf") else str(bound), total))
        return buckets


class Histogram:
    """Counts values in buckets, by their upper bounds."""

    def __init__(self, bounds: Sequence[float] = SECONDS) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """Add a value that many times."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.sum += value * times

    def statistics(self) -> HistogramStatistics:
        """The histogram in numbers."""
        return HistogramStatistics(self.bounds, tuple(self.counts), self.sum)
