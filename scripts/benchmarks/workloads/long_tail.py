"""URLs that come once."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterator

from benchmarks.contest import STORED, Bench, Case, Figures, Measure, Version
from benchmarks.daemon import FULL_SPEED, applied, check, drained, likd
from benchmarks.loads import SITE, accepted, events, exchange, load

BATCHED = "in batch files, 1/s"
LINES = 10_000
CONNECTIONS = 4


@contextlib.contextmanager
def new_urls(version: Version, likes: int) -> Iterator[Measure]:
    """That many URLs, new ones in each turn."""
    with likd(version, *FULL_SPEED) as daemon:
        turns = 0

        def measure() -> Figures:
            nonlocal turns
            work = load(range(turns * likes, (turns + 1) * likes), LINES, CONNECTIONS)
            turns += 1
            queues = work.queues(events)
            had, began = daemon.processor(), time.perf_counter()
            exchange(daemon.address, queues, accepted)
            daemon.wait(drained)
            batched = time.perf_counter() - began
            daemon.wait(applied)
            stored = time.perf_counter() - began
            return {BATCHED: likes / batched, STORED: likes / stored, **(daemon.processor() - had).per(likes)}

        yield measure
        _, counted = daemon.stop()
        check(version.name, Counter(f"{SITE}{number}" for number in range(turns * likes)), counted)


def long_tail(bench: Bench) -> Iterator[Case]:
    """URLs that come once, 10 k lines a request"""
    likes = max(LINES, bench.scaled(1_000_000))
    yield Case(f"{likes:,} likes over as many URLs", bench.likd(new_urls, likes))
