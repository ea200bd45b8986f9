"""The pool keeps counters warm, leases them, restarts hung ones and replaces worn ones, and no count is lost."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from likd.counting.counter import UrlCounter
from likd.counting.pool import SLICE_COUNTERS, WAKES_PER_TURN_MAX, PoolManager
from likd.plugins.observers import Observer

URL = "https://example.com/"


@asynccontextmanager
async def running(pool: PoolManager) -> AsyncIterator[PoolManager]:
    async with trio.open_nursery() as nursery:
        await nursery.start(pool.run)
        yield pool
        nursery.cancel_scope.cancel()


def new_pool(*observers: Observer, size: int = 10, max_leases: int = 1000, counters_max: int = 1000) -> PoolManager:
    return PoolManager(
        size=size,
        counters_max=counters_max,
        max_leases=max_leases,
        hung_timeout_seconds=1.0,
        idle_seconds=30.0,
        observers=observers,
    )


async def test_ten_percent_more_than_the_size_is_kept_warm(autojump_clock: MockClock) -> None:
    async with running(new_pool(size=100)) as pool:
        assert (pool.statistics().counters, pool.statistics().idle) == (110, 110)


async def test_counters_are_leased_posted_to_committed_and_donated(autojump_clock: MockClock) -> None:
    async with running(new_pool()) as pool:
        counters: dict[str, UrlCounter] = {}
        pool.post(counters, "likes", {URL: 2, "https://b.example/": 1})
        pool.post(counters, "likes", {URL: 3})
        pool.post(counters, "impressions", {URL: 4})

        assert pool.statistics().leased == 2
        assert counters[URL].settle() == {"likes": 5, "impressions": 4}
        pool.post(counters, "likes", {URL: 1})
        assert counters[URL].commit() == {"likes": 6, "impressions": 4}
        pool.donate(counters.values())
        assert (pool.statistics().leased, pool.statistics().idle) == (0, 11)


async def test_it_grows_on_demand_and_shrinks_when_idle(autojump_clock: MockClock) -> None:
    async with running(new_pool()) as pool:
        counters: dict[str, UrlCounter] = {}
        pool.post(counters, "likes", {f"https://example.com/{n}": 1 for n in range(500)})
        assert pool.statistics().counters == 500
        for counter in counters.values():
            assert counter.commit() == {"likes": 1}
        pool.donate(counters.values())
        await trio.sleep(100)
        assert pool.statistics().counters == 11


async def test_it_says_when_it_is_exhausted(autojump_clock: MockClock) -> None:
    async with running(new_pool(counters_max=20)) as pool:
        assert not pool.exhausted
        pool.post({}, "likes", {f"https://example.com/{n}": 1 for n in range(20)})
        assert pool.exhausted


async def test_counters_that_owe_an_observer_its_news_are_not_free(autojump_clock: MockClock) -> None:
    async def observe(url: str, news: Mapping[str, int]) -> None:
        await trio.sleep(0.9)

    async with running(new_pool(observe, size=1, counters_max=20)) as pool:
        counters: dict[str, UrlCounter] = {}
        pool.post(counters, "likes", {f"https://example.com/{n}": 1 for n in range(20)})
        for counter in counters.values():
            counter.commit()
        pool.donate(counters.values())
        assert (pool.statistics().leased, pool.free, pool.exhausted) == (0, 0, True)
        await trio.sleep(5)
        assert (pool.free, pool.exhausted) == (20, False)


async def test_worn_counters_are_replaced(autojump_clock: MockClock) -> None:
    async with running(new_pool(size=1, max_leases=3)) as pool:
        numbers = set()
        for _ in range(9):
            counters: dict[str, UrlCounter] = {}
            pool.post(counters, "likes", {URL: 1})
            numbers.add(counters[URL].number)
            assert counters[URL].commit() == {"likes": 1}
            pool.donate(counters.values())
        assert (pool.statistics().worn, pool.statistics().counters) == (3, 2)
        assert len(numbers) >= 3


async def test_observers_are_told_coalesced_and_in_full(autojump_clock: MockClock) -> None:
    told: list[tuple[str, dict[str, int]]] = []

    async def observe(url: str, news: Mapping[str, int]) -> None:
        told.append((url, dict(news)))
        await trio.sleep(0.2)

    async with running(new_pool(observe)) as pool:
        counters: dict[str, UrlCounter] = {}
        for _ in range(100):
            pool.post(counters, "likes", {URL: 1})
            await trio.sleep(0.01)
        await trio.sleep(5)

    assert sum(news["likes"] for _, news in told) == 100
    assert len(told) < 20


async def test_a_hung_counter_is_restarted_with_its_mailbox_and_counts(autojump_clock: MockClock) -> None:
    calls = 0

    async def hang_once(url: str, news: Mapping[str, int]) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            await trio.sleep_forever()

    async with running(new_pool(hang_once)) as pool:
        counters: dict[str, UrlCounter] = {}
        pool.post(counters, "likes", {URL: 1})
        await trio.sleep(0.5)
        pool.post(counters, "likes", {URL: 10})
        assert pool.statistics().busy == 1
        await trio.sleep(2)
        pool.post(counters, "likes", {URL: 100})
        await trio.sleep(2)

        assert (pool.statistics().hung, pool.statistics().busy, counters[URL].restarts) == (1, 0, 1)
        assert counters[URL].commit() == {"likes": 111}
        assert calls == 3


async def test_a_hung_counter_holds_up_neither_commit_nor_the_others(autojump_clock: MockClock) -> None:
    async def hang(url: str, news: Mapping[str, int]) -> None:
        await trio.sleep_forever()

    async with running(new_pool(hang)) as pool:
        counters: dict[str, UrlCounter] = {}
        pool.post(counters, "likes", {URL: 1, "https://b.example/": 1})
        await trio.sleep(0.2)
        pool.post(counters, "likes", {URL: 1})
        assert counters[URL].commit() == {"likes": 2}
        assert counters["https://b.example/"].commit() == {"likes": 1}
        pool.donate(counters.values())
        assert pool.statistics().leased == 0


async def test_counters_whose_observers_are_told_after_the_commit_come_back(autojump_clock: MockClock) -> None:
    told: list[int] = []

    async def observe(url: str, news: Mapping[str, int]) -> None:
        await trio.sleep(3 if len(told) == 20 else 0.2)
        told.append(news["likes"])

    async with running(new_pool(observe)) as pool:
        for _ in range(10):
            counters: dict[str, UrlCounter] = {}
            pool.post(counters, "likes", {URL: 1, "https://b.example/": 2})
            for counter in counters.values():
                counter.commit()
            pool.donate(counters.values())
            assert pool.statistics().leased == 0
            await trio.sleep(1)
        pool.post(counters := {}, "likes", {URL: 100})
        counters[URL].commit()
        pool.donate(counters.values())
        await trio.sleep(10)

        assert sum(told) == 30
        assert (pool.statistics().hung, pool.statistics().idle, pool.statistics().counters) == (1, 11, 11)


async def test_an_observer_that_fails_is_told_again_next_time(autojump_clock: MockClock) -> None:
    told = []

    async def fail(url: str, news: Mapping[str, int]) -> None:
        told.append(dict(news))
        raise RuntimeError

    async with running(new_pool(fail)) as pool:
        counters: dict[str, UrlCounter] = {}
        for _ in range(2):
            pool.post(counters, "likes", {URL: 1})
            await trio.sleep(1)
        assert told == [{"likes": 1}, {"likes": 1}]
        assert counters[URL].commit() == {"likes": 2}
        assert pool.statistics().crashed == 0


async def test_a_restarted_pool_manager_finds_its_counters_as_they_were(autojump_clock: MockClock) -> None:
    pool = new_pool()
    counters: dict[str, UrlCounter] = {}
    for turn in range(3):
        async with running(pool):
            pool.post(counters, "likes", {URL: 1})
            await wait_all_tasks_blocked()
            if turn == 1:
                await trio.sleep(1)
    assert counters[URL].commit() == {"likes": 3}
    assert pool.statistics().counters == 11


async def test_a_delta_that_is_committed_before_its_turn_needs_no_task(autojump_clock: MockClock) -> None:
    async with running(new_pool()) as pool:
        before = trio.lowlevel.current_statistics().tasks_living
        counters: dict[str, UrlCounter] = {}
        pool.post(counters, "likes", {f"https://example.com/{n}": 1 for n in range(500)})
        for counter in counters.values():
            assert counter.commit() == {"likes": 1}
        pool.donate(counters.values())
        await trio.sleep(10)
        assert trio.lowlevel.current_statistics().tasks_living == before


async def test_tasks_are_started_a_few_in_each_turn(autojump_clock: MockClock) -> None:
    async with running(new_pool()) as pool:
        before = trio.lowlevel.current_statistics().tasks_living
        counters: dict[str, UrlCounter] = {}
        urls = {f"https://example.com/{n}": 1 for n in range(500)}
        pool.post(counters, "likes", urls)
        await trio.sleep(1)
        assert trio.lowlevel.current_statistics().tasks_living == before, "there is nothing to be done for one delta"
        pool.post(counters, "likes", urls)
        await wait_all_tasks_blocked()
        assert trio.lowlevel.current_statistics().tasks_living == before + WAKES_PER_TURN_MAX
        await trio.sleep(1)
        assert trio.lowlevel.current_statistics().tasks_living == before + 500


async def test_when_nothing_is_posted_any_more_counters_are_dismissed_in_steps(autojump_clock: MockClock) -> None:
    async with running(new_pool()) as pool:
        counters: dict[str, UrlCounter] = {}
        pool.post(counters, "likes", {f"https://example.com/{n}": 1 for n in range(3 * SLICE_COUNTERS)})
        await trio.sleep(10)
        for counter in counters.values():
            counter.commit()
        pool.donate(counters.values())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pool.dismiss)
            await trio.lowlevel.checkpoint()
            assert pool.statistics().counters >= SLICE_COUNTERS
        await wait_all_tasks_blocked()
        assert (pool.statistics().counters, trio.lowlevel.current_statistics().tasks_living) == (0, 6)


async def test_a_process_that_stood_still_takes_no_counter_for_hung(mock_clock: MockClock) -> None:
    told = trio.Event()

    async def observe(url: str, news: Mapping[str, int]) -> None:
        told.set()
        await trio.sleep_forever()

    async with running(new_pool(observe)) as pool:
        pool.post({}, "likes", {URL: 1})
        await told.wait()
        mock_clock.jump(3600)
        await wait_all_tasks_blocked()
        assert (pool.statistics().hung, pool.statistics().busy) == (0, 1)
        mock_clock.autojump_threshold = 0
        await trio.sleep(0.7)
        assert pool.statistics().hung == 0
        await trio.sleep(0.5)
        assert pool.statistics().hung == 1
