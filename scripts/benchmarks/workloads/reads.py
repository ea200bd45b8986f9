"""Reads and pictures, as pages with buttons request them, compared with an application that does nothing."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from benchmarks.contest import ACKNOWLEDGED, P99, Bench, Case, Figures, Measure, Version, Wrong, contender
from benchmarks.daemon import Daemon, likd
from benchmarks.loads import SITE, events, post
from benchmarks.peers import quart
from benchmarks.wrk import gets, lacks, wrk

CONNECTIONS = 64
URLS = 1000
LIKES_SECONDS = 0.05


@contextlib.contextmanager
def liked(daemon: Daemon, likes: bytes) -> Iterator[None]:
    """Likes arrive all the time."""
    stop = threading.Event()

    def go() -> None:
        while not stop.wait(LIKES_SECONDS):
            post(daemon.address, [likes])

    thread = threading.Thread(target=go)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextlib.contextmanager
def read(version: Version, targets: list[str], seconds: int, *, moving: bool = False) -> Iterator[Measure]:
    """`targets` in turn, for URLs that are all in the store; with `moving`, while they are liked."""
    with likd(version, "--flush-interval", "0.5") as daemon:
        likes = events(list(range(URLS)))
        post(daemon.address, [likes])

        def measure() -> Figures:
            had = daemon.processor()
            with liked(daemon, likes) if moving else contextlib.nullcontext():
                ran = wrk(daemon.url, gets(targets), CONNECTIONS, seconds)
            spent = daemon.processor() - had
            return {ACKNOWLEDGED: ran.a_second, P99: ran.p99_ms, **spent.per(ran.requests)}

        yield measure
        accepted, counted = daemon.stop()
        # Everything accepted beyond the likes was counted by pixels.
        if len(set(counted.values())) != 1 or len(counted) != URLS or accepted < sum(counted.values()):
            raise Wrong(f"WRONG, {version.name}: sums differ")


def reads(bench: Bench) -> Iterator[Case]:
    """Reads and pictures, 64 connections"""
    if bench.without(lacks()):
        return
    page = f"{SITE}PAGE"
    top = ["/v1/top"]
    for name, targets, moving in bench.some(
        ("/v1/history of one URL", [f"/v1/history?url={SITE}1"], False),
        ("/v1/history of 1,000 URLs", [f"/v1/history?url={page}"], False),
        ("/v1/top", top, False),
        ("/v1/top, beside 1,000 likes every 50 ms", top, True),
        ("/v1/counts", [f"/v1/counts?url={page}"], False),
        ("/badge.svg", [f"/badge.svg?url={page}"], False),
        ("/likd.js", ["/likd.js"], False),
        ("/likd.js and /v1/counts by turns", ["/likd.js", f"/v1/counts?url={page}"], False),
        ("/pixel.gif", [f"/pixel.gif?url={page}"], False),
    ):
        who = bench.likd(read, targets, bench.seconds, moving=moving)
        floor = contender("bare Quart on Hypercorn", quart.reads, CONNECTIONS, bench.seconds)
        yield Case(name, [*who, floor])
