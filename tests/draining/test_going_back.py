"""A store that goes back in time: what is kept is given again, what is not is named, no total is wrong meanwhile."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from likd.config.settings import Config
from likd.counting.actors import ActorKeys
from likd.draining.applied_tables import AppliedTables, Keep
from likd.durability import batch_file
from likd.durability.applied_log import TABLES_MAX, AppliedLog, ranges
from likd.durability.batch_file import Batch
from likd.durability.disk import RealDisk
from likd.durability.filenames import BATCH
from likd.engine import Engine, open_engine
from likd.errors import Fenced, StoreAway, StoreError
from likd.model import LIKE, Accepted, ActorEvent, Submission
from likd.plugins.handlers import Handlers, Likes
from likd.status import StatusReport
from likd.stores.protocol import Store
from likd.stores.sqlite.store import SqliteDatabase, SqliteStore
from likd.stores.threaded import ThreadedStore
from tests.sim.disk import SimDisk

A, B = "https://example.com/a", "https://example.com/b"
KEYS = ActorKeys(b"secret")
CONFIG = Config(flush_interval=0.05, write_tolerance=1e6)


class World:
    """A data directory on a real disk, with its database."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.database = path / "likd.db"
        self.copy = path / "copy"

    @asynccontextmanager
    async def life(self, store: Store | None = None, **settings: Any) -> AsyncIterator[Engine]:
        async with (
            open_engine(
                attrs.evolve(CONFIG, **settings),
                disk=RealDisk(self.path),
                store=store or SqliteStore(self.database, "here", url_key=KEYS.of_url),
                handlers=Handlers({"likes": Likes()}),
                actor_keys=KEYS,
            ) as engine,
            trio.open_nursery() as nursery,
        ):
            await nursery.start(engine.root.run)
            yield engine
            assert not [child.last_fault for child in engine.root.children if child.last_fault]
            nursery.cancel_scope.cancel()

    def keep(self) -> None:
        with closing(sqlite3.connect(self.database)) as there, closing(sqlite3.connect(self.copy)) as copy:
            there.backup(copy)

    def bring_back(self) -> None:
        self.copy.replace(self.database)

    def bring_back_without_log(self) -> None:
        self.bring_back()
        for end in ("-wal", "-shm"):
            Path(f"{self.database}{end}").unlink()

    def remove(self) -> None:
        self.database.unlink()

    def bring_back_in_place(self) -> None:
        with closing(sqlite3.connect(self.copy)) as copy, closing(sqlite3.connect(self.database)) as there:
            copy.backup(there)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def like(engine: Engine, url: str, times: int = 1) -> None:
    """Likes that are in the store when this returns."""
    applied = engine.totals.ledger.applied
    assert isinstance(await engine.intake.offer(Submission({LIKE: {url: times}}, times)).settled(), Accepted)
    with trio.fail_after(5):
        while engine.totals.ledger.applied == applied:
            await engine.totals.ledger.wait_moved()


async def likes(engine: Engine, url: str) -> int:
    return (await engine.totals.counts([url]))[url].get("likes", 0)


@pytest.mark.parametrize("how", ["bring_back", "bring_back_without_log", "bring_back_in_place"])
async def test_a_copy_that_is_brought_back_under_a_living_daemon_is_given_again_what_it_lacks(
    world: World, how: str
) -> None:
    async with world.life(replay_window=60) as engine:
        await like(engine, A, 1)
        world.keep()
        for times in (10, 100):
            await like(engine, A, times)
        await like(engine, B, 7)
        getattr(world, how)()
        await like(engine, A, 1000)
        assert (await likes(engine, A), await likes(engine, B)) == (1111, 7)
        assert engine.drainer.went_back == 1
        await engine.drain()
        store = StatusReport(engine, "").status()["store"]
        assert (store["went_back"], store["missing"]) == (1, {"tables": "", "counts": {}})
    with closing(sqlite3.connect(world.database)) as there:
        assert dict(there.execute("SELECT url, likes FROM counts")) == {A: 1111, B: 7}
        assert sum(n for (n,) in there.execute("SELECT likes FROM minutes WHERE url > 0")) == 1118


async def test_a_read_finds_that_the_store_went_back_when_nothing_is_written(world: World) -> None:
    async with world.life(replay_window=60, cache_urls_max=1000) as engine:
        await like(engine, A)
        world.keep()
        await like(engine, A)
        world.bring_back_in_place()
        assert await likes(engine, B) == 0
        assert await likes(engine, A) == 2
        assert engine.drainer.went_back == 1


