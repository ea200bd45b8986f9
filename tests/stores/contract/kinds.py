"""The kinds of stores that keep the contract, each with a way to open it again on what it holds.

PostgreSQL is there once for each version that LIKD_TEST_POSTGRES names, and with LIKD_TEST_PGBOUNCER=1 behind a pooler.
"""

from __future__ import annotations

import atexit
import math
import os
import random
import sqlite3
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from functools import cache, partial
from pathlib import Path
from typing import Protocol, TypeAlias

import trio
from trio.testing import MockClock

from likd.counting.actors import ActorKeys
from likd.stores.protocol import CountStore, Store
from likd.stores.sqlite.store import SqliteStore
from likd.stores.threaded import ThreadedStore
from tests import pgbouncer, postgres, redis_cluster
from tests.fakestore import FakeStore
from tests.sim.store import SimStore

KEYS = ActorKeys(b"secret")
NAMES = ("likes", "unlikes", "impressions")
TABLES = ("likd_nodes", "likd_counts", "likd_sites", "likd_minutes", "likd_hours", "likd_days", "likd_actors")
NOW = 29_000_000 * 60.0
"""The time by which old history is removed, in seconds since 1970."""


def keep_time(store: CountStore, clock: MockClock) -> None:
    """Let `clock` be as others, for a store that waits for servers and not for threads."""
    if store.kind == "redis cluster":
        clock.autojump_threshold, clock.rate = math.inf, 1.0


Reopen: TypeAlias = Callable[[], CountStore]
"""A store on what the last one held, yet to be opened."""


class Chained(Protocol):
    """A store that can be made to go back in time, and its clients."""

    is_noticed_as_such: bool
    """Whether an old client sees the store as it is now, and not that it is another."""

    def client(self) -> Store:
        """Another client, for the same data directory."""
        ...

    def keep(self) -> None:
        """Keep what there is now."""
        ...

    async def go_back(self) -> None:
        """Be what was kept."""
        ...

    def set_mark(self, mark: int) -> None:
        """Move the mark behind everybody's back."""
        ...


class ChainedSqlite:
    """A file that is replaced by an older copy."""

    is_noticed_as_such = False

    def __init__(self, path: Path) -> None:
        self.path = path / "likd.db"

    def client(self) -> Store:
        return SqliteStore(self.path, "here", url_key=KEYS.of_url, wall_clock=lambda: NOW)

    def keep(self) -> None:
        with closing(sqlite3.connect(self.path)) as there, closing(sqlite3.connect(f"{self.path}.copy")) as copy:
            there.backup(copy)

    async def go_back(self) -> None:
        await trio.to_thread.run_sync(self._bring_back)

    def _bring_back(self) -> None:
        Path(f"{self.path}.copy").replace(self.path)
        for end in ("-wal", "-shm"):
            Path(f"{self.path}{end}").unlink(missing_ok=True)

    def set_mark(self, mark: int) -> None:
        with closing(sqlite3.connect(self.path)) as there:
            there.execute("UPDATE applied SET table_id = ?", (mark,))
            there.commit()


class ChainedSimulated:
    """A database in memory that is made what it was."""

    is_noticed_as_such = True

    def __init__(self, path: Path) -> None:
        self._anchor = SimStore(random.Random(1), KEYS.of_url)

    def client(self) -> Store:
        uri = self._anchor.database.uri
        return SimStore(random.Random(2), KEYS.of_url, wall_clock=lambda: NOW, uri=uri)

    def keep(self) -> None:
        self._anchor.database.keep_copy()

    async def go_back(self) -> None:
        assert self._anchor.database.go_back(random.Random(1))

    def set_mark(self, mark: int) -> None:
        self._anchor.database._sight.execute("UPDATE applied SET table_id = ?", (mark,))


def _sqlite(path: Path) -> Reopen:
    return lambda: SqliteStore(path / "likd.db", "here", url_key=KEYS.of_url, wall_clock=lambda: NOW)


def _simulated(path: Path) -> Reopen:
    store = SimStore(random.Random(1), KEYS.of_url, wall_clock=lambda: NOW)
    return lambda: store


