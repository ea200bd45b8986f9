"""One like per request, compared with Redis with one command per request."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from benchmarks.contest import ACKNOWLEDGED, P99, Bench, Case, Figures, Measure, Version, Wrong, contender
from benchmarks.daemon import likd
from benchmarks.peers import redis
from benchmarks.wrk import THOUSAND, ZIPF, lacks, posts, wrk

TARGET = "/v1/events"
REDIS_REQUESTS = 200_000


@contextlib.contextmanager
def posted(
    version: Version, connections: int, seconds: int, *, page: str = THOUSAND, target: str = TARGET
) -> Iterator[Measure]:
    """Likes of `page`, one per request."""
    with likd(version, "--flush-interval", "1") as daemon:
        done = turns = 0

        def measure() -> Figures:
            nonlocal done, turns
            had = daemon.processor()
            ran = wrk(daemon.url + target, posts(page), connections, seconds)
            spent = daemon.processor() - had
            done, turns = done + ran.requests, turns + 1
            return {ACKNOWLEDGED: ran.a_second, P99: ran.p99_ms, **spent.per(ran.requests)}

        yield measure
        accepted, counted = daemon.stop()
        # wrk hangs up on the requests in flight at its end: the daemon may have acknowledged those, too.
        if not done <= accepted <= done + connections * turns or sum(counted.values()) != accepted:
            raise Wrong(f"WRONG: {done} answered, {accepted} acknowledged, {sum(counted.values())} counted")


def single(bench: Bench) -> Iterator[Case]:
    """One like a request"""
    if bench.without(lacks()):
        return
    for connections in bench.some(64, 256, 16, 4, 1):
        n = bench.scaled(REDIS_REQUESTS if connections > 1 else REDIS_REQUESTS // 20)
        name = "Redis script with top and minute, unpipelined"
        who = bench.likd(posted, connections, bench.seconds) + bench.peers(
            redis.lacks(),
            contender("Redis INCR, unpipelined", redis.single, n, connections),
            contender(name, redis.single, n, connections, lua=True),
        )
        yield Case(f"{connections} connections over 1,000 URLs", who, "connections", connections)
    if bench.quick:
        return
    for name, page, target in (
        ("64 connections, one URL", "1", TARGET),
        ("64 connections, Zipf 1 over 100,000 URLs", ZIPF, TARGET),
        ("64 connections over 1,000 URLs, full lane (Quart)", THOUSAND, f"{TARGET}?"),
    ):
        yield Case(name, bench.likd(posted, 64, bench.seconds, page=page, target=target))
