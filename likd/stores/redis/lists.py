"""Lists over all buckets: the URLs with the most, and all URLs in their order."""

from __future__ import annotations

import heapq
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeAlias

import attrs

from likd.model import Counts, Rows
from likd.stores.redis.cluster import Call, Cluster
from likd.stores.redis.keys import BUCKETS, SLOTS, Keys
from likd.stores.redis.line import packed
from likd.stores.sites import net

Counted: TypeAlias = Callable[[Cluster, Iterable[str]], Awaitable[tuple[dict[str, int], Rows, Rows]]]


@attrs.frozen
class Lists:
    """Reads lists from a cluster; `counted` tells the counts of URLs."""

    keys: Keys
    counted: Counted

    async def top(self, cluster: Cluster, by: str, limit: int) -> list[tuple[str, Counts]]:
        """The `limit` URLs with the most of `by`.

        Exact for a count, as far as no bucket has more than TOP_MAX of them: what a bucket forgot had no more than what
        it remembers, and is there again when it grows. Likes less unlikes may fall, and what was forgotten meanwhile
        is missing then.
        """

        def ask(number: int, after: tuple[float, bytes] | None, place: int, some: int) -> Call:
            words = [b"ZRANGE", self.keys.of(number, b"t:" + by.encode()), b"%d" % place, b"%d" % (place + some - 1)]
            return Call(SLOTS[number], packed(*words, b"WITHSCORES"))

        def read(flat: Sequence[bytes]) -> list[tuple[float, bytes]]:
            return [(float(score), url) for url, score in zip(flat[::2], flat[1::2], strict=True)]

        urls = [url.decode() for score, url in await self._first(cluster, ask, read, limit) if score < 0]
        _, _, rows = await self.counted(cluster, urls)
        ranked = sorted((-_value(counts, by), url) for url, counts in rows.items())
        return [(url, rows[url]) for n, url in ranked if n < 0]

    async def page(self, cluster: Cluster, after: str, limit: int) -> list[tuple[str, Counts]]:
        """The next `limit` URLs in the order of their bytes, after `after`."""

        def ask(number: int, last: tuple[float, bytes] | None, place: int, some: int) -> Call:
            begin = last[1] if last is not None else after.encode()
            words = [b"ZRANGEBYLEX", self.keys.of(number, b"u"), b"(" + begin if begin else b"-", b"+", b"LIMIT", b"0"]
            return Call(SLOTS[number], packed(*words, b"%d" % some))

        def read(flat: Sequence[bytes]) -> list[tuple[float, bytes]]:
            return [(0.0, url) for url in flat]

        urls = [url.decode() for _, url in await self._first(cluster, ask, read, limit)]
        _, _, rows = await self.counted(cluster, urls)
        return [(url, rows[url]) for url in urls if url in rows]

    async def _first(
        self,
        cluster: Cluster,
        ask: Callable[[int, tuple[float, bytes] | None, int, int], Call],
        read: Callable[[Sequence[bytes]], list[tuple[float, bytes]]],
        limit: int,
    ) -> list[tuple[float, bytes]]:
        """The first `limit` of what all buckets have in order.

        Of each a few are read, and more of those whose last is still among the first of all.
        """
        some = 2 * limit // BUCKETS + 8
        found: list[list[tuple[float, bytes]]] = [[] for _ in range(BUCKETS)]
        asked = list(range(BUCKETS))
        first: list[tuple[float, bytes]] = []
        while asked:
            calls = [
                ask(number, found[number][-1] if found[number] else None, len(found[number]), some) for number in asked
            ]
            more: list[int] = []
            for number, reply in zip(asked, await cluster.ask(calls), strict=True):
                entries = read(reply)
                found[number] += entries
                if len(entries) == some:
                    more.append(number)
            first = heapq.nsmallest(limit, (entry for entries in found for entry in entries))
            asked = [number for number in more if len(first) < limit or found[number][-1] <= first[-1]]
        return first


def _value(counts: Counts, by: str) -> int:
    return net(counts) if by == "net" else counts.get(by, 0)
