"""Abuse: how much an attacker can cost a daemon that is open to the public, and what others notice.

Attackers without a token do their worst for some seconds each, all on the daemon's own machine; most of them show a
different address with each request, as a botnet would, so that limits do not stop them. Meanwhile a client with a token
likes and reads without pause: each of its requests must be answered correctly.

    scripts/abuse
    scripts/abuse --seconds 5 --many 100 --markdown
    scripts/abuse --processes 2
"""

from __future__ import annotations

import argparse
import base64
import gzip
import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import trio

TOKEN = "a-token-of-the-good-client"
ADMIN = "an-admin-token-nobody-guesses"
SITE = "https://example.com"
EVENT = json.dumps({"kind": "like", "url": f"{SITE}/good"}).encode()
MEMORY_MIB_MAX = 600
LATENCY_SECONDS_MAX = 2.0

GONE = (OSError, trio.BrokenResourceError, trio.ClosedResourceError)
Attack = Callable[["Target"], Awaitable[None]]


class Target:
    """The daemon as its attackers see it."""

    def __init__(self, port: int, many: int) -> None:
        self.port = port
        self.many = many
        self.addresses = True
        self.answers: Counter[str] = Counter()

    async def connect(self) -> trio.SocketStream:
        return await trio.open_tcp_stream("127.0.0.1", self.port)

    async def ask(self, request: bytes) -> None:
        """Send a request on its own connection and record its answer."""
        answer = b""
        request = self.disguise(request)
        with suppress(*GONE), trio.move_on_after(10):
            stream = await self.connect()
            async with stream:
                try:
                    await stream.send_all(request)
                finally:
                    answer = await stream.receive_some(4096)
        self.answers[answer[9:12].decode(errors="replace") if answer.startswith(b"HTTP/1.1 ") else "closed"] += 1

    def disguise(self, request: bytes) -> bytes:
        """The request as if it came from another address."""
        if not self.addresses:
            return request
        address = b".".join(b"%d" % byte for byte in (10, *os.urandom(3)))
        return request.replace(b"\r\n", b"\r\nX-Forwarded-For: %b\r\n" % address, 1)

    async def all(self, attacker: Callable[[int], Awaitable[None]]) -> None:
        """Many attackers at once, for as long as the attack lasts."""
        async with trio.open_nursery() as nursery:
            for number in range(self.many):
                nursery.start_soon(attacker, number)


