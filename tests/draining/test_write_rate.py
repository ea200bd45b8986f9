"""The write tolerance: rows go to the store no faster than it can bear, and none are saved up."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from likd.draining.write_rate import GROWTH, RATE_FIRST, RATE_MIN, SHRINK, FoundTolerance, WriteTolerance


async def test_the_tolerance_lets_through_so_many_rows_a_second(autojump_clock: MockClock) -> None:
    tolerance = WriteTolerance(100)
    began = trio.current_time()
    for _ in range(50):
        await tolerance.take(40)

    assert trio.current_time() - began == pytest.approx(50 * 40 / 100, abs=2.0)


async def test_rows_that_were_not_needed_are_not_saved_up(autojump_clock: MockClock) -> None:
    tolerance = WriteTolerance(100)
    await trio.sleep(3600)
    began = trio.current_time()
    for _ in range(10):
        await tolerance.take(100)

    assert trio.current_time() - began >= 8


# --- One that finds itself


async def write(tolerance: FoundTolerance, seconds: float, *, each: float = 20e-6, rows: int = 2000) -> None:
    """Write as much as it lets through for so long, into a store in which a row takes `each`."""
    until = trio.current_time() + seconds
    while trio.current_time() < until:
        await tolerance.take(rows)
        await trio.sleep(rows * each)
        tolerance.wrote(rows, rows * each)


async def test_it_grows_steadily_while_rows_wait_for_it(autojump_clock: MockClock) -> None:
    tolerance = FoundTolerance()
    await write(tolerance, 20)
    assert tolerance.rows_per_second == pytest.approx(RATE_FIRST + 20 * GROWTH, rel=0.1)


async def test_it_does_not_grow_while_there_is_nothing_to_write(autojump_clock: MockClock) -> None:
    tolerance = FoundTolerance()
    for _ in range(100):
        await tolerance.take(10)
        tolerance.wrote(10, 0.01)
        await trio.sleep(1)
    assert tolerance.rows_per_second == RATE_FIRST


async def test_it_gives_way_to_another_load_and_comes_back(autojump_clock: MockClock) -> None:
    tolerance = FoundTolerance()
    await write(tolerance, 10)
    alone = tolerance.rows_per_second
    await write(tolerance, 8, each=80e-6)
    beside = tolerance.rows_per_second
    assert beside < alone / 4
    await write(tolerance, 10)
    assert tolerance.rows_per_second == pytest.approx(beside + 10 * GROWTH, rel=0.2)


async def test_a_store_that_fails_gets_less_but_never_nothing(autojump_clock: MockClock) -> None:
    tolerance = FoundTolerance()
    tolerance.failed()
    tolerance.failed()
    assert tolerance.rows_per_second == pytest.approx(RATE_FIRST * SHRINK), "once a second"
    for _ in range(50):
        await trio.sleep(1)
        tolerance.failed()
    assert tolerance.rows_per_second == RATE_MIN


async def test_a_store_that_has_become_slower_for_good_is_not_starved(autojump_clock: MockClock) -> None:
    tolerance = FoundTolerance()
    await write(tolerance, 10)
    await write(tolerance, 300, each=80e-6)
    assert tolerance.rows_per_second > RATE_FIRST


async def test_small_transactions_are_not_taken_for_a_slow_store(autojump_clock: MockClock) -> None:
    tolerance = FoundTolerance()
    await write(tolerance, 5)
    before = tolerance.rows_per_second
    for _ in range(10):
        await tolerance.take(1)
        tolerance.wrote(1, 0.01)
        await trio.sleep(1)
    assert tolerance.rows_per_second >= before
