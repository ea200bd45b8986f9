"""The clients of a lane: found by their descriptors, watched by one epoll, and released in one way."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, Protocol, TypeVar

import structlog
import trio

CLIENTS_AT_ONCE = 100
"""How many clients are served before other tasks get their turn: about a millisecond."""

log = structlog.get_logger(__name__)


class Client(Protocol):
    """What every lane knows about a client."""

    socket: socket.socket
    leave: Callable[[], None]
    """Gives its seat back."""
    interest: int
    """The events its socket is watched for (bits of epoll)."""
    output: bytes
    """What has not been sent to it yet."""


C = TypeVar("C", bound=Client)


class Clients(Generic[C]):
    """The clients that a lane serves. `closed` is called once with each whose connection was closed."""

    def __init__(self, closed: Callable[[C], object]) -> None:
        self.epoll = select.epoll()
        self.by_descriptor: dict[int, C] = {}
        self.stopping = False
        """Whether no more may come."""
        self.faults = 0
        """Connections that ended because of a fault in likd."""
        self._closed = closed
        self._stopped = trio.Event()

    def __iter__(self) -> Iterator[C]:
        """All current clients."""
        return iter(list(self.by_descriptor.values()))

    def add(self, client: C) -> None:
        """Serve `client` from now on."""
        descriptor = client.socket.fileno()
        self.by_descriptor[descriptor] = client
        self.epoll.register(descriptor, client.interest)

    def watch(self, client: C, interest: int) -> None:
        """Watch the client's socket for `interest` (bits of epoll)."""
        if interest != client.interest and client.socket.fileno() >= 0:
            client.interest = interest
            self.epoll.modify(client.socket.fileno(), interest)

    def forget(self, client: C) -> bool:
        """Release the client's socket, which stays open. Returns whether it was still this lane's."""
        descriptor = client.socket.fileno()
        if self.by_descriptor.get(descriptor) is not client:
            return False
        del self.by_descriptor[descriptor]
        self.epoll.unregister(descriptor)
        if self.stopping and not self.by_descriptor:
            self._stopped.set()
        return True

    def close(self, client: C) -> None:
        """Close the client's connection, even if something has not been sent yet."""
        if self.forget(client):
            client.output = b""
            client.socket.close()
            client.leave()
            self._closed(client)

    def expel(self, leave: Callable[[], None]) -> None:
        """Close the connection whose seat `leave` gives back, if there is one."""
        for client in self:
            if client.leave is leave:
                self.close(client)

    def failed(self, client: C, error: Exception) -> None:
        """One client's fault must not end the others."""
        self.faults += 1
        log.error("connection failed", fault=f"{type(error).__name__}: {error}", exc_info=error)
        self.close(client)

    def guard(self, act: Callable[..., object], client: C, *arguments: object) -> None:
        """Do something for one client; a failure ends only that client's connection."""
        try:
            act(client, *arguments)
        except Exception as error:
            self.failed(client, error)

    async def each(self, clients: Iterable[C], act: Callable[..., object], *arguments: object) -> None:
        """Do something for each of `clients`, giving other tasks their turns in between."""
        for count, client in enumerate(list(clients), 1):
            self.guard(act, client, *arguments)
            if count % CLIENTS_AT_ONCE == 0:
                await trio.lowlevel.checkpoint()

    def stop(self) -> None:
        """Take no more clients."""
        self.stopping = True
        if not self.by_descriptor:
            self._stopped.set()

    async def wait_stopped(self) -> None:
        """Wait until the last one has ended after `stop`."""
        await self._stopped.wait()

    def close_all(self) -> None:
        """Close everything at once."""
        for client in self:
            self.close(client)
        self.epoll.close()
