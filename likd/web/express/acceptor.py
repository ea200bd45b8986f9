"""Accepts connections from listeners on a lane's epoll, and gives each a seat."""

from __future__ import annotations

import errno
import select
import socket
from collections.abc import Callable
from typing import Protocol, TypeAlias

import structlog

from likd.web.access.addresses import peer_of

ACCEPTS_AT_ONCE = 64

Accept: TypeAlias = Callable[[socket.socket, str, Callable[[], None]], object]
"""Takes a connection, its peer's address and the function that gives its seat back."""

log = structlog.get_logger(__name__)


class Seats(Protocol):
    """Has a seat for each connection that is allowed."""

    def take(self, address: str) -> Callable[[], None] | None:
        """Take a seat for a connection from `address`. Returns a function that gives it back; None if none is free."""


class Acceptor:
    """Accepts on `listeners`, which are watched on `epoll`, as long as there are `seats`."""

    def __init__(self, listeners: list[socket.socket], epoll: select.epoll, seats: Seats, accept: Accept) -> None:
        self.listeners = {listener.fileno(): listener for listener in listeners}
        self._epoll = epoll
        self._seats = seats
        self._accept = accept
        for descriptor in self.listeners:
            epoll.register(descriptor, select.EPOLLIN)

    def accept(self, listener: socket.socket) -> None:
        """Accept some of the waiting connections."""
        for _ in range(ACCEPTS_AT_ONCE):
            try:
                sock, peer = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno == errno.ECONNABORTED:
                    continue
                # Out of file descriptors or memory: wait, rather than spin on a listener that is ready.
                log.error("can't accept a connection", fault=error.strerror)
                self._epoll.modify(listener.fileno(), 0)
                return
            address = peer_of(peer)
            leave = self._seats.take(address)
            if leave is None:
                sock.close()
                continue
            sock.settimeout(0)
            if sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._accept(sock, address, leave)

    def resume(self) -> None:
        """Try again on listeners that had to pause."""
        for descriptor in self.listeners:
            self._epoll.modify(descriptor, select.EPOLLIN)

    def close(self) -> None:
        """Stop accepting."""
        for descriptor, listener in self.listeners.items():
            self._epoll.unregister(descriptor)
            listener.close()
        self.listeners.clear()
