"""Totals: exact at every moment, while tables move from open to batched to applied, and bounded in memory."""

from __future__ import annotations

import attrs
import pytest
import trio
import trio.testing
from trio.testing import wait_all_tasks_blocked

from likd.counting import pending as pending_module
from likd.counting import waiting as waiting_module
from likd.counting.ledger import SLICE_ROWS
from likd.counting.table import Table
from likd.durability.batch_file import Batch
from likd.errors import StoreError
from likd.model import Counts, Fold, Liking, Rows, add_columns
from likd.plugins.handlers import Handlers
from likd.queries import bases as bases_module
from likd.queries.totals import Totals
from likd.runtime.cooperative import finish
from likd.stores.protocol import READ_SECONDS_MAX, Applied
from tests.fakestore import FakeStore, batch_of, post, totals_over

A, B, C = URLS = ["http://a/", "http://b/", "http://c/"]


def batch(table: int, urls: dict[str, int], closed: float = 0.0) -> Batch:
    return Batch(table, 0.0, closed, ("likes",), {url: {"likes": n} for url, n in urls.items()})


async def test_an_unknown_url_has_no_counts() -> None:
    assert await totals_over(FakeStore(), applied=0, cache_urls_max=10).counts([A]) == {A: {}}


async def test_a_total_is_the_store_and_every_table_it_does_not_have() -> None:
    store = FakeStore({A: {"likes": 1000, "unlikes": 5}})
    totals = totals_over(store, applied=0, cache_urls_max=10)
    totals.ledger.batched(batch(1, {A: 100}))
    swapped, opened = Table(2, 0.0), Table(3, 0.0)
    totals.ledger.opened(swapped)
    post(swapped, A, 10)
    finish(swapped.commit(lambda _: None))
    totals.ledger.opened(opened)
    post(opened, A, 1)
    assert await totals.counts([A, B]) == {A: {"likes": 1111, "unlikes": 5}, B: {}}
    assert totals.increments(A) == {"likes": 111}
    assert totals.ledger.unapplied_urls() == {A}


async def test_the_total_stays_the_same_at_every_step_of_a_table() -> None:
    store = FakeStore({A: {"likes": 1}})
    totals = totals_over(store, applied=0, cache_urls_max=10)
    table = Table(1, 0.0)
    totals.ledger.opened(table)
    post(table, A, 2)
    assert await totals.counts([A]) == {A: {"likes": 3}}
    written = batch_of(table)
    assert totals.counts_nowait(A) == {"likes": 3}
    totals.ledger.batched(written)
    assert totals.counts_nowait(A) == {"likes": 3}
    store.commit(totals.ledger.waiting[0].increments)
    assert totals.counts_nowait(A) == {"likes": 3}
    totals.ledger.applied_first()
    assert totals.counts_nowait(A) == {"likes": 3}
    assert totals.ledger.unapplied_urls() == set()
    assert store.reads == [[A]], "what was read once follows what is applied"


async def test_two_readers_of_one_ledger_both_follow_what_is_applied() -> None:
    store = FakeStore({A: {"likes": 1}})
    first = totals_over(store, applied=0, cache_urls_max=10)
    second = Totals(store, first.ledger, cache_urls_max=10)
    assert await first.counts([A]) == await second.counts([A]) == {A: {"likes": 1}}
    first.ledger.batched(batch(1, {A: 2}))
    store.commit(first.ledger.waiting[0].increments)
    first.ledger.applied_first()
    finish(first.ledger.settle())
    assert first.counts_nowait(A) == second.counts_nowait(A) == {"likes": 3}


async def test_a_table_without_counts_leaves_nothing_behind() -> None:
    totals = totals_over(FakeStore(), applied=0, cache_urls_max=10)
    table = Table(1, 0.0)
    totals.ledger.opened(table)
    totals.ledger.dropped(table)
    assert totals.ledger.unapplied_urls() == set()
    assert await totals.counts([A]) == {A: {}}


