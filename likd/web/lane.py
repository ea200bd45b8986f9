"""Between a connection and its lane: what the one asks of the other, and the place of an answer."""

from __future__ import annotations

import socket as sockets
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Protocol

from likd.web.http1 import Head, Heads

NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class Client(Protocol):
    """A connection, as its lane sees it."""

    socket: sockets.socket
    address: str
    """The IP address of its other end."""
    leave: Callable[[], None]
    """Gives its seat back."""

    def answered(self, slot: Slot) -> None:
        """The answer in `slot` is known."""

    def close(self) -> None:
        """Close at once."""

    def detach(self) -> sockets.socket:
        """Give the socket away."""


class Lane(Protocol):
    """What a connection asks of its server."""

    heads: Heads
    now: float
    """The time, in seconds of a clock that only goes forward."""
    stopping: bool
    """Whether each connection is to end with its next answer."""
    head_seconds: float
    """How long a head may take to arrive."""
    idle_seconds: float
    """How long a connection may wait for its next request, or for the client to take an answer."""

    def request(self, slot: Slot, head: Head, body: bytes) -> None:
        """Answer a request by filling the slot, now or later."""

    def admit(self, connection: Client, head: Head) -> bytes | None:
        """None if a body of this length may be received, else the answer instead."""

    def release(self, length: int) -> None:
        """So many bytes of a body that was admitted are let go of."""

    def refusal(self, status: int, detail: str) -> bytes:
        """The answer to what breaks HTTP."""

    def hand_over(self, connection: Client, data: bytes) -> None:
        """The connection is not for this lane; `data` was read from it already."""

    def watch(self, connection: Client, events: int) -> None:
        """Call `ready` when the socket is ready for `events` (bits of epoll)."""

    def closed(self, connection: Client) -> None:
        """The connection is about to be closed."""


class Slot:
    """The place of one answer in a connection's order of answers."""

    __slots__ = ("admitted", "connection", "headers", "keep_alive", "response")

    def __init__(self, connection: Client, keep_alive: bool, admitted: int = 0) -> None:
        self.connection = connection
        self.keep_alive = keep_alive
        self.admitted = admitted
        """Bytes of the request's body that its lane has to account for until it is answered."""
        self.headers: Mapping[str, str] = NO_HEADERS
        """What the answer's caller adds to its headers."""
        self.response: bytes | None = None

    def fill(self, response: bytes) -> None:
        """The answer is known: it is sent when its turn comes."""
        self.response = response
        self.connection.answered(self)

    def abandon(self) -> None:
        """There will be no answer."""
        self.connection.close()
        self.connection.answered(self)