def post(body: bytes, *headers: str) -> bytes:
    lines = ["POST /v1/events HTTP/1.1", "Host: test", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


async def nothing(target: Target) -> None:
    """nobody attacks"""
    await trio.sleep_forever()


async def slow_heads(target: Target) -> None:
    """connections that send a byte of a head each second"""

    async def drip(_: int) -> None:
        while True:
            with suppress(*GONE):
                async with await target.connect() as stream:
                    for byte in itertools.chain(b"POST /v1/events HTTP/1.1\r\nHost: a\r\nX: ", itertools.repeat(120)):
                        await stream.send_all(bytes([byte]))
                        await trio.sleep(1)
            await trio.sleep(0.1)

    await target.all(drip)


async def slow_bodies(target: Target) -> None:
    """connections that announce 32 MB and send a little of it"""

    async def begin(_: int) -> None:
        head = b"POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Length: 33000000\r\n\r\n"
        while True:
            with suppress(*GONE):
                async with await target.connect() as stream:
                    await stream.send_all(head + b" " * 50_000)
                    answer = await stream.receive_some(4096)
                    target.answers[answer[9:12].decode() or "closed"] += 1
            await trio.sleep(0.5)

    await target.all(begin)


async def half_closed(target: Target) -> None:
    """likes whose clients say that they are done, with a stray byte behind"""
    head = b"POST /v1/events HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    request = head + b"%x\r\n%b\r\n0\r\n\r\nx" % (len(EVENT), EVENT)

    async def like(_: int) -> None:
        while True:
            with suppress(*GONE):
                async with await target.connect() as stream:
                    await stream.send_all(target.disguise(request))
                    await stream.send_eof()
                    answer = await stream.receive_some(4096)
                    target.answers[answer[9:12].decode() or "closed"] += 1

    target.many = min(target.many, 50)
    await target.all(like)


def upgrade(*headers: str) -> bytes:
    """A websocket's handshake."""
    key = base64.b64encode(os.urandom(16)).decode()
    lines = ["GET /v1/live HTTP/1.1", "Host: a", "Connection: Upgrade", "Upgrade: websocket"]
    lines += ["Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}", *headers, "", ""]
    return "\r\n".join(lines).encode()


def endless(frames: bytes, *headers: str) -> Attack:
    """Websockets that send `frames` again and again, whatever they are told."""

    async def attack(target: Target) -> None:
        async def flood(_: int) -> None:
            while True:
                with suppress(*GONE):
                    async with await target.connect() as stream:
                        await stream.send_all(target.disguise(upgrade(*headers)))
                        answer = await stream.receive_some(4096)
                        target.answers[answer[9:12].decode() or "closed"] += 1
                        while True:
                            await stream.send_all(frames)

        target.many = min(target.many, 20)
        await target.all(flood)

    return attack


async def idle_websockets(target: Target) -> None:
    """websockets that watch a URL each and never speak again"""

    async def watch(number: int) -> None:
        wish = json.dumps({"op": "watch", "urls": [f"{SITE}/{number}"]}).encode()
        with suppress(*GONE):
            async with await target.connect() as stream:
                await stream.send_all(target.disguise(upgrade()))
                answer = await stream.receive_some(4096)
                target.answers[answer[9:12].decode() or "closed"] += 1
                # A masked text frame, the mask all zeros.
                await stream.send_all(bytes([0x81, 0x80 | len(wish)]) + bytes(4) + wish)
                while await stream.receive_some(4096):
                    pass
        await trio.sleep_forever()

    await target.all(watch)


async def unique_urls(target: Target) -> None:
    """a flood of likes, each of another URL, from one address"""
    numbers = itertools.count()

    async def flood(_: int) -> None:
        while True:
            lines = [json.dumps({"kind": "like", "url": f"{SITE}/{next(numbers)}"}) for _ in range(100)]
            await target.ask(post("\n".join(lines).encode()))

    target.many, target.addresses = min(target.many, 50), False
    await target.all(flood)


def repeated(request: bytes, at_once: int) -> Attack:
    async def attack(target: Target) -> None:
        async def again(_: int) -> None:
            while True:
                await target.ask(request)

        target.many = min(target.many, at_once)
        await target.all(again)

    return attack


def attacks() -> dict[str, Attack]:
    found: dict[str, Attack] = {(each.__doc__ or ""): each for each in (nothing, slow_heads, slow_bodies)}
    found |= {(each.__doc__ or ""): each for each in (half_closed, idle_websockets, unique_urls)}
    deep = b"[" * 1_000_000
    bomb = gzip.compress(bytes(1 << 20), 9) * 512
    found["heads of 10 MB"] = repeated(b"GET /healthz HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 10_000_000, 20)
    found["arrays in arrays, a million deep"] = repeated(post(deep), 20)
    found[f"gzip bombs: {len(bomb) // 1024} KiB that are 512 MiB"] = repeated(post(bomb, "Content-Encoding: gzip"), 20)
    deflated = zlib.compressobj(9, wbits=-15)
    bomb = deflated.compress(bytes(200 << 20)) + deflated.flush()
    found["websockets that send 200 KiB that would be 200 MiB"] = endless(
        b"\xc2\xff" + len(bomb).to_bytes(8, "big") + bytes(4) + bomb, "Sec-WebSocket-Extensions: permessage-deflate"
    )
    # The first of these frames is longer than everything that is ever sent.
    found["websockets whose message has no end"] = endless(b"\x82\xff" + bytes([127] * 8) + bytes(1 << 20))
    h2c = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAAAA\r\n\r\n"
    found["upgrades to HTTP/2 with a window of 0"] = repeated(b"GET /likd.js HTTP/1.1\r\nHost: a\r\n" + h2c, 50)
    found["tokens guessed"] = repeated(post(EVENT, "Authorization: Bearer guess-guess-guess-guess"), 50)
    return found


async def good_client(port: int, times: list[float], wrong: list[str]) -> None:
    """Likes and reads on one connection, at a leisurely pace."""
    request = post(EVENT, f"Authorization: Bearer {TOKEN}")
    read = f"GET /v1/counts?url={SITE}/good HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        for each, status in itertools.cycle([(request, b"202"), (read, b"200")]):
            began = time.perf_counter()
            await stream.send_all(each)
            answer = await stream.receive_some(65536)
            times.append(time.perf_counter() - began)
            if answer[9:12] != status:
                wrong.append(answer[:200].decode(errors="replace"))
            await trio.sleep(0.005)


def memory_mib(process: int) -> float:
    """The memory of a process and of those that it started."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            mine = int(line.split()[1]) / 1024
            others = " ".join(task.read_text() for task in Path(f"/proc/{process}/task").glob("*/children"))
            return mine + sum(map(memory_mib, map(int, others.split())))
    raise AssertionError("the daemon has ended")


async def measure(
    daemon: subprocess.Popen[str], port: int, attack: Attack, many: int, seconds: float
) -> dict[str, object]:
    target = Target(port, many)
    times: list[float] = []
    wrong: list[str] = []
    memory = 0.0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(attack, target)
        await trio.sleep(min(1.0, seconds / 4))
        nursery.start_soon(good_client, port, times, wrong)
        deadline = trio.current_time() + seconds
        while trio.current_time() < deadline:
            await trio.sleep(0.2)
            memory = max(memory, memory_mib(daemon.pid))
        nursery.cancel_scope.cancel()
    times.sort()
    return {
        "served": len(times),
        "wrong": wrong,
        "p50": times[len(times) // 2] * 1000,
        "p99": times[int(len(times) * 0.99)] * 1000,
        "worst": times[-1],
        "memory": memory,
        "answers": ", ".join(f"{n} × {status}" for status, n in target.answers.most_common(3)),
    }


def start(data: Path, processes: int) -> tuple[subprocess.Popen[str], int]:
    command = [sys.executable, "-m", "likd", "serve", "--bind", "127.0.0.1:0", "--data-dir", str(data)]
    command += ["--processes", str(processes)]
    command += ["--public-sites", "example.com", "--public-actors", "free", "--trusted-proxies", "127.0.0.1"]
    secrets = {**os.environ, "LIKD_ADMIN_TOKEN": ADMIN, "LIKD_WRITE_TOKENS": TOKEN}
    with (data.parent / "log").open("w") as log:
        daemon = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=secrets)
    assert daemon.stdout is not None
    return daemon, int(daemon.stdout.readline().rsplit(":", 1)[1])


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/abuse", description=__doc__)
    parser.add_argument("--seconds", type=float, default=15.0, help="how long each attack lasts (15)")
    parser.add_argument("--many", type=int, default=1000, help="connections and websockets per attack (1000)")
    parser.add_argument("--processes", type=int, default=1, help="front processes of the daemon (1: none)")
    parser.add_argument("--markdown", action="store_true", help="print the table for docs/security.md")
    arguments = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    failed = False
    with tempfile.TemporaryDirectory() as directory:
        daemon, port = start(Path(directory) / "data", arguments.processes)
        try:
            line = "| {} | {} | {} | {} | {} | {} |" if arguments.markdown else "{:52} {:>7} {:>8} {:>8} {:>8}  {}"
            heads = ("attack", "served", "p50 ms", "p99 ms", "MiB", "the attackers hear")
            print(line.format(*heads) + ("\n|---|---|---|---|---|---|" if arguments.markdown else ""))
            for name, attack in attacks().items():
                seen = trio.run(measure, daemon, port, attack, arguments.many, arguments.seconds)
                figures = [f"{seen[key]:.1f}" for key in ("p50", "p99", "memory")]
                print(line.format(name, seen["served"], *figures, seen["answers"]), flush=True)
                if seen["wrong"] or seen["memory"] > MEMORY_MIB_MAX or seen["worst"] > LATENCY_SECONDS_MAX:  # type: ignore[operator]
                    failed = True
                    print(f"BROKEN: worst {seen['worst']:.2f} s, {seen['memory']:.0f} MiB, {seen['wrong']!s:.300}")
        finally:
            daemon.terminate()
            failed |= daemon.wait(30) != 0
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
