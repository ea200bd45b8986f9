"""Thousands of websockets that watch one URL: what a message costs the daemon, and how soon it is there.

scripts/bench --only live                                beside a bare Trio server in the same run
.venv/bin/python scripts/bench_live.py --tree DIRECTORY  another version of likd alone
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import resource
import select
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import trio

ROOT = Path(__file__).resolve().parent.parent
URL = "https://example.com/hot"
CHANGES_A_SECOND = 4
HANDSHAKES_AT_ONCE = 100
SETTLE_SECONDS = 2.0
TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")

HANDSHAKE = (
    b"GET /v1/live HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
LIKES = re.compile(rb'"likes":(\d+)')


@dataclass
class Watched:
    """What a server did for its websockets."""

    messages: float
    """A second and socket."""
    microseconds: float
    """Of its processor time, in user and kernel, for a message."""
    kibibytes: float
    """Of its memory for a socket."""
    p99_seconds: float
    """From a like to its socket."""


def client_frame(payload: bytes) -> bytes:
    """A masked frame of text, with a mask that leaves it as it is."""
    return b"\x81" + bytes([0x80 | len(payload)]) + bytes(4) + payload


def raise_descriptors() -> None:
    """Let this process, and those that it starts, have as many sockets as the system allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_SECONDS


def memory_bytes(pid: int) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+)", text)[0]) << 10


class Watchers:
    """Websockets on which a URL is watched. A message tells how many likes it has: when each was sent is known."""

    def __init__(self, address: tuple[str, int], sockets: int) -> None:
        self.liked: list[float] = [0.0]
        """When the like came that made it so many."""
        self.messages = 0
        self.delays: list[float] = []
        """From each like to each socket. A message can also tell a new rate of the same likes."""
        self.counting = False
        self._heard: dict[int, int] = {}
        self._epoll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        watch = HANDSHAKE + client_frame(json.dumps({"op": "watch", "urls": [URL]}).encode())
        for begin in range(0, sockets, HANDSHAKES_AT_ONCE):
            some = [socket.create_connection(address, 30) for _ in range(min(HANDSHAKES_AT_ONCE, sockets - begin))]
            for sock in some:
                sock.sendall(watch)
            for sock in some:
                answer = b""
                while b'"likes"' not in answer:
                    data = sock.recv(65536)
                    assert data, answer
                    answer += data
                sock.settimeout(0)
                self._sockets[sock.fileno()] = sock
                self._epoll.register(sock.fileno(), select.EPOLLIN)

    def read(self, until: float) -> None:
        """Take what comes until a time of time.monotonic()."""
        while (left := until - time.monotonic()) > 0:
            for fd, _ in self._epoll.poll(left, 1024):
                data = self._sockets[fd].recv(65536)
                assert data, "the server has closed a websocket"
                found = LIKES.findall(data)
                if data.startswith(b"\x89\x00"):
                    self._sockets[fd].send(b"\x8a\x80" + bytes(4))
                if self.counting:
                    self.messages += len(found)
                    likes = int(found[-1]) if found else 0
                    if self._heard.get(fd, 0) < likes < len(self.liked):
                        self.delays.append(time.monotonic() - self.liked[likes])
                        self._heard[fd] = likes

    def close(self) -> None:
        for sock in self._sockets.values():
            sock.close()
        self._epoll.close()


@contextlib.contextmanager
def liking(address: tuple[str, int], watchers: Watchers) -> Iterator[None]:
    """Likes, so many a second."""
    stop = threading.Event()
    body = json.dumps({"kind": "like", "url": URL}).encode()
    request = b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)

    def like() -> None:
        with socket.create_connection(address) as sock:
            while not stop.wait(1 / CHANGES_A_SECOND):
                watchers.liked.append(time.monotonic())
                sock.sendall(request)
                assert b" 202 " in sock.recv(65536)

    thread = threading.Thread(target=like)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def watch(pid: int, address: tuple[str, int], *, sockets: int, seconds: float, likes: bool = True) -> Watched:
    """What the server `pid` does for so many websockets while the URL that they watch is liked."""
    before = memory_bytes(pid)
    watchers = Watchers(address, sockets)
    try:
        with liking(address, watchers) if likes else contextlib.nullcontext():
            watchers.read(time.monotonic() + SETTLE_SECONDS)
            used, began = processor_seconds(pid), time.monotonic()
            watchers.counting = True
            watchers.read(began + seconds)
            used, took = processor_seconds(pid) - used, time.monotonic() - began
        memory = memory_bytes(pid) - before
    finally:
        watchers.close()
    count = watchers.messages
    p99 = statistics.quantiles(watchers.delays, n=100)[98] if likes else 0.0
    return Watched(count / took / sockets, used / count * 1e6, memory / sockets / 1024, p99)


async def bare() -> None:
    """The floor: a Trio server that sends all its connections one shared frame so many times a second."""
    streams: list[trio.SocketStream] = []

    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some(4096)
        await stream.send_all(b'HTTP/1.1 101 \r\n\r\n\x81\x0b{"likes":0}')
        streams.append(stream)
        with contextlib.suppress(trio.BrokenResourceError):
            while await stream.receive_some(4096):
                pass
        streams.remove(stream)

    async with trio.open_nursery() as nursery:
        listeners: list[trio.SocketListener] = await nursery.start(trio.serve_tcp, serve, 0)
        print(listeners[0].socket.getsockname()[1], flush=True)
        message = json.dumps(
            {"type": "changes", "counts": [{"url": URL, "likes": 0, "rate": 4.0}]}, separators=(",", ":")
        ).encode()
        frame = b"\x81" + bytes([len(message)]) + message
        while True:
            await trio.sleep(1 / CHANGES_A_SECOND)
            for stream in tuple(streams):
                with contextlib.suppress(OSError):
                    os.write(stream.socket.fileno(), frame)


@contextlib.contextmanager
def floor() -> Iterator[tuple[int, tuple[str, int]]]:
    """The bare server: its process and address."""
    with subprocess.Popen([sys.executable, __file__, "--floor"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        try:
            yield process.pid, ("127.0.0.1", port)
        finally:
            process.kill()


@contextlib.contextmanager
def likd(tree: Path) -> Iterator[tuple[int, tuple[str, int]]]:
    """The daemon of a source tree: its process and address."""
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    with tempfile.TemporaryDirectory() as directory:
        command = [
            sys.executable,
            "-m",
            "likd",
            "serve",
            "--bind",
            "127.0.0.1:0",
            "--data-dir",
            directory,
            "--connections-max",
            "19000",
        ]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=tree, env=environment
        ) as process:
            assert process.stdout is not None
            found = re.search(rb":(\d+)$", process.stdout.readline().strip())
            assert found, "likd did not start"
            try:
                yield process.pid, ("127.0.0.1", int(found[1]))
            finally:
                process.terminate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sockets", type=int, default=5000)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--tree", type=Path, default=ROOT, metavar="DIRECTORY", help="likd's source (this one)")
    parser.add_argument("--floor", action="store_true", help="be the bare server")
    arguments = parser.parse_args()
    raise_descriptors()
    if arguments.floor:
        trio.run(bare)
        return
    with likd(arguments.tree) as (pid, address):
        print(watch(pid, address, sockets=arguments.sockets, seconds=arguments.seconds))
    with floor() as (pid, address):
        print("floor:", watch(pid, address, sockets=arguments.sockets, seconds=arguments.seconds, likes=False))


if __name__ == "__main__":
    main()
