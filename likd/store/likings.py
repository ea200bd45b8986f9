"""Who likes what, in the embedded store: a key for each like by an actor, in the order of their URLs."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

SCHEMA = "CREATE TABLE IF NOT EXISTS actors (key BLOB PRIMARY KEY) WITHOUT ROWID;"
READ_AT_ONCE = 500
"""What is asked for in one statement, well under SQLite's limit on variables."""

T = TypeVar("T")


def apply(connection: sqlite3.Connection, changes: Mapping[bytes, bool]) -> None:
    """Note who likes from now on, and who does not."""
    liking = [(key,) for key, likes in changes.items() if likes]
    connection.executemany("INSERT OR IGNORE INTO actors VALUES (?)", liking)
    not_liking = [(key,) for key, likes in changes.items() if not likes]
    connection.executemany("DELETE FROM actors WHERE key = ?", not_liking)


def read(connection: sqlite3.Connection, keys: Sequence[bytes]) -> set[bytes]:
    """Those of `keys` that are there."""
    liking: set[bytes] = set()
    for chunk in chunks(keys):
        query = f"SELECT key FROM actors WHERE key IN (?{', ?' * (len(chunk) - 1)})"
        liking.update(key for (key,) in connection.execute(query, chunk))
    return liking


def merge(connection: sqlite3.Connection, old: bytes, new: bytes) -> int:
    """Let the keys that begin with `old` begin with `new`; how many of these were there already."""
    keys = connection.execute("SELECT key FROM actors WHERE key >= ? AND key < ?", (old, _after(old))).fetchall()
    moved = connection.executemany(
        "INSERT OR IGNORE INTO actors VALUES (?)", [(new + key[len(old) :],) for (key,) in keys]
    ).rowcount
    connection.executemany("DELETE FROM actors WHERE key = ?", keys)
    return len(keys) - max(0, moved)


def chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """`items`, as many at once as a statement takes."""
    for begin in range(0, len(items), READ_AT_ONCE):
        yield items[begin : begin + READ_AT_ONCE]


def _after(prefix: bytes) -> bytes:
    """The first key after all that begin with `prefix`."""
    number = int.from_bytes(prefix) + 1
    return number.to_bytes(len(prefix) + (number >> 8 * len(prefix)))