async def test_an_act_finds_that_the_store_went_back(world: World) -> None:
    async with world.life(replay_window=60) as engine:
        await like(engine, A)
        world.keep()
        await like(engine, A)
        world.bring_back_in_place()
        act = Submission({}, 1, acts=[ActorEvent(LIKE, A, KEYS("ann", A))])
        with trio.fail_after(5):
            while not engine.drainer.went_back:
                try:
                    await engine.actors.load(act)
                except Exception as error:
                    assert "went back in time" in str(error)
                    await engine.totals.ledger.wait_moved()


async def test_what_is_not_kept_is_named_and_counting_goes_on(world: World) -> None:
    async with world.life() as engine:
        await like(engine, A, 1)
        world.keep()
        await like(engine, A, 10)
        await like(engine, B, 5)
        assert await likes(engine, A) == 11
        lost = engine.totals.ledger.applied
        world.bring_back()
        await like(engine, A, 100)
        assert await likes(engine, A) == 101
        missing = engine.applied_tables.missing
        assert list(missing.values()) == [{"likes": 10}, {"likes": 5}]
        assert max(missing) == lost
        store = StatusReport(engine, "").status()["store"]
        assert store["missing"] == {"tables": ranges(missing), "counts": {"likes": 15}}
        await like(engine, B, 1)
        assert await likes(engine, B) == 1


async def test_a_copy_that_is_brought_back_between_two_lives_is_given_again_what_is_kept(world: World) -> None:
    async with world.life(replay_window=60) as engine:
        await like(engine, A, 1)
        world.keep()
        await like(engine, A, 10)
        await engine.drain()
    world.bring_back()
    async with world.life(replay_window=60) as engine:
        assert await likes(engine, A) == 11
        await engine.drain()
    with closing(sqlite3.connect(world.database)) as there:
        assert there.execute("SELECT likes FROM counts").fetchall() == [(11,)]


async def test_a_copy_that_is_brought_back_between_two_lives_is_named_if_nothing_is_kept(world: World) -> None:
    async with world.life() as engine:
        await like(engine, A, 1)
        world.keep()
        await like(engine, A, 10)
        used = engine.totals.ledger.applied
        await engine.drain()
    world.bring_back()
    async with world.life() as engine:
        assert engine.applied_tables.missing == {used: {"likes": 10}}
        assert engine.manager.open_table.id > used
        await like(engine, A, 100)
        assert await likes(engine, A) == 101
    async with world.life() as engine:
        assert engine.applied_tables.missing == {}


async def test_a_database_that_was_removed_is_made_anew_with_all_that_is_kept(world: World) -> None:
    async with world.life(replay_window=60) as engine:
        await like(engine, A, 1)
        await like(engine, A, 2)
        world.remove()
        await like(engine, A, 4)
        assert await likes(engine, A) == 7


class Distant(SqliteDatabase):
    """A database that may be away, as one on another machine."""

    replay_seconds = 60.0
    is_away = False

    def open(self, names: tuple[str, ...]) -> int:
        if self.is_away:
            raise StoreAway("away")
        return super().open(names)


async def test_of_what_waits_for_a_store_that_is_away_it_gets_only_what_it_lacks(world: World) -> None:
    async with world.life(replay_window=60) as engine:
        await like(engine, A, 1)
        world.keep()
        await like(engine, A, 10)
        await engine.drain()
    world.bring_back()
    database = Distant(world.database, "here", url_key=KEYS.of_url)
    database.is_away = True
    async with world.life(ThreadedStore(database)) as engine:
        assert engine.ledger.tables_waiting == 2
        assert isinstance(await engine.intake.offer(Submission({LIKE: {A: 100}}, 100)).settled(), Accepted)
        database.is_away = False
        with trio.fail_after(5):
            while await _likes_if_known(engine) != 111:
                await engine.ledger.wait_moved()
        assert engine.applied_tables.missing == {}
        await engine.drain()
    with closing(sqlite3.connect(world.database)) as there:
        assert there.execute("SELECT likes FROM counts").fetchall() == [(111,)]


async def _likes_if_known(engine: Engine) -> int | None:
    try:
        return await likes(engine, A)
    except StoreError:
        return None


async def test_a_newer_life_ends_an_older_one_at_once_and_nothing_is_counted_twice(world: World) -> None:
    with pytest.RaisesGroup(Fenced, flatten_subgroups=True):
        async with world.life() as engine:
            await like(engine, A)
            other = SqliteStore(world.database, "here")
            await other.open(("likes", "unlikes"))
            await other.aclose()
            await engine.intake.offer(Submission({LIKE: {A: 1}}, 1)).settled()
            await trio.sleep(5)
    async with world.life() as engine:
        assert await likes(engine, A) == 2
        await engine.drain()
    with closing(sqlite3.connect(world.database)) as there:
        assert there.execute("SELECT likes FROM counts").fetchall() == [(2,)]


