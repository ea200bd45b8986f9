"""Single requests while bulk requests arrive without pause."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

from benchmarks.contest import ACKNOWLEDGED, P99, Bench, Case, Figures, Measure, Version, Wrong
from benchmarks.daemon import Daemon, likd
from benchmarks.loads import events, post, zipf_numbers
from benchmarks.wrk import lacks, posts, wrk

CONNECTIONS = 16
BULK = "bulk lines beside, 1/s"


class Bulk:
    """Bulk requests on one connection, again and again; it waits when told to retry."""

    def __init__(self, daemon: Daemon, requests: list[list[int]]) -> None:
        self.likes = 0
        self._daemon = daemon
        self._requests = [(events(numbers), len(numbers)) for numbers in requests]

    @contextlib.contextmanager
    def beside(self) -> Iterator[None]:
        """The load, as long as the block."""
        stop = threading.Event()
        failures: list[BaseException] = []

        def go() -> None:
            try:
                while not stop.is_set():
                    for request, likes in self._requests:
                        post(self._daemon.address, [request], patient=True)
                        self.likes += likes
                        if stop.is_set():
                            break
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=go)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
        if failures:
            raise failures[0]


@contextlib.contextmanager
def beside(version: Version, requests: list[list[int]], seconds: int) -> Iterator[Measure]:
    """Single likes from 16 connections at the same time as `requests`."""
    with likd(version, "--flush-interval", "1", "--write-tolerance", "1e9", "--tables-waiting-max", "1000") as daemon:
        load, done = Bulk(daemon, requests), 0

        def measure() -> Figures:
            nonlocal done
            likes, began = load.likes, time.perf_counter()
            with load.beside():
                ran = wrk(daemon.url + "/v1/events", posts(), CONNECTIONS, seconds)
            done += ran.requests
            bulk = (load.likes - likes) / (time.perf_counter() - began)
            return {ACKNOWLEDGED: ran.a_second, P99: ran.p99_ms, BULK: bulk}

        yield measure
        accepted, counted = daemon.stop()
        if sum(counted.values()) != accepted or accepted < load.likes + done:
            raise Wrong("WRONG: sums differ")


def mixed(bench: Bench) -> Iterator[Case]:
    """One like a request on 16 connections, beside bulk requests without pause"""
    if bench.without(lacks()):
        return
    numbers = zipf_numbers(bench.scaled(1_000_000) // 10_000 * 10_000 or 10_000, 100_000)
    zipf = [numbers[at : at + 10_000] for at in range(0, len(numbers), 10_000)]
    alike = [[n % 1000 for n in range(100_000)]]
    for name, requests in bench.some(
        ("beside 10 k lines, Zipf 1.1 over 100,000 URLs", zipf), ("beside 100 k lines over 1,000 URLs", alike)
    ):
        yield Case(name, bench.likd(beside, requests, bench.seconds))
