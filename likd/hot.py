"""The hottest URLs now: what grew most of late, whatever its total."""

from __future__ import annotations

import heapq
import math

from likd.batchfile import Batch
from likd.totals import Totals

RATE_SECONDS = 10.0
URLS_MAX = 2000
COLD = 0.05


class Hot:
    """Looks at the tables again and again, and at each batch as it is made, so that no event is missed.

    Rates are events a second (time constant 10 s) of at most `URLS_MAX` URLs, those with the highest.
    """

    def __init__(self, totals: Totals) -> None:
        self._totals = totals
        self._seen: dict[int, dict[str, int]] = {}
        self._grown: dict[str, int] = {}
        self._rates: dict[str, float] = {}

    def start(self) -> None:
        """Begin to look: what was counted before is no news."""
        self._look_at_tables()
        self._grown.clear()
        self._totals.on_batched = self._batched

    def stop(self) -> None:
        """Look no longer."""
        self._totals.on_batched = None
        self._seen.clear()
        self._grown.clear()
        self._rates.clear()

    def sample(self, elapsed: float) -> None:
        """Look, `elapsed` seconds after the last time."""
        self._look_at_tables()
        keep = math.exp(-elapsed / RATE_SECONDS)
        rates = {url: rate * keep for url, rate in self._rates.items()}
        for url, n in self._grown.items():
            rates[url] = rates.get(url, 0.0) + n / elapsed * (1 - keep)
        self._grown.clear()
        hottest = heapq.nlargest(URLS_MAX, rates.items(), key=lambda item: item[1])
        self._rates = {url: rate for url, rate in hottest if rate >= COLD}

    def hottest(self, limit: int) -> list[tuple[str, float]]:
        """The URLs with the highest rates."""
        return heapq.nlargest(limit, self._rates.items(), key=lambda item: (item[1], item[0]))

    def _look_at_tables(self) -> None:
        for table in self._totals.tables:
            seen = self._seen.setdefault(table.id, {})
            for url in table.urls:
                counts = table.counts(url)
                if counts:
                    self._grow(url, sum(counts.values()), seen)

    def _batched(self, batch: Batch) -> None:
        seen = self._seen.pop(batch.table, {})
        for url, counts in batch.rows.items():
            self._grow(url, sum(counts.values()), seen)

    def _grow(self, url: str, now: int, seen: dict[str, int]) -> None:
        before = seen.get(url, 0)
        if now != before:
            self._grown[url] = self._grown.get(url, 0) + now - before
            seen[url] = now
