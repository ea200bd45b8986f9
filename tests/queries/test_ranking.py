"""The top list is that of the totals, wherever the counts are, and costs what changed since it was asked for last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from likd.counting import pending
from likd.counting.table import Table
from likd.durability.batch_file import Batch
from likd.errors import StoreError
from likd.model import Counts, Rows, add
from likd.queries import growth, ranking
from likd.queries import top_lists as top_module
from likd.queries.top_lists import TopList, TopLists
from likd.queries.totals import Totals
from likd.runtime.cooperative import finish
from tests.fakestore import FakeStore, batch_of, best, post, totals_over
from tests.turns import others_turns

URLS = [f"https://example.com/{n}" for n in range(12)]
NAMES = ["likes", "unlikes"]
BY = [*NAMES, "net"]
ROWS = st.dictionaries(
    st.sampled_from(URLS),
    st.dictionaries(st.sampled_from(NAMES), st.integers(1, 9)),
)


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dozen URLs are many."""
    for module in (growth, ranking):
        monkeypatch.setattr(module, "URLS_AT_ONCE", 2)
    few = {"LOOK_UPS_AT_ONCE": 2, "LEADERS_AT_ONCE": 2, "LIST_MIN": 2, "LIST_MAX": 6, "ROOM_MIN": 4, "RISEN_MIN": 1}
    for name, n in few.items():
        monkeypatch.setattr(ranking, name, n)
    monkeypatch.setattr(pending, "SHARDS", 3)
    monkeypatch.setattr(pending, "LEAVING_AT_ONCE", 1)
    monkeypatch.setattr(top_module, "ROWS_UNSEEN_MAX", 6)


def batch(table: int, rows: Rows) -> Batch:
    return Batch(table, 0.0, 60.0 * table, tuple(NAMES), {url: dict(counts) for url, counts in rows.items()})


@settings(max_examples=100, deadline=None)
@given(ROWS, st.lists(ROWS, max_size=3), st.sampled_from(BY), st.integers(1, 6))
def check_ranking(stored: Rows, waiting: Sequence[Rows], by: str, limit: int) -> None:
    wanted: Rows = {}
    for rows in (stored, *waiting):
        for url, counts in rows.items():
            add(wanted.setdefault(url, {}), counts)

    async def rank() -> TopList:
        totals = totals_over(store := FakeStore(stored), applied=0, cache_urls_max=1000)
        for table, rows in enumerate(waiting, start=1):
            totals.ledger.batched(batch(table, rows))
        return await TopLists(store, totals)(by, limit)

    assert trio.run(rank) == best(wanted, by, limit)


def test_it_is_the_ranking_of_the_totals() -> None:
    check_ranking()


@pytest.mark.usefixtures("small_steps")
def test_it_is_the_ranking_of_the_totals_where_few_of_many_that_wait_are_looked_at() -> None:
    check_ranking()


async def test_of_many_that_wait_those_are_found_that_did_not_rise_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranking, "RISEN_MIN", 2)
    urls = [f"https://example.com/{n:03}" for n in range(300)]
    store = FakeStore({urls[299]: {"likes": 1}})
    totals = totals_over(store, applied=0, cache_urls_max=1000)
    rows: Rows = {url: {"likes": 1, "unlikes": 1} for url in urls[:-1]} | {urls[299]: {"likes": 1}}
    totals.ledger.batched(batch(1, rows))
    top = TopLists(store, totals)
    assert await top("likes", 1) == [(urls[299], {"likes": 2})]
    assert [url for url, _ in await top("likes", 100)] == [urls[299], *urls[:99]]
    assert await top("net", 5) == [(urls[299], {"likes": 2})], "the others rose, and fell again"


