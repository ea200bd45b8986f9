"""The embedded store: exactly once, one moment, and errors that can be tried again."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from likd.store import Increments, StoreError
from likd.store.sqlite import SqliteStore, read_applied

A, B = "https://a.example/", "https://b.example/"
NAMES = ("likes", "unlikes")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(tmp_path / "likd.db", "source")
    assert await store.open(NAMES) == 0
    yield store
    await store.aclose()


def increments(first: int, last: int, **likes: int) -> Increments:
    return Increments(first, last, 1, {f"https://{name}.example/": {"likes": n} for name, n in likes.items()})


async def test_increments_add_up_and_each_is_applied_once(store: SqliteStore) -> None:
    await store.apply(increments(1, 2, a=3, b=1))
    await store.apply(increments(3, 3, a=4))
    await store.apply(increments(3, 3, a=4))
    await store.apply(increments(1, 2, a=3, b=1))

    assert await store.read([A, B, "https://c.example/"]) == (3, {A: {"likes": 7}, B: {"likes": 1}})


async def test_the_top_list_is_ranked(store: SqliteStore) -> None:
    rows = {A: {"likes": 3, "unlikes": 3}, B: {"likes": 2}}
    await store.apply(Increments(1, 1, 1, rows))

    assert [url for url, _ in (await store.top("likes", 5))[1]] == [A, B]
    assert [url for url, _ in (await store.top("net", 5))[1]] == [B]
    assert [url for url, _ in (await store.top("likes", 1))[1]] == [A]


async def test_it_is_there_after_it_was_closed_and_takes_new_counts(tmp_path: Path, store: SqliteStore) -> None:
    await store.apply(increments(1, 7, a=3))
    again = SqliteStore(tmp_path / "likd.db", "source")
    try:
        assert await again.open((*NAMES, "hearts")) == 7
        await again.apply(Increments(8, 8, 1, {A: {"hearts": 2}}))
        assert await again.read([A]) == (8, {A: {"likes": 3, "hearts": 2}})
    finally:
        await again.aclose()
    assert read_applied(tmp_path / "likd.db") == 8


async def test_a_database_that_is_locked_is_an_error_and_nothing_is_half_done(
    tmp_path: Path, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.apply(increments(1, 1, a=1))
    assert store._writer is not None
    store._writer.execute("PRAGMA busy_timeout = 50")
    with closing(sqlite3.connect(tmp_path / "likd.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError):
            await store.apply(increments(2, 2, a=1))
        other.execute("ROLLBACK")
    await store.apply(increments(2, 2, a=1))

    assert await store.read([A]) == (2, {A: {"likes": 2}})


async def test_many_urls_are_read_at_once(store: SqliteStore) -> None:
    urls = [f"https://example.com/{n}" for n in range(2500)]
    await store.apply(Increments(1, 1, 1, {url: {"likes": n + 1} for n, url in enumerate(urls)}))

    _, rows = await store.read(urls)

    assert rows == {url: {"likes": n + 1} for n, url in enumerate(urls)}


async def test_what_is_no_database_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"no database" * 100)
    store = SqliteStore(tmp_path / "x.db", "source")
    try:
        with pytest.raises(StoreError):
            await store.open(NAMES)
    finally:
        await store.aclose()
    with pytest.raises(StoreError):
        read_applied(tmp_path / "x.db")