class ChainedPostgres:
    """A database whose rows are made what they were."""

    is_noticed_as_such = True

    def __init__(self, version: str, path: Path) -> None:
        self._url = _database(version)

    def client(self) -> Store:
        from likd.stores.postgres.connection import conninfo
        from likd.stores.postgres.store import PostgresDatabase

        database = PostgresDatabase(conninfo(self._url), "here", url_key=KEYS.of_url)
        return ThreadedStore(database, wall_clock=lambda: NOW)

    def keep(self) -> None:
        self._do(*(f"CREATE TABLE kept_{table} AS TABLE {table}" for table in TABLES))

    async def go_back(self) -> None:
        for table in TABLES:
            self._do(f"DELETE FROM {table}", f"INSERT INTO {table} SELECT * FROM kept_{table}")

    def set_mark(self, mark: int) -> None:
        self._do(f"UPDATE likd_nodes SET mark = {mark}")

    def _do(self, *statements: str) -> None:
        import psycopg

        with psycopg.connect(self._url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())


def _postgres(version: str, path: Path) -> Reopen:
    return ChainedPostgres(version, path).client


def _database(version: str) -> str:
    """A new database, and a way to it."""
    server = postgres.server(version)
    url = server.database()
    return url.replace(f":{server.port}/", f":{_pooler(version)}/") if os.environ.get("LIKD_TEST_PGBOUNCER") else url


@cache
def _pooler(version: str) -> int:
    stack = ExitStack()
    atexit.register(stack.close)
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    directory.chmod(0o755)
    return stack.enter_context(pgbouncer.before(postgres.server(version), directory, connections=3))


def _versions() -> Mapping[str, str]:
    """The names of kinds in PostgreSQL, and their versions."""
    if not os.environ.get("LIKD_TEST_POSTGRES"):
        return {"postgresql": ""}
    return {f"postgresql {version}": version for version in postgres.installed()}


class ChainedRedis:
    """A cluster whose keys are made what they were."""

    is_noticed_as_such = True

    def __init__(self, kind: str, path: Path) -> None:
        self.cluster = redis_cluster.cluster(kind)
        self._url = self.cluster.url()
        self._prefix = self._url.rpartition("/")[2]
        self._kept: dict[tuple[int, bytes], object] = {}

    def client(self) -> Store:
        from likd.stores.redis.address import parse
        from likd.stores.redis.store import RedisStore

        address = parse(self._url.partition("://")[2], environ={})
        return RedisStore(address, "here", url_key=KEYS.of_url, wall_clock=lambda: NOW)

    def keep(self) -> None:
        self._kept = {(port, key): self.cluster.ask(port, "DUMP", key) for port, key in self._keys()}

    async def go_back(self) -> None:
        for port, key in self._keys():
            self.cluster.ask(port, "DEL", key)
        for (port, key), value in self._kept.items():
            self.cluster.ask(port, "RESTORE", key, 0, value)

    def set_mark(self, mark: int) -> None:
        for port, key in self._keys():
            if key.endswith(b":m"):
                self.cluster.ask(port, "HSET", key, "here", mark)

    def _keys(self) -> list[tuple[int, bytes]]:
        return list(self.cluster.keys(f"{self._prefix}:*"))


def _redis(kind: str, path: Path) -> Reopen:
    return ChainedRedis(kind, path).client


def _fake(path: Path) -> Reopen:
    store = FakeStore()
    return lambda: store


KINDS: Mapping[str, Callable[[Path], Reopen]] = {
    "sqlite": _sqlite,
    "simulated": _simulated,
    "fake": _fake,
    **{kind: partial(_postgres, version) for kind, version in _versions().items()},
    **{kind: partial(_redis, kind) for kind in redis_cluster.kinds()},
}

CHAINED: Mapping[str, Callable[[Path], Chained]] = {
    "sqlite": ChainedSqlite,
    "simulated": ChainedSimulated,
    **{kind: partial(ChainedPostgres, version) for kind, version in _versions().items()},
    **{kind: partial(ChainedRedis, kind) for kind in redis_cluster.kinds()},
}
"""Those that know lives and epochs: the fake one is for what lies between."""
