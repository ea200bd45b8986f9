"""A client of the express lane: its socket, its HTTP connection, and what has not been sent to it yet."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable

from likd.web.express.connection import Connection


class Client:
    """One of thousands, none of which has a task."""

    __slots__ = ("address", "http", "interest", "leave", "output", "queued", "socket")

    def __init__(self, sock: socket.socket, address: str, leave: Callable[[], None], http: Connection) -> None:
        self.socket = sock
        self.address = address
        self.leave = leave
        """Gives its seat back."""
        self.http = http
        self.output = b""
        self.interest: int = select.EPOLLIN
        self.queued = False
        """Whether it is in line because there is more to do than wait for its next request."""
