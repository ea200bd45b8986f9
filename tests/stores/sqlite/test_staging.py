"""Staging: what a transaction is given comes into the database whole, whatever counts each URL has."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likd.model import Rows
from likd.stores.sqlite import staging

NAMES = ("likes", "unlikes", "impressions")
COUNTS = st.dictionaries(st.sampled_from((*NAMES, "of a handler that is gone")), st.integers(0, 2**63 - 1))
ROWS = st.dictionaries(st.text("ab/'\"\\é", min_size=1), COUNTS, max_size=12)


@pytest.fixture(autouse=True)
def short_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "SLICE_ROWS", 3)


def database() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("CREATE TABLE counts (id INTEGER PRIMARY KEY, url TEXT NOT NULL UNIQUE)")
    staging.open_stage(connection, NAMES)
    return connection


def staged(connection: sqlite3.Connection) -> Iterator[tuple[int, str, dict[str, int]]]:
    for row_id, url, *counts in connection.execute(f"SELECT id, url, {', '.join(NAMES)} FROM staged"):
        yield row_id, url, dict(zip(NAMES, counts, strict=True))


@given(there=st.lists(st.text("ab/", min_size=1), unique=True), before=ROWS, rows=ROWS)
def test_what_is_staged_is_what_was_given_by_the_ids_of_its_urls(there: list[str], before: Rows, rows: Rows) -> None:
    with closing(database()) as connection:
        connection.executemany("INSERT INTO counts (url) VALUES (?)", [(url,) for url in there])
        staging.stage(connection, NAMES, before)
        grown = staging.stage(connection, NAMES, rows)
        found = list(staged(connection))
        assert grown == tuple(name for name in NAMES if any(name in counts for counts in rows.values()))
        assert {url: counts for _, url, counts in found} == {
            url: {name: counts.get(name, 0) for name in NAMES} for url, counts in rows.items()
        }
        known = dict(connection.execute("SELECT url, id FROM counts"))
        assert all(row_id == known[url] for row_id, url, _ in found if url in known)
        fresh = sorted((url, row_id) for row_id, url, _ in found if url not in known)
        assert [row_id for _, row_id in fresh] == list(range(len(there) + 1, len(there) + 1 + len(fresh)))
