"""Tables take URLs in up to their limit, at a price for each URL that does not grow with their number."""

from __future__ import annotations

import time

from likd.counting.table import Table


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
