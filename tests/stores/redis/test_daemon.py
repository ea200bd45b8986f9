"""The engine and the daemon on a cluster: failovers that lose writes, a cluster that is away, a crash, HTTP."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from likd.config.settings import Config
from likd.counting.actors import ActorKeys
from likd.durability.disk import RealDisk
from likd.engine import Engine, open_engine
from likd.errors import Fenced
from likd.model import LIKE, Accepted, ActorEvent, Submission
from likd.plugins.handlers import Handlers, Likes
from tests import redis_cluster
from tests.daemon import Client, Daemon

if redis_cluster.why_not(redis_cluster.kinds()[0]):
    pytest.skip(f"no Redis Cluster: {redis_cluster.why_not(redis_cluster.kinds()[0])}", allow_module_level=True)

from likd.stores.redis.address import parse
from likd.stores.redis.store import RedisStore

KEYS = ActorKeys(b"secret")
CONFIG = Config(flush_interval=0.05, write_tolerance=1e6)
URLS = [f"https://example.com/{n}" for n in range(300)]


@pytest.fixture(scope="module")
def own_cluster() -> Iterator[redis_cluster.Cluster]:
    """A cluster whose servers these tests kill."""
    cluster = redis_cluster.make(redis_cluster.kinds()[0])
    cluster.start()
    yield cluster
    cluster.stop()


def store_at(url: str, source: str = "here") -> RedisStore:
    return RedisStore(parse(url.partition("://")[2], environ={}), source, url_key=KEYS.of_url, patience_seconds=1.0)


@asynccontextmanager
async def life(path: Path, url: str, source: str = "here", **settings: Any) -> AsyncIterator[Engine]:
    async with (
        open_engine(
            attrs.evolve(CONFIG, **settings),
            disk=RealDisk(path),
            store=store_at(url, source),
            handlers=Handlers({"likes": Likes()}),
            actor_keys=KEYS,
        ) as engine,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(engine.root.run)
        yield engine
        nursery.cancel_scope.cancel()


async def like(engine: Engine, times: int) -> None:
    submission = Submission({LIKE: dict.fromkeys(URLS, times)}, times * len(URLS))
    assert isinstance(await engine.intake.offer(submission).settled(), Accepted)


async def drained(engine: Engine) -> None:
    with trio.fail_after(30):
        while engine.ledger.unapplied_urls() or engine.drainer.fault:
            with trio.move_on_after(0.5):
                await engine.ledger.wait_moved()


async def test_a_replica_that_missed_writes_and_takes_over_is_given_them_again(
    tmp_path: Path, own_cluster: redis_cluster.Cluster
) -> None:
    cluster, url = own_cluster, own_cluster.url()
    primary = cluster.primaries[0]
    replica = cluster.replica_of(primary)
    async with life(tmp_path, url) as engine:
        await like(engine, 1)
        await drained(engine)
        cluster.kill(replica)
        for times in (10, 100):
            await like(engine, times)
            await drained(engine)
        assert engine.drainer.went_back == 0
        cluster.kill(primary)
        await like(engine, 1000)
        await trio.to_thread.run_sync(cluster.start_server, replica)
        cluster.ask(replica, "CLUSTER", "FAILOVER", "TAKEOVER")
        await drained(engine)
        assert engine.drainer.went_back >= 1
        assert engine.applied_tables.missing == {}
        assert await engine.totals.counts(URLS) == {each: {"likes": 1111} for each in URLS}
        await like(engine, 10_000)
        await engine.drain()
    store = store_at(url)
    await store.open(("likes", "unlikes"))
    assert (await store.read(URLS))[1] == {each: {"likes": 11_111} for each in URLS}
    await store.aclose()
    await trio.to_thread.run_sync(cluster.start_server, primary)


async def test_a_shard_that_is_away_keeps_nobody_from_liking_and_gets_all_when_it_is_back(
    tmp_path: Path, own_cluster: redis_cluster.Cluster
) -> None:
    cluster, url = own_cluster, own_cluster.url()
    primary = cluster.primaries[-1]
    async with life(tmp_path, url) as engine:
        await like(engine, 1)
        await drained(engine)
        cluster.processes[primary].send_signal(19)
        try:
            for times in (10, 100):
                await like(engine, times)
            assert engine.ledger.tables_waiting or engine.manager.open_table.urls
        finally:
            cluster.processes[primary].send_signal(18)
        await drained(engine)
        assert await engine.totals.counts(URLS) == {each: {"likes": 111} for each in URLS}


async def test_two_nodes_see_each_others_likes_and_an_actor_likes_once(tmp_path: Path) -> None:
    url = redis_cluster.cluster().url()
    for node in ("one", "two"):
        (tmp_path / node).mkdir()
    async with life(tmp_path / "one", url, "one") as one, life(tmp_path / "two", url, "two") as two:
        for engine in (one, two):
            submission = Submission({}, 1, acts=[ActorEvent(LIKE, URLS[0], KEYS("ann", URLS[0]))])
            await engine.actors.load(submission)
            await engine.intake.offer(submission).settled()
        for engine in (one, two):
            await drained(engine)
        with trio.fail_after(10):
            for engine in (one, two):
                while await _net(engine) != 1:
                    with trio.move_on_after(0.1):
                        await engine.ledger.wait_moved()


async def _net(engine: Engine) -> int:
    counts = (await engine.totals.counts([URLS[0]]))[URLS[0]]
    return counts.get("likes", 0) - counts.get("unlikes", 0)


async def test_a_newer_life_of_a_directory_ends_the_older_one(tmp_path: Path) -> None:
    url = redis_cluster.cluster().url()
    with pytest.RaisesGroup(Fenced, flatten_subgroups=True):
        async with life(tmp_path, url) as engine:
            await like(engine, 1)
            newer = store_at(url)
            await newer.open(("likes", "unlikes"))
            await newer.aclose()
            await like(engine, 1)
            await trio.sleep(10)


def test_a_daemon_counts_over_http_and_over_a_crash_and_says_what_its_store_lacks(tmp_path: Path) -> None:
    url = redis_cluster.cluster().url()
    with Daemon(tmp_path / "data", "--store", url) as daemon, Client(daemon.address) as client:
        body = json.dumps([{"kind": "like", "url": url} for url in (*URLS[:2], URLS[0], URLS[0])]).encode()
        assert client.request("POST", "/v1/events", body, Content_Type="application/json").status == 202
        daemon.stop(9)
    with Daemon(tmp_path / "data", "--store", url) as daemon, Client(daemon.address) as client:
        assert client.request("GET", f"/v1/counts?url={URLS[0]}").json["counts"][0]["likes"] == 3
        top = client.request("GET", "/v1/top?by=likes&limit=5").json
        assert [row["url"] for row in top["top"]] == URLS[:2]
        assert client.request("GET", f"/v1/history?url={URLS[0]}&unit=hour").status == 200
        merge = json.dumps({"old": URLS[0], "new": URLS[1]}).encode()
        lacking = client.request("POST", "/v1/merge", merge, Content_Type="application/json")
        assert (lacking.status, "can't merge" in lacking.json["detail"]) == (501, True)
        assert client.request("GET", "/v1/status").json["store"]["kind"] == "redis cluster"
        assert daemon.stop() == 0
