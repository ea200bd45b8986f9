"""The live hub: everything that is watched, looked at once for all, in steps."""

from __future__ import annotations

import trio
import trio.testing

from likd.durability.batch_file import Batch
from likd.model import Rows
from likd.queries.live_hub import URLS_AT_ONCE, LiveHub
from likd.queries.top_lists import TopLists
from likd.queries.totals import Totals
from likd.runtime.notice import Notice
from tests.fakestore import FakeStore, totals_over
from tests.turns import others_turns

A, B = "http://a/", "http://b/"


def new_hub(store: FakeStore) -> tuple[Totals, LiveHub]:
    totals = totals_over(store, applied=0, cache_urls_max=50_000)
    return totals, LiveHub(totals=totals, top=TopLists(store, totals), interval_seconds=1)


def batch(table: int, rows: Rows) -> Batch:
    return Batch(table, 0.0, 60.0 * table, ("likes",), rows)


async def test_others_get_their_turns_while_many_urls_are_looked_at(autojump_clock: trio.testing.MockClock) -> None:
    totals, hub = new_hub(FakeStore())
    urls = [f"http://example.com/{n}" for n in range(6000)]
    await totals.counts(urls)
    for url in urls:
        await hub.watch(url)
    totals.ledger.batched(batch(1, {url: {"likes": 1} for url in urls}))
    async with others_turns() as turns:
        await hub._look(1.0)
    assert turns.count >= 6000 / URLS_AT_ONCE - 2
    assert {hub.watched(url).counts["likes"] for url in urls} == {1}


async def test_who_asks_between_two_steps_of_a_look_misses_nothing() -> None:
    totals, hub = new_hub(FakeStore())
    urls = [f"http://example.com/{n}" for n in range(3 * URLS_AT_ONCE)]
    for url in urls:
        await hub.watch(url)
    totals.ledger.batched(batch(1, {url: {"likes": 1} for url in urls}))
    told: set[str] = set()

    async def session() -> None:
        while True:
            seen = hub.version
            await trio.lowlevel.checkpoint()
            told.update(url for url in urls if hub.watched(url).version > seen)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(session)
        await trio.lowlevel.checkpoint()
        await hub._look(1.0)
        await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    assert told == set(urls)


async def test_top_lists_of_all_lengths_are_one_look(autojump_clock: trio.testing.MockClock) -> None:
    store = FakeStore({A: {"likes": 2}, B: {"likes": 1}})
    totals, hub = new_hub(store)
    for limit in range(1, 30):
        await hub.watch_top("likes", limit)
    totals.ledger.batched(batch(1, {B: {"likes": 5}}))
    asked: list[tuple[str, int]] = []
    top = hub._top

    class Asked:
        async def __call__(self, by: str, limit: int) -> object:
            asked.append((by, limit))
            return await top(by, limit)

    hub._top = Asked()  # type: ignore[assignment]
    await hub._look(1.0)
    assert asked == [("likes", 29)]
    assert [url for url, _ in hub.watched_top("likes", 1).top] == [B]
    assert [url for url, _ in hub.watched_top("likes", 29).top] == [B, A]


async def test_what_changed_before_the_store_failed_is_told(autojump_clock: trio.testing.MockClock) -> None:
    store = FakeStore({A: {"likes": 2}})
    totals, hub = new_hub(store)
    async with trio.open_nursery() as nursery:
        await nursery.start(hub.run)
        await hub.watch(A)
        await hub.watch_top("likes", 1)
        totals.ledger.batched(batch(1, {A: {"likes": 1}, B: {"likes": 7}}))
        store.away = True
        news = Notice()
        hub.listen(news)
        with trio.fail_after(5):
            await news.wait()
        assert hub.watched(A).counts == {"likes": 3}
        nursery.cancel_scope.cancel()
