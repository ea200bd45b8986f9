"""The store in a cluster: groups that only some buckets have, failovers, slots that move, servers that refuse."""

from __future__ import annotations

import math
import signal
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from click.testing import CliRunner

from likd.cli import main
from likd.counting.actors import ActorKeys
from likd.errors import Behind, StoreAway, StoreError, TooNew
from likd.model import Liking, Rows
from likd.stores.protocol import Applied, Increments, Marks
from tests import redis_cluster

if redis_cluster.why_not(redis_cluster.kinds()[0]):
    pytest.skip(f"no Redis Cluster: {redis_cluster.why_not(redis_cluster.kinds()[0])}", allow_module_level=True)

from likd.stores.redis.address import parse
from likd.stores.redis.cluster import Call, Cluster
from likd.stores.redis.keys import SLOTS
from likd.stores.redis.line import Reply
from likd.stores.redis.store import RedisStore

KEYS = ActorKeys(b"secret")
NAMES = ("likes", "unlikes", "impressions")
MINUTE = 29_000_000
URLS = [f"https://example.com/{n}" for n in range(600)]
A = URLS[0]


@attrs.define
class Place:
    """A prefix of a cluster, and clients of it."""

    cluster: redis_cluster.Cluster
    url: str
    opened: list[RedisStore] = attrs.field(factory=list)

    @property
    def prefix(self) -> str:
        return self.url.rpartition("/")[2]

    def client(self, source: str = "here", **options: Any) -> RedisStore:
        address = parse(self.url.partition("://")[2], environ={})
        store = RedisStore(address, source, url_key=KEYS.of_url, wall_clock=lambda: MINUTE * 60.0, **options)
        self.opened.append(store)
        return store