async def test_one_that_waited_among_many_can_rise_to_the_top_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranking, "RISEN_MIN", 2)
    urls = [f"https://example.com/{n:03}" for n in range(300)]
    totals = totals_over(store := FakeStore(), applied=0, cache_urls_max=1000)
    totals.ledger.batched(batch(1, {url: {"likes": 3} for url in urls} | {urls[7]: {"likes": 5}}))
    top = TopLists(store, totals)
    assert await top("likes", 1) == [(urls[7], {"likes": 5})]
    totals.ledger.batched(batch(2, {urls[299]: {"likes": 3}}))
    assert await top("likes", 1) == [(urls[299], {"likes": 6})]


@attrs.define
class World:
    """Everything that can happen to counts, next to the plain sum of them, and top lists that live all the while."""

    store: FakeStore
    totals: Totals
    top: TopLists
    truth: Rows = attrs.field(factory=dict)
    swapped: list[Table] = attrs.field(factory=list)
    open: Table = attrs.field(factory=lambda: Table(1, 0.0))

    def count(self, url: str, name: str, n: int) -> None:
        post(self.open, url, n, name)
        add(self.truth.setdefault(url, {}), {name: n})

    def load(self, url: str, name: str, n: int) -> None:
        for rows in (self.store.rows, self.truth):
            add(rows.setdefault(url, {}), {name: n})
        self.totals.forget([url])

    def move(self, what: str) -> None:
        waiting = self.totals.ledger.waiting
        if what == "swap":
            self.swapped.append(self.open)
            self.open = Table(self.open.id + 1, 0.0)
            self.totals.ledger.opened(self.open)
        elif what == "commit counters" and (tables := [table for table in self.swapped if table.rows is None]):
            finish(tables[0].commit(lambda _: None))
            finish(self.totals.ledger.committed(tables[0]))
        elif what == "batch" and self.swapped:
            table = self.swapped.pop(0)
            if batch_of(table).rows:
                self.totals.ledger.batched(batch_of(table, closed=60.0 * table.id))
            else:
                self.totals.ledger.dropped(table)
        elif what == "commit" and waiting and waiting[0].increments.first > self.store.applied:
            waiting[0].frozen = True
            self.store.commit(waiting[0].increments)
        elif what == "leave" and waiting and waiting[0].frozen:
            next(self.totals.ledger.leave(), None)
        elif what == "apply" and waiting and waiting[0].increments.last <= self.store.applied:
            self.totals.ledger.applied_first()


MOVES = ["swap", "commit counters", "batch", "commit", "leave", "apply"]
COUNT = st.tuples(st.sampled_from(["count", "count", "load"]), st.sampled_from(URLS), st.sampled_from(NAMES))
STEP = COUNT | st.sampled_from(MOVES) | st.tuples(st.sampled_from(BY), st.integers(1, 6))


def new_world(stored: Rows) -> World:
    store = FakeStore({url: dict(counts) for url, counts in stored.items()})
    totals = totals_over(store, applied=0, cache_urls_max=3)
    world = World(store, totals, TopLists(store, totals), {url: dict(counts) for url, counts in stored.items()})
    totals.ledger.opened(world.open)
    return world


@settings(max_examples=200)
@given(ROWS, st.lists(STEP, max_size=60), st.integers(1, 9))
def test_totals_are_never_at_the_same_position_again_once_they_have_changed(
    stored: Rows, steps: list[tuple[str, int] | tuple[str, str, str] | str], n: int
) -> None:
    world = new_world(stored)
    seen: dict[object, Rows] = {}
    for step in steps:
        match step:
            case str(what):
                world.move(what)
            case ("count", url, name):
                world.count(url, str(name), n)
            case ("load", url, name):
                world.load(url, str(name), n)
        now = {url: dict(counts) for url, counts in world.truth.items()}
        assert seen.setdefault(world.totals.ledger.position, now) == now


