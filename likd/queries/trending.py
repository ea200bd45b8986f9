"""The hottest URLs now: those that have grown most recently, whatever their totals."""

from __future__ import annotations

import heapq
import math
from typing import Literal, TypeAlias

import attrs
import trio

from likd.model import LIKES, Counts, Rows, host_of
from likd.queries.growth import URLS_AT_ONCE, Growth
from likd.queries.totals import Totals

RATE_SECONDS = 10.0
URLS_MAX = 2000
COLD = 0.05


By: TypeAlias = Literal["events", "likes"]
"""What makes a URL hot: the most events, or the most likes."""
BYS: tuple[By, By] = ("events", "likes")


@attrs.frozen
class HotUrl:
    """A URL, with its events and likes per second."""

    url: str
    rate: float
    likes: float


class Hot:
    """Looks at growth again and again while somebody is watching.

    Rates are events per second (time constant 10 s), and likes per second separately, each for at most `URLS_MAX` URLs,
    those with the highest.
    """

    def __init__(self, totals: Totals) -> None:
        self._totals = totals
        self._growth: Growth | None = None
        self._begun = trio.Event()
        self._grown: Rows = {}
        self._hottest: dict[By, list[tuple[float, str]]] = {"events": [], "likes": []}

    @property
    def begun(self) -> bool:
        """Whether it is looking."""
        return self._begun.is_set()

    async def start(self) -> None:
        """Begin to look: what was counted before this returns is not reported."""
        if self._growth is None:
            self._growth = Growth(self._totals)
            # Others may rely on it by now, whatever happens to the first caller.
            with trio.CancelScope(shield=True):
                await self._growth.look({})
            self._begun.set()
        else:
            await self._begun.wait()

    def stop(self) -> None:
        """Stop looking."""
        if self._growth is not None:
            self._growth.close()
        self._growth = None
        self._begun = trio.Event()
        self._grown = {}
        self._hottest = {"events": [], "likes": []}

    async def sample(self, elapsed: float) -> None:
        """Look, in steps, `elapsed` seconds after the last time."""
        growth = self._growth
        if growth is None:
            return
        await growth.look(self._grown)
        grown, self._grown = self._grown, {}
        keep = math.exp(-elapsed / RATE_SECONDS)
        share = (1 - keep) / elapsed
        before = self._hottest
        hottest: dict[By, list[tuple[float, str]]] = {"events": [], "likes": []}
        for by, heap in hottest.items():
            for rate, url in before[by]:
                _put(heap, rate * keep + _news(grown.get(url, {}), by) * share, url)
        known = {by: {url for _, url in before[by]} for by in hottest}
        while grown:
            await trio.lowlevel.checkpoint()
            for _ in range(min(URLS_AT_ONCE, len(grown))):
                url, counts = grown.popitem()
                for by, heap in hottest.items():
                    if url not in known[by]:
                        _put(heap, _news(counts, by) * share, url)
        if self._growth is growth:
            self._hottest = {by: self._named(heap) for by, heap in hottest.items()}

    def hottest(self, limit: int, by: By = "events", site: str = "") -> list[HotUrl]:
        """The URLs with the highest rates, under the names that they count for; of one site if it is given."""
        aliases = self._totals.ledger.aliases
        for each, ranked in self._hottest.items():
            if any(url in aliases for _, url in ranked):
                self._hottest[each] = self._named(ranked)
        found = [url for _, url in self._hottest[by] if not site or host_of(url) == site][:limit]
        rates, likes = ({url: rate for rate, url in self._hottest[each]} for each in BYS)
        return [HotUrl(url, rates.get(url, likes.get(url, 0.0)), likes.get(url, 0.0)) for url in found]

    def _named(self, hottest: list[tuple[float, str]]) -> list[tuple[float, str]]:
        """Highest first; what was counted under a merged URL's name is listed as the URL that it counts for."""
        aliases = self._totals.ledger.aliases
        rates: dict[str, float] = {}
        for rate, url in hottest:
            name = aliases(url)
            rates[name] = rates.get(name, 0.0) + rate
        return sorted(((rate, url) for url, rate in rates.items()), reverse=True)


def _news(counts: Counts, by: By) -> int:
    return counts.get(LIKES, 0) if by == "likes" else sum(counts.values())


def _put(hottest: list[tuple[float, str]], rate: float, url: str) -> None:
    """Add a URL to the heap `hottest`, if it is among the `URLS_MAX` highest."""
    if rate < COLD:
        return
    if len(hottest) < URLS_MAX:
        heapq.heappush(hottest, (rate, url))
    elif (rate, url) > hottest[0]:
        heapq.heapreplace(hottest, (rate, url))
