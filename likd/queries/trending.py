"""The hottest URLs now: what grew most of late, whatever its total."""

from __future__ import annotations

import heapq
import math

import trio

from likd.model import Rows
from likd.queries.growth import URLS_AT_ONCE, Growth
from likd.queries.totals import Totals

RATE_SECONDS = 10.0
URLS_MAX = 2000
COLD = 0.05


class Hot:
    """Looks at what grew, again and again, while somebody wants to know.

    Rates are events a second (time constant 10 s) of at most `URLS_MAX` URLs, those with the highest.
    """

    def __init__(self, totals: Totals) -> None:
        self._totals = totals
        self._growth: Growth | None = None
        self._begun = trio.Event()
        self._grown: Rows = {}
        self._hottest: list[tuple[float, str]] = []

    @property
    def begun(self) -> bool:
        """Whether it is looked at what grows."""
        return self._begun.is_set()

    async def start(self) -> None:
        """Begin to look: what was counted before this returns is no news."""
        if self._growth is None:
            self._growth = Growth(self._totals)
            # Others may rely on it by now, whatever becomes of the first who asked.
            with trio.CancelScope(shield=True):
                await self._growth.look({})
            self._begun.set()
        else:
            await self._begun.wait()

    def stop(self) -> None:
        """Look no longer."""
        if self._growth is not None:
            self._growth.close()
        self._growth = None
        self._begun = trio.Event()
        self._grown = {}
        self._hottest = []

    async def sample(self, elapsed: float) -> None:
        """Look, in steps, `elapsed` seconds after the last time."""
        growth = self._growth
        if growth is None:
            return
        await growth.look(self._grown)
        grown, self._grown = self._grown, {}
        keep = math.exp(-elapsed / RATE_SECONDS)
        hottest: list[tuple[float, str]] = []
        for rate, url in self._hottest:
            new = sum(grown.pop(url).values()) if url in grown else 0
            _put(hottest, rate * keep + new / elapsed * (1 - keep), url)
        while grown:
            await trio.lowlevel.checkpoint()
            for _ in range(min(URLS_AT_ONCE, len(grown))):
                url, counts = grown.popitem()
                _put(hottest, sum(counts.values()) / elapsed * (1 - keep), url)
        if self._growth is growth:
            self._hottest = self._named(hottest)

    def hottest(self, limit: int) -> list[tuple[str, float]]:
        """The URLs with the highest rates, by the names that they count for."""
        aliases = self._totals.ledger.aliases
        if any(url in aliases for _, url in self._hottest):
            self._hottest = self._named(self._hottest)
        return [(url, rate) for rate, url in self._hottest[:limit]]

    def _named(self, hottest: list[tuple[float, str]]) -> list[tuple[float, str]]:
        """Highest first, what was counted under the name of a URL that was merged as the URL that it counts for."""
        aliases = self._totals.ledger.aliases
        rates: dict[str, float] = {}
        for rate, url in hottest:
            name = aliases(url)
            rates[name] = rates.get(name, 0.0) + rate
        return sorted(((rate, url) for url, rate in rates.items()), reverse=True)


def _put(hottest: list[tuple[float, str]], rate: float, url: str) -> None:
    """Add to the heap `hottest`, if it is among the `URLS_MAX` highest."""
    if rate < COLD:
        return
    if len(hottest) < URLS_MAX:
        heapq.heappush(hottest, (rate, url))
    elif (rate, url) > hottest[0]:
        heapq.heapreplace(hottest, (rate, url))
