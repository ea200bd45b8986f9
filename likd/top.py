"""The top list: the URLs with the most of a count, exact, out of the store and what it does not have yet."""

from __future__ import annotations

import heapq

import trio

from likd.events import LIKES, UNLIKES, Counts
from likd.store import Store
from likd.totals import Totals

NET = "net"
URLS_AT_ONCE = 1000


def value(counts: Counts, by: str) -> int:
    """What `counts` are ranked by: a count, or "net", likes less unlikes."""
    if by == NET:
        return counts.get(LIKES, 0) - counts.get(UNLIKES, 0)
    return counts.get(by, 0)


async def top(store: Store, totals: Totals, *, by: str, limit: int) -> list[tuple[str, Counts]]:
    """The `limit` URLs with the most of `by`, highest first, ties by URL. Raises StoreError.

    The store's own list, longer by as many URLs as may have fallen since, has every URL that has nothing
    waiting. Of the others none has more than the end of that list and what waits for it: they are looked up in
    the order of that bound, until the next could not make it.
    """
    waiting: dict[str, int] = {}
    for number, url in enumerate(totals.unapplied_urls()):
        if number % URLS_AT_ONCE == 0:
            await trio.lowlevel.checkpoint()
        waiting[url] = value(totals.increments(url), by)
    fallen = sum(1 for n in waiting.values() if n < 0)
    _, listed = await store.top(by, limit + fallen)
    floor = value(listed[-1][1], by) if len(listed) == limit + fallen else 0
    known = {url for url, _ in listed}
    bounds = [(-floor - n, url) for url, n in waiting.items() if n > 0 and url not in known]
    heapq.heapify(bounds)
    ranked = await _rank([], list(known), totals, by, limit)
    while bounds and (len(ranked) < limit or bounds[0] < _key(ranked[-1], by)):
        urls = [heapq.heappop(bounds)[1] for _ in range(min(URLS_AT_ONCE, len(bounds)))]
        ranked = await _rank(ranked, urls, totals, by, limit)
    return ranked


async def _rank(
    ranked: list[tuple[str, Counts]], urls: list[str], totals: Totals, by: str, limit: int
) -> list[tuple[str, Counts]]:
    """The best of `ranked` and `urls`."""
    for begin in range(0, len(urls), URLS_AT_ONCE):
        counts = await totals.counts(urls[begin : begin + URLS_AT_ONCE])
        ranked = sorted(
            (item for item in [*ranked, *counts.items()] if value(item[1], by) > 0), key=lambda item: _key(item, by)
        )[:limit]
    return ranked


def _key(item: tuple[str, Counts], by: str) -> tuple[int, str]:
    url, counts = item
    return -value(counts, by), url