async def test_an_answer_is_the_callers_own() -> None:
    totals = totals_over(FakeStore({A: {"likes": 1}}), applied=0, cache_urls_max=10)
    (await totals.counts([A]))[A]["likes"] = 99
    assert totals.counts_nowait(A) == {"likes": 1}


async def test_a_url_that_was_not_read_yet_needs_the_store() -> None:
    totals = totals_over(FakeStore(), applied=0, cache_urls_max=10)
    assert totals.counts_nowait(A) is None
    await totals.counts([A])
    assert totals.counts_nowait(A) == {}


async def test_a_store_that_is_away_is_the_callers_to_know() -> None:
    store = FakeStore({A: {"likes": 1}})
    totals = totals_over(store, applied=0, cache_urls_max=10)
    store.away = True
    with pytest.raises(StoreError):
        await totals.counts([A])
    store.away = False
    assert await totals.counts([A]) == {A: {"likes": 1}}


async def test_memory_is_bounded_and_the_least_recently_asked_url_goes_first() -> None:
    store = FakeStore({url: {"likes": 1} for url in URLS})
    totals = totals_over(store, applied=0, cache_urls_max=2)
    await totals.counts([A])
    await totals.counts([B])
    totals.counts_nowait(A)
    await totals.counts([C])
    assert [totals.counts_nowait(url) for url in URLS] == [{"likes": 1}, None, {"likes": 1}]
    for n in range(100):
        await totals.counts([f"http://{n}/", A])
    assert sum(totals.counts_nowait(url) is not None for url in [*URLS, *(f"http://{n}/" for n in range(100))]) == 2


async def test_as_many_urls_as_are_kept_can_be_asked_at_once_some_known_some_not() -> None:
    totals = totals_over(FakeStore({url: {"likes": 1} for url in URLS}), applied=0, cache_urls_max=3)
    await totals.counts([A, "http://x/", "http://y/"])
    assert await totals.counts([A, B, C]) == {url: {"likes": 1} for url in URLS}


def test_tables_of_one_minute_are_applied_together() -> None:
    totals = totals_over(FakeStore(), applied=0, cache_urls_max=10)
    totals.ledger.batched(batch(1, {A: 1}, closed=60))
    totals.ledger.batched(batch(2, {A: 2, B: 1}, closed=119.9))
    totals.ledger.batched(batch(3, {A: 4}, closed=120))
    assert [(w.increments.first, w.increments.last, w.increments.minute, w.tables) for w in totals.ledger.waiting] == [
        (1, 2, 1, [1, 2]),
        (3, 3, 2, [3]),
    ]
    assert totals.ledger.waiting[0].increments.rows == {A: {"likes": 3}, B: {"likes": 1}}
    assert totals.ledger.rows_waiting == 3
    assert totals.ledger.applied_first().tables == [1, 2]
    assert (totals.ledger.applied, totals.ledger.rows_waiting) == (2, 1)


def test_a_transaction_that_was_tried_takes_no_more_tables() -> None:
    totals = totals_over(FakeStore(), applied=0, cache_urls_max=10)
    totals.ledger.batched(batch(1, {A: 1}))
    totals.ledger.waiting[0].frozen = True
    totals.ledger.batched(batch(2, {A: 1}))
    assert [w.tables for w in totals.ledger.waiting] == [[1], [2]]
    assert totals.ledger.waiting[0].increments.rows == {A: {"likes": 1}}


def test_a_transaction_has_a_bound() -> None:
    totals = totals_over(FakeStore(), applied=0, cache_urls_max=10, transaction_rows_max=3)
    for table in range(1, 6):
        totals.ledger.batched(batch(table, {f"http://{table}/{n}": 1 for n in range(2)}))
    assert max(len(w.increments.rows) for w in totals.ledger.waiting) <= 3


