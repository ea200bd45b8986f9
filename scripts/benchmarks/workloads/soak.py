"""Full load for as long as --soak says: memory, and the slowest single requests."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from benchmarks.contest import P99, Bench, Case, Figures, Measure, Version, Wrong
from benchmarks.daemon import likd
from benchmarks.loads import zipf_numbers
from benchmarks.workloads.mixed import CONNECTIONS, Bulk
from benchmarks.wrk import lacks, posts, wrk

TURN_SECONDS = 10


@contextlib.contextmanager
def loaded(version: Version, seconds: float) -> Iterator[Measure]:
    """Bulk requests without pause, and single ones at the same time; a turn is half of the time."""
    numbers = zipf_numbers(200_000, 5000)
    with likd(version, "--flush-interval", "1", "--tables-waiting-max", "1000") as daemon:
        load = Bulk(daemon, [numbers[at : at + 20_000] for at in range(0, len(numbers), 20_000)])

        def measure() -> Figures:
            p99s, memory = [], []
            ends = time.monotonic() + seconds / 2
            with load.beside():
                while time.monotonic() < ends:
                    p99s.append(wrk(daemon.url + "/v1/events", posts(), CONNECTIONS, TURN_SECONDS).p99_ms)
                    memory.append(daemon.memory_mib())
            return {P99: max(p99s), "memory at most, MiB": max(memory), "bulk lines, millions so far": load.likes / 1e6}

        yield measure
        accepted, counted = daemon.stop()
        if sum(counted.values()) != accepted or accepted < load.likes:
            raise Wrong("WRONG: sums differ")


def soak(bench: Bench) -> Iterator[Case]:
    """Full load without pause, after a first half of as long: 20 k lines a request, Zipf over 5000 URLs"""
    if bench.soak_seconds and not lacks():
        seconds = bench.soak_seconds / (bench.runs + 1) * 2
        yield Case("single likes on 16 connections beside it", bench.likd(loaded, seconds))
