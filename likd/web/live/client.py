"""A client of the live lane: its socket, its websocket, its session, and what it was not sent yet."""

from __future__ import annotations

import fcntl
import select
import socket
import struct
import termios
from collections.abc import Callable

import trio

from likd.web.api.live_news import Session
from likd.web.live.connection import Connection


class Client:
    """There are thousands: it has no task, and its parts are few."""

    __slots__ = (
        "connection",
        "dropped",
        "entering",
        "heard_until",
        "interest",
        "leave",
        "leaving",
        "obeying",
        "output",
        "ping_at",
        "session",
        "socket",
        "taken_until",
        "unsent",
    )

    def __init__(self, sock: socket.socket, leave: Callable[[], None], session: Session | None) -> None:
        self.socket = sock
        self.leave = leave
        """Gives its seat back."""
        self.connection = Connection()
        self.entering = True
        """Whether it is not known yet if it is let in: nothing is read of it, or said to it."""
        self.session = session
        """None if it was not let in, or watches no more."""
        self.obeying: trio.CancelScope | None = None
        """The task that does what it asked for last."""
        self.output = b""
        self.interest = 0
        self.heard_until = 0.0
        """When it was silent for too long, and is gone."""
        self.ping_at = 0.0
        self.taken_until = 0.0
        """When it should have taken some of `output`, if there is any."""
        self.unsent = 0
        """Bytes that its side had not taken when that was set."""
        self.leaving = False
        """Whether it was told all, and has a moment to read it."""
        self.dropped = 0
        """Bytes that it sent since then."""

    def wanted(self) -> int:
        """What its socket is to be watched for (bits of epoll)."""
        if self.entering:
            return 0
        if self.output:
            return select.EPOLLOUT
        reads = self.leaving or (self.connection.wants_input and self.obeying is None)
        return select.EPOLLIN if reads else 0

    def waiting(self) -> int:
        """How many bytes its side has not taken of what was sent. Raises OSError."""
        waiting: int = struct.unpack("i", fcntl.ioctl(self.socket.fileno(), termios.TIOCOUTQ, bytes(4)))[0]
        return waiting

    def cut_off(self) -> None:
        """When it is closed next, its side is to see that something is missing."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