def test_only_urls_that_are_new_to_a_transaction_need_room_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    totals = totals_over(FakeStore(), applied=0, cache_urls_max=10, transaction_rows_max=3)
    monkeypatch.setattr(waiting_module, "TRANSACTION_BYTES_MAX", len(A) + len(B))
    for table in range(1, 6):
        totals.ledger.batched(batch(table, {A: 1, B: 1}))
    totals.ledger.batched(batch(6, {C: 1}))
    assert [w.tables for w in totals.ledger.waiting] == [[1, 2, 3, 4, 5], [6]], (
        "there is no room for the bytes of another"
    )
    assert totals.ledger.waiting[0].increments.rows == {A: {"likes": 5}, B: {"likes": 5}}
    assert totals.ledger.rows_waiting == 3


async def test_a_total_is_exact_after_each_step_in_which_a_transaction_is_handed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pending_module, "LEAVING_AT_ONCE", 2)
    monkeypatch.setattr(bases_module, "SETTLED_AT_ONCE", 2)
    urls = [f"http://{n}/" for n in range(9)]
    store = FakeStore({url: {"likes": 1} for url in urls[:5]})
    totals = totals_over(store, applied=0, cache_urls_max=100)
    for table in (1, 2):
        totals.ledger.batched(batch(table, dict.fromkeys(urls, table), closed=60.0 * table))
    expected = {url: {"likes": 3 + (url in urls[:5])} for url in urls}
    assert await totals.counts(urls) == expected
    for _ in range(2):
        steps = 0
        for _ in totals.ledger.leave():
            assert {url: totals.counts_nowait(url) for url in urls} == expected
            steps += 1
        assert steps == 5
        store.commit(totals.ledger.waiting[0].increments)
        totals.ledger.applied_first(Applied())
        for step, _ in enumerate(totals.ledger.settle()):
            assert totals.counts_nowait(urls[step]) == expected[urls[step]], "who asks need not wait for its turn"
            assert await totals.counts(urls) == expected
    assert {url: totals.counts_nowait(url) for url in urls} == expected


async def test_what_is_read_before_it_is_settled_is_not_counted_twice() -> None:
    store = FakeStore({A: {"likes": 1}, B: {"likes": 1}})
    totals = totals_over(store, applied=0, cache_urls_max=1)
    totals.ledger.batched(batch(1, {A: 1, B: 1}))
    await totals.counts([A])
    store.commit(totals.ledger.waiting[0].increments)
    totals.ledger.applied_first(Applied())
    assert await totals.counts([B]) == {B: {"likes": 2}}, "A is forgotten for it"
    assert await totals.counts([A]) == {A: {"likes": 2}}
    finish(totals.ledger.settle())
    assert await totals.counts([A]) == {A: {"likes": 2}}


class Untouchable(dict[str, Counts]):
    """Rows that nobody may look into."""

    def get(self, *_: object) -> Counts:
        raise AssertionError("looked into what waits")


async def test_a_total_is_added_up_without_looking_into_everything_that_waits() -> None:
    totals = totals_over(FakeStore(), applied=0, cache_urls_max=10)
    for table in range(1, 101):
        totals.ledger.batched(batch(table, {A: 1}, closed=60.0 * table))
    in_hand = Table(101, 0.0)
    totals.ledger.opened(in_hand)
    post(in_hand, A, 1)
    finish(in_hand.commit(lambda _: None))
    finish(totals.ledger.committed(in_hand))
    assert totals.ledger.tables == []
    for item in totals.ledger.waiting:
        item.increments.rows = Untouchable()
    in_hand.rows = Untouchable()
    assert await totals.counts([A, B]) == {A: {"likes": 101}, B: {}}
    assert totals.counts_nowait(A) == {"likes": 101}


async def test_every_total_is_exact_in_each_step_in_which_a_table_is_committed() -> None:
    totals = totals_over(FakeStore(), applied=0, cache_urls_max=10)
    totals.ledger.batched(batch(1, {A: 5}))
    table = Table(2, 0.0)
    totals.ledger.opened(table)
    urls = [f"https://example.com/{n}" for n in range(2 * SLICE_ROWS + 1)]
    for url in [A, *urls]:
        post(table, url, 1)
    steps = 0
    for work in (table.commit(lambda _: None), totals.ledger.committed(table)):
        for _ in work:
            assert totals.increments(A) == {"likes": 6}
            assert totals.increments(urls[0]) == totals.increments(urls[-1]) == {"likes": 1}
            steps += 1
    assert steps > 4
    assert totals.ledger.tables == []
    assert totals.increments(urls[0]) == {"likes": 1}
    finish(totals.ledger.committed(table))
    assert totals.increments(A) == {"likes": 6}, "once is enough"


