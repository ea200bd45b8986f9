"""Reads and pictures, as pages with buttons ask for them: beside counts, and an application that does nothing."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench import MILLISECONDS, SITE, Bench, Daemon, line, post_all, request

CONNECTIONS = 64
URLS = 1000
SCRIPT = """
wrk.headers["Accept-Encoding"] = "gzip"
local n, targets = 0, {TARGETS}
function request()
  n = n + 1
  return wrk.format(nil, (targets[n % #targets + 1]:gsub("PAGE", n % 1000)))
end
"""
BARE = """
import hypercorn.trio, trio
from hypercorn.config import Config
from quart_trio import QuartTrio
app = QuartTrio("bare")
@app.get("/")
async def nothing():
    return '{"counts":[]}', 200, {"Content-Type": "application/json"}
async def main():
    config = Config()
    config.bind, config.accesslog, config.errorlog = ["127.0.0.1:0"], None, None
    async with trio.open_nursery() as nursery:
        bound = await nursery.start(hypercorn.trio.serve, app, config)
        print(bound[0], flush=True)
trio.run(main)
"""


@dataclass
class Figures:
    """What was measured of one workload: a figure of each for each run."""

    rates: list[float] = field(default_factory=list)
    p99s: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)

    def add_to(self, bench: Bench, name: str) -> None:
        """Make them rows of the table."""
        bench.add("reads", name, "requests/s", self.rates)
        bench.add("reads", f"{name}, p99", "ms", self.p99s)
        bench.add("reads", f"{name}, processor", "us", self.processor)


def processor_seconds(pid: int) -> float:
    """What the process has had of the processor, in user and system mode, all its threads together."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def get(figures: Figures, pid: int, url: str, targets: list[str], seconds: int) -> None:
    """Ask for `targets` by turns over all connections, "PAGE" in them being one of a thousand."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(SCRIPT.replace("TARGETS", ", ".join(f'"{target}"' for target in targets)))
        script.flush()
        command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", "-s", script.name, url]
        before = processor_seconds(pid)
        text = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60, check=True).stdout
        spent = processor_seconds(pid) - before
    found = re.search(r"99%\s+([\d.]+)(us|ms|s).*?(\d+) requests in.*?Requests/sec:\s+([\d.]+)", text, re.DOTALL)
    if found is None or "Non-2xx" in text:
        raise SystemExit(text)
    figures.rates.append(float(found[4]))
    figures.p99s.append(float(found[1]) * MILLISECONDS[found[2]])
    figures.processor.append(spent * 1e6 / int(found[3]))


@contextlib.contextmanager
def bare() -> Iterator[tuple[int, str]]:
    """A Quart application on Hypercorn that answers at once."""
    server = subprocess.Popen([sys.executable, "-c", BARE], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        yield server.pid, server.stdout.readline().strip()
    finally:
        server.terminate()
        server.wait(30)


def reads(bench: Bench) -> None:
    """Each kind of read from 64 connections, by turns, over a thousand URLs that are all in the store."""
    if not shutil.which("wrk"):
        bench.missing.append("wrk: reads were not measured")
        return
    page = f"{SITE}page/PAGE"
    workloads = {
        "GET /v1/counts, 64 connections": [f"/v1/counts?url={page}"],
        "GET /badge.svg, 64 connections": [f"/badge.svg?url={page}"],
        "GET /likd.js, 64 connections": ["/likd.js"],
        "GET /likd.js and /v1/counts by turns, 64 connections": ["/likd.js", f"/v1/counts?url={page}"],
        "GET /pixel.gif, 64 connections": [f"/pixel.gif?url={page}"],
        "GET /v1/history of one URL, 64 connections": [f"/v1/history?url={SITE}page/1"],
        "GET /v1/history of 1000 URLs, 64 connections": [f"/v1/history?url={page}"],
        "GET /v1/top, 64 connections": ["/v1/top"],
    }
    figures = {name: Figures() for name in workloads}
    moving, nothing = Figures(), Figures()
    seconds = max(1, int(3 * bench.scale))
    daemon = Daemon("--flush-interval", "0.5")
    likes = request(b"".join(map(line, range(URLS))))
    post_all(daemon.address, [likes])
    with bare() as (pid, url):
        for targets in workloads.values():
            # One to warm up.
            get(Figures(), daemon.process.pid, daemon.url, targets, 1)
        for _ in range(bench.runs):
            for name, targets in workloads.items():
                get(figures[name], daemon.process.pid, daemon.url, targets, seconds)
            with liked(daemon, likes):
                get(moving, daemon.process.pid, daemon.url, ["/v1/top"], seconds)
            get(nothing, pid, url, ["/"], seconds)
    accepted, counted = daemon.stop()
    pixels = accepted - sum(counted.values())
    if len(set(counted.values())) != 1 or len(counted) != URLS or pixels <= 0:
        raise SystemExit("WRONG: sums differ")
    for name in workloads:
        figures[name].add_to(bench, name)
    moving.add_to(bench, "GET /v1/top, 64 connections, beside 1000 likes every 50 ms")
    nothing.add_to(bench, "bare Quart on Hypercorn, 64 connections")


@contextlib.contextmanager
def liked(daemon: Daemon, likes: bytes) -> Iterator[None]:
    """Likes come all the while."""
    stop = threading.Event()

    def load() -> None:
        while not stop.wait(0.05):
            post_all(daemon.address, [likes])

    loader = threading.Thread(target=load)
    loader.start()
    try:
        yield
    finally:
        stop.set()
        loader.join()


WORKLOADS = [reads]
