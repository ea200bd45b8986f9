"""Pauses between tries: longer each time, never the same for two, and short again after a success."""

from __future__ import annotations

import pytest

from likd.runtime.backoff import Backoff


def test_pauses_double_up_to_the_longest_and_begin_anew() -> None:
    backoff = Backoff(1, 5, jitter=lambda: 0.5)
    assert [backoff.next() for _ in range(5)] == [1, 2, 4, 5, 5]
    backoff.reset()
    assert backoff.next() == 1


@pytest.mark.parametrize(("chance", "seconds"), [(0.0, 0.5), (0.999, 1.499)])
def test_each_is_half_to_one_and_a_half_times_as_long(chance: float, seconds: float) -> None:
    assert Backoff(1, 5, jitter=lambda: chance).next() == pytest.approx(seconds)
