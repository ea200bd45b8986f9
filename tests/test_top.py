"""The top list is that of the totals, wherever the counts are."""

from __future__ import annotations

from collections.abc import Sequence

import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from likd.batchfile import Batch
from likd.events import Counts, Rows
from likd.top import top, value
from likd.totals import Totals
from tests.fakestore import FakeStore

ROWS = st.dictionaries(
    st.sampled_from([f"https://example.com/{n}" for n in range(12)]),
    st.dictionaries(st.sampled_from(["likes", "unlikes"]), st.integers(1, 9)),
)


class RankingStore(FakeStore):
    async def top(self, by: str, limit: int) -> tuple[int, list[tuple[str, Counts]]]:
        return self.applied, best(self.rows, by, limit)


def best(rows: Rows, by: str, limit: int) -> list[tuple[str, Counts]]:
    ranked = sorted(rows.items(), key=lambda item: (-value(item[1], by), item[0]))
    return [item for item in ranked if value(item[1], by) > 0][:limit]


@settings(max_examples=200, deadline=None)
@given(ROWS, st.lists(ROWS, max_size=3), st.sampled_from(["likes", "unlikes", "net"]), st.integers(1, 6))
def test_it_is_the_ranking_of_the_totals(stored: Rows, waiting: Sequence[Rows], by: str, limit: int) -> None:
    wanted: Rows = {}
    for rows in (stored, *waiting):
        for url, counts in rows.items():
            for name, n in counts.items():
                mine = wanted.setdefault(url, {})
                mine[name] = mine.get(name, 0) + n

    async def rank() -> list[tuple[str, Counts]]:
        store = RankingStore(stored)
        totals = Totals(store, applied=0, cache_urls_max=1000)
        for table, rows in enumerate(waiting, start=1):
            copy = {url: dict(counts) for url, counts in rows.items()}
            totals.batched(Batch(table, 0.0, 60.0 * table, ("likes", "unlikes"), copy))
        return await top(store, totals, by=by, limit=limit)

    assert trio.run(rank) == best(wanted, by, limit)
