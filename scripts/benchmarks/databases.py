"""Databases with many URLs, as they are before a load, and transactions with random ones of them."""

from __future__ import annotations

import contextlib
import random
import shutil
import sqlite3
from collections.abc import Mapping
from pathlib import Path

from benchmarks.contest import Wrong
from benchmarks.loads import SITE

NAMES = ("likes", "unlikes", "impressions")


def likes_before(number: int) -> int:
    """The initial counts of a page: few pages have many."""
    return 1 + 100_000 // (number + 1)


def loaded(scratch: Path, urls: int) -> Path:
    """A database with that many URLs, in no order. It is made once and must not be written to."""
    path = scratch / f"loaded-{urls}.db"
    if path.exists():
        return path
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = OFF")
        db.execute("PRAGMA synchronous = OFF")
        db.execute("PRAGMA cache_size = -2000000")
        numbers = list(range(urls))
        random.Random(5).shuffle(numbers)
        columns = ", ".join(f"{name} INTEGER NOT NULL DEFAULT 0" for name in NAMES)
        db.execute(f"CREATE TABLE counts (id INTEGER PRIMARY KEY, url TEXT NOT NULL UNIQUE, {columns})")
        db.execute("BEGIN")
        rows = ((f"{SITE}{number}", likes_before(number)) for number in numbers)
        db.executemany("INSERT INTO counts (url, likes) VALUES (?, ?)", rows)
        db.execute("COMMIT")
    return path


def copy(scratch: Path, urls: int, to: Path) -> Path:
    """A copy of such a database at `to`."""
    shutil.copyfile(loaded(scratch, urls), to)
    return to


def transaction(urls: int, rows: int, seed: int) -> list[str]:
    """The URLs of a transaction, each once."""
    return [f"{SITE}{number}" for number in random.Random(seed).sample(range(urls), min(rows, urls))]


def check_added(who: str, path: Path, urls: int, added: Mapping[str, int]) -> None:
    """Raise Wrong unless every URL has what it had plus what was added."""
    missing, before = dict(added), 0
    with contextlib.closing(sqlite3.connect(path)) as db:
        for url, likes in db.execute("SELECT url, likes FROM counts WHERE likes > 0"):
            number = int(url.removeprefix(SITE))
            before += number < urls
            if likes != (likes_before(number) if number < urls else 0) + missing.pop(url, 0):
                raise Wrong(f"WRONG, {who}: {url} has {likes} likes")
    if missing or before != urls:
        raise Wrong(f"WRONG, {who}: {len(missing) + urls - before} URLs are missing")
