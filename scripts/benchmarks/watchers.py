"""Thousands of websockets on one URL, and likes of it meanwhile."""

from __future__ import annotations

import contextlib
import json
import re
import select
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator

from benchmarks.contest import P99, Figures, Wrong
from benchmarks.processes import Processor, family, family_memory_mib

URL = "https://example.com/hot"
CHANGES_A_SECOND = 4
HANDSHAKES_AT_ONCE = 100
SETTLE_SECONDS = 2.0
LAST_SECONDS = 30.0
MESSAGES = "messages to each, 1/s"
MEMORY = "memory of one, KiB"

HANDSHAKE = (
    b"GET /v1/live HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
LIKES = re.compile(rb'"likes":(\d+)')
PING = b"\x89\x00"
PONG = b"\x8a\x80" + bytes(4)

Like = Callable[[int], bytes]
"""The request that gives a URL that many likes."""


def like_event(_: int) -> bytes:
    """A like, as likd takes it."""
    body = json.dumps({"kind": "like", "url": URL}).encode()
    return b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def like_message(likes: int) -> bytes:
    """The message for subscribers, for a server that does not count."""
    message = {"type": "changes", "counts": [{"url": URL, "likes": likes, "rate": 4.0}]}
    body = json.dumps(message, separators=(",", ":")).encode()
    return b"POST /publish HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def client_frame(payload: bytes) -> bytes:
    """A masked frame of text, with a mask that leaves it as it is."""
    return b"\x81" + bytes([0x80 | len(payload)]) + bytes(4) + payload


class Watchers:
    """Websockets that watch a URL. A message says how many likes it has; when each like was sent is known."""

    def __init__(self, address: tuple[str, int], sockets: int, *, liked: int = 0) -> None:
        self.liked: list[float] = [0.0] * (liked + 1)
        """When the like that brought it to that many came."""
        self.messages = 0
        self.delays: list[float] = []
        """The time from each like to each socket. A message may also have only a new rate for the same likes."""
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
                while not (found := LIKES.findall(answer)):
                    data = sock.recv(65536)
                    if not data:
                        raise Wrong(f"refused: {answer.decode(errors='replace')}")
                    answer += data
                sock.settimeout(0)
                self._sockets[sock.fileno()] = sock
                self._heard[sock.fileno()] = int(found[-1])
                self._epoll.register(sock.fileno(), select.EPOLLIN)

    def read(self, until: float) -> None:
        """Take what comes until a time of time.monotonic()."""
        while (left := until - time.monotonic()) > 0:
            for fd, _ in self._epoll.poll(left, 1024):
                self._take(fd)

    def _take(self, fd: int) -> None:
        data = self._sockets[fd].recv(65536)
        if not data:
            raise Wrong("the server has closed a websocket")
        if data.startswith(PING):
            self._sockets[fd].send(PONG)
        if not (found := LIKES.findall(data)):
            return
        likes = int(found[-1])
        if self.counting:
            self.messages += len(found)
            if self._heard[fd] < likes < len(self.liked):
                self.delays.append(time.monotonic() - self.liked[likes])
        self._heard[fd] = max(self._heard[fd], likes)

    def hear_last(self) -> None:
        """Wait until each has got the last like. Raises Wrong if that takes too long."""
        until = time.monotonic() + LAST_SECONDS
        while any(heard != len(self.liked) - 1 for heard in self._heard.values()):
            if time.monotonic() > until:
                raise Wrong(f"WRONG: of {len(self.liked) - 1} likes a websocket heard {min(self._heard.values())}")
            self.read(time.monotonic() + 0.1)

    def close(self) -> None:
        for sock in self._sockets.values():
            sock.close()
        self._epoll.close()


def publish(address: tuple[str, int], request: bytes) -> None:
    """Send `request` before there are websockets, so that they have something to receive at first."""
    with socket.create_connection(address) as sock:
        sock.sendall(request)
        if not sock.recv(65536).startswith(b"HTTP/1.1 20"):
            raise Wrong("the server does not take what is published")


@contextlib.contextmanager
def liking(address: tuple[str, int], watchers: Watchers, like: Like) -> Iterator[None]:
    """Send that many likes per second."""
    stop = threading.Event()

    def go() -> None:
        with socket.create_connection(address) as sock:
            while not stop.wait(1 / CHANGES_A_SECOND):
                watchers.liked.append(time.monotonic())
                sock.sendall(like(len(watchers.liked) - 1))
                answer = sock.recv(65536)
                if not answer.startswith(b"HTTP/1.1 20"):
                    raise Wrong(answer.decode())

    thread = threading.Thread(target=go)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


class Watching:
    """A server `pid` whose URL is liked while it is watched, in one turn after another."""

    def __init__(self, pid: int, address: tuple[str, int], like: Like) -> None:
        self._pid = pid
        self._address = address
        self._like = like
        self._memory_before = family_memory_mib(pid)
        self.likes = 0

    def measure(self, sockets: int, seconds: float) -> Figures:
        """What the server does for that many websockets: each has to get the last like."""
        watchers = Watchers(self._address, sockets, liked=self.likes)
        try:
            with liking(self._address, watchers, self._like):
                watchers.read(time.monotonic() + min(seconds, SETTLE_SECONDS))
                used, began = family(self._pid), time.monotonic()
                watchers.counting = True
                watchers.read(began + seconds)
                spent, took = family(self._pid) - used, time.monotonic() - began
                watchers.counting = False
            memory = family_memory_mib(self._pid) - self._memory_before
            watchers.hear_last()
        finally:
            watchers.close()
        self.likes = len(watchers.liked) - 1
        return _figures(watchers, spent, took, sockets, memory)


def _figures(watchers: Watchers, spent: Processor, took: float, sockets: int, memory: float) -> Figures:
    if len(watchers.delays) < 2:
        raise Wrong("WRONG: no messages")
    p99 = statistics.quantiles(watchers.delays, n=100)[98]
    return {
        MESSAGES: watchers.messages / took / sockets,
        P99: p99 * 1000,
        **spent.per(watchers.messages),
        MEMORY: memory * 1024 / sockets,
    }