@pytest.fixture(params=redis_cluster.kinds())
async def place(request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    cluster = redis_cluster.cluster(request.param)
    made = Place(cluster, cluster.url())
    yield made
    for store in made.opened:
        await store.aclose()


@pytest.fixture
async def store(place: Place) -> RedisStore:
    store = place.client()
    await store.open(NAMES)
    return store


def increments(table: int, rows: Rows, actors: dict[bytes, Liking] | None = None, *, first: int = 0) -> Increments:
    return Increments(first or table, table, MINUTE, rows, actors or {})


def cut_off_after(monkeypatch: pytest.MonkeyPatch, calls: int) -> None:
    """The next write reaches so many buckets, and then the power fails."""
    ask = Cluster.ask

    async def ask_some(self: Cluster, asked: Sequence[Call], *, wait: bool = False) -> list[Reply]:
        monkeypatch.setattr(Cluster, "ask", ask)
        await ask(self, asked[:calls])
        raise StoreAway("the power failed")

    monkeypatch.setattr(Cluster, "ask", ask_some)


# --- Groups that some buckets have


@pytest.mark.parametrize("calls", [0, 1, 100, 256])
async def test_a_group_that_was_cut_off_is_finished_by_the_next_life_and_counted_once(
    store: RedisStore, place: Place, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    rows: Rows = {url: {"likes": 2} for url in URLS}
    await store.apply(increments(1, rows))
    group = increments(3, rows, {KEYS("ann", A): Liking(True, 0)}, first=2)
    cut_off_after(monkeypatch, calls)
    with pytest.raises(StoreAway):
        await store.apply(group)

    again = place.client()
    assert await again.open(NAMES) == 1
    assert again.ends == ({3} if calls else set())
    assert await again.apply(group) == Applied({A: {"likes": 1}})
    as_of, found = await again.read(URLS)
    assert as_of == 3
    assert found == {**{url: {"likes": 4} for url in URLS}, A: {"likes": 5}}
    assert await again.apply(group) is None
    assert await again.open(NAMES) == 3
    assert not again.ends


async def test_a_read_says_which_urls_have_what_is_being_applied_and_what_was_added_to_them(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.apply(increments(1, {url: {"likes": 1} for url in URLS}))
    cut_off_after(monkeypatch, 100)
    likings = {KEYS("ann", url): Liking(True, 0) for url in URLS}
    with pytest.raises(StoreAway):
        await store.apply(increments(2, {url: {"likes": 1} for url in URLS}, likings))

    as_of, rows = await store.read(URLS)

    assert isinstance(as_of, Marks)
    assert as_of.lowest == 1
    assert set(as_of.ahead.values()) == {2}
    assert {url for url, counts in rows.items() if counts == {"likes": 3}} == set(as_of.ahead) == set(as_of.corrections)
    assert {url for url, counts in rows.items() if counts == {"likes": 1}} == set(URLS) - set(as_of.ahead)
    ahead, corrections = next(iter(as_of.ahead)), as_of.corrections
    as_of, _ = await store.read([ahead])
    assert isinstance(as_of, Marks)
    assert (as_of.lowest, as_of.corrections[ahead]) == (2, corrections[ahead])


async def test_many_lives_that_are_cut_off_anywhere_count_everything_once(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    for table in range(1, 6):
        store = place.client()
        mark = await store.open(NAMES)
        for each in range(mark + 1, table):
            await store.apply(increments(each, {url: {"likes": each} for url in URLS}))
        cut_off_after(monkeypatch, 51 * table)
        with pytest.raises(StoreAway):
            await store.apply(increments(table, {url: {"likes": table} for url in URLS}))
    store = place.client()
    assert await store.open(NAMES) == 4
    await store.apply(increments(5, {url: {"likes": 5} for url in URLS}))
    assert await store.read(URLS) == (5, {url: {"likes": 15} for url in URLS})


# --- Buckets that went back in time


def keys_on(place: Place, primary: int) -> list[bytes]:
    return [key for port, key in place.cluster.keys(f"{place.prefix}:*") if port == primary]


async def test_a_bucket_that_lost_writes_is_given_them_again_and_no_other(store: RedisStore, place: Place) -> None:
    cluster, (lossy, *_) = place.cluster, place.cluster.primaries
    await store.apply(increments(1, {url: {"likes": 1} for url in URLS}))
    kept = {key: cluster.ask(lossy, "DUMP", key) for key in keys_on(place, lossy)}
    for table in (2, 3):
        await store.apply(increments(table, {url: {"likes": table} for url in URLS}))
    cluster.ask(lossy, "FLUSHALL")
    for key, value in kept.items():
        cluster.ask(lossy, "RESTORE", key, 0, value)

    with pytest.raises(Behind) as behind:
        await store.apply(increments(4, {url: {"likes": 4} for url in URLS}))

    assert behind.value.mark == 1
    assert await store.open(NAMES) == 1
    # What was given before the loss was found is there already in the others.
    assert store.ends <= {3, 4}
    for table in (2, 3, 4):
        await store.apply(increments(table, {url: {"likes": table} for url in URLS}))
    assert await store.read(URLS) == (4, {url: {"likes": 10} for url in URLS})


# --- Servers that move, refuse, or are none


async def test_slots_that_move_are_followed_in_the_middle_of_it(store: RedisStore, place: Place) -> None:
    cluster = place.cluster
    source, target = cluster.primaries[:2]
    slot = next(each for each in SLOTS[:256] if cluster.has_slot(source, each))
    await store.apply(increments(1, {url: {"likes": 1} for url in URLS}))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, cluster.move, slot, source, target)
        for table in range(2, 12):
            await store.apply(increments(table, {url: {"likes": 1} for url in URLS}))
    assert await store.read(URLS) == (11, {url: {"likes": 11} for url in URLS})


async def test_memory_that_is_full_refuses_and_nothing_is_counted_twice(store: RedisStore, place: Place) -> None:
    await store.apply(increments(1, {url: {"likes": 1} for url in URLS}))
    full = place.cluster.primaries[0]
    place.cluster.ask(full, "CONFIG", "SET", "maxmemory", 1)
    try:
        with pytest.raises(StoreError, match="maxmemory"):
            await store.apply(increments(2, {url: {"likes": 1} for url in URLS}))
    finally:
        place.cluster.ask(full, "CONFIG", "SET", "maxmemory", 0)
    await store.apply(increments(2, {url: {"likes": 1} for url in URLS}))
    assert await store.read(URLS) == (2, {url: {"likes": 2} for url in URLS})


async def test_a_server_that_does_not_answer_keeps_nobody_from_reading_what_others_have(
    store: RedisStore, place: Place
) -> None:
    await store.apply(increments(1, {url: {"likes": 1} for url in URLS}))
    stopped, other = place.cluster.primaries[:2]
    here = next(url for url in URLS if place.cluster.has_slot(stopped, SLOTS[KEYS.of_url(url)[0]]))
    there = next(url for url in URLS if place.cluster.has_slot(other, SLOTS[KEYS.of_url(url)[0]]))
    place.cluster.processes[stopped].send_signal(signal.SIGSTOP)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.read, [here])
            await trio.testing.wait_all_tasks_blocked(0.05)
            with trio.fail_after(2):
                assert await store.read([there]) == (1, {there: {"likes": 1}})
            nursery.cancel_scope.cancel()
    finally:
        place.cluster.processes[stopped].send_signal(signal.SIGCONT)
    assert await store.read([here]) == (1, {here: {"likes": 1}})


async def test_scripts_that_servers_forgot_are_given_again(store: RedisStore, place: Place) -> None:
    for port in place.cluster.primaries:
        place.cluster.ask(port, "SCRIPT", "FLUSH")
    await store.apply(increments(1, {A: {"likes": 1}}))
    assert await store.read([A]) == (1, {A: {"likes": 1}})


async def test_a_cluster_that_is_not_there_is_away() -> None:
    store = RedisStore(parse("127.0.0.1:1", environ={}), "here", url_key=KEYS.of_url, patience_seconds=0.1)
    with pytest.raises(StoreAway, match=r"127\.0\.0\.1:1"):
        await store.open(NAMES)


async def test_a_password_that_is_wrong_is_said_and_not_told(place: Place) -> None:
    address = attrs.evolve(parse(place.url.partition("://")[2], environ={}), user="ann", password="wrong")
    store = RedisStore(address, "here", url_key=KEYS.of_url)
    with pytest.raises(StoreError) as error:
        await store.open(NAMES)
    assert not isinstance(error.value, StoreAway)
    assert "wrong" not in str(error.value).replace("wrong number", "")


async def test_a_user_who_may_only_do_what_is_documented_can_do_everything(place: Place) -> None:
    may = ["+@all", "-@dangerous", "+cluster|slots", "+wait", f"~{place.prefix}:*"]
    for port in place.cluster.ports:
        place.cluster.ask(port, "ACL", "SETUSER", "ann", "reset", "on", ">right", *may)
    rest = f"ann@{place.url.partition('://')[2]}"
    store = RedisStore(parse(rest, environ={"LIKD_REDIS_PASSWORD": "right"}), "here", url_key=KEYS.of_url)
    await store.open(NAMES)
    await store.apply(increments(1, {A: {"likes": 1}}, {KEYS("ann", A): Liking(True, 1)}))
    assert await store.read([A]) == (1, {A: {"likes": 1}})
    assert (await store.read_actors([KEYS("ann", A)]))[1] == {KEYS("ann", A)}
    assert await store.top("likes", 1) == (1, [(A, {"likes": 1})])
    assert await store.page("", 1) == [(A, {"likes": 1})]
    assert await store.load("name", {A: {"likes": 1}})
    assert "does not tell its settings" in (await store.warnings())[0]
    await store.aclose()


async def test_a_password_that_is_changed_meanwhile_is_a_fault_as_others(place: Place) -> None:
    for port in place.cluster.ports:
        place.cluster.ask(port, "ACL", "SETUSER", "bob", "reset", "on", ">right", "+@all", "~*")
    address = parse(f"bob:right@{place.url.partition('://')[2]}", environ={})
    store = RedisStore(address, "here", url_key=KEYS.of_url)
    await store.open(NAMES)
    for port in place.cluster.primaries[1:]:
        place.cluster.ask(port, "ACL", "SETUSER", "bob", "resetpass", ">other")
        place.cluster.ask(port, "CLIENT", "KILL", "USER", "bob")
    for _ in range(2):
        with pytest.raises(StoreError):
            await store.apply(increments(1, {url: {"likes": 1} for url in URLS}))
    for port in place.cluster.ports:
        place.cluster.ask(port, "ACL", "SETUSER", "bob", "resetpass", ">right")
    await store.apply(increments(1, {url: {"likes": 1} for url in URLS}))
    assert await store.read(URLS) == (1, {url: {"likes": 1} for url in URLS})
    await store.aclose()


async def test_a_store_of_a_later_likd_or_with_another_secret_is_refused(store: RedisStore, place: Place) -> None:
    with pytest.raises(StoreError, match="another secret"):
        await place.client(secret_fingerprint="other").open(NAMES)
    for port, key in place.cluster.keys(f"{place.prefix}:*settings"):
        place.cluster.ask(port, "HSET", key, "schema", 99, "readable from", 99)
    with pytest.raises(TooNew):
        await place.client().open(NAMES)


# --- Lists, large numbers, other nodes


async def test_counts_that_would_not_fit_stay_at_the_highest(store: RedisStore) -> None:
    for table in (1, 2, 3):
        await store.apply(increments(table, {A: {"likes": 2**62, "impressions": 2**53 + table}}))
    assert await store.read([A]) == (3, {A: {"likes": 2**63 - 1, "impressions": 3 * 2**53 + 6}})


@pytest.mark.parametrize("limit", [1, 10, 300, 1000])
async def test_the_top_of_many_is_that_of_all_buckets_together(store: RedisStore, limit: int) -> None:
    rows: Rows = {url: {"likes": 1 + n * 7919 % 601, "unlikes": n % 3} for n, url in enumerate(URLS)}
    await store.apply(increments(1, rows))
    _, listed = await store.top("likes", limit)
    best = sorted(rows, key=lambda url: (-rows[url]["likes"], url))[:limit]
    assert [url for url, _ in listed] == best


async def test_the_other_node_learns_whom_the_news_are_about(store: RedisStore, place: Place) -> None:
    other = place.client("there")
    await other.open(NAMES)
    await store.apply(increments(1, {A: {"likes": 1}}))
    first = await other.news(None)
    assert first.marks == {store.node: 1}
    await store.apply(increments(2, {A: {"likes": 1}}, {KEYS("ann", A): Liking(True, 1)}))
    await store.apply(increments(3, {URLS[1]: {"likes": 1}}))
    news = await other.news(first)
    assert news.marks == {store.node: 3}
    assert news.urls == {A, URLS[1]}
    assert news.actors == {KEYS("ann", A)}
    assert (await other.news(news)).urls == set()
    assert (await other.read([A]))[1] == {A: {"likes": 2}}
    assert math.isclose(other.replay_seconds, 300)


# --- Settings that break promises


async def test_settings_that_break_promises_are_told(place: Place) -> None:
    cluster = place.cluster
    assert await place.client().warnings() == []
    primary = cluster.primaries[0]
    for name, good, bad in (
        ("appendfsync", "everysec", "no"),
        ("appendonly", "yes", "no"),
        ("maxmemory-policy", "noeviction", "allkeys-lru"),
        ("maxmemory-policy", "noeviction", "volatile-ttl"),
    ):
        cluster.ask(primary, "CONFIG", "SET", name, bad)
        try:
            (warning,) = await place.client().warnings()
        finally:
            cluster.ask(primary, "CONFIG", "SET", name, good)
        assert warning.startswith(f"127.0.0.1:{primary}: {name} is {bad}: ")


def test_doctor_warns_of_them(tmp_path: Path) -> None:
    cluster = redis_cluster.cluster()
    primary = cluster.primaries[0]
    cluster.ask(primary, "CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    try:
        done = CliRunner().invoke(main, ["doctor", "--data-dir", str(tmp_path), "--store", cluster.url()])
    finally:
        cluster.ask(primary, "CONFIG", "SET", "maxmemory-policy", "noeviction")
    assert "redis cluster answers" in done.output
    assert "counts are evicted when memory is full" in done.output
