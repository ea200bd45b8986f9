"""Measure likd beside its peers in one run, every sum checked.

    scripts/bench                          all workloads, five runs each
    scripts/bench --only single --runs 3   those whose name begins so
    scripts/bench --markdown docs/benchmarks.md
    scripts/bench --processes 2            processor time of two front processes and their engine, beside one process

Client and server share the machine. wrk and redis-server are used when they are installed; what is missing is
said.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import random
import re
import shutil
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bench_live
import msgspec

from likd.durability import frames, journal

ROOT = Path(__file__).resolve().parent.parent
SITE = "https://example.com/"
Status = dict[str, Any]

DEADLINE_SECONDS = 300.0


@dataclass
class Result:
    """One row of the table: a figure for each run."""

    group: str
    name: str
    unit: str
    runs: list[float]
    note: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.runs)


@dataclass
class Bench:
    """What the runs share."""

    runs: int
    scale: float
    soak_seconds: float
    processes: int = 0
    results: list[Result] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def add(self, group: str, name: str, unit: str, runs: list[float], note: str = "") -> None:
        result = Result(group, name, unit, runs, note)
        self.results.append(result)
        low, high = min(runs), max(runs)
        print(f"  {name:<58} {result.median:>12,.4g} {unit:<10} ({low:,.4g} to {high:,.4g}) {note}", flush=True)

    def scaled(self, n: int) -> int:
        return max(1, int(n * self.scale))


class Daemon:
    """A likd process of its own, on a data directory of its own."""

    def __init__(self, *flags: str, directory: str | None = None) -> None:
        self._own = tempfile.TemporaryDirectory(prefix="likd-bench-")
        self.directory = directory or self._own.name
        command = [sys.executable, "-m", "likd", "serve", "--data-dir", self.directory, "--bind", "127.0.0.1:0"]
        command += ["--shutdown-timeout", "120", "--log-format", "json", *flags]
        began = time.perf_counter()
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT)
        assert self.process.stdout is not None
        line = self.process.stdout.readline().decode()
        self.start_seconds = time.perf_counter() - began
        found = re.search(r"http://([\d.]+):(\d+)", line)
        if found is None:
            raise SystemExit(f"likd did not start: {line!r}")
        self.address = (found[1], int(found[2]))
        self.url = f"http://{found[1]}:{found[2]}"

    def status(self) -> Status:
        with urllib.request.urlopen(f"{self.url}/v1/status", timeout=30) as answer:
            status: Status = json.load(answer)
            return status

    def wait(self, condition: Callable[[Status], bool]) -> None:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not condition(self.status()):
            if time.monotonic() > deadline:
                raise SystemExit("the daemon did not get there in time")
            time.sleep(0.005)

    def memory_mib(self) -> float:
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+)", text)[0]) / 1024

    def stop(self) -> tuple[int, dict[str, int]]:
        """End it; how many events it accepted, and what its store says then."""
        accepted, before = self.status()["totals"]["events_accepted"], -1
        while accepted != before:
            # Requests that wrk hung up on are still on their way.
            time.sleep(0.3)
            before, accepted = accepted, self.status()["totals"]["events_accepted"]
        self.process.terminate()
        if self.process.wait(150) != 0:
            raise SystemExit("likd did not end cleanly")
        with contextlib.closing(sqlite3.connect(Path(self.directory) / "likd.db")) as db:
            counted = dict(db.execute("SELECT url, likes FROM counts WHERE likes > 0"))
        self._own.cleanup()
        return accepted, counted


def check(expected: Counter[str], counted: dict[str, int]) -> None:
    """Every sum, or no figure."""
    if counted != expected:
        raise SystemExit(f"WRONG: {sum(counted.values())} counted, {sum(expected.values())} acknowledged")


def line(number: int) -> bytes:
    return b'{"kind":"like","url":"%spage/%d"}\n' % (SITE.encode(), number)


def request(body: bytes, target: str = "/v1/events") -> bytes:
    head = f"POST {target} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/x-ndjson\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def post_all(address: tuple[str, int], requests: list[bytes], *, patient: bool = False) -> None:
    """Send `requests` on one connection, each after the answer to the one before; if `patient`, again after a 503."""
    with socket.create_connection(address, timeout=DEADLINE_SECONDS) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for data in requests:
            while True:
                sock.sendall(data)
                answer = b""
                while not answer.endswith(b"}"):
                    answer += sock.recv(65536)
                if b" 202 " in answer[:16]:
                    break
                if not patient or b" 503 " not in answer[:16]:
                    raise SystemExit(f"refused: {answer.decode()}")
                time.sleep(0.2)


def post(address: tuple[str, int], requests: list[bytes], connections: int) -> float:
    """Send `requests` over so many connections. Seconds until the last is acknowledged."""
    with ThreadPoolExecutor(connections) as pool:
        began = time.perf_counter()
        parts = [pool.submit(post_all, address, requests[n::connections]) for n in range(connections)]
        for part in parts:
            part.result()
        return time.perf_counter() - began


def drained(status: Status) -> bool:
    """Whether every count is in a batch file at least."""
    return not status["tables"]["open_urls"] and not status["tables"]["draining"]


def applied(status: Status) -> bool:
    """Whether every count is in the store."""
    return drained(status) and not status["tables"]["waiting"]


BULK_FLAGS = ("--write-tolerance", "1e9", "--flush-interval", "0.2")
NO_BACKPRESSURE = ("--rows-waiting-max", "20000000", "--tables-waiting-max", "10000", "--counters-max", "10000000")


def bulk(
    bench: Bench,
    name: str,
    bodies: list[list[int]],
    connections: int,
    *,
    target: str = "/v1/events",
    flags: tuple[str, ...] = (),
    until: Callable[[Status], bool] | None = None,
) -> None:
    """Requests whose lines are the numbers in `bodies`; likes a second until acknowledged and until in the store."""
    requests = [request(b"".join(map(line, numbers)), target) for numbers in bodies]
    each = Counter(f"{SITE}page/{number}" for numbers in bodies for number in numbers)
    likes = sum(each.values())
    daemon = Daemon(*BULK_FLAGS, *NO_BACKPRESSURE, *flags)
    post(daemon.address, requests, connections)
    daemon.wait(applied)
    acknowledged, stored = [], []
    for _ in range(bench.runs):
        began = time.perf_counter()
        seconds = post(daemon.address, requests, connections)
        if until is not None:
            daemon.wait(until)
            seconds = time.perf_counter() - began
        acknowledged.append(likes / seconds)
        daemon.wait(applied)
        stored.append(likes / (time.perf_counter() - began))
    accepted, counted = daemon.stop()
    expected = Counter({url: n * (bench.runs + 1) for url, n in each.items()})
    assert accepted == sum(expected.values())
    check(expected, counted)
    bench.add("bulk", name, "likes/s", acknowledged)
    bench.add("bulk", f"{name}, in the store", "likes/s", stored)


def zipf(n: int, urls: int) -> list[int]:
    weights = [1 / (rank + 1) for rank in range(urls)]
    return random.Random(1).choices(range(urls), weights, k=n)


def bulk_thousand(bench: Bench) -> None:
    numbers = [n % 1000 for n in range(100_000)]
    bulk(bench, "bulk NDJSON, 100 k lines a request, 1000 URLs", [numbers] * bench.scaled(40), 2)


def bulk_one(bench: Bench) -> None:
    bulk(bench, "bulk NDJSON, 100 k lines a request, one URL", [[0] * 100_000] * bench.scaled(40), 2)


def bulk_small(bench: Bench) -> None:
    bulk(bench, "bulk NDJSON, 1 k lines a request over 1000 URLs, 4 conn.", [list(range(1000))] * bench.scaled(2000), 4)


def bulk_million(bench: Bench) -> None:
    n = bench.scaled(1_000_000) // 10_000 * 10_000 or 10_000
    for name, numbers in (
        ("1 M likes of one URL, 10 k lines a request", [0] * n),
        ("1 M likes, 1000 URLs x 1000, 10 k lines a request", [k % 1000 for k in range(n)]),
        ("1 M likes, Zipf over 100,000 URLs, 10 k lines a request", zipf(n, 100_000)),
    ):
        bulk(bench, name, [numbers[at : at + 10_000] for at in range(0, n, 10_000)], 2)


def bulk_quart(bench: Bench) -> None:
    numbers = [n % 1000 for n in range(100_000)]
    bodies = [numbers] * bench.scaled(20)
    bulk(bench, "the same through likd's full lane (Quart)", bodies, 2, target="/v1/events?")


def long_tail(bench: Bench) -> None:
    """Each URL once, until every count is in a batch file; new URLs in each run."""
    n = bench.scaled(1_000_000)
    daemon = Daemon(*BULK_FLAGS, *NO_BACKPRESSURE)
    expected: Counter[str] = Counter()
    figures = []
    for run in range(bench.runs + 1):
        urls = range(run * n, run * n + n)
        requests = [request(b"".join(map(line, urls[at : at + 10_000]))) for at in range(0, n, 10_000)]
        expected.update(f"{SITE}page/{number}" for number in urls)
        began = time.perf_counter()
        post(daemon.address, requests, 4)
        daemon.wait(drained)
        figures.append(n / (time.perf_counter() - began))
        daemon.wait(applied)
    _, counted = daemon.stop()
    check(expected, counted)
    bench.add("long tail", "1 M likes over 1 M URLs, until in batch files", "URLs/s", figures[1:])


WRK_SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
local n = 0
function request()
  n = n + 1
  return wrk.format(nil, nil, nil, '{"kind":"like","url":"https://example.com/page/' .. (PAGE) .. '"}')
end
"""
THOUSAND = "n % 1000"
ZIPF = "math.floor(100000 ^ math.random())"
MILLISECONDS = {"us": 0.001, "ms": 1.0, "s": 1000.0}