async def test_a_table_whose_counts_were_found_to_be_wrong_counts_as_its_batch_says() -> None:
    totals = totals_over(FakeStore(), applied=0, cache_urls_max=10)
    table = Table(1, 0.0)
    totals.ledger.opened(table)
    post(table, A, 1)
    finish(table.commit(lambda _: None))
    finish(totals.ledger.committed(table))
    assert await totals.counts([A]) == {A: {"likes": 1}}
    totals.ledger.batched(batch(1, {A: 2, B: 3}))
    assert await totals.counts([A, B]) == {A: {"likes": 2}, B: {"likes": 3}}
    totals.ledger.applied_first()
    assert totals.increments(A) == totals.increments(B) == {}


async def test_a_read_needs_one_look_into_the_store_whatever_others_read_meanwhile() -> None:
    store = FakeStore({url: {"likes": 1} for url in URLS})
    totals = totals_over(store, applied=0, cache_urls_max=2)
    await totals.counts([A])
    store.slow = True
    answers: list[Rows] = []

    async def read(*urls: str) -> None:
        answers.append(await totals.counts(urls))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read, A, B)
        await wait_all_tasks_blocked()
        for n in range(5):
            nursery.start_soon(read, C, f"http://{n}/")
        await wait_all_tasks_blocked()
        store.slow = False
        # The one that had a URL in the cache when it began is answered last.
        for gate in [*store.gates[1:], store.gates[0]]:
            gate.set()
            await wait_all_tasks_blocked()
    assert len(answers) == 6
    assert answers[-1] == {A: {"likes": 1}, B: {"likes": 1}}
    assert len(store.reads) == 1 + 6


async def test_what_others_changed_in_the_store_while_it_was_read_is_read_again() -> None:
    store = FakeStore({A: {"likes": 1}}, slow=True)
    totals = totals_over(store, applied=0, cache_urls_max=10)
    answers: list[Rows] = []

    async def read() -> None:
        answers.append(await totals.counts([A]))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await wait_all_tasks_blocked()
        store.gates[0].set()
        await wait_all_tasks_blocked()
        store.rows[A] = {"likes": 5}
        totals.forget([A])
        store.slow = False
        store.gates[1].set()
    assert [*answers, await totals.counts([A])] == [{A: {"likes": 5}}] * 2


async def test_nobody_waits_for_the_drainer_to_hear_what_the_store_has_already() -> None:
    store = FakeStore({A: {"likes": 1}})
    totals = totals_over(store, applied=0, cache_urls_max=10)
    totals.ledger.batched(batch(1, {A: 10, B: 1}))
    totals.ledger.waiting[0].frozen = True
    totals.ledger.batched(batch(2, {A: 100}))
    store.commit(totals.ledger.waiting[0].increments)
    with trio.fail_after(1):
        assert await totals.counts([A, B]) == {A: {"likes": 111}, B: {"likes": 1}}
    totals.ledger.applied_first()
    assert await totals.counts([A, B]) == {A: {"likes": 111}, B: {"likes": 1}}


async def test_a_store_that_does_not_answer_is_given_up(autojump_clock: trio.testing.MockClock) -> None:
    totals = totals_over(FakeStore(slow=True), applied=0, cache_urls_max=10)
    with pytest.raises(StoreError, match="did not answer"):
        await totals.counts([A])
    assert trio.current_time() == READ_SECONDS_MAX


async def test_a_read_that_nobody_will_repeat_leaves_the_cache_as_it_is() -> None:
    totals = totals_over(FakeStore(), applied=0, cache_urls_max=1)
    await totals.counts([A])
    await totals.counts([B], keep=False)
    assert (totals.counts_nowait(A), totals.counts_nowait(B)) == ({}, None)


