"""The write tolerance: rows go to the store no faster than it can bear, and none are saved up."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from likd.draining.write_rate import WriteTolerance


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