@pytest.mark.usefixtures("small_steps")
def test_it_stays_the_ranking_of_the_totals_while_they_grow_and_move() -> None:
    @settings(max_examples=150)
    @given(ROWS, st.lists(STEP, max_size=80), st.integers(1, 9))
    def stays(stored: Rows, steps: list[tuple[str, int] | tuple[str, str, str] | str], n: int) -> None:
        async def run() -> None:
            world = new_world(stored)
            for step in steps:
                match step:
                    case str(what):
                        world.move(what)
                    case ("count", url, name):
                        world.count(url, str(name), n)
                    case ("load", url, name):
                        world.load(url, str(name), n)
                    case (by, limit):
                        assert await world.top(by, limit) == best(world.truth, by, limit)

        trio.run(run)

    stays()


@pytest.mark.usefixtures("small_steps")
def test_counts_that_move_while_it_is_looked_at_are_neither_missed_nor_counted_twice() -> None:
    @settings(max_examples=150)
    @given(ROWS, st.lists(COUNT | st.sampled_from(MOVES), max_size=30), st.data(), st.sampled_from(BY))
    def neither(stored: Rows, steps: list[tuple[str, str, str] | str], data: st.DataObject, by: str) -> None:
        async def run() -> None:
            world = new_world(stored)
            asked_before = data.draw(st.booleans())
            if asked_before:
                await world.top(by, 3)
            for step in steps:
                match step:
                    case str(what):
                        world.move(what)
                    case (_, url, name):
                        world.count(url, name, 2)
            world.store.slow = True
            found: list[TopList] = []

            async def ask() -> None:
                found.append(await world.top(by, 3))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask)
                for what in data.draw(st.lists(st.sampled_from([*MOVES, "turn", "turn", "gate", "gate"]), max_size=30)):
                    if what == "turn":
                        await trio.lowlevel.checkpoint()
                    elif what == "gate" and world.store.gates:
                        world.store.gates.pop(0).set()
                    else:
                        world.move(what)
                world.store.slow = False
                for gate in world.store.gates:
                    gate.set()
            assert found == [best(world.truth, by, 3)]

        trio.run(run)

    neither()


