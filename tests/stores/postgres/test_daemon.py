"""The engine on a PostgreSQL server that is away, comes, goes and comes back: nothing lost, nothing counted twice."""

from __future__ import annotations

import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

import attrs
import psycopg
import pytest
import trio

from likd.config.settings import Config
from likd.counting.actors import ActorKeys
from likd.durability.disk import RealDisk
from likd.durability.idempotency import KeyReused
from likd.engine import Engine, open_engine
from likd.errors import Fenced, StoreError
from likd.model import LIKE, Accepted, ActorEvent, Fold, IdempotencyKey, Outcome, Refused, Submission
from likd.plugins.handlers import Handlers, Likes
from likd.status import StatusReport
from likd.stores.keys import KeyStore, Settled
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


class Trouble:
    """A server that does not take what the role `app` wants to write, and takes it again when that is mended."""

    def __init__(self, server: postgres.Server, passwords: Path) -> None:
        self.server = server
        self.passwords = passwords
        self.url = f"postgresql://app@127.0.0.1:{server.port}/{server.database().rpartition('/')[2]}"

    def begin(self) -> None:
        self.do(
            "DO $$BEGIN CREATE ROLE app LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END$$",
            "ALTER ROLE app PASSWORD 'first one'",
            f"ALTER DATABASE {self.url.rpartition('/')[2]} OWNER TO app",
        )
        hba = self.server.directory / "data" / "pg_hba.conf"
        hba.write_text(f"host all app 127.0.0.1/32 scram-sha-256\n{hba.read_text()}")
        self.do("SELECT pg_reload_conf()")
        self.allow("first one")

    def allow(self, password: str) -> None:
        self.passwords.write_text(f"127.0.0.1:{self.server.port}:*:app:{password}\n")
        self.passwords.chmod(0o600)

    def do(self, *statements: str) -> None:
        for statement in statements:
            done = self.server.run("psql", "-d", "postgres", "-v", "ON_ERROR_STOP=1", "-c", statement)
            assert done.returncode == 0, done.stderr

    def hang_up(self) -> None:
        self.do("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'")


def read_only(trouble: Trouble) -> None:
    trouble.do("ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()")


def writable(trouble: Trouble) -> None:
    trouble.do("ALTER SYSTEM RESET default_transaction_read_only", "SELECT pg_reload_conf()")


def crowded(trouble: Trouble) -> None:
    trouble.do("ALTER ROLE app CONNECTION LIMIT 0")
    trouble.hang_up()


def roomy(trouble: Trouble) -> None:
    trouble.do("ALTER ROLE app CONNECTION LIMIT -1")


def another_password(trouble: Trouble) -> None:
    trouble.do("ALTER ROLE app PASSWORD 'second one'")
    trouble.hang_up()


def known_password(trouble: Trouble) -> None:
    trouble.allow("second one")


@pytest.mark.parametrize(
    ("trouble_comes", "told", "is_mended"),
    [
        (read_only, "read-only transaction", writable),
        (crowded, "too many connections for role", roomy),
        (another_password, "password authentication failed", known_password),
    ],
)
async def test_a_server_that_takes_nothing_for_a_while_is_told_of_and_gets_it_all_later(
    tmp_path: Path,
    own_server: postgres.Server,
    monkeypatch: pytest.MonkeyPatch,
    trouble_comes: Callable[[Trouble], None],
    told: str,
    is_mended: Callable[[Trouble], None],
) -> None:
    if own_server.process is None:
        await trio.to_thread.run_sync(own_server.start)
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "passwords"))
    trouble = await trio.to_thread.run_sync(Trouble, own_server, tmp_path / "passwords")
    await trio.to_thread.run_sync(trouble.begin)
    async with life(tmp_path / "one", trouble.url) as engine:
        await like(engine, A, 1)
        await drained(engine)
        await trio.to_thread.run_sync(trouble_comes, trouble)
        await like(engine, A, 10)
        with trio.fail_after(20):
            # It is found out when something is written.
            while engine.drainer.fault is None or told not in engine.drainer.fault:  # noqa: ASYNC110
                await trio.sleep(0.02)
        store = StatusReport(engine, "").status()["store"]
        assert store["state"] == "failing"
        assert told in store["fault"]
        assert "\n" not in store["fault"]
        assert " one" not in store["fault"]
        await like(engine, A, 100)
        await trio.to_thread.run_sync(is_mended, trouble)
        await drained(engine)
        assert StatusReport(engine, "").status()["store"]["state"] == "ok"
        assert await engine.totals.counts([A]) == {A: {"likes": 111}}


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


