"""A start with nothing to do."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from benchmarks.contest import Bench, Case, Figures, Measure, Version
from benchmarks.daemon import likd

IDLE_SECONDS = 0.3


@contextlib.contextmanager
def started(version: Version) -> Iterator[Measure]:
    """A new daemon in each turn."""

    def measure() -> Figures:
        with likd(version) as daemon:
            time.sleep(IDLE_SECONDS)
            figures = {
                "until ready, s": daemon.start_seconds,
                "memory when idle, MiB": daemon.memory_mib(),
                "processor, ms": daemon.processor().total * 1000,
            }
            daemon.end()
        return figures

    yield measure


def start(bench: Bench) -> Iterator[Case]:
    """A start"""
    yield Case("an empty data directory", bench.likd(started))
