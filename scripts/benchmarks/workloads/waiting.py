"""Rows that wait for a store whose write tolerance is low: what top lists and memory cost then."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from benchmarks.contest import Bench, Case, Figures, Measure, Version, Wrong
from benchmarks.daemon import FULL_SPEED, UNBOUND, applied, check, drained, likd
from benchmarks.loads import SITE, accepted, events, exchange, load

LINES = 10_000
LATER = 5


@contextlib.contextmanager
def queued(version: Version, rows: int) -> Iterator[Measure]:
    """That many rows are waiting; a new daemon in each turn."""
    work = load(range(rows), LINES, 2)
    queues = work.queues(events)

    def measure() -> Figures:
        with tempfile.TemporaryDirectory(prefix="likd-bench-") as parent:
            directory = Path(parent)
            with likd(
                version, "--write-tolerance", "1", "--flush-interval", "1", *UNBOUND, directory=directory
            ) as slow:
                exchange(slow.address, queues, accepted)
                slow.wait(drained)
                filled = slow.memory_mib()
                times, spent = [], []
                for _ in range(1 + LATER):
                    had, began = slow.processor(), time.perf_counter()
                    if len(slow.get("/v1/top?limit=10")["top"]) != 10:
                        raise Wrong(f"WRONG, {version.name}: no top list")
                    times.append((time.perf_counter() - began) * 1000)
                    spent.append((slow.processor() - had).total * 1000)
                peak = slow.memory_mib("VmHWM")
                slow.kill()
            # What was waiting is counted after a start without a bound.
            with likd(version, *FULL_SPEED, directory=directory) as quick:
                quick.wait(applied)
                _, counted = quick.stop()
        check(version.name, Counter(f"{SITE}{number}" for number in range(rows)), counted)
        return {
            "first top list, ms": times[0],
            "its processor time, ms": spent[0],
            "later top list, ms": sum(times[1:]) / LATER,
            "memory, MiB": filled,
            "memory at most, MiB": peak,
        }

    yield measure


def waiting(bench: Bench) -> Iterator[Case]:
    """Rows that wait for the store"""
    rows = max(LINES, bench.scaled(500_000))
    yield Case(f"{rows:,} rows waiting", bench.likd(queued, rows))