async def test_what_one_node_erases_or_parts_again_is_so_on_the_other(tmp_path: Path) -> None:
    url = await trio.to_thread.run_sync(lambda: postgres.server().database())
    async with life(tmp_path / "one", url, "one") as one, life(tmp_path / "two", url, "two") as two:
        await like(one, A, 3)
        await like(two, B, 4)
        for engine in (one, two):
            await drained(engine)
        await seen(two, A, 3)
        assert not await one.merger.erase("//example.com", keep=False)
        await seen(two, A, 0)
        await seen(two, B, 0)
        await like(two, A, 7)
        await drained(two)
        await seen(one, A, 7)

        await one.merger.merge(B, A)
        await seen(two, B, 7)
        await one.merger.remove_alias(B)
        with trio.fail_after(10):
            while B in two.ledger.aliases:  # noqa: ASYNC110
                await trio.sleep(0.02)
        await like(two, B, 9)
        await drained(two)
        await seen(one, B, 9)
        await seen(two, A, 7)
        await two.drain()
    assert await trio.to_thread.run_sync(stored, url) == {A: 7, B: 9}


async def test_a_request_is_counted_once_whichever_node_gets_its_retry(tmp_path: Path) -> None:
    url = await trio.to_thread.run_sync(lambda: postgres.server().database())

    async def post(engine: Engine, key: str, digest: bytes = b"d") -> Outcome:
        submission = Submission({LIKE: {A: 2}}, 2, IdempotencyKey(key, digest.ljust(16, b"\0")))
        return await (await engine.intake.submit(submission)).settled()

    async with life(tmp_path / "one", url, "one") as one, life(tmp_path / "two", url, "two") as two:
        outcomes: list[Outcome] = []

        async def post_each(engine: Engine, keys: range) -> None:
            outcomes.extend([await post(engine, f"k{n}") for n in keys])

        async with trio.open_nursery() as nursery:
            for engine in (one, two):
                for _ in range(3):
                    nursery.start_soon(post_each, engine, range(10))
        # Who was refused because the other was at it tries again.
        for engine in (one, two):
            for n in range(10):
                assert await answered(partial(post, engine, f"k{n}")) == Accepted(2)
        with pytest.raises(KeyReused):
            await post(two, "k1", b"another body")
        assert one.intake.submit_nowait(Submission({LIKE: {A: 1}}, 1, IdempotencyKey("new", b"d" * 16))) is None
        for engine in (one, two):
            await engine.drain()
    assert await trio.to_thread.run_sync(stored, url) == {A: 20}


async def test_what_a_node_took_before_it_crashed_answers_when_it_is_back(tmp_path: Path) -> None:
    url = await trio.to_thread.run_sync(lambda: postgres.server().database())
    keys = [IdempotencyKey(name, b"d" * 16) for name in ("taken", "untaken")]
    async with life(tmp_path / "one", url, "one", flush_interval=3600) as one:
        submission = Submission({LIKE: {A: 2}}, 2, keys[0])
        assert await (await one.intake.submit(submission)).settled() == Accepted(2)
        assert one.claims is not None
        # It crashes before it could say so, and with a claim of which it counted nothing.
        await cast(KeyStore, one.store).claim_keys([keys[1]], Settled(), 60)
        await trio.to_thread.run_sync(forget_what_is_done, url)
    async with life(tmp_path / "two", url, "two") as two:

        async def post(key: IdempotencyKey) -> Outcome:
            return await (await two.intake.submit(Submission({LIKE: {A: 2}}, 2, key))).settled()

        for key in keys:
            outcome = await post(key)
            assert isinstance(outcome, Refused)
            assert "another node has a request with this idempotency key" in outcome.reason
        async with life(tmp_path / "one", url, "one"):
            assert [await answered(partial(post, key)) for key in keys] == [Accepted(2), Accepted(2)]
            assert two.manager.events_accepted == 2, "the first was counted by the other"


