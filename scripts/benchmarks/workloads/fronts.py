"""Front processes compared with one process: which part of a request the engine does, and which the fronts do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from benchmarks.contest import ACKNOWLEDGED, P99, PROCESSOR, Bench, Case, Figures, Measure, Version, Wrong, contender
from benchmarks.daemon import Status, likd
from benchmarks.processes import raise_descriptors
from benchmarks.workloads.live import SECONDS, watched
from benchmarks.wrk import THOUSAND, ZIPF, bulk, gets, lacks, posts, wrk

FRONTS = "fronts together, µs"
A_MESSAGE = "requests a message"
AHEAD = 16
EVENTS = "/v1/events"


@contextlib.contextmanager
def asked(
    version: Version, processes: int, target: str, script: str, connections: int, seconds: int, *, likes: int
) -> Iterator[Measure]:
    """Requests of `script`, with so many `likes` each, and the processor time of the engine for each request."""
    with likd(version, "--processes", str(processes)) as daemon:
        done = turns = 0

        def measure() -> Figures:
            nonlocal done, turns
            before = daemon.status()
            ran = wrk(daemon.url + target, script, connections, seconds)
            after = daemon.status()
            done, turns = done + ran.requests, turns + 1
            used = _used(after) - _used(before), _used(after, fronts=True) - _used(before, fronts=True)
            figures = {ACKNOWLEDGED: ran.a_second, P99: ran.p99_ms, PROCESSOR: used[0] / ran.requests * 1e6}
            if processes > 1:
                messages = _messages(after) - _messages(before)
                figures |= {FRONTS: used[1] / ran.requests * 1e6, A_MESSAGE: ran.requests / max(1, messages)}
            return figures

        yield measure
        accepted, counted = daemon.stop()
        expected = done * likes
        # wrk hangs up on the requests in flight at its end: the daemon may have acknowledged those, too.
        in_flight = connections * AHEAD * turns * likes
        if not expected <= accepted <= expected + in_flight or sum(counted.values()) != accepted:
            raise Wrong(f"WRONG: {expected} answered, {accepted} acknowledged, {sum(counted.values())} counted")


def fronts(bench: Bench) -> Iterator[Case]:
    """Front processes"""
    if bench.without(lacks()):
        return
    for name, target, script, connections, likes in bench.some(
        ("single likes, 256 connections", EVENTS, posts(), 256, 1),
        ("single likes, 64 connections", EVENTS, posts(), 64, 1),
        (f"single likes, 256 connections, {AHEAD} requests ahead", EVENTS, posts(THOUSAND, ahead=AHEAD), 256, 1),
        ("single likes, 256 connections, Zipf 1 over 100,000 URLs", EVENTS, posts(ZIPF), 256, 1),
        ("requests of 100 likes, 64 connections", EVENTS, bulk(100), 64, 100),
        ("requests of 1,000 likes, 64 connections", EVENTS, bulk(1000), 64, 1000),
        ("counts of a URL, 64 connections", "/", gets(["/v1/counts?url=https://example.com/page/PAGE"]), 64, 0),
        ("badges, 64 connections", "/", gets(["/badge.svg?url=https://example.com/page/PAGE"]), 64, 0),
    ):
        yield Case(
            name,
            [
                contender(
                    "likd, one process" if processes == 1 else f"likd, {processes} fronts",
                    asked,
                    *(bench.versions[0], processes, target, script, connections, bench.seconds),
                    likes=likes,
                )
                for processes in (1, bench.processes)
            ],
        )
    yield from _watched(bench)


def _watched(bench: Bench) -> Iterator[Case]:
    """Websockets of one process and of fronts: what the engine does for each message must not grow with them."""
    raise_descriptors()
    for most in bench.some(5000, 100):
        sockets = bench.scaled(most)
        seconds = max(1.0, SECONDS * bench.scale)
        yield Case(
            f"{sockets:,} websockets that watch one URL",
            [
                contender(
                    "likd, one process" if processes == 1 else f"likd, {processes} fronts",
                    watched,
                    *(bench.versions[0], sockets, seconds, processes),
                )
                for processes in (1, bench.processes)
            ],
        )


def _used(status: Status, *, fronts: bool = False) -> float:
    """Processor time of the engine, or of all fronts together."""
    used = [float(each["cpu_seconds"]) for each in status["processes"] if (each["name"] != "engine") is fronts]
    return sum(used)


def _messages(status: Status) -> int:
    return sum(int(each.get("messages", 0)) for each in status["processes"])
