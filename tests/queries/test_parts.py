"""Totals over a store that is written part by part: exact at any moment, whichever parts have what they are given."""

from __future__ import annotations

from collections.abc import Sequence

from likd.counting.actors import ActorKeys
from likd.counting.ledger import Ledger
from likd.durability.batch_file import Batch
from likd.model import Liking, Rows
from likd.stores.protocol import AsOf, Marks
from tests.fakestore import FakeStore, totals_over

KEYS = ActorKeys(b"secret")
A, B = "https://a.example/", "https://b.example/"


class HalfStore(FakeStore):
    """A store that says of each read what it is told to say."""

    said: AsOf = 0

    async def read(self, urls: Sequence[str]) -> tuple[AsOf, Rows]:  # type: ignore[override]
        _, rows = await super().read(urls)
        return self.said, rows


def batch(table: int, rows: Rows, actors: dict[bytes, Liking] | None = None, closed: float = 0.0) -> Batch:
    return Batch(table, 0.0, closed, ("likes", "unlikes"), rows, actors or {})


def waiting(ledger: Ledger) -> list[tuple[int, int]]:
    return [(item.increments.first, item.increments.last) for item in ledger.waiting]


async def test_a_total_has_a_group_once_whether_its_part_of_the_store_has_it_or_not() -> None:
    store = HalfStore({A: {"likes": 5}, B: {"likes": 2}})
    totals = totals_over(store, cache_urls_max=10)
    totals.ledger.batched(batch(1, {A: {"likes": 1}, B: {"likes": 1}}))
    store.said = Marks(0, {A: 1})
    assert await totals.counts([A, B]) == {A: {"likes": 5}, B: {"likes": 3}}
    store.said = 1
    assert await totals.counts([A, B]) == {A: {"likes": 5}, B: {"likes": 2}}


async def test_what_a_part_added_by_itself_is_no_part_of_a_total_before_all_is_applied() -> None:
    store = HalfStore({A: {"likes": 5, "unlikes": 1}, B: {"likes": 2}})
    totals = totals_over(store, cache_urls_max=10)
    totals.ledger.batched(batch(1, {A: {"likes": 1}, B: {"likes": 1}}, {KEYS("ann", A): Liking(True, 1)}))
    store.said = Marks(0, {A: 1}, {A: {"unlikes": 1}})
    counts = await totals.counts([A, B])
    assert (counts[A]["likes"], counts[A].get("unlikes", 0), counts[B]["likes"]) == (5, 0, 3)


def test_what_waits_is_not_merged_over_a_table_at_which_parts_of_the_store_are() -> None:
    ledger = totals_over(FakeStore(), cache_urls_max=10).ledger
    ledger.ends = frozenset({2, 5})
    for table in (1, 2, 3, 4, 6, 7):
        ledger.batched(batch(table, {A: {"likes": 1}}))
    assert waiting(ledger) == [(1, 2), (3, 4), (6, 7)]
