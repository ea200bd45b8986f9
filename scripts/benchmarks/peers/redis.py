"""Redis, which flushes its log before it answers (appendfsync always), as likd does.

It counts in two ways: INCR of a key for each URL, and the work that likd does (the total, the place in the top list,
the count of the minute) in one MULTI for all lines of a request, or in a Lua script for one line.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

from benchmarks.contest import ACKNOWLEDGED, P99, STORED, Figures, Measure, Wrong
from benchmarks.daemon import check
from benchmarks.loads import SITE, Load, exchange
from benchmarks.processes import processor

MINUTE = "minute:29000000"
LUA = f"""
redis.call("HINCRBY", "total", KEYS[1], 1)
redis.call("ZINCRBY", "top", 1, KEYS[1])
return redis.call("HINCRBY", "{MINUTE}", KEYS[1], 1)
"""
KEY = f"{SITE}__rand_int__"
KEYS = 1000
KEYS_REMEMBERED = 100_000


def lacks() -> str:
    there = shutil.which("redis-server") and shutil.which("redis-benchmark")
    return "" if there else "redis-server, redis-benchmark: no figures of Redis"


def encode(*words: str) -> bytes:
    """A command."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word.encode()) for word in words)


def ask(port: int, *words: str) -> list[str]:
    """The strings and numbers that a command answers."""
    with socket.create_connection(("127.0.0.1", port)) as sock, sock.makefile("rb") as file:
        sock.sendall(encode(*words))

        def answer() -> list[str]:
            line = file.readline()
            kind, rest = line[:1], line[1:-2].decode()
            if kind == b"-":
                raise Wrong(rest)
            if kind == b"*":
                return [each for _ in range(int(rest)) for each in answer()]
            if kind == b"$":
                return [file.read(int(rest) + 2)[:-2].decode() if rest != "-1" else "0"]
            return [rest]

        return answer()


@contextlib.contextmanager
def server() -> Iterator[tuple[int, int]]:
    """A Redis of its own: its process and port."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="likd-bench-redis-") as directory:
        command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", directory, "--save", ""]
        command += ["--appendonly", "yes", "--appendfsync", "always"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 10
            while True:
                try:
                    ask(port, "PING")
                    break
                except ConnectionRefusedError:
                    if time.monotonic() > deadline:
                        raise Wrong("redis-server did not start") from None
                    time.sleep(0.02)
            yield process.pid, port
        finally:
            process.terminate()
            process.wait(30)


@lru_cache(KEYS_REMEMBERED)
def _incr(url: str) -> bytes:
    return encode("INCR", url)


@lru_cache(KEYS_REMEMBERED)
def _same_work(url: str) -> bytes:
    return (
        encode("HINCRBY", "total", url, "1") + encode("ZINCRBY", "top", "1", url) + encode("HINCRBY", MINUTE, url, "1")
    )


def incr_lines(urls: list[str]) -> bytes:
    """A pipeline of INCRs."""
    return b"".join(map(_incr, urls))


def multi_lines(urls: list[str]) -> bytes:
    """A transaction that adds each like to total, top list and minute."""
    return encode("MULTI") + b"".join(map(_same_work, urls)) + encode("EXEC")


def _incr_counts(port: int, urls: Sequence[str]) -> dict[str, int]:
    return dict(zip(urls, map(int, ask(port, "MGET", *urls)), strict=True))


def _multi_counts(port: int, _: Sequence[str]) -> dict[str, int]:
    total, minute, top = ask(port, "HGETALL", "total"), ask(port, "HGETALL", MINUTE), ask(port, "ZCARD", "top")
    counts = dict(zip(total[::2], map(int, total[1::2]), strict=True))
    if counts != dict(zip(minute[::2], map(int, minute[1::2]), strict=True)) or top != [str(len(counts))]:
        raise Wrong("WRONG, Redis: total, top and minute differ")
    return counts


def pipelined(load: Load, *, multi: bool = False) -> contextlib.AbstractContextManager[Measure]:
    """`load` as pipelines as deep as its requests are long: of INCRs, or each a MULTI with top and minute."""
    # A MULTI answers each command twice, and a ZINCRBY with a string, which takes two lines.
    return _pipelined(load, *((multi_lines, 7, 2, _multi_counts) if multi else (incr_lines, 1, 0, _incr_counts)))


@contextlib.contextmanager
def _pipelined(
    load: Load,
    lines: Callable[[list[str]], bytes],
    answers_a_like: int,
    answers_more: int,
    counts: Callable[[int, Sequence[str]], dict[str, int]],
) -> Iterator[Measure]:
    queues = load.queues(lambda numbers: lines([f"{SITE}{number}" for number in numbers]))
    lengths = set(map(len, load.requests))
    if len(lengths) > 1:
        raise ValueError("the requests are not all of one length")
    wanted = lengths.pop() * answers_a_like + answers_more

    def answered(answer: bytes) -> bool:
        if answer.startswith(b"-"):
            raise Wrong(f"Redis: {answer[:200].decode()}")
        return answer.endswith(b"\n") and answer.count(b"\n") == wanted

    with server() as (pid, port):
        turns = 0

        def measure() -> Figures:
            nonlocal turns
            turns += 1
            before = processor(pid)
            seconds = exchange(("127.0.0.1", port), queues, answered)
            a_second, spent = load.likes / seconds, processor(pid) - before
            return {ACKNOWLEDGED: a_second, STORED: a_second, **spent.per(load.likes)}

        yield measure
        urls = list(load.counts)
        check("Redis", {url: n * turns for url, n in load.counts.items()}, counts(port, urls))


@contextlib.contextmanager
def single(n: int, connections: int, *, lua: bool = False) -> Iterator[Measure]:
    """One INCR per request, or one script with top and minute, over 1000 URLs, `n` in total."""
    with server() as (pid, port):
        command = ["redis-benchmark", "-p", str(port), "-c", str(connections), "-r", str(KEYS), "--csv", "-n", str(n)]
        command += ["EVALSHA", *ask(port, "SCRIPT", "LOAD", LUA), "1", KEY] if lua else ["INCR", KEY]
        turns = 0

        def measure() -> Figures:
            nonlocal turns
            turns += 1
            before = processor(pid)
            text = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True).stdout
            spent = processor(pid) - before
            values = [value.strip('"') for value in text.strip().splitlines()[-1].rsplit(",", 7)]
            return {ACKNOWLEDGED: float(values[1]), P99: float(values[6]), **spent.per(n)}

        yield measure
        urls = [f"{SITE}{number:012}" for number in range(KEYS)]
        counted = sum((_multi_counts if lua else _incr_counts)(port, urls).values())
        if counted != n * turns:
            raise Wrong(f"WRONG, Redis: {counted} counted, {n * turns} acknowledged")