# --- What is kept


def batch(table: int) -> Batch:
    return Batch(table, 0.0, 0.0, ("likes",), {A: {"likes": table}})


async def files(disk: RealDisk) -> list[int]:
    return BATCH.ids(await disk.names())


@pytest.mark.parametrize(
    ("keep", "kept"),
    [
        (Keep(), []),
        (Keep(files=2), [4, 5]),
        (Keep(seconds=2.5, bytes_max=10_000), [3, 4, 5]),
        (Keep(seconds=100, bytes_max=2 * len(batch_file.encode(batch(1)))), [4, 5]),
        (Keep(files=1, seconds=100, bytes_max=0), [5]),
    ],
)
async def test_applied_files_are_kept_by_number_time_and_bytes(
    tmp_path: Path, autojump_clock: MockClock, keep: Keep, kept: list[int]
) -> None:
    disk = RealDisk(tmp_path)
    tables = AppliedTables(disk, AppliedLog(disk), keep)
    for table in range(1, 6):
        await disk.write(BATCH.name(table), batch_file.encode(batch(table)))
        tables.applied({table: {"likes": table}})
        await tables.tend()
        await trio.sleep(1)
    assert await files(disk) == kept


async def test_what_comes_after_a_mark_is_had_again_and_the_rest_is_missing(tmp_path: Path) -> None:
    disk = RealDisk(tmp_path)
    tables = AppliedTables(disk, AppliedLog(disk), Keep(files=2))
    for table in range(1, 6):
        await disk.write(BATCH.name(table), batch_file.encode(batch(table)))
        tables.applied({table: {"likes": table}})
    await tables.tend()
    assert [found.table_id for found in await tables.after(4)] == [5]
    assert tables.missing == {}
    assert [found.table_id for found in await tables.after(2)] == [4, 5]
    assert (tables.missing, tables.missing_counts) == ({3: {"likes": 3}}, {"likes": 3})
    tables.forget_after(4)
    assert [found.table_id for found in await tables.after(0)] == [4]


# --- The log of what is applied

SUMS = st.dictionaries(st.from_regex(r"[a-z][a-z0-9_]{0,31}", fullmatch=True), st.integers(1, 2**63), max_size=3)
TABLES = st.dictionaries(st.integers(1, 10**12 - 1), SUMS, max_size=20)


@settings(max_examples=30, deadline=None)
@given(lives=st.lists(TABLES, max_size=4), cut=st.integers(0, 30))
def test_the_log_says_what_was_noted_over_restarts_and_what_is_torn_does_no_harm(
    lives: list[Mapping[int, Mapping[str, int]]], cut: int
) -> None:
    async def noted() -> None:
        disk = SimDisk(random.Random(1))
        known: dict[int, dict[str, int]] = {}
        newest = 0
        for tables in lives:
            log = AppliedLog(disk)
            await log.load(await disk.names())
            assert log.after(0) == known
            for table in sorted(tables):
                if table > newest:
                    newest = table
                    known[table] = dict(tables[table])
                    await log.note({table: known[table]})
            await log.close()
        log = AppliedLog(disk)
        for name in await disk.names():
            inode = disk._inode(name)
            inode.seen = inode.seen[: len(inode.seen) - cut] + b"\0\xff 7"
        await log.load(await disk.names())
        assert log.after(0).items() <= known.items()

    trio.run(noted, clock=MockClock(autojump_threshold=0))


async def test_the_log_has_a_bound(tmp_path: Path) -> None:
    disk = RealDisk(tmp_path)
    log = AppliedLog(disk)
    for table in range(1, 3 * TABLES_MAX, 500):
        await log.note({each: {"likes": 1} for each in range(table, table + 500)})
    await log.close()
    again = AppliedLog(disk)
    await again.load(names := await disk.names())
    assert len(names) == 1
    assert len(again.after(0)) <= TABLES_MAX
    assert again.newest == log.newest


def test_tables_are_told_as_ranges() -> None:
    assert ranges([9, 3, 4, 5, 7]) == "3-5,7,9"


async def test_a_disk_that_fails_costs_the_log_and_nothing_else(tmp_path: Path) -> None:
    disk = RealDisk(tmp_path / "away")
    log = AppliedLog(disk)
    await log.note({1: {"likes": 1}})
    (tmp_path / "away").mkdir()
    await log.note({2: {"likes": 2}})
    await log.close()
    again = AppliedLog(disk)
    await again.load(await disk.names())
    assert again.after(0) == {1: {"likes": 1}, 2: {"likes": 2}}
