"""Tables take URLs in up to their limit, at a price for each URL that does not grow with their number."""

from __future__ import annotations

import time

from likd.counting.counter import UrlCounter
from likd.counting.table import SLICE_COUNTERS, Table
from likd.runtime.cooperative import finish


def test_urls_that_a_full_table_has_are_taken_in_with_all_that_precede_a_new_one() -> None:
    table = Table(1, 0.0)
    table.urls.update(map(str, range(9)))
    items = iter([(str(n), n) for n in (3, 4, 9, 5, 10)])
    assert table.take(items, 10) == {"3": 3, "4": 4, "9": 9}
    assert dict(items) == {"5": 5, "10": 10}


def test_taking_in_what_a_table_has_does_not_copy_again_and_again() -> None:
    table = Table(1, 0.0, urls=set(map(str, range(50_000))))
    began = time.process_time()
    assert len(table.take(((str(n), 1) for n in range(50_000)), 50_001)) == 50_000
    assert time.process_time() - began < 2, "it takes 50 ms, and ten seconds with a copy for each"


def test_a_table_is_committed_in_steps_and_has_each_count_all_the_while() -> None:
    counters = {str(n): UrlCounter(n, url=str(n), delta={"likes": n + 1}) for n in range(2 * SLICE_COUNTERS + 1)}
    table = Table(1, 0.0, counters=counters.copy())
    given_back: list[int] = []
    steps = table.commit(lambda free: given_back.append(len(free)))
    for _ in steps:
        assert not table.committed
        assert [table.counts(url) for url in counters] == [{"likes": n + 1} for n in range(len(counters))]
    assert given_back == [SLICE_COUNTERS, SLICE_COUNTERS, 1]
    assert table.committed
    assert table.rows == {str(n): {"likes": n + 1} for n in range(len(counters))}


def test_a_commit_that_was_cut_off_goes_on_where_it_was() -> None:
    counters = {str(n): UrlCounter(n, url=str(n), delta={"likes": n + 1}) for n in range(SLICE_COUNTERS + 1)}
    table = Table(1, 0.0, counters=counters)
    next(table.commit(lambda _: None))
    assert len(finish(table.commit(lambda _: None))) == SLICE_COUNTERS + 1
