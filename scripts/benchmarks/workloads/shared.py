"""The store in PostgreSQL without a daemon: one node, or several, beside the plainest writer and pgbench."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks.contest import STORED, Bench, Case, Figures, Measure, Version, Wrong, contender
from benchmarks.peers import postgresql
from benchmarks.processes import Processor, family, processor

SCRIPTS = Path(__file__).resolve().parents[2]
ROWS, HOT_ROWS = 20_000, 2_000
URLS = 100_000
TRANSACTIONS = 8
UPSERT = "INSERT INTO {} VALUES (%s, %s) ON CONFLICT (url) DO UPDATE SET likes = {}.likes + excluded.likes"
SERVER = "of the server, µs"
_numbers = count()


class Node:
    """A process that drains into a store."""

    def __init__(self, version: Version, url: str, number: int, rows: int, urls: int, indexes: str) -> None:
        environment = {**os.environ, "PYTHONPATH": f"{version.tree}:{SCRIPTS}"}
        command = [sys.executable, "-m", "benchmarks.draining", url, str(number), str(rows), str(urls), indexes]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=version.tree, env=environment)
        if self._read() != "ready\n":
            raise Wrong(f"the store of {version.name} did not open")

    def order(self, transactions: int) -> None:
        """Let it apply so many; `cost` waits for the end."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{transactions}\n")
        self.process.stdin.flush()

    def cost(self) -> Any:
        """What that cost."""
        line = self._read()
        if not line:
            raise Wrong("a node failed")
        return json.loads(line)

    def end(self) -> None:
        """End it."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(60)
        self.process.stdout.close()

    def _read(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()


def _new_database(connection: Any) -> str:
    name = f"shared{next(_numbers)}"
    connection.execute(f"CREATE DATABASE {name}".encode())
    return f"postgresql://bench@127.0.0.1:{connection.info.port}/{name}"


@contextlib.contextmanager
def drained(
    version: Version, server: tuple[int, Any], nodes: int, rows: int, urls: int, transactions: int, indexes: str
) -> Iterator[Measure]:
    """So many nodes of likd at once. A row is a URL in a transaction; each is added to total and minute."""
    import psycopg

    pid, connection = server
    url = _new_database(connection)
    with contextlib.ExitStack() as stack:
        running: list[Node] = []
        for number in range(nodes):
            running.append(Node(version, url, number, rows, urls, indexes))
            stack.callback(running[-1].end)
        likes = 0

        def measure() -> Figures:
            nonlocal likes
            before = family(pid)
            for node in running:
                node.order(transactions)
            costs = [node.cost() for node in running]
            likes += sum(cost["likes"] for cost in costs)
            written = rows * transactions * nodes
            spent = sum((Processor(cost["main"], cost["others"]) for cost in costs), Processor(0.0, 0.0))
            figures = {STORED: written / max(cost["seconds"] for cost in costs), **spent.per(written)}
            return figures | {SERVER: (family(pid) - before).total / written * 1e6}

        yield measure
        with psycopg.connect(url) as each:
            (counted,) = each.execute("SELECT sum(likes) FROM likd_counts").fetchone() or (0,)
        if counted != likes:
            raise Wrong(f"WRONG, {version.name}: {counted} counted, {likes} given")


@contextlib.contextmanager
def upserts(server: tuple[int, Any], rows: int, urls: int) -> Iterator[Measure]:
    """A loop of upserts into one table, a transaction for all of a turn."""
    pid, connection = server
    name = f"bare{next(_numbers)}"
    connection.execute(f"CREATE TABLE {name} (url text PRIMARY KEY, likes bigint)".encode())
    rng = random.Random(0)

    def measure() -> Figures:
        work = [(f"https://example.com/page/{n}", 1 + n % 3) for n in sorted(rng.sample(range(urls), rows))]
        served, before, began = family(pid), processor(os.getpid()), time.perf_counter()
        with connection.transaction(), connection.cursor() as cursor:
            cursor.executemany(UPSERT.format(name, name).encode(), work)
        return {
            STORED: rows / (time.perf_counter() - began),
            **(processor(os.getpid()) - before).per(rows),
            SERVER: (family(pid) - served).total / rows * 1e6,
        }

    yield measure
    connection.execute(f"DROP TABLE {name}".encode())


@contextlib.contextmanager
def pgbench(connection: Any, clients: int, seconds: int) -> Iterator[Measure]:
    """`pgbench -N`: transactions of one update, one select and one insert."""
    place = postgresql.programs()
    assert place is not None
    command = [str(place / "pgbench"), "-h", "127.0.0.1", "-p", str(connection.info.port), "-U", "bench", "postgres"]
    subprocess.run([*command, "-i", "-q"], check=True, capture_output=True)

    def measure() -> Figures:
        more = ["-N", "-n", "-T", str(seconds), "-c", str(clients)]
        done = subprocess.run([*command[:-1], *more, command[-1]], check=True, capture_output=True, text=True)
        return {"transactions, 1/s": float(re.findall(r"tps = ([\d.]+)", done.stdout)[0])}

    yield measure


def shared(bench: Bench) -> Iterator[Case]:
    """A store in PostgreSQL that several nodes share: rows drained"""
    if bench.without(postgresql.lacks()):
        return
    with postgresql.server() as server:
        for nodes, rows, indexes in bench.some(
            (1, ROWS, "indexes"),
            (1, ROWS, "none"),
            (3, ROWS, "indexes"),
            (1, HOT_ROWS, "indexes"),
            (3, HOT_ROWS, "indexes"),
        ):
            urls = bench.scaled(URLS if rows == ROWS else HOT_ROWS)
            some = bench.scaled(rows)
            given = TRANSACTIONS * (1 if rows == ROWS else 5)
            who = bench.likd(drained, server, nodes, some, urls, given, indexes)
            who += [contender("upserts one by one", upserts, server, min(some, urls), urls)]
            who += [contender("pgbench -N", pgbench, server[1], nodes, bench.seconds)]
            about = "" if indexes == "indexes" else ", without indexes for top lists"
            them = "one node" if nodes == 1 else f"{nodes} nodes"
            yield Case(f"{them}, {some:,} rows a transaction of {urls:,} URLs{about}", who)