async def test_whoever_waits_is_told_when_a_table_is_applied() -> None:
    totals = totals_over(FakeStore(), applied=0, cache_urls_max=10)
    totals.ledger.batched(batch(1, {A: 1}))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(totals.ledger.wait_moved)
        await wait_all_tasks_blocked()
        totals.ledger.applied_first()


class Sometimes:
    """A handler that counts some of its events as nothing."""

    kinds: tuple[str, ...] = ("click",)
    counts: tuple[str, ...] = ("clicks",)

    def increments(self, kind: str, url: str, times: int) -> dict[str, int]:
        return {"clicks": 0 if url == A else times}


def test_counts_of_nothing_do_not_get_into_the_way() -> None:
    totals = totals_over(FakeStore(), applied=0, cache_urls_max=10)
    for table in (1, 2):
        columns, _ = Handlers({"sometimes": Sometimes()}).increments({"click": {A: 1, B: 1}})
        rows: Rows = {}
        add_columns(rows, columns)
        totals.ledger.batched(Batch(table, 0.0, table * 60.0, ("clicks",), rows))
    totals.ledger.applied_first()
    assert totals.increments(B) == {"clicks": 1}
    totals.ledger.applied_first()
    assert totals.ledger.unapplied_urls() == set()


def merge_of(old: str, new: str) -> Fold:
    return Fold(old, new, b"", b"")


async def test_a_merge_makes_one_total_of_two_from_its_place_on_until_and_after_the_store_has_done_it() -> None:
    store = FakeStore({A: {"likes": 1}, B: {"likes": 10}})
    totals = totals_over(store, applied=0, cache_urls_max=2)
    table = Table(1, 0.0)
    totals.ledger.opened(table)
    post(table, A, 100)
    await totals.counts([A, B])
    totals.ledger.placed(1, merge_of(A, B))
    assert totals.counts_nowait(A) == totals.counts_nowait(B) == {"likes": 111}
    assert await totals.counts([A, B, C]) == {A: {"likes": 111}, B: {"likes": 111}, C: {}}
    assert totals.ledger.unapplied_urls() == {B}
    assert totals.increments(B) == {"likes": 100}
    assert (totals.ledger.settled_name(A), totals.ledger.aliases(A)) == (A, B)
    totals.ledger.batched(attrs.evolve(batch_of(table), merge=merge_of(A, B)))
    store.commit(totals.ledger.waiting[0].increments)
    store.rows[B] = {"likes": 111}
    del store.rows[A]
    totals.ledger.applied_first(Applied(liked_both=3))
    assert await totals.counts([A, B]) == {A: {"likes": 111}, B: {"likes": 111}}
    assert (totals.ledger.merging, totals.ledger.liked_both) == ({}, {A: 3})


def test_what_comes_after_a_merge_is_not_applied_with_what_comes_before() -> None:
    totals = totals_over(FakeStore(), applied=0, cache_urls_max=10)
    totals.ledger.batched(batch(1, {A: 1}))
    totals.ledger.batched(attrs.evolve(batch(2, {A: 1}), merge=merge_of(A, B)))
    totals.ledger.batched(batch(3, {B: 1}))
    assert [(w.tables, w.increments.merge) for w in totals.ledger.waiting] == [([1, 2], merge_of(A, B)), ([3], None)]


async def test_what_the_store_corrected_is_part_of_the_totals_and_asked_for_again_if_it_is_not_known() -> None:
    store = FakeStore()
    totals = totals_over(store, applied=0, cache_urls_max=10)
    await totals.counts([A])
    for table, applied in ((1, Applied({A: {"unlikes": 1}})), (2, Applied()), (3, None)):
        totals.ledger.batched(attrs.evolve(batch(table, {A: 1}, closed=60.0 * table), actors={b"a": Liking(True, 1)}))
        store.commit(totals.ledger.waiting[0].increments)
        totals.ledger.applied_first(applied)
        assert totals.counts_nowait(A) == ({"likes": table, "unlikes": 1} if applied is not None else None)
