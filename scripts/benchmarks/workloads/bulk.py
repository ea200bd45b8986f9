"""Bulk requests, compared with Redis pipelines that are as deep as the requests are long."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks import databases
from benchmarks.contest import ACKNOWLEDGED, STORED, Bench, Case, Contender, Figures, Measure, Version, Wrong, contender
from benchmarks.daemon import FULL_SPEED, applied, likd
from benchmarks.loads import Load, accepted, events, exchange, line, load, request
from benchmarks.peers import redis

LIKES = 1_000_000


def full_lane(numbers: list[int]) -> bytes:
    """A request that the express lane leaves to the full one."""
    return request(b"".join(map(line, numbers)), "/v1/events?")


@contextlib.contextmanager
def through(
    version: Version,
    work: Load,
    *,
    encode: Callable[[list[int]], bytes] = events,
    before: Path | None = None,
    urls_before: int = 0,
) -> Iterator[Measure]:
    """`work` through a likd, whose store may have `urls_before` URLs before, from the database `before`."""
    queues = work.queues(encode)
    with tempfile.TemporaryDirectory(prefix="likd-bench-") as directory:
        if before is not None:
            databases.copy(before, urls_before, Path(directory) / "likd.db")
        with likd(version, *FULL_SPEED, directory=Path(directory)) as daemon:
            turns = 0

            def measure() -> Figures:
                nonlocal turns
                turns += 1
                had, began = daemon.processor(), time.perf_counter()
                seconds = exchange(daemon.address, queues, accepted)
                daemon.wait(applied)
                stored = time.perf_counter() - began
                spent = daemon.processor() - had
                return {
                    ACKNOWLEDGED: work.likes / seconds,
                    STORED: work.likes / stored,
                    **spent.per(work.likes),
                }

            yield measure
            taken = daemon.finish()
            if taken != work.likes * turns:
                raise Wrong(f"WRONG, {version.name}: {taken} accepted, {work.likes * turns} acknowledged")
            added = {url: n * turns for url, n in work.counts.items()}
            databases.check_added(version.name, daemon.store, urls_before, added)


def deep(bench: Bench, work: Load) -> list[Contender]:
    """Redis, with pipelines that are as deep as the requests are long: INCR alone, and what likd does."""
    depth = len(work.requests[0])
    return bench.peers(
        redis.lacks(),
        contender(f"Redis INCR, {depth:,} deep", redis.pipelined, work),
        contender(f"Redis MULTI with top and minute, {depth:,} deep", redis.pipelined, work, multi=True),
    )


def bulk(bench: Bench) -> Iterator[Case]:
    """Bulk requests: acknowledged, in the store"""
    for urls in bench.some(1000, 1, 10_000, 100_000, 1_000_000):
        requests = max(64, bench.scaled(LIKES) // 128)
        work = load([n * 7919 % urls for n in range(requests * 128)], 128, 64)
        who = bench.likd(through, work) + deep(bench, work)
        yield Case(f"128 lines × 64 connections over {urls:,} URLs", who, "URLs", urls)
    for name, lines, connections, urls, likes in (
        ("1 k lines × 4 connections over 1,000 URLs", 1000, 4, 1000, 2 * LIKES),
        ("100 k lines × 2 connections over 1,000 URLs", 100_000, 2, 1000, 4 * LIKES),
        ("100 k lines × 2 connections over one URL", 100_000, 2, 1, 4 * LIKES),
    )[: len(bench.some(1, 2, 3))]:
        requests = max(connections, bench.scaled(likes) // lines)
        work = load([n % urls for n in range(requests * lines)], lines, connections)
        who = bench.likd(through, work)
        yield Case(name, who + (deep(bench, work) if urls > 1 and not bench.quick else []))
    if not bench.quick:
        work = load([n % 1000 for n in range(max(2, bench.scaled(20)) * 100_000)], 100_000, 2)
        who = bench.likd(through, work, encode=full_lane)
        yield Case("100 k lines × 2 connections over 1,000 URLs, full lane (Quart)", who)
