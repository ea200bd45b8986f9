"""The store in PostgreSQL: several nodes on it, what it is told by others, and what becomes of it."""

from __future__ import annotations

import random
import sys
import threading
import zlib
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
import trio
from psycopg import errors

from likd.counting.actors import ActorKeys
from likd.errors import Fenced, StartError, StoreAway, StoreError, TooNew
from likd.model import Fold, IdempotencyKey, Liking, Likings, Rows
from likd.queries.top_lists import value
from likd.stores.keys import Claim, Settled
from likd.stores.postgres import connection as connection_module
from likd.stores.postgres import schema
from likd.stores.postgres.arrays import texts
from likd.stores.postgres.connection import Connection, Line, conninfo
from likd.stores.postgres.counts import SUM_MAX
from likd.stores.postgres.store import PostgresDatabase
from likd.stores.protocol import UNIT_SECONDS, Increments, Retention, Unit
from likd.stores.registry import Place, open_url
from likd.stores.sqlite.store import SqliteDatabase
from likd.stores.threaded import ThreadedStore
from tests import postgres

A, B = "https://a.example/", "https://b.example/"
NAMES = ("likes", "unlikes", "impressions")
KEYS = ActorKeys(b"secret")
MINUTE = 29_000_000


@pytest.fixture
def url() -> str:
    return postgres.server().database()


def node(url: str, source: str = "here", retention: Retention | None = None) -> PostgresDatabase:
    database = PostgresDatabase(conninfo(url), source, retention, url_key=KEYS.of_url)
    database.open(NAMES)
    return database


@pytest.fixture
def database(url: str) -> Iterator[PostgresDatabase]:
    made = node(url)
    yield made
    made.close()


@pytest.fixture
async def store(url: str) -> AsyncIterator[ThreadedStore]:
    store = ThreadedStore(PostgresDatabase(conninfo(url), "here", url_key=KEYS.of_url))
    await store.open(NAMES)
    yield store
    await store.aclose()


def execute(url: str, statement: str) -> list[Any]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def increments(table: int, rows: Rows, actors: Likings | None = None) -> Increments:
    return Increments(table, table, MINUTE, rows, actors or {})


# --- Several nodes


def test_nodes_write_rows_of_their_own_and_reads_add_them_up(url: str, database: PostgresDatabase) -> None:
    other = node(url, "there")
    assert [database.chain.node, other.chain.node] == [1, 2]
    database.apply(increments(1, {A: {"likes": 1}, B: {"likes": 5}}), MINUTE)
    other.apply(increments(7, {A: {"likes": 2, "unlikes": 1}}), MINUTE)
    assert database.read([A]) == (1, {A: {"likes": 3, "unlikes": 1}})
    assert other.read([A]) == (7, {A: {"likes": 3, "unlikes": 1}})
    assert database.top("likes", 5)[1] == [(B, {"likes": 5}), (A, {"likes": 3, "unlikes": 1})]
    assert database.history(A, "minute", MINUTE * 60, MINUTE * 60 + 60)[0][1]["likes"] == 3
    assert sorted(execute(url, "SELECT url, likes FROM likd_totals")) == [(A, 3), (B, 5)]
    other.close()


