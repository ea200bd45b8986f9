"""The limit of tables follows the load between its bounds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from likd.counting.table_limit import FILLED_SLOWLY_SECONDS, FILLED_SOON_SECONDS, TableLimit

SOON, LATER, SLOWLY = FILLED_SOON_SECONDS / 2, 2 * FILLED_SOON_SECONDS, 2 * FILLED_SLOWLY_SECONDS


def test_tables_that_fill_in_no_time_are_followed_by_larger_ones() -> None:
    limit = TableLimit(2000, 10_000)
    sizes = [limit.urls]
    for _ in range(4):
        limit.swapped(SOON, full=True)
        sizes.append(limit.urls)
    assert sizes == [2000, 4000, 8000, 10_000, 10_000]


def test_with_less_to_do_tables_are_small_again() -> None:
    limit = TableLimit(2000, 10_000)
    for _ in range(3):
        limit.swapped(SOON, full=True)
    limit.swapped(LATER, full=True)
    assert limit.urls == 10_000
    limit.swapped(SLOWLY, full=True)
    assert limit.urls == 5000
    limit.swapped(SOON, full=False)
    assert limit.urls == 2500
    limit.swapped(SOON, full=False)
    assert limit.urls == 2000


@given(
    st.integers(1, 100), st.integers(1, 100), st.lists(st.tuples(st.sampled_from([SOON, LATER, SLOWLY]), st.booleans()))
)
def test_it_stays_between_its_bounds(lowest: int, highest: int, swaps: list[tuple[float, bool]]) -> None:
    limit = TableLimit(lowest, highest)
    for seconds, full in swaps:
        limit.swapped(seconds, full=full)
        assert lowest <= limit.urls <= max(lowest, highest)
