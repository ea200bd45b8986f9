"""One end of the wire: messages over a socket, along with connections."""

from __future__ import annotations

import array
import socket
from collections import deque
from collections.abc import Callable

import trio

from likd.runtime.notice import Notice
from likd.web.fronts.messages import Hand, Hello, Message, Welcome
from likd.web.fronts.wire import Receiver, WireError, frame

RECEIVE_BYTES = 1 << 15
"""This much can be a hundred requests, which take some milliseconds."""
DESCRIPTORS_MAX = 16
"""A message with a connection is sent separately, so at most one is received at once."""


class Link:
    """Sends at once what the other end takes, and the rest when it takes more: `send` never waits.

    `take` gets what is received, with the connection that came along, if any. `backlog` is how many bytes were sent but
    not taken; the sender has to bound it.
    """

    def __init__(self, sock: socket.socket, first: type[Hello | Welcome]) -> None:
        sock.settimeout(0)
        self._socket = sock
        self._receiver = Receiver(first)
        self._received: deque[int] = deque()
        """Descriptors of connections whose messages are not complete yet."""
        self._out: deque[tuple[bytes, socket.socket | None]] = deque()
        self._more = Notice()
        self.backlog = 0
        self.messages_sent = self.messages_received = 0

    def send(self, message: Message, connection: socket.socket | None = None) -> None:
        """Send a message, with a `connection` that this process gives up."""
        self.messages_sent += 1
        self._out.append((data := frame(message), connection))
        self.backlog += len(data)
        if len(self._out) == 1:
            self._send_some()
            if self._out:
                self._more.give()

    async def run(self, take: Callable[[Message, socket.socket | None], object], looked: Callable[[], object]) -> None:
        """Receive until the other end is gone; `looked` is called each time everything received was taken.

        Raises WireError.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._send_rest)
            while (data := await self._receive()) is not None:
                for message in self._receiver.feed(data):
                    self.messages_received += 1
                    take(message, self._connection() if isinstance(message, Hand) else None)
                looked()
            nursery.cancel_scope.cancel()

    async def flushed(self) -> None:
        """Wait until the other end has taken everything that was sent."""
        while self._out:
            await trio.lowlevel.wait_writable(self._socket)
            self._send_some()

    def close(self) -> None:
        """Send and receive nothing more."""
        for _, connection in self._out:
            if connection is not None:
                connection.close()
        self._out.clear()
        while self._received:
            socket.close(self._received.popleft())
        self._socket.close()

    def _send_some(self) -> None:
        """Send what the other end takes. If it is gone, the receiver will find out."""
        out = self._out
        while out:
            data, connection = out[0]
            try:
                if connection is None:
                    sent = self._socket.send(data)
                else:
                    rights = array.array("i", [connection.fileno()])
                    sent = self._socket.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
            except BlockingIOError:
                return
            except OSError:
                sent = len(data)
            self.backlog -= sent
            if connection is not None:
                connection.close()
            if sent < len(data):
                # A connection is sent with the first byte.
                out[0] = (data[sent:], None)
            else:
                out.popleft()

    async def _send_rest(self) -> None:
        while True:
            await self._more.wait()
            await self.flushed()

    async def _receive(self) -> bytes | None:
        """What has arrived; None if the other end is gone. Raises WireError if a connection was lost on the way."""
        while True:
            await trio.lowlevel.wait_readable(self._socket)
            try:
                data, descriptors, flags, _ = socket.recv_fds(
                    self._socket, RECEIVE_BYTES, DESCRIPTORS_MAX, socket.MSG_CMSG_CLOEXEC
                )
            except BlockingIOError:
                continue
            except OSError:
                return None
            self._received.extend(descriptors)
            if flags & socket.MSG_CTRUNC:
                raise WireError("a connection was lost on the way: there are no file descriptors left")
            return data or None

    def _connection(self) -> socket.socket:
        if not self._received:
            raise WireError("a connection is missing")
        return socket.socket(fileno=self._received.popleft())
