"""The chain in every store that has one: the mark is compared and set, and a newer life fences an older one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from trio.testing import MockClock

from likd.errors import Behind, Fenced
from likd.model import Fold, Rows
from likd.stores.protocol import Applied, Folding, Increments, Store
from tests.stores.contract.kinds import CHAINED, KEYS, NAMES, NOW, Chained, keep_time

A, B = "https://a.example/", "https://b.example/"
MINUTE = int(NOW // 60)


def increments(table: int, rows: Rows | None = None, *, first: int | None = None) -> Increments:
    return Increments(first or table, table, MINUTE, {A: {"likes": 1}} if rows is None else rows)


@pytest.fixture(params=CHAINED)
def chained(request: pytest.FixtureRequest, tmp_path: Path) -> Chained:
    return CHAINED[request.param](tmp_path)


@pytest.fixture
async def store(chained: Chained, autojump_clock: MockClock) -> AsyncIterator[Store]:
    store = chained.client()
    keep_time(store, autojump_clock)
    await store.open(NAMES)
    yield store
    await store.aclose()


async def test_each_start_is_a_new_epoch_of_the_same_node(store: Store, chained: Chained) -> None:
    other = chained.client()
    await other.open(NAMES)
    assert (other.node, other.epoch) == (store.node, store.epoch + 1)
    await other.aclose()


async def test_a_newer_life_fences_an_older_one_in_whatever_it_writes(store: Store, chained: Chained) -> None:
    await store.apply(increments(1))
    newer = chained.client()
    assert await newer.open(NAMES) == 1
    with pytest.raises(Fenced, match="another likd that started later writes to the store for this data directory"):
        await store.apply(increments(2))
    with pytest.raises(Fenced):
        await store.load("name", {A: {"likes": 1}})
    if "merging" in store.parts:
        with pytest.raises(Fenced):
            await store.fold([Fold(A, B, KEYS.of_url(A), KEYS.of_url(B))], Folding("new"))
    assert await newer.apply(increments(2)) == Applied()
    assert await newer.read([A]) == (2, {A: {"likes": 2}})
    await newer.aclose()


async def test_an_apply_is_fenced_although_its_table_is_applied_already(store: Store, chained: Chained) -> None:
    newer = chained.client()
    await newer.open(NAMES)
    await newer.apply(increments(3))
    with pytest.raises(Fenced):
        await store.apply(increments(2))
    await newer.aclose()


async def test_a_store_that_went_back_says_how_far_and_takes_nothing(store: Store, chained: Chained) -> None:
    await store.apply(increments(1))
    chained.keep()
    await store.apply(increments(4, first=2))
    await chained.go_back()
    with pytest.raises(Behind) as behind:
        await store.apply(increments(5))
    assert behind.value.mark in (0, 1)
    assert await store.open(NAMES) == 1
    assert await store.read([A]) == (1, {A: {"likes": 1}})
    assert await store.apply(increments(4, first=2)) == Applied()
    assert await store.apply(increments(5)) == Applied()
    assert await store.read([A]) == (5, {A: {"likes": 3}})


async def test_a_store_that_went_back_behind_the_start_of_this_life_does_not_fence_it(chained: Chained) -> None:
    first = chained.client()
    await first.open(NAMES)
    await first.apply(increments(1))
    await first.aclose()
    chained.keep()
    store = chained.client()
    await store.open(NAMES)
    epoch = store.epoch
    await chained.go_back()
    with pytest.raises(Behind):
        await store.apply(increments(2))
    assert await store.open(NAMES) == 1
    assert store.epoch > epoch
    assert await store.apply(increments(2)) == Applied()
    await store.aclose()


async def test_two_lives_that_got_the_same_epoch_are_not_taken_for_one(chained: Chained) -> None:
    first = chained.client()
    await first.open(NAMES)
    await first.aclose()
    chained.keep()
    store = chained.client()
    await store.open(NAMES)
    await chained.go_back()
    copy = chained.client()
    await copy.open(NAMES)
    assert copy.epoch == store.epoch
    if chained.is_noticed_as_such:
        with pytest.raises(Fenced):
            await store.apply(increments(1))
    assert await copy.apply(increments(1)) == Applied()
    await copy.aclose()
    await store.aclose()


async def test_a_mark_that_nobody_should_have_moved_fences(store: Store, chained: Chained) -> None:
    await store.apply(increments(1))
    chained.set_mark(3)
    with pytest.raises(Fenced, match="table 3"):
        await store.apply(increments(4))
    with pytest.raises(Fenced, match="table 3"):
        await store.apply(increments(7, first=5))


async def test_an_answer_that_was_lost_is_told_when_it_is_asked_again(store: Store, chained: Chained) -> None:
    await store.apply(increments(2, first=1))
    again = chained.client()
    assert await again.open(NAMES) == 2
    assert await again.apply(increments(2, first=1)) is None
    assert await again.apply(increments(3)) == Applied()
    await again.aclose()
