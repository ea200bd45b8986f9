"""Who likes what, in the embedded store: a key for each like by an actor, sorted by URL."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

from likd.model import LIKE_KEY_BYTES, Liking, done_by

SCHEMA = """
CREATE TABLE IF NOT EXISTS actors (key BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS unliked (key BLOB PRIMARY KEY) WITHOUT ROWID;
"""
"""`unliked` has the actors who unliked since URLs began to be folded by other rules: what they liked under an old name
of the URL is folded later, and must not bring the like back."""
READ_AT_ONCE = 500
"""How many keys a statement asks for, well under SQLite's limit on variables."""

T = TypeVar("T")


def apply(connection: sqlite3.Connection, changes: Mapping[bytes, Liking], *, folding: bool) -> dict[bytes, int]:
    """Record who likes from now on and who does not. Returns by how much likes minus unlikes are off, by key."""
    liked = read(connection, sorted(changes))
    off = {
        key: likes - (key in liked) - net
        for key, (likes, net) in changes.items()
        if net is not None and likes - (key in liked) != net
    }
    liking = [(key,) for key, (likes, _) in changes.items() if likes]
    connection.executemany("INSERT OR IGNORE INTO actors VALUES (?)", liking)
    not_liking = [(key,) for key, (likes, _) in changes.items() if not likes]
    connection.executemany("DELETE FROM actors WHERE key = ?", not_liking)
    if folding:
        note_unliked(connection, [key for (key,) in not_liking])
        connection.executemany("DELETE FROM unliked WHERE key = ?", liking)
    return off


def note_unliked(connection: sqlite3.Connection, keys: Sequence[bytes]) -> None:
    """Keep what these actors like under an old name of the URL from making them like it."""
    connection.executemany("INSERT OR IGNORE INTO unliked VALUES (?)", [(key,) for key in keys])


def read(connection: sqlite3.Connection, keys: Sequence[bytes]) -> set[bytes]:
    """Those of `keys` that exist."""
    liking: set[bytes] = set()
    for chunk in chunks(keys):
        query = f"SELECT key FROM actors WHERE key IN (?{', ?' * (len(chunk) - 1)})"
        liking.update(key for (key,) in connection.execute(query, chunk))
    return liking


def merge(connection: sqlite3.Connection, old: bytes, new: bytes, *, heed_unliked: bool) -> Counter[str]:
    """Let the keys that begin with `old` begin with `new`. Returns how many likes are lost as duplicates.

    With `heed_unliked`, also those whose actors have unliked the new URL since. Counted by kind (likes, and so on).
    """
    _move(connection, "unliked", old, new)
    if heed_unliked:
        unliked = connection.execute("SELECT key FROM unliked WHERE key >= ? AND key < ?", (new, after(new))).fetchall()
        gone = read(connection, [old + key[len(new) :] for (key,) in unliked])
        connection.executemany("DELETE FROM actors WHERE key = ?", [(key,) for key in gone])
        lost = Counter(map(done_by, gone))
    else:
        lost = Counter()
    return lost + _move(connection, "actors", old, new)


def remove(connection: sqlite3.Connection, begins: bytes, limit: int) -> int:
    """Remove up to `limit` keys with this beginning: actors of a URL no longer like it. Returns how many it removed."""
    removed = 0
    for table in ("actors", "unliked") if begins else ():
        some = f"SELECT key FROM {table} WHERE key >= ? AND key < ? LIMIT ?"
        removed += connection.execute(
            f"DELETE FROM {table} WHERE key IN ({some})", (begins, after(begins), limit - removed)
        ).rowcount
    return removed


def liked_both(connection: sqlite3.Connection, old: bytes, new: bytes) -> int:
    """How many actors like both of the URLs, given the beginnings of their actors' keys."""
    query = "SELECT key FROM actors WHERE key >= ? AND key < ? AND length(key) = ?"
    keys = connection.execute(query, (old, after(old), LIKE_KEY_BYTES)).fetchall()
    return len(read(connection, [new + key[len(old) :] for (key,) in keys]))


def _move(connection: sqlite3.Connection, table: str, old: bytes, new: bytes) -> Counter[str]:
    """Rename keys. Returns how many already existed, by kind."""
    keys = connection.execute(f"SELECT key FROM {table} WHERE key >= ? AND key < ?", (old, after(old))).fetchall()
    by_done: dict[str, list[tuple[bytes]]] = {}
    for (key,) in keys:
        by_done.setdefault(done_by(key), []).append((new + key[len(old) :],))
    there: Counter[str] = Counter()
    for done, renamed in by_done.items():
        moved = connection.executemany(f"INSERT OR IGNORE INTO {table} VALUES (?)", renamed).rowcount
        there[done] = len(renamed) - max(0, moved)
    connection.executemany(f"DELETE FROM {table} WHERE key = ?", keys)
    return there


def chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """`items`, in portions that a statement takes."""
    for begin in range(0, len(items), READ_AT_ONCE):
        yield items[begin : begin + READ_AT_ONCE]


def after(prefix: bytes) -> bytes:
    """The first key after all those that begin with `prefix`."""
    number = int.from_bytes(prefix) + 1
    return number.to_bytes(len(prefix) + (number >> 8 * len(prefix)))