def wrk(daemon: Daemon, target: str, connections: int, seconds: int, page: str = THOUSAND) -> tuple[int, float, float]:
    """(requests, requests/s, p99 in ms)."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(WRK_SCRIPT.replace("PAGE", page))
        script.flush()
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", script.name]
        command.append(daemon.url + target)
        text = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60, check=True).stdout
    if "Non-2xx" in text or "Socket errors" in text:
        raise SystemExit(text)
    found = re.search(r"99%\s+([\d.]+)(us|ms|s).*?(\d+) requests in.*?Requests/sec:\s+([\d.]+)", text, re.DOTALL)
    if found is None:
        raise SystemExit(text)
    return int(found[3]), float(found[4]), float(found[1]) * MILLISECONDS[found[2]]


def single(bench: Bench) -> None:
    """One like a request, over 1000 URLs where nothing else is said."""
    if not shutil.which("wrk"):
        bench.missing.append("wrk: single requests were not measured")
        return
    seconds = max(1, int(5 * bench.scale))
    for name, target, connections, page in (
        ("single-like POST, 64 keep-alive connections", "/v1/events", 64, THOUSAND),
        ("single-like POST, 64 connections, one URL", "/v1/events", 64, "1"),
        ("single-like POST, 64 connections, Zipf over 100,000 URLs", "/v1/events", 64, ZIPF),
        ("single-like POST, 256 connections", "/v1/events", 256, THOUSAND),
        ("single-like POST, 1 connection", "/v1/events", 1, THOUSAND),
        ("single-like POST through the full lane (Quart), 64 conn.", "/v1/events?", 64, THOUSAND),
    ):
        daemon = Daemon("--flush-interval", "1")
        done = wrk(daemon, target, connections, 1, page)[0]
        rates, p99s = [], []
        for _ in range(bench.runs):
            requests, rate, p99 = wrk(daemon, target, connections, seconds, page)
            done += requests
            rates.append(rate)
            p99s.append(p99)
        accepted, counted = daemon.stop()
        # wrk hangs up on the requests in flight at its end: the daemon may have acknowledged those, too.
        if not done <= accepted <= done + connections * (bench.runs + 1) or sum(counted.values()) != accepted:
            raise SystemExit(f"WRONG: {done} answered, {accepted} acknowledged, {sum(counted.values())} counted")
        bench.add("single", name, "requests/s", rates)
        bench.add("single", f"{name}, p99", "ms", p99s)


def mixed(bench: Bench) -> None:
    """Latency of single requests while bulk requests of 100 k lines run beside them."""
    if not shutil.which("wrk"):
        return
    daemon = Daemon("--flush-interval", "1")
    body = request(b"".join(line(n % 1000) for n in range(100_000)))
    stop = threading.Event()
    bulks = 0

    def load() -> None:
        nonlocal bulks
        while not stop.is_set():
            post_all(daemon.address, [body])
            bulks += 1

    loader = threading.Thread(target=load)
    loader.start()
    try:
        runs = [wrk(daemon, "/v1/events", 16, max(1, int(5 * bench.scale))) for _ in range(bench.runs)]
    finally:
        stop.set()
        loader.join()
    accepted, counted = daemon.stop()
    if sum(counted.values()) != accepted or accepted < bulks * 100_000 + sum(run[0] for run in runs):
        raise SystemExit("WRONG: sums differ")
    name = "single-like POST, 16 conn., beside 100 k-line bulk requests"
    bench.add("mixed", f"{name}, p99", "ms", [run[2] for run in runs], f"{bulks} bulk requests beside")


@contextlib.contextmanager
def redis(fsync: str) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="likd-bench-redis-") as directory:
        command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", directory, "--save", ""]
        command += ["--appendonly", "yes", "--appendfsync", fsync]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 10
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except ConnectionRefusedError:
                    if time.monotonic() > deadline:
                        raise SystemExit("redis-server did not start") from None
                    time.sleep(0.02)
            yield port
        finally:
            server.terminate()
            server.wait(30)


def single_redis(bench: Bench) -> None:
    """INCR over 1000 keys from 64 clients."""
    if not shutil.which("redis-server") or not shutil.which("redis-benchmark"):
        bench.missing.append("redis-server, redis-benchmark: no figures of Redis")
        return
    version = subprocess.run(["redis-server", "--version"], capture_output=True, text=True, check=True).stdout.split()[
        2
    ]
    for fsync in ("always", "everysec"):
        for depth, n in ((1, 100_000), (128, 2_000_000)):
            with redis(fsync) as port:
                command = ["redis-benchmark", "-p", str(port), "-c", "64", "-r", "1000", "-P", str(depth), "--csv"]
                command += ["-n", str(max(1000, bench.scaled(n))), "INCR", "key:__rand_int__"]
                rates, p99s = [], []
                for run in range(bench.runs + 1):
                    text = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout
                    values = [value.strip('"') for value in text.strip().splitlines()[-1].rsplit(",", 7)]
                    if run:
                        rates.append(float(values[1]))
                        p99s.append(float(values[6]))
            depth_name = "unpipelined" if depth == 1 else f"{depth} deep"
            name = f"Redis {version.removeprefix('v=')} INCR, 64 clients, {depth_name}, appendfsync {fsync}"
            bench.add("single", name, "likes/s", rates)
            if depth == 1:
                bench.add("single", f"{name}, p99", "ms", p99s)


def soak(bench: Bench) -> None:
    """Full load for --soak seconds: memory at the beginning and at the end, and the slowest single requests."""
    if not bench.soak_seconds or not shutil.which("wrk"):
        return
    daemon = Daemon("--flush-interval", "1", "--tables-waiting-max", "1000")
    numbers = zipf(200_000, 5000)
    bodies = [request(b"".join(map(line, numbers[at : at + 20_000]))) for at in range(0, len(numbers), 20_000)]
    stop = threading.Event()
    likes = 0

    def load() -> None:
        nonlocal likes
        while not stop.is_set():
            post_all(daemon.address, bodies, patient=True)
            likes += len(numbers)

    memory: list[float] = []
    p99s: list[float] = []
    loader = threading.Thread(target=load)
    loader.start()
    try:
        ends = time.monotonic() + bench.soak_seconds
        while time.monotonic() < ends:
            p99s.append(wrk(daemon, "/v1/events", 16, 10)[2])
            memory.append(daemon.memory_mib())
    finally:
        stop.set()
        loader.join()
    accepted, counted = daemon.stop()
    if sum(counted.values()) != accepted:
        raise SystemExit("WRONG: sums differ")
    half = len(memory) // 2
    note = f"{accepted:,} likes in {bench.soak_seconds} s"
    bench.add("soak", "memory under full load, first half", "MiB", memory[: half or 1], note)
    bench.add("soak", "memory under full load, second half", "MiB", memory[half:], note)
    bench.add("soak", "single-like POST, 16 conn., beside 20 k-line bulk requests, p99", "ms", p99s, note)


def recovery(bench: Bench) -> None:
    """Start with a journal of 1 GB that a crash left behind."""
    size = bench.scaled(1 << 30)
    with tempfile.TemporaryDirectory(prefix="likd-bench-") as directory:
        written = table = 0
        while written < size:
            table += 1
            urls = {f"{SITE}page/{table}/{n}": 1 for n in range(2000)}
            frame = frames.frame(msgspec.msgpack.encode(journal.Entry(0, 0, 1, [], {"like": urls})))
            with (Path(directory) / journal.name(table)).open("wb") as file:
                segment = 0
                while segment < 64 << 20 and written < size:
                    segment += file.write(frame)
                    written += len(frame)
        daemon = Daemon("--rows-waiting-max", "20000000", "--write-tolerance", "1e9", directory=directory)
        bench.add(
            "start", f"start with {written / 1e9:.2f} GB of journal", "MB/s", [written / 1e6 / daemon.start_seconds]
        )
        daemon.stop()


def start(bench: Bench) -> None:
    seconds, memory = [], []
    for _ in range(bench.runs):
        daemon = Daemon()
        seconds.append(daemon.start_seconds)
        time.sleep(0.3)
        memory.append(daemon.memory_mib())
        daemon.stop()
    bench.add("start", "start to ready", "s", seconds)
    bench.add("start", "memory when idle", "MiB", memory)


def live(bench: Bench) -> None:
    """Websockets that watch one URL, which is liked 4 times a second, beside a bare Trio server."""
    bench_live.raise_descriptors()
    for sockets in (bench.scaled(5000), bench.scaled(10_000)):
        mine, bare = [], []
        for _ in range(bench.runs):
            daemon = Daemon("--connections-max", str(sockets + 100))
            mine.append(bench_live.watch(daemon.process.pid, daemon.address, sockets=sockets, seconds=10))
            daemon.stop()
            with bench_live.floor() as (pid, address):
                bare.append(bench_live.watch(pid, address, sockets=sockets, seconds=10, likes=False))
        name = f"{sockets} websockets on one URL"
        bench.add("live", name, "messages/s each", [run.messages for run in mine])
        bench.add("live", f"{name}, processor time of a message", "µs", [run.microseconds for run in mine])
        bench.add("live", f"{name}, p99 from the like", "s", [run.p99_seconds for run in mine])
        bench.add("live", f"{name}, memory of one", "KiB", [run.kibibytes for run in mine])
        bench.add("live", f"{name}, bare Trio broadcast", "µs", [run.microseconds for run in bare])
        bench.add("live", f"{name}, bare Trio broadcast, memory of one", "KiB", [run.kibibytes for run in bare])


WORKLOADS = [
    start,
    recovery,
    bulk_thousand,
    bulk_one,
    bulk_small,
    bulk_million,
    bulk_quart,
    long_tail,
    single,
    single_redis,
    mixed,
    soak,
    live,
]


def machine() -> str:
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / (1 << 30)
    python = f"Python {platform.python_version()}"
    return f"{os.cpu_count()} x {model[1] if model else platform.machine()}, {memory:.0f} GiB, {python}"


def markdown(bench: Bench) -> str:
    rows = [f"Machine: {machine()}. Medians of {bench.runs} runs, client and server on the same machine.", ""]
    rows += ["| workload | median | lowest | highest | |", "|---|---:|---:|---:|---|"]
    for result in bench.results:
        figures = " | ".join(f"{value:,.4g}" for value in (result.median, min(result.runs), max(result.runs)))
        rows.append(f"| {result.name} | {figures} | {result.unit} |")
    rows += ["", "Ratios:", ""]
    by_name = {result.name: result for result in bench.results}
    mine = by_name.get("single-like POST, 64 keep-alive connections")
    for name, result in by_name.items():
        peer = "Quart" in name if result.group == "single" else False
        if mine and result.unit != "ms" and (peer or "unpipelined" in name):
            rows.append(f"- single-like POST, 64 connections : {name} = {mine.median / result.median:.2f}")
    bulk_mine = by_name.get("bulk NDJSON, 100 k lines a request, 1000 URLs")
    for name, result in by_name.items():
        if bulk_mine and ("deep" in name or name == "the same through likd's full lane (Quart)"):
            rows.append(f"- bulk NDJSON, 1000 URLs : {name} = {bulk_mine.median / result.median:.2f}")
    rows += [f"- missing: {what}" for what in bench.missing]
    return "\n".join(rows) + "\n"


def main() -> None:
    # It needs what is above.
    import bench_fronts
    import bench_reads

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="runs of each workload, after one to warm up (5)")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full amount of work (1.0)")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="workloads whose name begins so")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="replace the figures in FILE")
    parser.add_argument("--soak", type=float, default=0.0, metavar="SECONDS", help="full load for so long, too (0)")
    parser.add_argument("--processes", type=int, default=0, metavar="N", help="only this: N fronts beside one process")
    arguments = parser.parse_args()
    bench = Bench(arguments.runs, arguments.scale, arguments.soak, arguments.processes)
    print(machine(), flush=True)
    for workload in bench_fronts.WORKLOADS if bench.processes else [*WORKLOADS, *bench_reads.WORKLOADS]:
        if not arguments.only or any(workload.__name__.startswith(name) for name in arguments.only):
            workload(bench)
    print("\n" + markdown(bench).partition("Ratios:")[2].strip())
    if arguments.markdown is not None:
        text = arguments.markdown.read_text()
        begin, end = "<!-- figures: scripts/bench -->\n", "<!-- end of figures -->"
        before, _, rest = text.partition(begin)
        after = rest.partition(end)[2]
        arguments.markdown.write_text(before + begin + "\n" + markdown(bench) + "\n" + end + after)


if __name__ == "__main__":
    main()
