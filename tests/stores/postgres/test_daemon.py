"""The engine on a PostgreSQL server that is away, comes, goes and comes back: nothing lost, nothing counted twice."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import psycopg
import pytest
import trio

from likd.config.settings import Config
from likd.counting.actors import ActorKeys
from likd.durability.disk import RealDisk
from likd.engine import Engine, open_engine
from likd.errors import Fenced, StoreError
from likd.model import LIKE, Accepted, ActorEvent, Fold, Submission
from likd.plugins.handlers import Handlers, Likes
from likd.status import StatusReport
from likd.stores.postgres.connection import conninfo
from likd.stores.postgres.store import PostgresDatabase
from likd.stores.threaded import ThreadedStore
from tests import postgres

A, B = "https://example.com/a", "https://example.com/b"
KEYS = ActorKeys(b"secret")
CONFIG = Config(flush_interval=0.05, write_tolerance=1e6)


@pytest.fixture(scope="module")
def own_server() -> Iterator[postgres.Server]:
    """A server that these tests start and stop."""
    if postgres.why_not():
        pytest.skip(f"no PostgreSQL: {postgres.why_not()}")
    server = postgres.make()
    yield server
    server.stop(3)
    shutil.rmtree(server.directory, ignore_errors=True)


@asynccontextmanager
async def life(path: Path, url: str, source: str = "here", **settings: Any) -> AsyncIterator[Engine]:
    async with (
        open_engine(
            attrs.evolve(CONFIG, **settings),
            disk=RealDisk(path),
            store=ThreadedStore(PostgresDatabase(conninfo(url), source, url_key=KEYS.of_url)),
            handlers=Handlers({"likes": Likes()}),
            actor_keys=KEYS,
        ) as engine,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(engine.root.run)
        yield engine
        nursery.cancel_scope.cancel()


async def like(engine: Engine, url: str, times: int = 1) -> None:
    assert isinstance(await engine.intake.offer(Submission({LIKE: {url: times}}, times)).settled(), Accepted)


async def drained(engine: Engine) -> None:
    with trio.fail_after(20):
        while engine.ledger.tables_waiting or engine.drainer.fault or engine.manager.open_table.urls:
            await engine.ledger.wait_moved()


def stored(url: str) -> dict[str, int]:
    with psycopg.connect(url) as connection:
        return dict(connection.execute("SELECT url, sum(likes)::bigint FROM likd_counts GROUP BY url").fetchall())


async def test_a_store_that_is_away_at_the_start_gets_everything_when_it_comes(
    tmp_path: Path, own_server: postgres.Server
) -> None:
    url = f"postgresql://likd@127.0.0.1:{own_server.port}/postgres"
    await trio.to_thread.run_sync(own_server.start)
    async with life(tmp_path, url) as engine:
        await like(engine, A, 1)
        await drained(engine)
        fold = Fold(B, A, KEYS.of_url(B), KEYS.of_url(A))
        await engine.merger.merge(fold.old, fold.new)
        await engine.drain()
        mark = engine.ledger.applied
    await trio.to_thread.run_sync(own_server.stop)

    for times in (10, 100):
        # A life that ends before the store is there leaves it all to the next.
        async with life(tmp_path, url) as engine:
            assert StatusReport(engine, "").status()["store"]["state"] == "failing"
            await like(engine, B, times)
            with pytest.raises(StoreError):
                await engine.totals.counts([A])
            assert engine.manager.open_table.id > mark

    async with life(tmp_path, url) as engine:
        await like(engine, B, 1000)
        await trio.to_thread.run_sync(own_server.start)
        await drained(engine)
        assert await engine.totals.counts([A]) == {A: {"likes": 1111}}
        assert engine.ledger.aliases(B) == A
        assert engine.applied_tables.missing == {}
        assert (engine.drainer.went_back, engine.folder.done) == (0, True)
        await like(engine, B, 10_000)
        await drained(engine)
        assert await engine.totals.counts([A, B]) == {url: {"likes": 11_111} for url in (A, B)}
    assert stored(url) == {A: 11_111}


async def test_a_server_that_crashes_and_starts_again_is_found_by_itself(
    tmp_path: Path, own_server: postgres.Server
) -> None:
    await trio.to_thread.run_sync(own_server.stop)
    await trio.to_thread.run_sync(own_server.start)
    url = await trio.to_thread.run_sync(own_server.database)
    async with life(tmp_path, url) as engine:
        for times in (1, 10):
            await like(engine, A, times)
            await drained(engine)
            await trio.to_thread.run_sync(own_server.stop, 3)
            await like(engine, B, times)
            await trio.sleep(0.2)
            await trio.to_thread.run_sync(own_server.start)
        await drained(engine)
        assert await engine.totals.counts([A, B]) == {url: {"likes": 11} for url in (A, B)}
        await engine.drain()
    assert stored(url) == {A: 11, B: 11}


async def test_a_database_that_was_made_anew_gets_again_what_is_kept(
    tmp_path: Path, own_server: postgres.Server
) -> None:
    if own_server.process is None:
        await trio.to_thread.run_sync(own_server.start)
    url = await trio.to_thread.run_sync(own_server.database)
    async with life(tmp_path, url) as engine:
        await like(engine, A, 5)
        await drained(engine)
        name = url.rpartition("/")[2]
        for program in (("dropdb", "--force"), ("createdb",)):
            done = await trio.to_thread.run_sync(partial(own_server.run, *program, name))
            assert done.returncode == 0, done.stderr
        await like(engine, A, 7)
        await drained(engine)
        assert await engine.totals.counts([A]) == {A: {"likes": 12}}
    assert stored(url) == {A: 12}


async def test_a_directory_whose_files_were_removed_does_not_take_old_numbers_for_new(
    tmp_path: Path, own_server: postgres.Server
) -> None:
    if own_server.process is None:
        await trio.to_thread.run_sync(own_server.start)
    url = await trio.to_thread.run_sync(own_server.database)
    async with life(tmp_path / "one", url) as engine:
        for times in (5, 6):
            await like(engine, A, times)
            await drained(engine)
    await trio.to_thread.run_sync(own_server.stop)
    with pytest.RaisesGroup(Fenced, flatten_subgroups=True):
        async with life(tmp_path / "two", url) as engine:
            await like(engine, A, 7)
            await trio.to_thread.run_sync(own_server.start)
            await trio.sleep(20)
    assert stored(url) == {A: 11}


async def test_what_one_node_brings_is_seen_on_another_within_a_second(tmp_path: Path) -> None:
    url = await trio.to_thread.run_sync(lambda: postgres.server().database())
    async with life(tmp_path / "one", url, "one") as one, life(tmp_path / "two", url, "two") as two:
        await like(one, A, 1)
        await like(two, A, 2)
        await drained(one)
        await drained(two)
        await seen(two, A, 3)
        await seen(one, A, 3)
        await like(one, A, 4)
        await like(one, B, 5)
        await drained(one)
        began = trio.current_time()
        await seen(two, A, 7)
        await seen(two, B, 5)
        assert trio.current_time() - began < 5, "within a second on a machine that has nothing else to do"
        assert [url for url, _ in await two.top("likes", 5)] == [A, B]

        await one.merger.merge(B, A)
        await seen(two, B, 12)
        assert two.ledger.aliases(B) == A
        await like(two, B, 8)
        await drained(two)
        await seen(one, A, 20)
        assert [url for url, _ in await two.top("likes", 5)] == [A]
    assert await trio.to_thread.run_sync(stored, url) == {A: 20}


async def test_a_visitor_likes_once_on_whichever_node(tmp_path: Path) -> None:
    url = await trio.to_thread.run_sync(lambda: postgres.server().database())
    async with life(tmp_path / "one", url, "one") as one, life(tmp_path / "two", url, "two") as two:
        for engine in (one, two, one):
            act = Submission({}, 1, acts=[ActorEvent(LIKE, A, KEYS("ann", A))])
            await engine.actors.load(act)
            engine.actors.release_when_settled(act, engine.intake.offer(act))
            assert isinstance(await act.settled(), Accepted)
        await drained(one)
        await drained(two)
        for engine in (one, two):
            with trio.fail_after(10):
                while True:
                    counts = (await engine.totals.counts([A]))[A]
                    if counts.get("likes", 0) - counts.get("unlikes", 0) == 1 and counts["likes"] <= 2:
                        break
                    await trio.sleep(0.05)


async def seen(engine: Engine, url: str, likes: int) -> None:
    with trio.fail_after(10):
        # What other nodes do is told by nobody.
        while (await engine.totals.counts([url]))[url].get("likes", 0) != likes:  # noqa: ASYNC110
            await trio.sleep(0.02)


@pytest.fixture(autouse=True)
def directories(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
