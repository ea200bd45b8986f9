"""The schema and the marks of the embedded store, from one version to the next."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from likd.errors import TooNew
from likd.stores.protocol import Increments
from likd.stores.sqlite.store import SqliteStore

A = "https://a.example/"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "likd.db"


def execute(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


async def test_a_database_from_before_there_were_nodes_goes_on_from_its_mark(path: Path) -> None:
    execute(
        path,
        "CREATE TABLE applied (source TEXT PRIMARY KEY, table_id INTEGER NOT NULL) WITHOUT ROWID",
        "CREATE TABLE counts (id INTEGER PRIMARY KEY, url TEXT NOT NULL UNIQUE, likes INTEGER NOT NULL DEFAULT 0)",
        "INSERT INTO applied VALUES ('here', 7), ('there', 3)",
        f"INSERT INTO counts VALUES (1, '{A}', 5)",
    )
    store = SqliteStore(path, "here")
    assert await store.open(("likes",)) == 7
    assert (store.node, store.epoch) == (1, 1)
    await store.apply(Increments(8, 8, 0, {A: {"likes": 1}}))
    assert await store.read([A]) == (8, {A: {"likes": 6}})
    await store.aclose()


async def test_data_directories_have_numbers_of_their_own(path: Path) -> None:
    here, there = SqliteStore(path, "here"), SqliteStore(path, "there")
    await here.open(("likes",))
    await there.open(("likes",))
    assert [here.node, there.node] == [1, 2]
    await here.apply(Increments(1, 1, 0, {A: {"likes": 1}}))
    await there.apply(Increments(1, 1, 0, {A: {"likes": 1}}))
    await here.aclose()
    await there.aclose()


async def test_a_database_of_a_later_version_is_refused_and_left_as_it_is(path: Path) -> None:
    execute(
        path,
        "CREATE TABLE schema (version INTEGER NOT NULL, readable_from INTEGER NOT NULL)",
        "INSERT INTO schema VALUES (9, 8)",
    )
    store = SqliteStore(path, "here")
    with pytest.raises(TooNew, match=r"likd\.db has schema 9, and this likd knows 1: it was made by a later version"):
        await store.open(("likes",))
    await store.aclose()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT name FROM sqlite_schema").fetchall() == [("schema",)]


async def test_a_database_of_a_later_version_that_says_it_can_be_read_is(path: Path) -> None:
    execute(
        path,
        "CREATE TABLE schema (version INTEGER NOT NULL, readable_from INTEGER NOT NULL)",
        "INSERT INTO schema VALUES (2, 1)",
    )
    store = SqliteStore(path, "here")
    assert await store.open(("likes",)) == 0
    await store.aclose()