def forget_what_is_done(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        # It is noted a moment after the answer.
        while not connection.execute("UPDATE likd_keys SET done = false, events = 0 WHERE done").rowcount:
            time.sleep(0.01)


async def answered(post: Callable[[], Awaitable[Outcome]]) -> Outcome:
    """What `post` is answered in the end."""
    with trio.fail_after(20):
        # Whoever asks again is told by nobody when.
        while isinstance(outcome := await post(), Refused):  # noqa: ASYNC110
            await trio.sleep(0.05)
    return outcome


async def test_without_the_store_no_new_key_is_taken_and_all_else_is(
    tmp_path: Path, own_server: postgres.Server
) -> None:
    if own_server.process is None:
        await trio.to_thread.run_sync(own_server.start)
    url = await trio.to_thread.run_sync(own_server.database)

    async def post(key: str) -> Outcome:
        submission = Submission({LIKE: {A: 1}}, 1, IdempotencyKey(key, b"d" * 16))
        return await (await engine.intake.submit(submission)).settled()

    async with life(tmp_path / "one", url) as engine:
        assert await answered(partial(post, "a")) == Accepted(1)
        await trio.to_thread.run_sync(own_server.stop, 3)
        outcome = await post("b")
        assert isinstance(outcome, Refused)
        assert outcome.reason.startswith("idempotency keys are claimed in the store: postgresql:")
        assert await post("a") == Accepted(1)
        await like(engine, A, 10)
        await trio.to_thread.run_sync(own_server.start)
        assert await answered(partial(post, "b")) == Accepted(1)
        await drained(engine)
        assert await engine.totals.counts([A]) == {A: {"likes": 12}}
        await engine.drain()
    assert await trio.to_thread.run_sync(stored, url) == {A: 12}


async def test_each_node_tells_who_else_is_there(tmp_path: Path) -> None:
    url = await trio.to_thread.run_sync(lambda: postgres.server().database())
    async with (
        life(tmp_path / "one", url, "one", node_name="web1") as one,
        life(tmp_path / "two", url, "two", node_name="web2") as two,
    ):
        with trio.fail_after(10):
            # It is not told when others beat.
            while len(two.others.statistics()) < 2 or not two.others.statistics()[0].name:  # noqa: ASYNC110
                await trio.sleep(0.02)
        told = StatusReport(two, "").status()["nodes"]
        assert [(node["node"], node["name"], node["this"], node["epoch"]) for node in told] == [
            (1, "web1", False, 1),
            (2, "web2", True, 1),
        ]
        assert all(node["alive"] and not node["retired"] for node in told)
        assert one.store.node == 1


async def test_an_idle_daemon_ends_when_a_copy_of_its_directory_begins(tmp_path: Path) -> None:
    url = await trio.to_thread.run_sync(lambda: postgres.server().database())
    with pytest.RaisesGroup(Fenced, flatten_subgroups=True):
        async with life(tmp_path / "one", url, "one"), life(tmp_path / "two", url, "one"):
            with trio.fail_after(30):
                await trio.sleep_forever()


async def seen(engine: Engine, url: str, likes: int) -> None:
    with trio.fail_after(10):
        # What other nodes do is told by nobody.
        while (await engine.totals.counts([url])).get(url, {}).get("likes", 0) != likes:  # noqa: ASYNC110
            await trio.sleep(0.02)


@pytest.fixture(autouse=True)
def directories(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
