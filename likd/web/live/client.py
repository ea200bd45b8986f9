"""A client of the live lane: its socket, its websocket, its session, and what has not been sent to it yet."""

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
    """One of thousands: it has no task, and few parts."""

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
        """None if it was not let in, or has stopped watching."""
        self.obeying: trio.CancelScope | None = None
        """The task that carries out its latest request."""
        self.output = b""
        self.interest = 0
        self.heard_until = 0.0
        """When it will have been silent for too long."""
        self.ping_at = 0.0
        self.taken_until = 0.0
        """By when it must have taken some of `output`, if there is any."""
        self.unsent = 0
        """How many bytes its side had not taken when that deadline was set."""
        self.leaving = False
        """Whether it was sent everything, and has a moment to read it."""
        self.dropped = 0
        """Bytes that it sent since then."""

    def wanted(self) -> int:
        """The events its socket is to be watched for (bits of epoll)."""
        if self.entering:
            return 0
        if self.output:
            return select.EPOLLOUT
        reads = self.leaving or (self.connection.wants_input and self.obeying is None)
        return select.EPOLLIN if reads else 0

    def waiting(self) -> int:
        """How many bytes of what was sent its side has not taken yet. Raises OSError."""
        waiting: int = struct.unpack("i", fcntl.ioctl(self.socket.fileno(), termios.TIOCOUTQ, bytes(4)))[0]
        return waiting

    def cut_off(self) -> None:
        """Make the next close show its side that something is missing."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
