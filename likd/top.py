"""The top list: the URLs with the most of a count, exact, out of the store and what it does not have yet."""

from __future__ import annotations

from likd.events import LIKES, UNLIKES, Counts
from likd.store import Store
from likd.totals import Totals

NET = "net"


def value(counts: Counts, by: str) -> int:
    """What `counts` are ranked by: a count, or "net", likes less unlikes."""
    if by == NET:
        return counts.get(LIKES, 0) - counts.get(UNLIKES, 0)
    return counts.get(by, 0)


async def top(store: Store, totals: Totals, *, by: str, limit: int) -> list[tuple[str, Counts]]:
    """The `limit` URLs with the most of `by`, highest first, ties by URL. Raises StoreError.

    The store's own list, longer by as many URLs as may have fallen since, has every URL that has nothing
    waiting; of the others only those are looked up that could make it.
    """
    waiting = {url: value(totals.increments(url), by) for url in totals.unapplied_urls()}
    fallen = sum(1 for n in waiting.values() if n < 0)
    _, listed = await store.top(by, limit + fallen)
    floor = value(listed[-1][1], by) if len(listed) == limit + fallen else 0
    merged = {url: value(counts, by) + waiting.get(url, 0) for url, counts in listed}
    best = sorted(merged.values(), reverse=True)
    needed = best[limit - 1] if len(best) >= limit else 1
    candidates = [url for url, n in waiting.items() if url not in merged and n > 0 and floor + n >= needed]
    urls = [*merged, *candidates]
    ranked: list[tuple[str, Counts]] = []
    for begin in range(0, len(urls), 1000):
        counts = await totals.counts(urls[begin : begin + 1000])
        ranked += counts.items()
    ranked = [(url, counts) for url, counts in ranked if value(counts, by) > 0]
    ranked.sort(key=lambda item: (-value(item[1], by), item[0]))
    return ranked[:limit]
