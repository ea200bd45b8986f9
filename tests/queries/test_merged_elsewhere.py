"""Totals on a node while another one merges URLs: they are those of the store and its own tables all the time."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio
from trio.testing import MockClock

from likd.counting.table import Table
from likd.durability.batch_file import Batch
from likd.model import Rows, add
from likd.queries.other_marks import GIVEN_AGAIN_SECONDS
from likd.stores.protocol import READ_SECONDS_MAX, Applied, Increments, Part, SharedRead
from tests.fakestore import FakeStore, batch_of, post, totals_over

A, B, C, D = "http://a/", "http://b/", "http://c/", "http://d/"


class SharedStore(FakeStore):
    """One in which others merge."""

    parts: frozenset[Part] = frozenset(("feed",))

    def __init__(self, rows: Rows) -> None:
        super().__init__(rows)
        self.merged: dict[str, str] = {}
        self.marks: dict[int, int] = {}

    def merge(self, old: str, new: str) -> None:
        self.merged[old] = new
        add(self.rows.setdefault(new, {}), self.rows.pop(old, {}))

    async def read_shared(self, urls: Sequence[str]) -> SharedRead:
        merged = {url: self.merged[url] for url in urls if url in self.merged}
        return SharedRead(*await self.read(urls), merged, self.marks)

    async def apply(self, increments: Increments) -> Applied | None:
        rows: Rows = {}
        for url, counts in increments.rows.items():
            add(rows.setdefault(self.merged.get(url, url), {}), counts)
        return await super().apply(Increments(increments.first, increments.last, 0, rows))


@pytest.mark.parametrize("known", ["asked for", "told", "told late"])
async def test_no_total_goes_back_and_none_is_counted_twice_at_any_step(known: str) -> None:
    store = SharedStore({A: {"likes": 1}, B: {"likes": 10}})
    totals = totals_over(store, cache_urls_max=10)
    table = Table(1, 0.0)
    totals.ledger.opened(table)
    post(table, A, 100)
    if known != "asked for":
        assert await totals.counts([A, B]) == {A: {"likes": 101}, B: {"likes": 10}}
    store.merge(A, B)
    if known == "told":
        totals.merged_elsewhere(store.merged.items())
    if known != "told late":
        assert await totals.counts([A, B]) == {A: {"likes": 111}, B: {"likes": 111}}
    totals.ledger.batched(batch_of(table))
    if known != "told late":
        assert await totals.counts([A, B]) == {A: {"likes": 111}, B: {"likes": 111}}
    applied = await store.apply(totals.ledger.waiting[0].increments)
    totals.ledger.applied_first(applied)
    if known == "told late":
        totals.merged_elsewhere(store.merged.items())
    assert await totals.counts([A, B]) == {A: {"likes": 111}, B: {"likes": 111}}
    assert await totals.counts([B]) == {B: {"likes": 111}}
    if known != "told late":
        assert list(totals.ledger.names(A)) == [B], "what it was called is of no account any more"


async def test_two_nodes_that_merge_the_same_urls_the_other_way_round_agree_with_the_store() -> None:
    store = SharedStore({A: {"likes": 1}, B: {"likes": 10}})
    totals = totals_over(store, cache_urls_max=10)
    totals.ledger.aliases.add(B, A)
    store.merge(A, B)
    assert await totals.counts([A, B, C]) == {A: {"likes": 11}, B: {"likes": 11}, C: {}}
    assert totals.ledger.aliases(A) == B


async def test_what_others_brought_is_not_lost_sight_of_after_a_read_that_was_ahead() -> None:
    store = SharedStore({A: {"likes": 1}, B: {"likes": 1}})
    totals = totals_over(store, cache_urls_max=10)
    assert await totals.counts([A]) == {A: {"likes": 1}}
    totals.ledger.batched(Batch(1, 0.0, 0.0, ("likes",), {D: {"likes": 1}}))
    await store.apply(totals.ledger.waiting[0].increments)
    store.rows[A]["likes"] += 5
    store.merge(C, B)
    # The second look is at all of them, as the first found a merge; and it is ahead, as the answer is not there yet.
    read = await totals.counts([A, C])
    assert (await totals.counts([A]))[A]["likes"] >= read[A]["likes"]


async def test_no_total_goes_back_with_the_store_while_other_nodes_give_it_again_what_it_lacks(
    autojump_clock: MockClock,
) -> None:
    store = SharedStore({A: {"likes": 5}})
    store.marks = {2: 7}
    totals = totals_over(store, cache_urls_max=10)
    assert await totals.counts([A]) == {A: {"likes": 5}}
    store.marks, store.rows[A] = {2: 6}, {"likes": 3}
    totals.forget([A])

    async def give_again() -> None:
        await trio.sleep(GIVEN_AGAIN_SECONDS / 2)
        store.marks, store.rows[A] = {2: 7}, {"likes": 5}

    async with trio.open_nursery() as nursery:
        nursery.start_soon(give_again)
        assert await totals.counts([A]) == {A: {"likes": 5}}
    assert totals.other_marks.given_up == 0


async def test_what_other_nodes_do_not_give_again_is_not_waited_for_for_ever(autojump_clock: MockClock) -> None:
    store = SharedStore({A: {"likes": 5}, B: {"likes": 5}})
    store.marks = {2: 7}
    totals = totals_over(store, cache_urls_max=10)
    await totals.counts([A])
    store.marks, store.rows = {2: 6}, {A: {"likes": 3}, B: {"likes": 3}}
    assert totals.counts_nowait(A) == {"likes": 5}, "what is known is said meanwhile"
    began = trio.current_time()
    assert await totals.counts([B]) == {B: {"likes": 3}}
    assert GIVEN_AGAIN_SECONDS <= trio.current_time() - began < READ_SECONDS_MAX
    assert await totals.counts([A]) == {A: {"likes": 3}}
