"""Loads: which likes are in which requests, and a client that sends them over many connections."""

from __future__ import annotations

import contextlib
import random
import select
import socket
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from itertools import accumulate

from benchmarks.contest import Wrong

SITE = "https://example.com/page/"
DEADLINE_SECONDS = 900.0
ZIPF_EXPONENT = 1.1


@dataclass(frozen=True)
class Load:
    """Likes of pages, by number: those of each request, spread in turn over that many connections."""

    requests: list[list[int]]
    connections: int

    @cached_property
    def counts(self) -> Counter[str]:
        """How many likes each URL gets."""
        numbers = Counter(number for numbers in self.requests for number in numbers)
        return Counter({f"{SITE}{number}": n for number, n in numbers.items()})

    @cached_property
    def likes(self) -> int:
        return sum(map(len, self.requests))

    def batches(self) -> list[list[str]]:
        """The URLs that arrive together when each connection has sent one request."""
        return [
            [f"{SITE}{number}" for numbers in self.requests[at : at + self.connections] for number in numbers]
            for at in range(0, len(self.requests), self.connections)
        ]

    def queues(self, encode: Callable[[list[int]], bytes]) -> list[list[bytes]]:
        """What each connection sends."""
        encoded = list(map(encode, self.requests))
        return [encoded[n :: self.connections] for n in range(self.connections)]


def load(numbers: Sequence[int], lines: int, connections: int) -> Load:
    """`numbers` in requests of that many lines."""
    return Load([list(numbers[at : at + lines]) for at in range(0, len(numbers), lines)], connections)


@cache
def zipf_numbers(n: int, urls: int, seed: int = 1) -> list[int]:
    """`n` pages out of `urls`, distributed by Zipf's law with an exponent of 1.1."""
    weights = list(accumulate((rank + 1) ** -ZIPF_EXPONENT for rank in range(urls)))
    return random.Random(seed).choices(range(urls), cum_weights=weights, k=n)


@lru_cache(100_000)
def line(number: int) -> bytes:
    return b'{"kind":"like","url":"%s%d"}\n' % (SITE.encode(), number)


def request(body: bytes, target: str = "/v1/events") -> bytes:
    head = f"POST {target} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/x-ndjson\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def events(numbers: list[int]) -> bytes:
    """A request that likes all of them."""
    return request(b"".join(map(line, numbers)))


def accepted(answer: bytes) -> bool:
    """Whether an answer is complete; raises Wrong if it is a refusal."""
    if not answer.endswith(b"}"):
        return False
    if b" 202 " not in answer[:16]:
        raise Wrong(f"refused: {answer.decode()}")
    return True


class _Connection:
    """One connection: what is left to send of a request, what came of the answer, and the requests after it."""

    def __init__(self, address: tuple[str, int], requests: list[bytes]) -> None:
        self.socket = socket.create_connection(address, timeout=DEADLINE_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(0)
        self.awaits = 0
        """The events that epoll watches it for."""
        self._requests = iter(requests)
        self._unsent = memoryview(b"")
        self._answer = b""

    def begin(self) -> bool:
        """Begin with the next request. Returns whether there is one."""
        data = next(self._requests, None)
        if data is None:
            return False
        self._unsent, self._answer = memoryview(data), b""
        return True

    def send(self) -> int:
        """Send what the kernel takes. Returns what to wait for then."""
        while self._unsent:
            try:
                self._unsent = self._unsent[self.socket.send(self._unsent) :]
            except BlockingIOError:
                return select.EPOLLIN | select.EPOLLOUT
        return select.EPOLLIN

    def receive(self, answered: Callable[[bytes], bool]) -> bool:
        """Take what came. Returns whether the answer is complete."""
        data = self.socket.recv(1 << 16)
        if not data:
            raise Wrong(f"hung up: {self._answer.decode()}")
        self._answer += data
        return answered(self._answer)


def exchange(address: tuple[str, int], queues: list[list[bytes]], answered: Callable[[bytes], bool]) -> float:
    """Send the requests of each of `queues` on its own connection, each after the answer to the one before.

    `answered` says whether what was received is a complete answer. Returns the seconds until the last one.
    """
    connections = {each.socket.fileno(): each for each in (_Connection(address, queue) for queue in queues if queue)}
    with contextlib.ExitStack() as stack:
        epoll = stack.enter_context(select.epoll())
        for fd, connection in connections.items():
            stack.enter_context(connection.socket)
            epoll.register(fd, 0)
        began = time.perf_counter()
        ready = [(fd, 0) for fd, connection in connections.items() if connection.begin()]
        left = len(ready)
        while left:
            for fd, events in ready:
                connection = connections[fd]
                if events & ~select.EPOLLOUT and connection.receive(answered) and not connection.begin():
                    epoll.unregister(fd)
                    left -= 1
                    continue
                awaits = connection.send()
                if awaits != connection.awaits:
                    connection.awaits = awaits
                    epoll.modify(fd, awaits)
            ready = epoll.poll(DEADLINE_SECONDS) if left else []
            if left and not ready:
                raise Wrong("no answer in time")
        return time.perf_counter() - began


def post(address: tuple[str, int], requests: list[bytes], *, patient: bool = False) -> None:
    """Send `requests` on one connection, each after the answer to the one before; if `patient`, again after a 503."""
    with socket.create_connection(address, timeout=DEADLINE_SECONDS) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for data in requests:
            while True:
                sock.sendall(data)
                answer = b""
                while not answer.endswith(b"}"):
                    answer += sock.recv(65536)
                if not patient or b" 503 " not in answer[:16]:
                    accepted(answer)
                    break
                time.sleep(0.2)