@pytest.mark.parametrize("indexes", [True, False])
@pytest.mark.parametrize("by", ["likes", "net"])
def test_top_lists_over_rows_of_many_nodes_are_exact(url: str, by: str, indexes: bool) -> None:
    rng = random.Random(by)
    nodes = [node(url, f"node {n}") for n in range(4)]
    nodes[0]._top_indexes = indexes
    nodes[0].open(NAMES)
    there = {name for (name,) in execute(url, "SELECT indexname FROM pg_indexes WHERE indexname LIKE 'likd_top_%'")}
    assert there == ({f"likd_top_{name}" for name in (*NAMES, "net")} if indexes else set())
    truth: Rows = {}
    for each in nodes:
        rows: Rows = {}
        for n in rng.sample(range(60), 40):
            counts = {"likes": rng.randrange(20), "unlikes": rng.randrange(15)}
            rows[f"https://example.com/{n}"] = counts
            mine = truth.setdefault(f"https://example.com/{n}", {})
            for name, count in counts.items():
                mine[name] = mine.get(name, 0) + count
        each.apply(increments(1, rows), MINUTE)
    ranked = sorted(truth, key=lambda url: (-value(truth[url], by), url))
    for limit in (1, 3, 10, 40, 100):
        listed = nodes[0].top(by, limit)[1]
        assert [url for url, _ in listed] == [url for url in ranked if value(truth[url], by) > 0][:limit]
        assert all(value(counts, by) == value(truth[url], by) for url, counts in listed)
    for each in nodes:
        each.close()


async def test_an_actor_likes_once_over_nodes_that_know_nothing_of_each_other(url: str) -> None:
    """Stale views, lost answers and repeats: in the end likes less unlikes are the actors who like."""
    urls, actors = [A, B], [f"actor {n}" for n in range(6)]
    corrections = 0

    async def act(source: str, seed: int) -> None:
        nonlocal corrections
        rng = random.Random(seed)
        database = await trio.to_thread.run_sync(node, url, source)
        view: dict[bytes, bool] = {}
        for table in range(1, 25):
            rows: Rows = {}
            said: dict[bytes, Liking] = {}
            for _ in range(8):
                at, likes = rng.choice(urls), rng.random() < 0.6
                key = KEYS(rng.choice(actors), at)
                if key not in view:
                    view[key] = key in (await trio.to_thread.run_sync(database.read_actors, [key]))[1]
                if view[key] == likes:
                    continue
                view[key] = likes
                net = (said[key].net or 0) if key in said else 0
                said[key] = Liking(likes, net + (1 if likes else -1))
                counts = rows.setdefault(at, {})
                name = "likes" if likes else "unlikes"
                counts[name] = counts.get(name, 0) + 1
            for key in list(view):
                if rng.random() < 0.3:
                    del view[key]
            work = partial(database.apply, increments(table, rows, said), MINUTE)
            applied = await trio.to_thread.run_sync(work)
            assert applied is not None
            corrections += sum(map(len, applied.corrections.values()))
            if rng.random() < 0.2:
                assert await trio.to_thread.run_sync(work) is None
        database.close()

    async with trio.open_nursery() as nursery:
        for seed, source in enumerate(("one", "two", "three")):
            nursery.start_soon(act, source, seed)

    assert corrections
    last = node(url, "last")
    for at in urls:
        counts = last.read([at])[1].get(at, {})
        liking = last.read_actors([KEYS(actor, at) for actor in actors])[1]
        assert counts.get("likes", 0) - counts.get("unlikes", 0) == len(liking)
    last.close()


async def test_a_merge_waits_for_what_is_being_applied_and_what_comes_later_is_mapped(url: str) -> None:
    """Three nodes write, one merges in the middle: nothing is left under the old name."""
    fold = Fold(A, B, KEYS.of_url(A), KEYS.of_url(B))

    async def write(source: str, merge_at: int | None) -> None:
        database = await trio.to_thread.run_sync(node, url, source)
        for table in range(1, 20):
            given = increments(table, {A: {"likes": 1}, B: {"likes": 1}})
            given.merge = fold if table == merge_at else None
            await trio.to_thread.run_sync(database.apply, given, MINUTE)
        database.close()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write, "one", None)
        nursery.start_soon(write, "two", 8)
        nursery.start_soon(write, "three", None)

    last = node(url, "last")
    assert last.read([A, B])[1] == {B: {"likes": 2 * 3 * 19}}
    assert last.history(B, "day", 0, 1 << 40)[0][1] == {"likes": 2 * 3 * 19}
    assert execute(url, f"SELECT count(*) FROM likd_minutes WHERE url = '{A}'") == [(0,)]
    last.close()


