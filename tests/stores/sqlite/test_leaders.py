"""Top lists of the embedded store: exact, out of an index that has few of many URLs."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from likd.model import Counts, Rows
from likd.stores.protocol import Increments
from likd.stores.sqlite import leaders
from likd.stores.sqlite.store import SqliteStore
from tests.rows import add_rows

NAMES = ("likes", "unlikes", "impressions", "stars")


@pytest.fixture(autouse=True)
def few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaders, "LEADERS", 10)
    monkeypatch.setattr(leaders, "DRAWS", 5000)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "likd.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path, "here")
    await store.open(NAMES)
    yield store
    await store.aclose()


@pytest.fixture
def table() -> Callable[[], int]:
    numbers: Iterator[int] = iter(range(1, 1_000_000))
    return lambda: next(numbers)


def url(number: int) -> str:
    return f"https://example.com/it's/{number:04d}"


def net(counts: Counts) -> int:
    return counts.get("likes", 0) - counts.get("unlikes", 0)


def expected(rows: Rows, by: str, limit: int) -> list[tuple[str, Counts]]:
    values = {url: net(counts) if by == "net" else counts.get(by, 0) for url, counts in rows.items()}
    ranked = sorted((url for url, value in values.items() if value > 0), key=lambda url: (-values[url], url))
    return [(url, rows[url]) for url in ranked[:limit]]


def indexed(path: Path, name: str) -> int:
    """How many URLs the index has."""
    with closing(sqlite3.connect(path)) as connection:
        (sql,) = connection.execute("SELECT sql FROM sqlite_master WHERE name = ?", (f"top_{name}",)).fetchone()
        where = sql.partition(" WHERE ")[2]
        return int(connection.execute(f"SELECT count(*) FROM counts WHERE {where}").fetchone()[0])


async def apply(store: SqliteStore, number: int, rows: Rows) -> None:
    await store.apply(Increments(number, number, 0, rows))


@pytest.mark.parametrize("seed", range(2))
async def test_top_is_exact_while_indexes_are_made_anew(
    store: SqliteStore, table: Callable[[], int], seed: int
) -> None:
    rng = random.Random(seed)
    rows: Rows = {}
    for _ in range(40):
        increments: Rows = {}
        for _ in range(20):
            name = rng.choice(NAMES if rng.random() < 0.7 else NAMES[1:2])
            increments.setdefault(url(int(rng.paretovariate(0.5)) % 1000), {})[name] = int(rng.paretovariate(1))
        add_rows(rows, increments)
        await apply(store, table(), increments)
        for by in (*NAMES, "net"):
            for limit in (1, 7, 200):
                assert (await store.top(by, limit))[1] == expected(rows, by, limit)


async def test_an_index_of_many_urls_has_some_of_them_only(
    path: Path, store: SqliteStore, table: Callable[[], int]
) -> None:
    for begin in range(0, 1000, 50):
        await apply(store, table(), {url(n): {"likes": 1 + n} for n in range(begin, begin + 50)})
    await apply(store, table(), {})
    assert 7 <= indexed(path, "likes") <= 100
    assert 7 <= indexed(path, "net") <= 100
    assert [found for found, _ in (await store.top("likes", 3))[1]] == [url(999), url(998), url(997)]


async def test_urls_that_all_have_the_same_are_bounded_too(
    path: Path, store: SqliteStore, table: Callable[[], int]
) -> None:
    for increments in ({url(n): {"likes": 1} for n in range(1000)}, {}):
        await apply(store, table(), increments)
    assert indexed(path, "likes") <= 100
    assert [found for found, _ in (await store.top("likes", 3))[1]] == [url(0), url(1), url(2)]


async def test_a_few_urls_are_all_in_the_index(path: Path, store: SqliteStore, table: Callable[[], int]) -> None:
    for _ in range(3):
        await apply(store, table(), {url(n): {"likes": 1} for n in range(40)})
    assert indexed(path, "likes") == 40


async def test_an_index_that_lost_its_leaders_is_made_anew(
    path: Path, store: SqliteStore, table: Callable[[], int]
) -> None:
    rows: Rows = {url(n): {"likes": 1 + n} for n in range(1000)}
    for increments in (rows, {}):
        await apply(store, table(), increments)
    away: Rows = {url(n): {"unlikes": 1000} for n in range(800, 1000)}
    await apply(store, table(), away)
    assert indexed(path, "net") == 0
    assert (await store.top("net", 1))[1] == [(url(799), rows[url(799)])], "the table says what the index does not"
    await apply(store, table(), {})
    assert indexed(path, "net") >= 7
    assert (await store.top("net", 1))[1] == [(url(799), rows[url(799)])]


async def test_a_database_with_whole_indexes_gets_smaller_ones(path: Path, table: Callable[[], int]) -> None:
    columns = ", ".join(f"{name} INTEGER NOT NULL DEFAULT 0" for name in NAMES)
    with closing(sqlite3.connect(path, isolation_level=None)) as old:
        old.execute(f"CREATE TABLE counts (id INTEGER PRIMARY KEY, url TEXT NOT NULL UNIQUE, {columns})")
        old.execute("CREATE INDEX top_likes ON counts (likes DESC, url) WHERE likes > 0")
        old.execute("BEGIN")
        old.executemany("INSERT INTO counts (url, likes) VALUES (?, ?)", [(url(n), n) for n in range(1000)])
        old.execute("COMMIT")
    store = SqliteStore(path, "here")
    await store.open(NAMES)
    assert indexed(path, "likes") == 999, "the start does not wait for it"
    assert indexed(path, "net") <= 100, "what is made new is small at once"
    await apply(store, table(), {url(0): {"likes": 5000}})
    assert indexed(path, "likes") <= 100
    assert [found for found, _ in (await store.top("likes", 2))[1]] == [url(0), url(999)]
    await store.aclose()


async def test_a_list_longer_than_the_index_is_exact_and_the_index_follows_it(
    path: Path, store: SqliteStore, table: Callable[[], int]
) -> None:
    rows: Rows = {url(n): {"likes": 1 + n} for n in range(2000)}
    for increments in (rows, {}):
        await apply(store, table(), increments)
    assert indexed(path, "likes") < 150
    assert (await store.top("likes", 200))[1] == expected(rows, "likes", 200), "the table says what the index does not"
    await apply(store, table(), {})
    assert 200 <= indexed(path, "likes") < 2000
    assert indexed(path, "net") < 150, "nobody asked it for more"
    assert (await store.top("likes", 200))[1] == expected(rows, "likes", 200)


async def test_top_is_read_from_a_bounded_index(path: Path, store: SqliteStore, table: Callable[[], int]) -> None:
    for _ in range(2):
        await apply(store, table(), {url(n): {"likes": 1 + n} for n in range(1000)})
    asked: list[str] = []
    with closing(sqlite3.connect(path)) as connection:
        connection.set_trace_callback(asked.append)
        indexes = leaders.Leaders()
        for by in ("likes", "net"):
            assert len(indexes.read(connection, "SELECT url FROM counts", by, 5)) == 5
        connection.set_trace_callback(None)
        queries = [query for query in asked if "FROM counts" in query]
        assert len(queries) == 2
        for query in queries:
            plan = " ".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {query}"))
            assert "INDEX top_" in plan
            assert "TEMP B-TREE" not in plan
