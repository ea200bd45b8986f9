"""Ranking: the order of all URLs by one count, as far as anybody asks for it, kept up to date."""

from __future__ import annotations

import heapq

import trio

from likd.model import LIKES, UNLIKES, Counts, Rows
from likd.queries.growth import URLS_AT_ONCE, Growth
from likd.queries.totals import Totals
from likd.stores.protocol import RankingStore, in_time

NET = "net"
LOOK_UPS_AT_ONCE = 300
LEADERS_AT_ONCE = 200
RISEN_MIN = 1000
"""For how many waiting URLs their growth is kept at first; for eight times as many if that was not enough."""
LIST_MIN, LIST_MAX = 1000, 16_000
"""How much of the store's own list is read at first, and how much at most, to save looking up URLs."""
ROOM_MIN = 20_000
_NOBODY = (0, "")
"""Comes after every URL that has any of the count."""


def value(counts: Counts, by: str) -> int:
    """What `counts` are ranked by: a count, or "net", likes minus unlikes."""
    if by == NET:
        return counts.get(LIKES, 0) - counts.get(UNLIKES, 0)
    return counts.get(by, 0)


def rise(counts: Counts, by: str) -> int:
    """How much `counts`, or any part of them, can raise what they are ranked by."""
    return counts.get(rising(by), 0)


def rising(by: str) -> str:
    """The count that raises the value ranked `by`."""
    return LIKES if by == NET else by


