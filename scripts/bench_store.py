"""Measure the embedded store at size, beside SQLite alone doing the same work, every sum checked.

    scripts/bench-store --urls 5000000 --rows 65536
    scripts/bench-store --kind zipf --urls 100000 --rows 50000

Transactions of random URLs, or of such as Zipf's law brings, go to a store with so many URLs: processor time and time
altogether a row. By turns with it, SQLite alone adds the same rows to the total of each URL and to its minute, without
top lists.
"""

from __future__ import annotations

import argparse
import os
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from itertools import accumulate
from pathlib import Path

import trio

from likd.model import Rows
from likd.stores.protocol import Increments
from likd.stores.sqlite.store import SqliteStore

NAMES = ("likes", "unlikes", "impressions")
SITE = "https://example.com/page/"
MINUTE = 29_000_000

Work = Callable[[int, Rows], None]


def preload(path: Path, urls: int) -> None:
    """A database with so many URLs, in no order, of which few have many likes."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA synchronous = OFF")
        db.execute("PRAGMA cache_size = -2000000")
        numbers = list(range(urls))
        random.Random(5).shuffle(numbers)
        columns = ", ".join(f"{name} INTEGER NOT NULL DEFAULT 0" for name in NAMES)
        db.execute(f"CREATE TABLE counts (id INTEGER PRIMARY KEY, url TEXT NOT NULL UNIQUE, {columns})")
        db.execute("BEGIN")
        rows = ((f"{SITE}{n}", 1 + 100_000 // (n + 1)) for n in numbers)
        db.executemany("INSERT INTO counts (url, likes) VALUES (?, ?)", rows)
        db.execute("COMMIT")


def transactions(kind: str, urls: int, rows: int, count: int) -> list[Rows]:
    """`count` transactions of so many rows each."""
    rng = random.Random(7)
    if kind == "random":
        return [{f"{SITE}{n}": {"likes": 1} for n in rng.sample(range(urls), min(rows, urls))} for _ in range(count)]
    weights = list(accumulate((rank + 1) ** -1.1 for rank in range(urls)))
    made: list[Rows] = []
    for _ in range(count):
        some: Rows = {}
        while len(some) < rows:
            for n in rng.choices(range(urls), cum_weights=weights, k=5000):
                counts = some.setdefault(f"{SITE}{n}", {"likes": 0})
                counts["likes"] += 1
        made.append(some)
    return made


class Alone:
    """SQLite alone: the total and the minute of each row, by one statement each."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("PRAGMA cache_size = -65536")
        self._db.execute("PRAGMA wal_autocheckpoint = 16384")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS alone (minute INTEGER, url INTEGER, likes INTEGER, PRIMARY KEY (minute, url))"
            " WITHOUT ROWID"
        )

    def apply(self, number: int, rows: Rows) -> None:
        """Add `rows`."""
        given = sorted((url, counts["likes"]) for url, counts in rows.items())
        self._db.execute("BEGIN")
        self._db.executemany(
            "INSERT INTO counts (url, likes) VALUES (?, ?)"
            " ON CONFLICT (url) DO UPDATE SET likes = likes + excluded.likes",
            given,
        )
        self._db.executemany(
            f"INSERT INTO alone SELECT {MINUTE + number // 8}, id, ?2 FROM counts WHERE url = ?1"
            " ON CONFLICT DO UPDATE SET likes = likes + excluded.likes",
            given,
        )
        self._db.execute("COMMIT")

    def close(self) -> None:
        """Let go of the database."""
        self._db.close()


async def through_store(path: Path, work: list[Rows]) -> tuple[float, float]:
    """Apply `work` through the embedded store."""
    store = SqliteStore(path, "bench")
    await store.open(NAMES)
    await store.apply(Increments(1, 1, MINUTE, {}))
    cpu = wall = 0.0
    for number, rows in enumerate(work, start=2):
        cpu_before, wall_before = time.process_time(), time.perf_counter()
        await store.apply(Increments(number, number, MINUTE + number // 8, rows))
        cpu += time.process_time() - cpu_before
        wall += time.perf_counter() - wall_before
    await store.aclose()
    return cpu, wall


def alone(path: Path, work: list[Rows]) -> tuple[float, float]:
    """Apply `work` to SQLite alone."""
    peer = Alone(path)
    cpu_before, wall_before = time.process_time(), time.perf_counter()
    for number, rows in enumerate(work, start=2):
        peer.apply(number, rows)
    measured = time.process_time() - cpu_before, time.perf_counter() - wall_before
    peer.close()
    return measured


def check(path: Path, before: int, work: list[Rows]) -> None:
    """Every like, or no figure."""
    likes = sum(counts["likes"] for rows in work for counts in rows.values())
    with closing(sqlite3.connect(path)) as db:
        (counted,) = db.execute("SELECT sum(likes) FROM counts").fetchone()
    if counted != before + likes:
        raise SystemExit(f"WRONG: {counted - before} counted, {likes} given")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--urls", type=int, default=1_000_000, help="URLs in the store (1000000)")
    parser.add_argument("--rows", type=int, default=65_536, help="rows of a transaction (65536)")
    parser.add_argument("--transactions", type=int, default=4, help="transactions of a run (4)")
    parser.add_argument("--runs", type=int, default=3, help="runs of each, by turns (3)")
    parser.add_argument("--kind", choices=("random", "zipf"), default="random", help="which URLs (random)")
    parser.add_argument("--directory", type=Path, help="where the databases are (the directory for temporary files)")
    arguments = parser.parse_args()
    work = transactions(arguments.kind, arguments.urls, arguments.rows, arguments.transactions)
    rows = sum(map(len, work))
    likes = sum(counts["likes"] for some in work for counts in some.values())
    with tempfile.TemporaryDirectory(prefix="likd-bench-", dir=arguments.directory) as directory:
        loaded = Path(directory) / "loaded.db"
        preload(loaded, arguments.urls)
        with closing(sqlite3.connect(loaded)) as db:
            (before,) = db.execute("SELECT sum(likes) FROM counts").fetchone()
        measured: dict[str, list[tuple[float, float]]] = {"store": [], "SQLite alone": []}
        for run in range(arguments.runs):
            for name, figures in measured.items():
                path = Path(directory) / f"{run}-{len(name)}.db"
                path.write_bytes(loaded.read_bytes())
                os.sync()
                figures.append(trio.run(through_store, path, work) if name == "store" else alone(path, work))
                check(path, before, work)
                path.unlink()
    print(f"{arguments.kind} URLs out of {arguments.urls:,}, {rows // len(work):,} rows in a transaction")
    for name, figures in measured.items():
        cpu, wall = (statistics.median(each) for each in zip(*figures, strict=True))
        each = f"{cpu / rows * 1e6:8.1f} us of processor time and {wall / rows * 1e6:6.1f} us altogether"
        print(f"  {name:<14}{each} a row, {likes / wall:10,.0f} likes/s")


if __name__ == "__main__":
    main()