def test_a_node_that_is_not_alone_tells_the_others_what_grew(url: str, database: PostgresDatabase) -> None:
    database.apply(increments(1, {A: {"likes": 1}}), MINUTE)
    assert execute(url, "SELECT node FROM likd_feed") == []
    other = node(url, "there")
    database.apply(Increments(2, 4, MINUTE, {A: {"likes": 2}}), MINUTE)
    ((told, first, last, body),) = execute(url, "SELECT node, first, last, body FROM likd_feed")
    assert (told, first, last) == (1, 2, 4)
    assert msgspec.msgpack.decode(zlib.decompress(body)) == [{A: {"likes": 2}}, []]
    other.close()


# --- History


@pytest.mark.parametrize("seed", range(6))
def test_the_history_is_that_of_the_embedded_store(url: str, tmp_path: Path, seed: int) -> None:
    """In whatever order minutes come, and whatever the clock says."""
    rng = random.Random(seed)
    retention = Retention(minute_hours=30, hour_days=3, day_days=5)
    mine = node(url, "here", retention)
    other = SqliteDatabase(tmp_path / "likd.db", "here", retention, url_key=KEYS.of_url)
    other.open(NAMES)
    minute = now = MINUTE
    for table in range(1, 40):
        minute += rng.choice([1, 1, 7, 61, 61, -30, 800])
        now = rng.choice([minute, minute, minute, minute + 3000, minute - 3000, now])
        given = increments(table, {A: {"likes": 1 + table % 3}, **({B: {"unlikes": 2}} if table % 4 else {})})
        given.minute = minute
        given.merge = Fold(B, A, KEYS.of_url(B), KEYS.of_url(A)) if table == 30 else None
        for database in (mine, other):
            database.apply(given, now)
        if table % 10 == 0 or table > 29:
            for unit in ("minute", "hour", "day"):
                end = (max(minute, now) // 60 + 30) * 3600
                begin = end - 400 * 3600
                for at in (A, B):
                    assert mine.history(at, _unit(unit), begin, end) == other.history(at, _unit(unit), begin, end)
    for database in (mine, other):
        database.close()


@pytest.mark.parametrize("seed", range(3))
def test_the_history_of_a_retired_node_is_what_it_was(url: str, seed: int) -> None:
    rng = random.Random(seed)
    nodes = [node(url, f"node {n}") for n in range(3)]
    now = MINUTE
    for table in range(1, 12):
        now += rng.choice((1, 30, 70, 1500))
        for each in nodes[: 2 + table % 2]:
            minute = now - rng.choice((0, 0, 1, 59, 300))
            each.apply(Increments(table, table, minute, {A: {"likes": rng.randrange(1, 9)}}), now)
    asker = nodes[0]
    units = [(_unit(unit), (MINUTE - 3000) * 60, (now + 3000) * 60) for unit in UNIT_SECONDS]
    before = [asker.read([A]), *(asker.history(A, *each) for each in units)]
    for number in (2, 3):
        retired = asker.retire(str(number), force=True)
        assert (retired.node, retired.mark) == (number, nodes[number - 1].chain.known)
        asker.open(NAMES)
        assert [asker.read([A]), *(asker.history(A, *each) for each in units)] == before
    assert {n for (n,) in execute(url, "SELECT DISTINCT node FROM likd_days UNION SELECT node FROM likd_minutes")} <= {
        0,
        1,
    }
    with pytest.raises(Fenced, match="was node 2 of the store, which is retired"):
        nodes[1].apply(increments(99, {A: {"likes": 1}}), now)
    for each in nodes:
        each.close()


def test_what_a_retired_node_left_is_kept_as_long_as_the_rest(url: str) -> None:
    retention = Retention(minute_hours=1, hour_days=1, day_days=1)
    one, two = node(url, "one", retention), node(url, "two", retention)
    for each in (one, two):
        each.apply(increments(1, {A: {"likes": 1}}), MINUTE)
    one.retire("2", force=True)
    one.open(NAMES)
    for table in range(2, 9):
        now = MINUTE + 1440 * (table - 1)
        one.apply(Increments(table, table, now, {A: {"likes": 1}}), now)
    assert execute(url, "SELECT count(*) FROM likd_minutes WHERE node = 0") == [(0,)]
    assert execute(url, "SELECT count(*) FROM likd_days WHERE node = 0") == [(0,)]
    assert one.read([A])[1] == {A: {"likes": 9}}
    one.close()
    two.close()


def test_a_beat_tells_who_is_there_and_fences_who_has_nothing_to_write(url: str, database: PostgresDatabase) -> None:
    other = node(url, "there")
    other.beat("web2", 3.5)
    mine, theirs = database.beat("web1", 0.0)
    assert (mine.node, mine.name, mine.epoch, mine.lag_seconds, mine.retired) == (1, "web1", 1, 0.0, False)
    assert (theirs.node, theirs.name, theirs.lag_seconds) == (2, "web2", 3.5)
    assert 0 <= mine.seen_seconds <= theirs.seen_seconds < 10
    newer = node(url, "there")
    with pytest.raises(Fenced):
        other.beat("web2", 0.0)
    newer.close()
    other.close()


def _unit(unit: str) -> Unit:
    assert unit in UNIT_SECONDS
    return unit  # type: ignore[return-value]


# --- What may be said, and what is refused


def test_array_literals_are_what_they_stand_for(url: str) -> None:
    rng = random.Random(5)
    letters = "a\\\"',{}%é \U0001f44d\tNULL"
    for _ in range(50):
        values = ["".join(rng.choices(letters, k=rng.randrange(6))) for _ in range(rng.randrange(5))]
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT %s::text[]", [texts(values)]).fetchone() == (values,)


def test_totals_stop_at_63_bits(database: PostgresDatabase) -> None:
    for table in (1, 2):
        database.apply(increments(table, {A: {"likes": SUM_MAX - 1}}), MINUTE)
    assert database.read([A]) == (2, {A: {"likes": SUM_MAX}})


async def test_a_count_beyond_63_bits_is_refused_and_nothing_of_it_is_counted(store: ThreadedStore) -> None:
    with pytest.raises(StoreError, match="beyond 63 bits"):
        await store.apply(increments(1, {A: {"likes": 2**63}}))
    assert await store.read([A]) == (0, {})


async def test_a_database_of_a_later_version_is_refused(url: str) -> None:
    node(url).close()
    execute(url, "UPDATE likd_schema SET version = 9, readable_from = 9")
    store = ThreadedStore(PostgresDatabase(conninfo(url), "here"))
    with pytest.raises(TooNew, match="has schema 9, and this likd knows 1"):
        await store.open(NAMES)
    await store.aclose()


async def test_new_counts_get_their_columns_and_old_ones_stay(url: str, database: PostgresDatabase) -> None:
    database.apply(increments(1, {A: {"likes": 1, "impressions": 2}}), MINUTE)
    later = PostgresDatabase(conninfo(url), "here")
    later.open(("likes", "unlikes", "claps"))
    later.apply(increments(2, {A: {"likes": 1, "claps": 5}}), MINUTE)
    assert later.read([A]) == (2, {A: {"likes": 2, "claps": 5}})
    assert execute(url, "SELECT likes, impressions, claps FROM likd_totals") == [(2, 2, 5)]
    later.close()


async def test_nodes_that_start_at_the_same_moment_make_the_tables_once(url: str) -> None:
    made: list[PostgresDatabase] = []
    async with trio.open_nursery() as nursery:
        for n in range(5):

            async def start(source: str) -> None:
                made.append(await trio.to_thread.run_sync(node, url, source))

            nursery.start_soon(start, f"node {n}")
    assert sorted(each.chain.node for each in made) == [1, 2, 3, 4, 5]
    for each in made:
        each.close()


# --- Isolation, retries, time


def test_it_is_right_where_transactions_are_serializable_by_default(url: str) -> None:
    name = url.rpartition("/")[2]
    execute(url, f"ALTER DATABASE {name} SET default_transaction_isolation = serializable")
    assert execute(url, "SHOW transaction_isolation") == [("serializable",)]
    nodes = [node(url, "one"), node(url, "two")]
    levels: list[str] = []
    for line in (nodes[0]._writer, nodes[0]._reader):
        levels += line.tried(lambda connection: connection.execute("SHOW transaction_isolation").fetchone() or ())
    assert levels == ["read committed", "repeatable read"]
    for table in (1, 2):
        for each in nodes:
            each.apply(increments(table, {A: {"likes": 1}}), MINUTE)
    assert nodes[0].read([A]) == (2, {A: {"likes": 4}})
    for each in nodes:
        each.close()


@pytest.mark.parametrize("fault", [errors.SerializationFailure, errors.DeadlockDetected])
def test_what_postgresql_wants_tried_again_is(database: PostgresDatabase, fault: type[Exception]) -> None:
    faults = [fault(), fault()]

    def work(connection: Connection) -> int:
        if faults:
            raise faults.pop()
        return 7

    assert database._writer.tried(work) == 7


async def test_a_server_that_does_not_answer_is_given_up(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "WRITE_SECONDS_MAX", 0.2)
    line = Line(conninfo(url), read_only=False)
    line.closed = False
    with pytest.raises(psycopg.OperationalError, match=r"did not answer within 0.2 s") as fault:
        line.tried(lambda connection: connection.execute("SELECT pg_sleep(20)"))
    assert isinstance(connection_module.explain(fault.value), StoreAway)
    assert line.tried(lambda connection: connection.execute("SELECT 1").fetchone()) == (1,)
    line.close()


# --- Where it is


def place(tmp_path: Path) -> Place:
    return Place(data_dir=tmp_path, source="here", retention=Retention(), cache_mib=1, url_key=KEYS.of_url)


@pytest.mark.parametrize("url", ["postgresql://likd:hush@db/likd", "postgresql://db/likd?password=hush"])
def test_a_url_with_a_password_is_refused_without_showing_it(tmp_path: Path, url: str) -> None:
    with pytest.raises(StartError, match="put it into PGPASSFILE") as refused:
        open_url(url, place(tmp_path))
    assert "hush" not in str(refused.value)


def test_a_url_that_is_none_is_refused_without_showing_it(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="postgresql://USER@HOST:PORT/DATABASE") as refused:
        open_url("postgresql://likd:hush%zz@db/likd", place(tmp_path))
    assert "hush" not in str(refused.value)


def test_a_missing_extra_says_which_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith(("psycopg", "likd.stores.postgres"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(StartError, match=r"pip install 'likd\[postgresql\]'"):
        open_url("postgresql://db/likd", place(tmp_path))


def test_a_scheme_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"'mysql': expected one of sqlite, postgresql"):
        open_url("mysql://db/likd", place(tmp_path))


@pytest.mark.parametrize(
    ("change", "expected"), [("/nowhere", "database .* does not exist"), ("nobody@", "role .* does not exist")]
)
async def test_a_wrong_database_or_user_is_no_matter_of_waiting(url: str, change: str, expected: str) -> None:
    head, _, name = url.rpartition("/")
    wrong = head + change if change.startswith("/") else f"{head.replace('likd@', change)}/{name}"
    store = ThreadedStore(PostgresDatabase(conninfo(wrong), "here"))
    with pytest.raises(StoreError, match=expected) as refused:
        await store.open(NAMES)
    assert not isinstance(refused.value, StoreAway)
    await store.aclose()


async def test_a_server_that_is_not_there_is_away(url: str) -> None:
    store = ThreadedStore(PostgresDatabase(conninfo("postgresql://likd@127.0.0.1:1/likd"), "here"))
    with pytest.raises(StoreAway):
        await store.open(NAMES)
    await store.aclose()


async def test_another_secret_for_actors_is_refused(url: str) -> None:
    ours, theirs = ActorKeys(b"ours"), ActorKeys(b"theirs")
    for keys in (ours, ours):
        store = ThreadedStore(PostgresDatabase(conninfo(url), "here", secret_fingerprint=keys.fingerprint))
        await store.open(NAMES)
        await store.aclose()
    store = ThreadedStore(PostgresDatabase(conninfo(url), "there", secret_fingerprint=theirs.fingerprint))
    with pytest.raises(StoreError, match="hashed with another secret") as refused:
        await store.open(NAMES)
    assert not isinstance(refused.value, StoreAway)
    await store.aclose()


# --- Idempotency keys


def test_of_two_nodes_one_has_a_key_and_the_other_waits_for_it(url: str, database: PostgresDatabase) -> None:
    other = node(url, "there")
    one, two = IdempotencyKey("one", b"1"), IdempotencyKey("two", b"2")
    assert database.claim_keys([one], Settled(), 60) == [Claim("mine")]
    assert other.claim_keys([two, one], Settled(), 60) == [Claim("mine"), Claim("pending")]
    assert other.claim_keys([IdempotencyKey("one", b"x")], Settled(), 60) == [Claim("reused")]
    # What another node says of it is nothing to a key.
    other.claim_keys([], Settled(done=[(one, 1)], released=[one]), 60)
    assert other.claim_keys([one], Settled(), 60) == [Claim("pending")]
    database.claim_keys([], Settled(done=[(one, 9)]), 60)
    assert other.claim_keys([one], Settled(), 60) == [Claim("taken", 9)]
    assert database.claim_keys([two], Settled(), 60) == [Claim("pending")]
    database.retire("2", force=True)
    database.open(NAMES)
    assert database.claim_keys([two], Settled(), 60) == [Claim("mine")]
    other.close()


def test_many_keys_are_claimed_by_two_nodes_at_once(url: str, database: PostgresDatabase) -> None:
    other = node(url, "there")
    keys = [IdempotencyKey(f"key {n}", b"d") for n in range(300)]
    found: dict[str, list[Claim]] = {}

    def claim(name: str, database: PostgresDatabase, keys: list[IdempotencyKey]) -> None:
        found[name] = [
            claim for n in range(0, 300, 100) for claim in database.claim_keys(keys[n : n + 100], Settled(), 60)
        ]

    threads = [
        threading.Thread(target=claim, args=("one", database, keys)),
        threading.Thread(target=claim, args=("two", other, keys[::-1])),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pairs = zip(found["one"], found["two"][::-1], strict=True)
    assert all(sorted(each.state for each in pair) == ["mine", "pending"] for pair in pairs)
    other.close()


def test_nothing_is_read_of_a_store_that_was_not_opened_because_its_server_went_away_then(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = node(url)
    first.apply(increments(1, {A: {"likes": 5}}), MINUTE)
    first.close()
    database = PostgresDatabase(conninfo(url), "here", url_key=KEYS.of_url)

    def go_away(connection: Connection, names: tuple[str, ...]) -> None:
        raise psycopg.OperationalError("server closed the connection unexpectedly")

    with monkeypatch.context() as patch:
        patch.setattr(schema, "add_names", go_away)
        with pytest.raises(psycopg.OperationalError):
            database.open(NAMES)
    with pytest.raises(StoreError, match="not open"):
        database.read([A])
    assert database.open(NAMES) == 1
    assert database.read([A]) == (1, {A: {"likes": 5}})
    database.close()