def many(waiting: int) -> tuple[FakeStore, Totals]:
    store = FakeStore({f"https://example.com/stored/{n}": {"likes": 1 + n % 7} for n in range(3000)})
    totals = totals_over(store, applied=0, cache_urls_max=50_000)
    for table in range(1, waiting // 1000 + 1):
        totals.ledger.batched(batch(table, {f"https://example.com/{table}/{n}": {"likes": 1} for n in range(1000)}))
    return store, totals


async def test_asking_again_costs_nothing_for_what_did_not_change(monkeypatch: pytest.MonkeyPatch) -> None:
    store, totals = many(10_000)
    top = TopLists(store, totals)
    first = await top("likes", 10)
    store.reads.clear()
    store.tops = 0
    looked_at: list[str] = []
    add_up = totals._add_up

    def add_up_and_tell(names: Sequence[str], bases: Mapping[str, Counts]) -> Counts:
        looked_at.extend(names)
        return add_up(names, bases)

    monkeypatch.setattr(totals, "_add_up", add_up_and_tell)
    assert await top("likes", 10) == first
    assert (store.reads, store.tops, len(looked_at)) == ([], 0, 10)
    totals.ledger.batched(batch(11, {"https://example.com/stored/6": {"likes": 5}}))
    assert (await top("likes", 10))[0] == ("https://example.com/stored/6", {"likes": 12})
    assert (store.reads, store.tops, len(looked_at)) == ([], 0, 20)


async def test_others_get_their_turns_while_much_is_looked_at() -> None:
    store, totals = many(50_000)
    async with others_turns() as turns:
        await TopLists(store, totals)("likes", 10)
    assert turns.count >= 50_000 / growth.URLS_AT_ONCE


async def test_many_who_ask_at_once_share_one_look() -> None:
    store = FakeStore({url: {"likes": n} for n, url in enumerate(URLS)}, slow=True)
    top = TopLists(store, totals_over(store, applied=0, cache_urls_max=100))
    found: list[TopList] = []

    async def ask(limit: int) -> None:
        found.append(await top("likes", limit))

    async with trio.open_nursery() as nursery:
        for limit in range(1, 11):
            nursery.start_soon(ask, limit)
        await wait_all_tasks_blocked()
        store.slow = False
        store.gates[0].set()
    assert sorted(found, key=len) == [best(store.rows, "likes", limit) for limit in range(1, 11)]
    assert store.tops == 1


async def test_who_asks_while_somebody_looks_sees_what_was_counted_before_it_asked() -> None:
    store = FakeStore({URLS[0]: {"likes": 1}}, slow=True)
    totals = totals_over(store, applied=0, cache_urls_max=100)
    top = TopLists(store, totals)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(top, "likes", 1)
        await wait_all_tasks_blocked()
        totals.ledger.batched(batch(1, {URLS[1]: {"likes": 5}}))
        store.slow = False
        store.gates[0].set()
        assert await top("likes", 1) == [(URLS[1], {"likes": 5})]


async def test_whoever_leaves_while_it_looks_for_others_leaves_it_to_them() -> None:
    store = FakeStore({URLS[0]: {"likes": 1}})
    totals = totals_over(store, applied=0, cache_urls_max=100)
    top = TopLists(store, totals)
    await top("likes", 1)
    store.slow = True
    totals.ledger.batched(batch(1, {URLS[1]: {"likes": 5}}))
    found: list[TopList] = []
    scopes = [trio.CancelScope() for _ in range(20)]

    async def ask(scope: trio.CancelScope) -> None:
        with scope:
            found.append(await top("likes", 1))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(top, "likes", 1)
        await wait_all_tasks_blocked()
        for scope in scopes:
            nursery.start_soon(ask, scope)
        await wait_all_tasks_blocked()
        totals.ledger.batched(batch(2, {URLS[2]: {"likes": 9}}))
        for _ in range(2):
            store.gates[-1].set()
            await wait_all_tasks_blocked()
        assert (found, len(store.gates)) == ([], 3)
        for scope in [*scopes[:10], *scopes[11:]]:
            scope.cancel()
        await wait_all_tasks_blocked()
        store.slow = False
        for gate in store.gates:
            gate.set()
    assert found == [[(URLS[2], {"likes": 9})]]


async def test_a_store_that_fails_is_everybodys_to_know_and_right_afterwards() -> None:
    store = FakeStore({URLS[0]: {"likes": 1}})
    totals = totals_over(store, applied=0, cache_urls_max=100)
    top = TopLists(store, totals)
    totals.ledger.batched(batch(1, {url: {"likes": 1} for url in URLS}))
    store.away = True
    failed = 0

    async def ask() -> None:
        nonlocal failed
        with pytest.raises(StoreError):
            await top("likes", 1)
        failed += 1

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(ask)
    assert failed == 5
    store.away = False
    assert await top("likes", 2) == [(URLS[0], {"likes": 2}), (URLS[1], {"likes": 1})]
    totals.ledger.batched(batch(2, {"https://example.com/new": {"likes": 9}}))
    store.away = True
    with pytest.raises(StoreError):
        await top("likes", 1)
    store.away = False
    assert await top("likes", 1) == [("https://example.com/new", {"likes": 9})]


async def test_a_ranking_that_nobody_asks_for_is_given_up() -> None:
    store, totals = many(0)
    top = TopLists(store, totals)
    for by in BY:
        await top(by, 1)
    other = growth.Growth(totals)
    assert len(totals.ledger.followers) == 2 + len(BY)
    rows: dict[str, Counts] = {f"https://example.com/{n}": {"likes": 1} for n in range(20_000)}
    for table in range(1, 10):
        totals.ledger.batched(batch(table, rows))
        totals.ledger.applied_first()
    assert len(totals.ledger.followers) == 2
    assert other.rows_unseen == 9 * len(rows), "the others are still told of everything"
