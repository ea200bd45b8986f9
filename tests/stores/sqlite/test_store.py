"""The SQLite store: applied exactly once, with its mark or not at all, and away without being lost."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
import trio

from likd.counting.actors import ActorKeys
from likd.errors import StoreError
from likd.model import Liking, Rows
from likd.stores.protocol import Applied, Increments
from likd.stores.sqlite import actors
from likd.stores.sqlite import store as sqlite_module
from likd.stores.sqlite.store import SqliteStore, read_applied

A, B, C = "http://a/", "http://b/", "http://c/"
NAMES = ("likes", "unlikes", "impressions")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "likd.sqlite"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path, "here")
    await store.open(NAMES)
    yield store
    await store.aclose()


def increments(table: int, rows: Rows, *, first: int | None = None) -> Increments:
    return Increments(first or table, table, 0, rows)


async def test_a_new_store_has_nothing_applied(path: Path) -> None:
    store = SqliteStore(path, "here")
    assert await store.open(NAMES) == 0
    assert await store.read([A]) == (0, {})
    await store.aclose()


async def test_increments_add_up_by_url_and_move_the_mark(store: SqliteStore) -> None:
    await store.apply(increments(1, {A: {"likes": 2, "impressions": 7}, B: {"unlikes": 1}}))
    await store.apply(increments(4, {A: {"likes": 1}}, first=2))
    assert await store.read([A, B, C]) == (4, {A: {"likes": 3, "impressions": 7}, B: {"unlikes": 1}})


async def test_a_table_is_applied_once_however_often_it_is_sent(store: SqliteStore) -> None:
    for table in (1, 1, 2, 1, 2):
        await store.apply(increments(table, {A: {"likes": 1}}))
    assert await store.read([A]) == (2, {A: {"likes": 2}})


async def test_starting_counts_are_loaded_once_for_each_name(store: SqliteStore) -> None:
    assert [await store.load(name, {A: {"likes": 5}}) for name in ("one", "one", "two")] == [True, False, True]
    assert await store.read([A]) == (0, {A: {"likes": 10}})


async def test_what_was_applied_is_there_after_a_restart(path: Path, store: SqliteStore) -> None:
    await store.apply(increments(7, {A: {"likes": 2}}))
    again = SqliteStore(path, "here")
    assert await again.open(NAMES) == 7
    await again.apply(increments(7, {A: {"likes": 2}}))
    assert await again.read([A]) == (7, {A: {"likes": 2}})
    await again.aclose()


async def test_a_transaction_that_fails_leaves_neither_counts_nor_mark(path: Path, store: SqliteStore) -> None:
    await store.apply(increments(1, {A: {"likes": 1}}))
    unlucky = "CREATE TRIGGER unlucky BEFORE INSERT ON minutes WHEN NEW.likes = 13 BEGIN SELECT RAISE(ABORT, 'no'); END"
    with closing(sqlite3.connect(path)) as other:
        other.execute(unlucky)
    with pytest.raises(StoreError, match="no"):
        await store.apply(increments(2, {A: {"likes": 1}, B: {"likes": 13}}))
    assert await store.read([A, B]) == (1, {A: {"likes": 1}})
    await store.apply(increments(2, {A: {"likes": 1}, B: {"likes": 1}}))
    assert await store.read([A, B]) == (2, {A: {"likes": 2}, B: {"likes": 1}})


async def test_a_count_beyond_64_bits_is_refused_and_not_rounded(store: SqliteStore) -> None:
    with pytest.raises(StoreError, match="63 bits"):
        await store.apply(increments(1, {A: {"likes": 2**63}}))
    assert await store.read([A]) == (0, {})


async def test_urls_with_characters_that_json_and_sql_escape_are_stored_as_they_are(store: SqliteStore) -> None:
    urls = [f"https://example.com/{end}" for end in ("?a\\b", "'", '"', "%22?\\\\u0041", "?{}[]`~", "é", "\U0001f44d")]
    await store.apply(increments(1, {url: {"likes": n} for n, url in enumerate(urls, start=1)}))
    assert await store.read(urls) == (1, {url: {"likes": n} for n, url in enumerate(urls, start=1)})


async def test_every_commit_is_flushed_to_the_disk_and_memory_is_as_much_as_is_said(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connections: list[sqlite3.Connection] = []

    class Spied(sqlite3.Connection):
        def __init__(self, *args: object, **settings: object) -> None:
            super().__init__(*args, **settings)  # type: ignore[arg-type]
            connections.append(self)

    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Spied))
    store = SqliteStore(path, "here", cache_mib=7)
    await store.open(NAMES)
    await store.apply(increments(1, {A: {"likes": 1}}))
    full = 2
    for connection in connections:
        assert connection.execute("PRAGMA synchronous").fetchone() == (full,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connections[0].execute("PRAGMA cache_size").fetchone() == (-7 * 1024,)
    await store.aclose()


async def test_the_log_is_cut_back_when_an_outside_reader_has_gone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_module, "WAL_BYTES", 64 << 10)
    log = path.with_name(path.name + "-wal")
    store = SqliteStore(path, "here")
    await store.open(NAMES)
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM counts").fetchone()
        for table in range(1, 11):
            await store.apply(increments(table, {f"{A}{table}/{n}": {"likes": 1} for n in range(200)}))
        assert log.stat().st_size > 256 << 10
    for table in (11, 12):
        await store.apply(increments(table, {A: {"likes": 1}}))
    assert log.stat().st_size <= 64 << 10
    await store.aclose()


async def test_two_data_directories_share_a_database_each_with_its_mark(path: Path, store: SqliteStore) -> None:
    other = SqliteStore(path, "there")
    await other.open(NAMES)
    await store.apply(increments(5, {A: {"likes": 1}}))
    await other.apply(increments(1, {A: {"likes": 1}}))
    assert await store.read([A]) == (5, {A: {"likes": 2}})
    assert await other.read([A]) == (1, {A: {"likes": 2}})
    await other.aclose()


async def test_a_database_that_is_locked_is_a_store_error_and_can_be_tried_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_module, "BUSY_TIMEOUT_SECONDS", 0.01)
    store = SqliteStore(path, "here")
    await store.open(NAMES)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="locked"):
            await store.apply(increments(1, {A: {"likes": 1}}))
        assert await store.read([A]) == (0, {}), "readers do not wait for a writer"
    await store.apply(increments(1, {A: {"likes": 1}}))
    assert await store.read([A]) == (1, {A: {"likes": 1}})
    await store.aclose()


@pytest.mark.parametrize("what", ["no directory", "a directory", "another file"])
async def test_a_database_that_cannot_be_opened_is_a_store_error(tmp_path: Path, what: str) -> None:
    path = tmp_path / "likd.sqlite"
    if what == "no directory":
        path = tmp_path / "away" / "likd.sqlite"
    elif what == "a directory":
        path.mkdir()
    else:
        path.write_bytes(b"this is not a database" * 100)
    store = SqliteStore(path, "here")
    with pytest.raises(StoreError, match="sqlite: "):
        await store.open(NAMES)
    for attempt in (store.apply(increments(1, {})), store.read([A]), store.top("likes", 1)):
        with pytest.raises(StoreError):
            await attempt
    await store.aclose()


async def test_a_store_that_was_away_can_be_opened_later(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "away" / "likd.sqlite", "here")
    with pytest.raises(StoreError):
        await store.open(NAMES)
    (tmp_path / "away").mkdir()
    assert await store.open(NAMES) == 0
    await store.aclose()


async def test_counts_of_new_handlers_start_from_zero_and_old_ones_stay(path: Path, store: SqliteStore) -> None:
    await store.apply(increments(1, {A: {"likes": 1, "impressions": 2}}))
    fewer = SqliteStore(path, "here")
    await fewer.open(("likes", "unlikes", "clicks"))
    await fewer.apply(increments(2, {A: {"likes": 1, "clicks": 5}}))
    assert await fewer.read([A]) == (2, {A: {"likes": 2, "clicks": 5}})
    await fewer.aclose()
    back = SqliteStore(path, "here")
    await back.open((*NAMES, "clicks"))
    assert await back.read([A]) == (2, {A: {"likes": 2, "impressions": 2, "clicks": 5}})
    await back.aclose()


async def test_more_urls_than_a_statement_takes_are_read_of_one_moment(store: SqliteStore) -> None:
    urls = [f"http://{n}/" for n in range(2 * actors.READ_AT_ONCE + 1)]
    await store.apply(increments(1, {url: {"likes": n + 1} for n, url in enumerate(urls)}))
    assert await store.read(urls) == (1, {url: {"likes": n + 1} for n, url in enumerate(urls)})
    assert await store.read([]) == (1, {})


async def test_text_in_urls_is_only_text(store: SqliteStore) -> None:
    url = "http://a/'\"; DROP TABLE counts; --%_?"
    await store.apply(increments(1, {url: {"likes": 1}}))
    assert await store.read([url, "http://a/%"]) == (1, {url: {"likes": 1}})


TOP: Rows = {
    A: {"likes": 5, "unlikes": 4},
    B: {"likes": 3},
    C: {"likes": 3, "unlikes": 1, "impressions": 9},
    "http://d/": {"unlikes": 8},
}


@pytest.mark.parametrize(
    ("by", "limit", "urls"),
    [
        ("likes", 10, [A, B, C]),
        ("likes", 2, [A, B]),
        ("likes", 1, [A]),
        ("unlikes", 10, ["http://d/", A, C]),
        ("impressions", 10, [C]),
        ("net", 10, [B, C, A]),
    ],
)
async def test_top_is_highest_first_ties_by_url_none_without(
    store: SqliteStore, by: str, limit: int, urls: list[str]
) -> None:
    await store.apply(increments(1, TOP))
    applied, listed = await store.top(by, limit)
    assert applied == 1
    assert listed == [(url, TOP[url]) for url in urls]


async def test_top_is_read_from_an_index(path: Path, store: SqliteStore) -> None:
    await store.apply(increments(1, TOP))
    with closing(sqlite3.connect(path)) as connection:
        for value in ("likes", "likes - unlikes"):
            query = f"EXPLAIN QUERY PLAN SELECT url FROM counts WHERE {value} > 0 ORDER BY {value} DESC, url LIMIT 10"
            plan = " ".join(row[3] for row in connection.execute(query))
            assert "USING" in plan
            assert "INDEX top_" in plan
            assert "TEMP B-TREE" not in plan


async def test_readers_see_each_table_whole(store: SqliteStore) -> None:
    """Both URLs grow by one in each table: a read that saw them differ would have seen half a table."""
    done = trio.Event()

    async def write() -> None:
        for table in range(1, 40):
            await store.apply(increments(table, {A: {"likes": 1}, B: {"likes": 1}}))
        done.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        while not done.is_set():
            applied, rows = await store.read([A, B])
            expected = {A: {"likes": applied}, B: {"likes": applied}} if applied else {}
            assert rows == expected


async def test_the_mark_can_be_read_from_outside(path: Path, store: SqliteStore) -> None:
    await store.apply(increments(3, {A: {"likes": 1}}))
    assert read_applied(path, "here") == 3


def test_no_database_is_nothing_applied_and_stays_so(path: Path) -> None:
    assert read_applied(path, "here") == 0
    assert not path.exists()


def test_a_file_that_is_no_database_is_a_store_error(path: Path) -> None:
    path.write_bytes(b"this is not a database" * 100)
    with pytest.raises(StoreError, match=r"likd\.sqlite: "):
        read_applied(path, "here")


async def test_a_reader_does_not_wait_longer_than_it_wants_and_the_next_finds_all_as_it_was(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.apply(increments(1, {A: {"likes": 2}}))
    hanging, go_on = threading.Event(), threading.Event()
    read = store._database.read
    let_go: list[bool] = []

    def hang(urls: Sequence[str]) -> tuple[int, Rows]:
        hanging.set()
        let_go.append(go_on.wait(5))
        return read(urls)

    monkeypatch.setattr(store._database, "read", hang)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.read, [A])
        await trio.to_thread.run_sync(hanging.wait)
        nursery.cancel_scope.cancel()
    go_on.set()
    assert await store.read([A]) == (1, {A: {"likes": 2}})
    assert let_go == [True, True]


KEYS = ActorKeys(b"secret")


@pytest.mark.parametrize("liked", [True, False])
@pytest.mark.parametrize("likes", [True, False])
@pytest.mark.parametrize("net", [-2, -1, 0, 1, 2])
async def test_likes_less_unlikes_are_the_actors_who_like_whatever_was_thought_of_them(
    path: Path, liked: bool, likes: bool, net: int
) -> None:
    store = SqliteStore(path, "here", url_key=KEYS.of_url, wall_clock=lambda: 90_000.0)
    await store.open(NAMES)
    key = KEYS("a", A)
    if liked:
        await store.apply(Increments(1, 1, 1500, {A: {"likes": 1}}, {key: Liking(True, 1)}))
    rows: Rows = {A: {"likes": 2 + net, "unlikes": 2}, B: {"likes": 1}}
    given = {url: counts.copy() for url, counts in rows.items()}

    applied = await store.apply(Increments(2, 2, 1500, rows, {key: Liking(likes, net)}))

    assert applied is not None
    counts = (await store.read([A]))[1][A]
    assert counts["likes"] - counts["unlikes"] == likes == len((await store.read_actors([key]))[1])
    off = likes - liked - net
    assert applied.corrections == ({A: {"likes" if off > 0 else "unlikes": abs(off)}} if off else {})
    assert rows == given
    history = await store.history(A, "day", 86_400, 172_800)
    assert [sum(counts.get(name, 0) for _, counts in history) for name in ("likes", "unlikes")] == [
        counts["likes"],
        counts["unlikes"],
    ]
    assert await store.apply(Increments(2, 2, 1500, rows, {key: Liking(likes, net)})) is None
    await store.aclose()


async def test_what_files_of_earlier_versions_say_of_actors_is_taken_to_be_right(path: Path) -> None:
    store = SqliteStore(path, "here", url_key=KEYS.of_url)
    await store.open(NAMES)
    rows: Rows = {A: {"likes": 1, "unlikes": 1}}
    assert await store.apply(Increments(1, 1, 0, rows, {KEYS("a", A): Liking(False, None)})) == Applied()
    await store.aclose()


async def test_many_aliases_and_actors_do_not_multiply_in_an_apply(path: Path) -> None:
    store = SqliteStore(path, "here", url_key=KEYS.of_url)
    await store.open(NAMES)
    with closing(sqlite3.connect(path)) as connection:
        names = [(f"http://old/{n}", f"http://new/{n}") for n in range(10_000)]
        aliases = [(old, new, KEYS.of_url(old), KEYS.of_url(new)) for old, new in names]
        connection.executemany("INSERT INTO aliases VALUES (?, ?, ?, ?)", aliases)
        connection.commit()
        for query in (
            "SELECT old, new FROM json_each(?) CROSS JOIN aliases ON old = value",
            "SELECT old_key, new_key FROM aliases WHERE old_key IN (?)",
        ):
            plan = " ".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {query}", ("[]",)))
            assert "SEARCH aliases" in plan
            assert "SCAN aliases" not in plan
    likings = {KEYS(f"{n}", "http://old/7"): Liking(True, 1) for n in range(8000)}
    await store.apply(Increments(1, 1, 0, {"http://old/7": {"likes": 8000}}, likings))
    assert (await store.read(["http://old/7", "http://new/7"]))[1] == {"http://new/7": {"likes": 8000}}
    assert len((await store.read_actors([KEYS(f"{n}", "http://new/7") for n in range(8000)]))[1]) == 8000
    await store.aclose()