class Ranking:
    """Knows the totals of the leading URLs, and an upper bound for all others.

    The store's own list ends at `_floor`: no URL that is not on it had more then. By how much each URL has `_risen`
    since is known, from growth and from what was waiting at first. A URL that could have reached the top by that is
    looked up; from then on its total is known and grows. So a URL is looked up once, however often somebody asks;
    applying changes no total and costs nothing. Both orders are heaps, with outdated entries. Of what was waiting at
    first, only the URLs that rose most are kept; the others are known to come after `_rest`. If that is not enough to
    determine the top, it begins again with more of them. Works in steps of a millisecond. Only one caller at a time. A
    failing store or a cancellation leaves it as it is.
    """

    def __init__(self, store: RankingStore, totals: Totals, by: str) -> None:
        self._store = store
        self._totals = totals
        self._by = by
        self._growth = Growth(totals)
        self._grown: Rows = {}
        self._doubtful: set[str] = set()
        self._known: dict[str, int] = {}
        self._leaders: list[tuple[int, str]] = []
        self._risen: dict[str, int] = {}
        self._climbers: list[tuple[int, str]] = []
        self._floor = _NOBODY
        self._rest = _NOBODY
        self._risen_max = RISEN_MIN
        self._listed = 0
        self._room = 0

    @property
    def rows_unseen(self) -> int:
        """How much it has to catch up with when somebody asks."""
        return self._growth.rows_unseen

    def close(self) -> None:
        """Stop following growth."""
        self._growth.close()

    async def first(self, limit: int) -> list[tuple[str, Counts]]:
        """The `limit` URLs with the most, highest first, ties by URL: as of one moment. Raises StoreError."""
        if not self._listed or len(self._leaders) + len(self._climbers) > self._room:
            await self._begin()
        await self._follow()
        looked_up = 0
        while True:
            leaders = await self._lead(limit)
            edge = leaders[-1] if len(leaders) == limit else _NOBODY
            # A longer list may save more lookups than it costs: both are tried in turn.
            worth_it = self._listed < min(looked_up, LIST_MAX) and self._floor != _NOBODY
            if self._floor < edge or worth_it:
                await self._list(self._listed * 4)
                continue
            climbers = self._climb(edge)
            if not climbers:
                if self._rest == _NOBODY or (self._floor[0] + self._rest[0], self._rest[1]) >= edge:
                    break
                self._risen_max *= 8
                await self._begin()
                await self._follow()
                continue
            looked_up += len(climbers)
            await self._look_up(climbers)
        counts = await self._totals.counts([url for _, url in leaders])
        ranked = sorted((-value(counts[url], self._by), url) for url in counts)
        return [(url, counts[url]) for n, url in ranked if n < 0]

    async def _begin(self) -> None:
        """Begin with what is waiting now, and forget the rest."""
        known: dict[str, int] = {}
        risen: dict[str, int] = {}
        most, self._rest = await self._most_pending()
        for n, url in reversed(most):
            risen[url] = -n
        for urls in self._totals.ledger.counting_steps(URLS_AT_ONCE):
            for name in urls:
                url = self._totals.ledger.aliases(name)
                if n := rise(self._totals.increments(url), self._by):
                    risen[url] = n
            await trio.lowlevel.checkpoint()
        # What was looked up before need not be looked up again, unless that was in vain.
        for url in risen.keys() & self._known.keys():
            known[url] = self._known[url]
            del risen[url]
        self._known, self._risen = known, risen
        self._leaders = [(-total, url) for url, total in known.items() if total > 0]
        self._climbers = [(-n, url) for url, n in risen.items()]
        heapq.heapify(self._leaders)
        heapq.heapify(self._climbers)
        # Two URLs that are being merged may have more together than either has in the store.
        self._doubtful.update(merge.new for merge in self._totals.ledger.merging.values() if not merge.erases)
        self._listed = 0
        await self._list(LIST_MIN)
        self._room = 2 * (len(self._leaders) + len(self._climbers)) + ROOM_MIN

    async def _most_pending(self) -> tuple[list[tuple[int, str]], tuple[int, str]]:
        """The first `_risen_max` URLs that rose by what is committed or waiting, and what all others come after."""
        name, limit = rising(self._by), self._risen_max
        most: list[tuple[int, str]] = []
        rest = _NOBODY
        for part in self._totals.ledger.pending_steps():
            if self._totals.ledger.merging:
                part = {url: self._totals.increments(url) for url in map(self._totals.ledger.aliases, part)}
            least, last = -rest[0], rest[1]
            most += [
                (-n, url)
                for url, counts in part.items()
                if (n := counts.get(name, 0)) > least or (n == least and url < last)
            ]
            if len(most) > 2 * limit:
                most = sorted(set(most))
                if len(most) > limit:
                    rest = most[limit - 1]
                    del most[limit:]
            await trio.lowlevel.checkpoint()
        return sorted(most), rest

    async def _follow(self) -> None:
        """Rank what has grown since the last time."""
        await self._growth.look(self._grown)
        while self._grown:
            for _ in range(min(URLS_AT_ONCE, len(self._grown))):
                self._grow(*self._grown.popitem())
            await trio.lowlevel.checkpoint()
        self._doubtful |= self._growth.take_forgotten()
        while self._doubtful:
            await self._look_up([url for url, _ in zip(self._doubtful, range(LOOK_UPS_AT_ONCE), strict=False)])

    def _grow(self, url: str, counts: Counts) -> None:
        url = self._totals.ledger.aliases(url)
        if url in self._known:
            n = value(counts, self._by)
            if n:
                self._know(url, self._known[url] + n)
        elif n := rise(counts, self._by):
            before = self._risen.get(url)
            risen = self._risen[url] = n + (before if before is not None else -self._rest[0])
            heapq.heappush(self._climbers, (-risen, url))

    def _know(self, url: str, total: int) -> None:
        self._known[url] = total
        if total > 0:
            heapq.heappush(self._leaders, (-total, url))

    async def _lead(self, limit: int) -> list[tuple[int, str]]:
        """The first of the known URLs."""
        leaders: list[tuple[int, str]] = []
        last = _NOBODY
        heap = self._leaders
        try:
            while heap and len(leaders) < limit:
                entry = heapq.heappop(heap)
                if entry != last and self._known.get(entry[1]) == -entry[0]:
                    leaders.append(last := entry)
                    if len(leaders) % LEADERS_AT_ONCE == 0:
                        await trio.lowlevel.checkpoint()
        finally:
            for entry in leaders:
                heapq.heappush(heap, entry)
        return leaders

    def _climb(self, edge: tuple[int, str]) -> list[str]:
        """Some unknown URLs that could come before `edge`. They belong to `_look_up`."""
        urls: dict[str, None] = {}
        heap = self._climbers
        while heap and len(urls) < LOOK_UPS_AT_ONCE:
            n, url = heap[0]
            if self._risen.get(url) == -n:
                if (self._floor[0] + n, url) >= edge:
                    break
                urls[url] = None
            heapq.heappop(heap)
        return list(urls)

    async def _list(self, limit: int) -> None:
        """Read that much of the store's own list."""
        with in_time():
            _, listed = await self._store.top(self._by, limit)
        urls = [url for url, _ in listed if url not in self._known]
        for begin in range(0, len(urls), LOOK_UPS_AT_ONCE):
            await self._look_up(urls[begin : begin + LOOK_UPS_AT_ONCE])
        self._floor = (-value(listed[-1][1], self._by), listed[-1][0]) if len(listed) == limit else _NOBODY
        self._listed = limit

    async def _look_up(self, urls: list[str]) -> None:
        try:
            totals = await self._totals.counts(urls)
            # No await from here on: growth is told what these totals include.
            for url in urls:
                self._growth.know(url)
                self._grown.pop(url, None)
                self._risen.pop(url, None)
                self._doubtful.discard(url)
                if url in self._totals.ledger.aliases:
                    self._known.pop(url, None)
                else:
                    self._know(url, value(totals[url], self._by))
        finally:
            for url in urls:
                if url in self._risen:
                    heapq.heappush(self._climbers, (-self._risen[url], url))
