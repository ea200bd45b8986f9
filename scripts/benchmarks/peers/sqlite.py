"""SQLite alone, in this process: likes that arrive together are added up and written in one flushed transaction."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks import databases
from benchmarks.contest import ACKNOWLEDGED, STORED, Figures, Measure
from benchmarks.loads import Load
from benchmarks.processes import processor

MINUTE = 29_000_000


class Alone:
    """The total and the minute of each URL, and if `top` an index of the totals for top lists."""

    def __init__(self, path: Path, *, top: bool) -> None:
        self.db = sqlite3.connect(path, isolation_level=None)
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute("PRAGMA synchronous = FULL")
        self.db.execute("PRAGMA cache_size = -65536")
        self.db.execute("PRAGMA wal_autocheckpoint = 16384")
        self.db.execute(
            "CREATE TABLE IF NOT EXISTS counts"
            " (id INTEGER PRIMARY KEY, url TEXT NOT NULL UNIQUE, likes INTEGER NOT NULL DEFAULT 0)"
        )
        self.db.execute(
            "CREATE TABLE IF NOT EXISTS minutes (minute INTEGER, url INTEGER, likes INTEGER, PRIMARY KEY (minute, url))"
            " WITHOUT ROWID"
        )
        if top:
            self.db.execute("CREATE INDEX IF NOT EXISTS top ON counts (likes)")

    def apply(self, rows: Mapping[str, int], minute: int = MINUTE) -> None:
        """Add `rows`."""
        given = sorted(rows.items())
        self.db.execute("BEGIN")
        self.db.executemany(
            "INSERT INTO counts (url, likes) VALUES (?, ?)"
            " ON CONFLICT (url) DO UPDATE SET likes = likes + excluded.likes",
            given,
        )
        self.db.executemany(
            f"INSERT INTO minutes SELECT {minute}, id, ?2 FROM counts WHERE url = ?1"
            " ON CONFLICT DO UPDATE SET likes = likes + excluded.likes",
            given,
        )
        self.db.execute("COMMIT")

    def close(self) -> None:
        self.db.close()


@contextlib.contextmanager
def batches(load: Load, scratch: Path, *, top: bool = True, urls_before: int = 0) -> Iterator[Measure]:
    """`load`, one transaction for what all its connections send at once, with that many URLs already there."""
    some = load.batches()
    with tempfile.TemporaryDirectory(prefix="likd-bench-sqlite-") as directory:
        path = Path(directory) / "alone.db"
        if urls_before:
            databases.copy(scratch, urls_before, path)
        alone = Alone(path, top=top)
        turns = 0

        def measure() -> Figures:
            nonlocal turns
            turns += 1
            before, began = processor(os.getpid()), time.perf_counter()
            for urls in some:
                alone.apply(Counter(urls))
            seconds = time.perf_counter() - began
            return {
                ACKNOWLEDGED: load.likes / seconds,
                STORED: load.likes / seconds,
                **(processor(os.getpid()) - before).per(load.likes),
            }

        yield measure
        alone.close()
        databases.check_added("SQLite", path, urls_before, {url: n * turns for url, n in load.counts.items()})
