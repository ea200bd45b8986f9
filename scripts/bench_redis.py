"""Measure the store in a cluster of Redis, three primaries with a replica each, with every sum checked.

    scripts/bench-redis --rows 20000 --repeats 5

One node gives the store increments like a drainer: with history and top lists, with history, and with counts alone.
Reported are rows per second, and processor time per row of this process and of all servers; alternating with that,
redis-benchmark INCR on the same cluster.
"""

from __future__ import annotations

import argparse
import random
import re
import statistics
import subprocess
import time
from collections import defaultdict

import trio

from likd.counting.actors import ActorKeys
from likd.model import Rows, add
from likd.stores.protocol import Increments
from likd.stores.redis.address import parse
from likd.stores.redis.store import RedisStore
from tests import redis_cluster

NAMES = ("likes", "unlikes", "impressions")
LONG_AGO = 1000
"""A minute that no history has."""
INCR = 20_000
WAYS = ("history and top lists", "history", "counts alone")

Figure = tuple[float, float, float]
"""Rows per second, and microseconds of processor time per row: of this process, and of all servers."""


def cpu_seconds(cluster: redis_cluster.Cluster) -> float:
    """Processor time of all servers so far."""
    ticks = 0
    for process in cluster.processes.values():
        with open(f"/proc/{process.pid}/stat") as stat:  # noqa: PTH123
            fields = stat.read().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / 100


class Way:
    """A store, and what it was given."""

    def __init__(self, name: str, url: str, rng: random.Random) -> None:
        self.name = name
        self.figures: list[Figure] = []
        self._rng = rng
        self._given: Rows = {}
        self._last = 0
        keys = ActorKeys(b"secret")
        self._store = RedisStore(
            parse(url.partition("://")[2]), "bench", url_key=keys.of_url, top_indexes="top lists" in name
        )

    async def apply(self, cluster: redis_cluster.Cluster, rows: int, urls: int) -> None:
        """Give it some rows, and note what that takes."""
        if not self._last:
            await self._store.open(NAMES)
        chosen = self._rng.sample(range(urls), rows)
        given: Rows = {f"https://example.com/article/{n}": {"likes": 1 + n % 3, "impressions": 7} for n in chosen}
        self._last += 1
        minute = LONG_AGO if self.name == "counts alone" else int(time.time() // 60)
        increments = Increments(self._last, self._last, minute, given)
        began, mine, theirs = time.perf_counter(), time.process_time(), cpu_seconds(cluster)
        await self._store.apply(increments)
        seconds, mine = time.perf_counter() - began, time.process_time() - mine
        await trio.sleep(0.1)
        self.figures.append((rows / seconds, mine / rows * 1e6, (cpu_seconds(cluster) - theirs) / rows * 1e6))
        for url, counts in given.items():
            add(self._given.setdefault(url, {}), counts)

    async def check(self) -> None:
        """Raise AssertionError if any sum is wrong."""
        _, rows = await self._store.read(list(self._given))
        assert rows == self._given, f"{self.name}: sums are wrong"
        await self._store.aclose()


def incr(cluster: redis_cluster.Cluster, ahead: int) -> Figure:
    """What redis-benchmark gets, with so many requests ahead on each connection."""
    number = INCR * (10 if ahead > 1 else 1)
    command = ["redis-benchmark", "-p", str(cluster.ports[0]), "--cluster", "-q", "-t", "incr", "-n", str(number)]
    theirs = cpu_seconds(cluster)
    done = subprocess.run([*command, "-P", str(ahead)], capture_output=True, text=True, check=True)
    found = re.findall(r"([\d.]+) requests per second", done.stdout)
    return float(found[-1]), 0.0, (cpu_seconds(cluster) - theirs) / number * 1e6


async def measure(cluster: redis_cluster.Cluster, arguments: argparse.Namespace) -> dict[str, list[Figure]]:
    """All ways in turn, again and again."""
    figures: dict[str, list[Figure]] = defaultdict(list)
    ways = [Way(name, cluster.url(), random.Random(1)) for name in WAYS]
    for _ in range(arguments.repeats):
        for way in ways:
            await way.apply(cluster, arguments.rows, arguments.urls)
        for ahead in (1, 64):
            name = "redis-benchmark INCR" + (f", {ahead} ahead" if ahead > 1 else "")
            figures[name].append(await trio.to_thread.run_sync(incr, cluster, ahead))
    for way in ways:
        await way.check()
        figures[way.name] = way.figures
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000, help="rows of each apply (20000)")
    parser.add_argument("--urls", type=int, default=50_000, help="URLs that there are (50000)")
    parser.add_argument("--repeats", type=int, default=5, help="applies of each way (5)")
    parser.add_argument("--kind", choices=["redis", "valkey"], default="redis", help="which servers (redis)")
    arguments = parser.parse_args()
    cluster = redis_cluster.make(arguments.kind)
    try:
        cluster.start()
        figures = trio.run(measure, cluster, arguments)
    finally:
        cluster.stop()
    print(f"{'':32} {'per second':>10} {'likd, µs':>9} {'servers, µs':>12}")
    for name, found in figures.items():
        rate, mine, theirs = (statistics.median(column) for column in zip(*found, strict=True))
        print(f"{name:32} {rate:10,.0f} {mine:9.1f} {theirs:12.1f}")


if __name__ == "__main__":
    main()
