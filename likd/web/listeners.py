"""Listening sockets."""

from __future__ import annotations

import errno
import socket

import trio

from likd.config.parsers import Bind
from likd.errors import StartError

BACKLOG = 1024


class BindError(StartError):
    """The address can't be listened on; the message says which and why."""


async def open_listeners(bind: Bind) -> list[socket.socket]:
    """Listen on every address that `bind` means, without blocking. Raises BindError."""
    try:
        listeners = await trio.open_tcp_listeners(bind.port, host=bind.host, backlog=BACKLOG)
    except OSError as error:
        reason = error.strerror or str(error)
        if isinstance(error.__cause__, BaseExceptionGroup):
            reason = "; ".join(str(inner) for inner in error.__cause__.exceptions)
        if error.errno == errno.EADDRINUSE:
            reason = "the address is in use"
        raise BindError(f"can't listen on {bind}: {reason}") from error
    sockets = [socket.socket(fileno=listener.socket.detach()) for listener in listeners]
    for sock in sockets:
        sock.settimeout(0)
    return sockets


async def check_free(bind: Bind) -> None:
    """Raises BindError if `bind` can't be listened on now."""
    for sock in await open_listeners(bind):
        sock.close()


def address(listener: socket.socket, scheme: str) -> str:
    """The URL by which `listener` is reached."""
    host, port = listener.getsockname()[:2]
    return f"{scheme}://{Bind(host, port)}"
