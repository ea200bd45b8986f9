"""Events, counts, submissions: adding up, and being settled once."""

from __future__ import annotations

import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from likd.model import Accepted, Outcome, Refused, Submission, add, add_columns, add_events, total

COUNTS = st.dictionaries(st.sampled_from(["likes", "unlikes"]), st.integers(1, 1 << 40))
ROWS = st.dictionaries(st.sampled_from("abc"), COUNTS)


def submission() -> Submission:
    return Submission({"like": {"http://a/": 1}}, 1)


def test_counts_are_added_by_name() -> None:
    counts = {"likes": 1, "unlikes": 2}
    add(counts, {"likes": 4, "impressions": 8})
    assert counts == {"likes": 5, "unlikes": 2, "impressions": 8}


@given(ROWS)
def test_columns_are_rows_the_other_way_round(rows: dict[str, dict[str, int]]) -> None:
    columns: dict[str, dict[str, int]] = {}
    for url, counts in rows.items():
        for name, n in counts.items():
            columns.setdefault(name, {})[url] = n
    turned: dict[str, dict[str, int]] = {}
    add_columns(turned, columns)
    assert turned == {url: counts for url, counts in rows.items() if counts}


def test_events_are_added_by_kind_and_url() -> None:
    events = {"like": {"a": 1}}
    add_events(events, {"like": {"a": 2, "b": 3}, "unlike": {"a": 4}})
    assert events == {"like": {"a": 3, "b": 3}, "unlike": {"a": 4}}


def test_total_sums_every_count_over_all_rows() -> None:
    assert total([{"likes": 1}, {"likes": 2, "unlikes": 3}, {}]) == {"likes": 3, "unlikes": 3}


def test_everyone_who_waits_hears_the_outcome_once() -> None:
    heard: list[Outcome] = []
    waiting = submission()
    waiting.on_settled(heard.append)
    waiting.on_settled(heard.append)
    waiting.settle(Accepted(1))
    assert heard == [Accepted(1), Accepted(1)]


def test_a_listener_that_fails_keeps_nobody_from_hearing_it() -> None:
    heard: list[Outcome] = []
    waiting = submission()
    for _ in range(2):
        waiting.on_settled(lambda _: 1 / 0)
        waiting.on_settled(heard.append)
    assert waiting.settle(Accepted(1)) == 2
    assert heard == [Accepted(1), Accepted(1)]


def test_the_first_outcome_stands() -> None:
    heard: list[Outcome] = []
    waiting = submission()
    waiting.on_settled(heard.append)
    waiting.settle(Accepted(1))
    waiting.settle(Refused("too late"))
    assert waiting.outcome == Accepted(1)
    assert heard == [Accepted(1)]


def test_who_asks_late_hears_it_at_once() -> None:
    heard: list[Outcome] = []
    waiting = submission()
    waiting.settle(Refused("full"))
    waiting.on_settled(heard.append)
    assert heard == [Refused("full")]


async def test_tasks_wait_for_the_outcome() -> None:
    heard: list[Outcome] = []
    waiting = submission()

    async def wait() -> None:
        heard.append(await waiting.settled())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        assert heard == []
        waiting.settle(Accepted(1))
    assert heard == [Accepted(1), Accepted(1)]
    assert await waiting.settled() == Accepted(1)


async def test_a_task_that_stops_waiting_disturbs_nobody() -> None:
    waiting = submission()
    with trio.CancelScope() as scope:
        scope.cancel()
        await waiting.settled()
    waiting.settle(Accepted(1))
    assert await waiting.settled() == Accepted(1)
