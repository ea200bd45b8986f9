"""Totals: exact at every moment, while tables move from open to batched to applied, and bounded in memory."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from likd import totals as totals_module
from likd.batchfile import Batch
from likd.counter import Counter
from likd.events import Counts, Rows, add_rows
from likd.store import Increments, StoreError
from likd.table import Table
from likd.totals import Totals

A, B, C = URLS = ["http://a/", "http://b/", "http://c/"]


class FakeStore:
    """A store in memory. With `slow`, a read waits at its gates: before it looks, and before it says what it saw."""

    kind = "fake"

    def __init__(self, rows: Rows | None = None, *, slow: bool = False) -> None:
        self.applied = 0
        self.rows: Rows = rows or {}
        self.slow = slow
        self.away = False
        self.reads: list[list[str]] = []
        self.gates: list[trio.Event] = []

    async def open(self, names: Sequence[str]) -> int:
        return self.applied

    async def apply(self, increments: Increments) -> None:
        self.commit(increments)

    def commit(self, increments: Increments) -> None:
        assert increments.first > self.applied
        self.applied = increments.last
        add_rows(self.rows, increments.rows)

    async def read(self, urls: Sequence[str]) -> tuple[int, Rows]:
        self.reads.append(list(urls))
        await self._gate()
        if self.away:
            raise StoreError("away")
        seen = self.applied, {url: self.rows[url].copy() for url in urls if url in self.rows}
        await self._gate()
        return seen

    async def top(self, by: str, limit: int) -> tuple[int, list[tuple[str, Counts]]]:
        raise NotImplementedError

    async def aclose(self) -> None: ...

    async def _gate(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.slow:
            self.gates.append(trio.Event())
            await self.gates[-1].wait()


def post(table: Table, url: str, likes: int) -> None:
    """Count, as the event manager and the pool do."""
    counter = table.counters.get(url)
    if counter is None:
        counter = table.counters[url] = Counter(0)
        counter.lease(url)
        table.urls.add(url)
    counter.delta = {"likes": likes + (counter.delta or {}).get("likes", 0)}


def batch_of(table: Table, closed: float = 0.0) -> Batch:
    table.commit()
    assert table.rows is not None
    return Batch(table.id, 0.0, closed, ("likes",), table.rows)


def batch(table: int, urls: dict[str, int], closed: float = 0.0) -> Batch:
    return Batch(table, 0.0, closed, ("likes",), {url: {"likes": n} for url, n in urls.items()})


async def test_an_unknown_url_has_no_counts() -> None:
    assert await Totals(FakeStore(), applied=0, cache_urls_max=10).counts([A]) == {A: {}}


async def test_a_total_is_the_store_and_every_table_it_does_not_have() -> None:
    store = FakeStore({A: {"likes": 1000, "unlikes": 5}})
    totals = Totals(store, applied=0, cache_urls_max=10)
    totals.batched(batch(1, {A: 100}))
    swapped, opened = Table(2, 0.0), Table(3, 0.0)
    totals.opened(swapped)
    post(swapped, A, 10)
    swapped.commit()
    totals.opened(opened)
    post(opened, A, 1)
    assert await totals.counts([A, B]) == {A: {"likes": 1111, "unlikes": 5}, B: {}}
    assert totals.increments(A) == {"likes": 111}
    assert totals.unapplied_urls() == {A}


async def test_the_total_stays_the_same_at_every_step_of_a_table() -> None:
    store = FakeStore({A: {"likes": 1}})
    totals = Totals(store, applied=0, cache_urls_max=10)
    table = Table(1, 0.0)
    totals.opened(table)
    post(table, A, 2)
    assert await totals.counts([A]) == {A: {"likes": 3}}
    written = batch_of(table)
    assert totals.counts_nowait(A) == {"likes": 3}
    totals.batched(written)
    assert totals.counts_nowait(A) == {"likes": 3}
    store.commit(totals.waiting[0].increments)
    assert totals.counts_nowait(A) == {"likes": 3}
    totals.applied_first()
    assert totals.counts_nowait(A) == {"likes": 3}
    assert totals.unapplied_urls() == set()
    assert store.reads == [[A]], "what was read once follows what is applied"


async def test_a_table_without_counts_leaves_nothing_behind() -> None:
    totals = Totals(FakeStore(), applied=0, cache_urls_max=10)
    table = Table(1, 0.0)
    totals.opened(table)
    totals.dropped(table)
    assert totals.unapplied_urls() == set()
    assert await totals.counts([A]) == {A: {}}


async def test_an_answer_is_the_callers_own() -> None:
    totals = Totals(FakeStore({A: {"likes": 1}}), applied=0, cache_urls_max=10)
    (await totals.counts([A]))[A]["likes"] = 99
    assert totals.counts_nowait(A) == {"likes": 1}


async def test_a_url_that_was_not_read_yet_needs_the_store() -> None:
    totals = Totals(FakeStore(), applied=0, cache_urls_max=10)
    assert totals.counts_nowait(A) is None
    await totals.counts([A])
    assert totals.counts_nowait(A) == {}


async def test_a_store_that_is_away_is_the_callers_to_know() -> None:
    store = FakeStore({A: {"likes": 1}})
    totals = Totals(store, applied=0, cache_urls_max=10)
    store.away = True
    with pytest.raises(StoreError):
        await totals.counts([A])
    store.away = False
    assert await totals.counts([A]) == {A: {"likes": 1}}


async def test_memory_is_bounded_and_the_least_recently_asked_url_goes_first() -> None:
    store = FakeStore({url: {"likes": 1} for url in URLS})
    totals = Totals(store, applied=0, cache_urls_max=2)
    await totals.counts([A])
    await totals.counts([B])
    totals.counts_nowait(A)
    await totals.counts([C])
    assert [totals.counts_nowait(url) for url in URLS] == [{"likes": 1}, None, {"likes": 1}]
    for n in range(100):
        await totals.counts([f"http://{n}/", A])
    assert sum(totals.counts_nowait(url) is not None for url in [*URLS, *(f"http://{n}/" for n in range(100))]) == 2


async def test_as_many_urls_as_are_kept_can_be_asked_at_once_some_known_some_not() -> None:
    totals = Totals(FakeStore({url: {"likes": 1} for url in URLS}), applied=0, cache_urls_max=3)
    await totals.counts([A, "http://x/", "http://y/"])
    assert await totals.counts([A, B, C]) == {url: {"likes": 1} for url in URLS}


def test_tables_of_one_minute_are_applied_together() -> None:
    totals = Totals(FakeStore(), applied=0, cache_urls_max=10)
    totals.batched(batch(1, {A: 1}, closed=60))
    totals.batched(batch(2, {A: 2, B: 1}, closed=119.9))
    totals.batched(batch(3, {A: 4}, closed=120))
    assert [(w.increments.first, w.increments.last, w.increments.minute, w.tables) for w in totals.waiting] == [
        (1, 2, 1, [1, 2]),
        (3, 3, 2, [3]),
    ]
    assert totals.waiting[0].increments.rows == {A: {"likes": 3}, B: {"likes": 1}}
    assert totals.rows_waiting == 3
    assert totals.applied_first().tables == [1, 2]
    assert (totals.applied, totals.rows_waiting) == (2, 1)


def test_a_transaction_that_was_tried_takes_no_more_tables() -> None:
    totals = Totals(FakeStore(), applied=0, cache_urls_max=10)
    totals.batched(batch(1, {A: 1}))
    totals.waiting[0].frozen = True
    totals.batched(batch(2, {A: 1}))
    assert [w.tables for w in totals.waiting] == [[1], [2]]
    assert totals.waiting[0].increments.rows == {A: {"likes": 1}}


def test_a_transaction_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(totals_module, "TRANSACTION_ROWS_MAX", 3)
    totals = Totals(FakeStore(), applied=0, cache_urls_max=10)
    for table in range(1, 6):
        totals.batched(batch(table, {f"http://{table}/{n}": 1 for n in range(2)}))
    assert max(len(w.increments.rows) for w in totals.waiting) <= 3


async def test_whoever_waits_is_told_when_a_table_is_applied() -> None:
    totals = Totals(FakeStore(), applied=0, cache_urls_max=10)
    totals.batched(batch(1, {A: 1}))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(totals.wait_moved)
        await wait_all_tasks_blocked()
        totals.applied_first()


@attrs.define
class World:
    """Everything that can happen to totals, one step at a time, next to the plain sum of what was counted."""

    totals: Totals
    store: FakeStore
    truth: dict[str, int] = attrs.field(factory=lambda: dict.fromkeys(URLS, 0))
    answers: list[tuple[Rows, dict[str, int]]] = attrs.field(factory=list)
    swapped: list[Table] = attrs.field(factory=list)
    open: Table = attrs.field(factory=lambda: Table(1, 0.0))

    async def read(self, urls: list[str]) -> None:
        counts = await self.totals.counts(urls)
        self.answers.append((counts, self.truth.copy()))

    def step(self, what: str, url: str, nursery: trio.Nursery) -> None:
        waiting = self.totals.waiting
        if what == "count":
            post(self.open, url, 1)
            self.truth[url] += 1
        elif what == "swap":
            self.swapped.append(self.open)
            self.open = Table(self.open.id + 1, 0.0)
            self.totals.opened(self.open)
        elif what == "batch" and self.swapped:
            table = self.swapped.pop(0)
            self.totals.batched(batch_of(table))
        elif what == "commit" and waiting and waiting[0].increments.first > self.store.applied:
            waiting[0].frozen = True
            self.store.commit(waiting[0].increments)
        elif what == "move" and waiting and waiting[0].increments.last <= self.store.applied:
            self.totals.applied_first()
        elif what == "read":
            nursery.start_soon(self.read, [url])
        elif what == "read all":
            nursery.start_soon(self.read, URLS)
        elif what == "gate" and self.store.gates:
            self.store.gates.pop(0).set()

    def check(self) -> None:
        for url, likes in self.truth.items():
            counts = self.totals.counts_nowait(url)
            assert counts is None or counts.get("likes", 0) == likes
        for counts, truth in self.answers:
            assert {url: n.get("likes", 0) for url, n in counts.items()} == {url: truth[url] for url in counts}


STEPS = ["count", "count", "swap", "batch", "commit", "move", "read", "read all", "gate", "gate"]


@given(steps=st.lists(st.tuples(st.sampled_from(STEPS), st.sampled_from(URLS)), max_size=60), cache=st.integers(3, 4))
@settings(max_examples=150)
def test_every_total_is_exact_at_its_moment_whatever_moves_meanwhile(steps: list[tuple[str, str]], cache: int) -> None:
    async def run() -> None:
        store = FakeStore(slow=True)
        world = World(Totals(store, applied=0, cache_urls_max=cache), store)
        world.totals.opened(world.open)
        async with trio.open_nursery() as nursery:
            for what, url in steps:
                world.step(what, url, nursery)
                await wait_all_tasks_blocked()
                world.check()
            store.slow = False
            for gate in store.gates:
                gate.set()
            for what in ["swap", *["batch"] * 61, *["commit", "move"] * 61]:
                world.step(what, A, nursery)
        world.check()
        assert {url: n["likes"] for url, n in store.rows.items()} == {url: n for url, n in world.truth.items() if n}
        assert world.totals.unapplied_urls() == set()
        assert world.totals.rows_waiting == 0

    trio.run(run)
