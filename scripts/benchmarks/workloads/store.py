"""The embedded store at size, without a daemon: random rows, compared with SQLite alone."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks import databases
from benchmarks.contest import STORED, Bench, Case, Figures, Measure, Version, Wrong, contender
from benchmarks.peers import sqlite
from benchmarks.processes import Processor, processor

SCRIPTS = Path(__file__).resolve().parents[2]
ROWS = 65_536
TRANSACTIONS = 4

Apply = Callable[[list[list[str]]], tuple[float, Processor]]
"""Applies transactions: seconds, and processor time."""


@contextlib.contextmanager
def _measured(who: str, path: Path, urls: int, rows: int, apply: Apply, close: Callable[[], None]) -> Iterator[Measure]:
    added: Counter[str] = Counter()
    turns = 0

    def measure() -> Figures:
        nonlocal turns
        seeds = range(turns * TRANSACTIONS, (turns + 1) * TRANSACTIONS)
        turns += 1
        work = [databases.transaction(urls, rows, seed) for seed in seeds]
        for some in work:
            added.update(some)
        seconds, spent = apply(work)
        count = sum(map(len, work))
        return {STORED: count / seconds, **spent.per(count)}

    yield measure
    close()
    databases.check_added(who, path, urls, added)


@contextlib.contextmanager
def stored(version: Version, scratch: Path, urls: int, rows: int) -> Iterator[Measure]:
    """likd's embedded store, in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": f"{version.tree}:{SCRIPTS}"}
    with tempfile.TemporaryDirectory(prefix="likd-bench-store-") as directory:
        path = databases.copy(scratch, urls, Path(directory) / "likd.db")
        command = [sys.executable, "-m", "benchmarks.storing", str(path)]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=version.tree, env=environment) as child:
            assert child.stdin is not None
            assert child.stdout is not None
            into, out = child.stdin, child.stdout
            if out.readline() != "ready\n":
                raise Wrong(f"the store of {version.name} did not open")

            def apply(work: list[list[str]]) -> tuple[float, Processor]:
                into.write(json.dumps(work) + "\n")
                into.flush()
                spent = json.loads(out.readline() or "{}")
                if not spent:
                    raise Wrong(f"the store of {version.name} failed")
                return spent["seconds"], Processor(spent["main"], spent["others"])

            def close() -> None:
                into.close()
                if child.wait(600):
                    raise Wrong(f"the store of {version.name} did not close")

            with _measured(version.name, path, urls, rows, apply, close) as measure:
                yield measure


@contextlib.contextmanager
def alone(scratch: Path, urls: int, rows: int) -> Iterator[Measure]:
    """SQLite, adding the same rows to totals and minutes, without top lists."""
    with tempfile.TemporaryDirectory(prefix="likd-bench-sqlite-") as directory:
        path = databases.copy(scratch, urls, Path(directory) / "alone.db")
        peer = sqlite.Alone(path, top=False)
        applied = 0

        def apply(work: list[list[str]]) -> tuple[float, Processor]:
            nonlocal applied
            given = [dict.fromkeys(urls, 1) for urls in work]
            before, began = processor(os.getpid()), time.perf_counter()
            for some in given:
                peer.apply(some, sqlite.MINUTE + applied // 8)
                applied += 1
            return time.perf_counter() - began, processor(os.getpid()) - before

        with _measured("SQLite", path, urls, rows, apply, peer.close) as measure:
            yield measure


def store(bench: Bench) -> Iterator[Case]:
    """The embedded store by itself: rows of random URLs"""
    for most in bench.some(1_000_000, 5_000_000, 100_000):
        urls, rows = bench.scaled(most), bench.scaled(ROWS)
        who = bench.likd(stored, bench.scratch, urls, rows)
        who += [contender("SQLite alone, without top lists", alone, bench.scratch, urls, rows)]
        yield Case(f"{min(rows, urls):,} rows a transaction, {urls:,} in the store", who, "rows in the store", urls)
