"""The history: what came in each minute, hour and day, whenever it is summed up and however late it comes."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from likd.model import Fold
from likd.stores.protocol import UNIT_SECONDS, Increments, Retention, Unit
from likd.stores.sqlite.store import SqliteStore

A, B = "https://a.example/", "https://b.example/"
NAMES = ("likes", "unlikes")
DAY = 20_000
MINUTE = DAY * 1440
UNITS: list[Unit] = ["minute", "hour", "day"]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(tmp_path / "likd.db", "here", Retention(minute_hours=2, hour_days=2, day_days=3))
    await store.open(NAMES)
    yield store
    await store.aclose()


async def history(store: SqliteStore, unit: Unit, url: str = A) -> dict[int, int]:
    found = await store.history(url, unit, (DAY - 40) * 86_400, (DAY + 40) * 86_400)
    return {time // UNIT_SECONDS[unit]: counts["likes"] for time, counts in found}


async def test_minutes_add_up_to_hours_and_hours_to_days_also_while_they_last(store: SqliteStore) -> None:
    for table, minute in enumerate([MINUTE, MINUTE, MINUTE + 1, MINUTE + 60, MINUTE + 1440], start=1):
        await store.apply(Increments(table, table, minute, {A: {"likes": 1}, B: {"unlikes": 1}}))
    assert await history(store, "hour") == {DAY * 24: 3, DAY * 24 + 1: 1, DAY * 24 + 24: 1}
    assert await history(store, "day") == {DAY: 4, DAY + 1: 1}


@pytest.mark.parametrize(
    ("counts", "total"),
    [([2**62, 2**62 - 1], 2**63 - 1), ([2**62] * 3, 2**63 - 1), ([2**62, 2**31, 2**32 + 7], 2**62 + 2**31 + 2**32 + 7)],
)
async def test_hours_and_days_add_up_to_63_bits_at_most(store: SqliteStore, counts: list[int], total: int) -> None:
    for minute, likes in enumerate(counts):
        await store.apply(Increments(minute + 1, minute + 1, MINUTE + minute, {A: {"likes": likes}}))
    await store.apply(Increments(9, 9, MINUTE + 1440, {B: {"likes": 1}}))
    assert (await history(store, "hour"))[DAY * 24] == total
    assert (await history(store, "day"))[DAY] == total


@settings(max_examples=12, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4 * 1440), st.integers(1, 9)), min_size=1, max_size=25))
def test_each_unit_is_exact_in_whatever_order_minutes_come(came: list[tuple[int, int]]) -> None:
    async def check(path: str) -> None:
        store = SqliteStore(Path(path) / "likd.db", "here", Retention(10_000, 10_000, 10_000))
        await store.open(NAMES)
        for table, (minute, likes) in enumerate(came, start=1):
            await store.apply(Increments(table, table, MINUTE + minute, {A: {"likes": likes}}))
        for unit in UNITS:
            wanted: Counter[int] = Counter()
            for minute, likes in came:
                wanted[(MINUTE + minute) * 60 // UNIT_SECONDS[unit]] += likes
            assert await history(store, unit) == dict(wanted)
        await store.aclose()

    with tempfile.TemporaryDirectory() as path:
        trio.run(check, path)


async def test_what_is_older_than_its_time_is_dropped(store: SqliteStore) -> None:
    for table in range(1, 8):
        await store.apply(Increments(table, table, MINUTE + table * 1440, {A: {"likes": 1}}))
    # Removed is by the hour that was open before: no single reading of a clock removes anything.
    assert set(await history(store, "minute")) == {MINUTE + n * 1440 for n in (6, 7)}
    assert set(await history(store, "hour")) == {(DAY + n) * 24 for n in (4, 5, 6, 7)}
    assert set(await history(store, "day")) == {DAY + n for n in (3, 4, 5, 6, 7)}


async def everything(store: SqliteStore) -> list[dict[int, int]]:
    return [await history(store, unit) for unit in UNITS]


YEARS = 14 * 365 * 1440


class WallClock:
    def __init__(self) -> None:
        self.minute = MINUTE

    def __call__(self) -> float:
        return self.minute * 60.0


@pytest.fixture
def wall() -> WallClock:
    return WallClock()


@pytest.fixture
async def clocked(tmp_path: Path, wall: WallClock) -> AsyncIterator[SqliteStore]:
    """A store that knows what time it is."""
    store = SqliteStore(tmp_path / "likd.db", "here", Retention(48, 4, 5), wall_clock=wall)
    await store.open(NAMES)
    yield store
    await store.aclose()


async def test_a_table_of_a_time_to_come_removes_nothing_and_is_booked_where_it_says(clocked: SqliteStore) -> None:
    for table, minute in enumerate([MINUTE, MINUTE + YEARS, MINUTE + 1, MINUTE + YEARS], start=1):
        await clocked.apply(Increments(table, table, minute, {A: {"likes": 1}}))
    wanted = [{MINUTE: 1, MINUTE + 1: 1}, {DAY * 24: 2}, {DAY: 2}]
    assert await everything(clocked) == wanted
    ahead = (MINUTE + YEARS) * 60
    for unit in UNITS:
        [(_, counts)] = await clocked.history(A, unit, ahead // 86_400 * 86_400, ahead + 60)
        assert counts["likes"] == 2


async def test_a_clock_that_was_years_ahead_removes_nothing_and_retention_goes_on_when_it_is_right_again(
    clocked: SqliteStore, wall: WallClock
) -> None:
    tables = iter(range(1, 100))

    async def like_at(minute: int) -> None:
        wall.minute = minute
        table = next(tables)
        await clocked.apply(Increments(table, table, minute, {A: {"likes": 1}}))

    await like_at(MINUTE)
    await like_at(MINUTE + 60)
    before = await everything(clocked)
    for later in (0, 1, 60):
        await like_at(MINUTE + YEARS + later)
    assert await everything(clocked) == before
    for later in (61, 62, 120):
        await like_at(MINUTE + later)
    assert await history(clocked, "hour") == {DAY * 24: 1, DAY * 24 + 1: 3, DAY * 24 + 2: 1}
    for day in range(1, 8):
        await like_at(MINUTE + day * 1440)
    assert set(await history(clocked, "minute")) == {MINUTE + n * 1440 for n in (4, 5, 6, 7)}
    assert set(await history(clocked, "hour")) == {(DAY + n) * 24 for n in (2, 3, 4, 5, 6, 7)}


async def test_a_clock_that_is_years_behind_rolls_nothing_back_that_could_not_be_summed_up_again(
    clocked: SqliteStore, wall: WallClock
) -> None:
    for table in range(1, 5):
        wall.minute = MINUTE + table * 1440
        await clocked.apply(Increments(table, table, wall.minute, {A: {"likes": 1}}))
    before = await everything(clocked)
    wall.minute = MINUTE - YEARS
    await clocked.apply(Increments(5, 5, wall.minute, {A: {"likes": 1}}))
    assert await everything(clocked) == before


@settings(max_examples=12, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3 * 1440), st.integers(-1440, 3 * 1440)), min_size=1, max_size=25))
def test_each_unit_is_exact_whatever_the_clock_says(came: list[tuple[int, int]]) -> None:
    async def check(path: str) -> None:
        wall = WallClock()
        store = SqliteStore(Path(path) / "likd.db", "here", Retention(10_000, 10_000, 10_000), wall_clock=wall)
        await store.open(NAMES)
        for table, (minute, now) in enumerate(came, start=1):
            wall.minute = MINUTE + now
            await store.apply(Increments(table, table, MINUTE + minute, {A: {"likes": 1}}))
        for unit in UNITS:
            wanted = Counter((MINUTE + minute) * 60 // UNIT_SECONDS[unit] for minute, _ in came)
            assert await history(store, unit) == dict(wanted)
        await store.aclose()

    with tempfile.TemporaryDirectory() as path:
        trio.run(check, path)


async def test_a_url_that_was_never_seen_has_no_history(store: SqliteStore) -> None:
    assert await store.history(A, "hour", 0, 3600) == []


async def test_merged_urls_have_one_history(store: SqliteStore) -> None:
    await store.apply(Increments(1, 1, MINUTE, {A: {"likes": 1}, B: {"likes": 2}}))
    await store.apply(Increments(2, 2, MINUTE + 1440, {A: {"likes": 4}, B: {"likes": 8}}))
    await store.apply(Increments(3, 3, MINUTE + 1440, {}, merge=Fold(A, B, b"a", b"b")))
    assert await history(store, "day", B) == {DAY: 3, DAY + 1: 12}
    assert await history(store, "day", A) == {}


async def test_a_retried_transaction_is_in_the_history_once(store: SqliteStore) -> None:
    for _ in range(2):
        await store.apply(Increments(1, 1, MINUTE, {A: {"likes": 1}}))
    assert await history(store, "minute") == {MINUTE: 1}
