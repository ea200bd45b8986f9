"""A client of the express lane: its socket, the HTTP that is spoken on it, and what it was not sent yet."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable

from likd.web.express.connection import Connection


class Client:
    """There are thousands, and none has a task."""

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
        """Whether there is more to do for it than to wait for its next request, and it is in line for that."""
