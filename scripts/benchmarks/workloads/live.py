"""Open pages: websockets that watch one URL, compared with nchan and a bare Trio server."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from benchmarks.contest import Bench, Case, Figures, Measure, Version, Wrong, contender
from benchmarks.daemon import likd
from benchmarks.peers import nchan, trio_broadcast
from benchmarks.processes import raise_descriptors
from benchmarks.watchers import CHANGES_A_SECOND, URL, Watching, like_event, like_message, publish

SECONDS = 10.0


@contextlib.contextmanager
def watched(version: Version, sockets: int, seconds: float, processes: int = 1) -> Iterator[Measure]:
    """likd's live counts. With several processes the main thread is the engine's, and all else mostly the fronts'."""
    flags = ["--processes", str(processes)] if processes > 1 else []
    with likd(version, "--connections-max", str(sockets + 100), *flags) as daemon:
        watching = Watching(daemon.process.pid, daemon.address, like_event)

        def measure() -> Figures:
            return watching.measure(sockets, seconds)

        yield measure
        _, counted = daemon.stop()
        if counted != {URL: watching.likes}:
            raise Wrong(f"WRONG, {version.name}: {counted}, {watching.likes} acknowledged")


@contextlib.contextmanager
def subscribed(sockets: int, seconds: float) -> Iterator[Measure]:
    """nchan, which sends on what is published."""
    with nchan.server() as (pid, port):
        watching = Watching(pid, ("127.0.0.1", port), like_message)
        publish(("127.0.0.1", port), like_message(0))

        def measure() -> Figures:
            return watching.measure(sockets, seconds)

        yield measure


@contextlib.contextmanager
def broadcast(sockets: int, seconds: float) -> Iterator[Measure]:
    """The floor."""
    with trio_broadcast.server() as (pid, port):
        watching = Watching(pid, ("127.0.0.1", port), like_event)

        def measure() -> Figures:
            return watching.measure(sockets, seconds)

        yield measure


def live(bench: Bench) -> Iterator[Case]:
    """Websockets that watch one URL"""
    raise_descriptors()
    for most in bench.some(5000, 10_000, 1000, 100):
        sockets = bench.scaled(most)
        seconds = max(1.0, SECONDS * bench.scale)
        who = bench.likd(watched, sockets, seconds)
        who += bench.peers(nchan.lacks(), contender("nchan", subscribed, sockets, seconds))
        who += [contender("bare Trio broadcast", broadcast, sockets, seconds)]
        yield Case(f"{sockets:,} websockets, {CHANGES_A_SECOND} likes a second", who, "sockets", sockets)
