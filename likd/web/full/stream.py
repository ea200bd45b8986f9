"""A connection of the full lane as Hypercorn sees it: a stream of well-formed requests and frames.

What is read from a client, and when, is decided here: nothing while a complete request is being answered. So the end of
the client's stream, or a stray byte, can't spoil an answer, and whatever is waiting waits in the client's kernel.
"""

from __future__ import annotations

import fcntl
import math
import socket
import struct
import termios
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

import trio

from likd.runtime.notice import Notice
from likd.web.answers import Responses, answer_problem
from likd.web.full.inbound import Inbound
from likd.web.full.websocket_frames import Frames, Violation

LINGER_SECONDS = 1.0
LINGER_BYTES_MAX = 1 << 24
"""How long a client may take to close a connection that we have ended, and how much it may send meanwhile."""
SILENCE_SECONDS_MIN = 45.0
"""A silent websocket still answers two pings in this time."""
HEAD_RECEIVE_BYTES = 1 << 14
"""This much can hold 900 heads."""
BODY_RECEIVE_BYTES = 1 << 16

PING_SECONDS = 20.0
"""So often a websocket is asked if it is still there."""

STREAM = "likd.stream"
_responses = Responses()


def stream_of(scope: object) -> Stream:
    """The connection to which this ASGI scope of a request or websocket belongs."""
    stream: Stream = cast(dict[str, Any], scope)["state"][STREAM]
    return stream


class Wire(trio.abc.Stream):
    """A socket whose peer has to take what is sent to it.

    Hypercorn would wait for that without a limit, shielded from cancellation.
    """

    def __init__(self, sock: socket.socket, *, send_seconds: float) -> None:
        self._stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
        self.socket = self._stream.socket
        self.cut_off = False
        """Whether the last send was cut off: the client has to see that."""
        self._send_seconds = send_seconds
        self._send_until = math.inf
        self._sending = trio.CancelScope()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """What has arrived; empty once the client sends no more. Raises trio.BrokenResourceError."""
        return await self._stream.receive_some(max_bytes)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send `data` at the pace of a client that takes a part of it now and then. Raises trio.BrokenResourceError."""
        rest = memoryview(data)
        await trio.lowlevel.checkpoint()
        while rest:
            waiting = self._unsent()
            deadline = min(trio.current_time() + self._send_seconds, self._send_until)
            with trio.CancelScope(deadline=deadline) as self._sending:
                try:
                    rest = rest[await self.socket.send(rest) :]
                except OSError as error:
                    raise trio.BrokenResourceError from error
            if self._sending.cancelled_caught and (self._unsent() >= waiting or self.late):
                self.cut_off = True
                raise trio.BrokenResourceError("the client does not read its answer")

    @property
    def late(self) -> bool:
        """Whether everything should have been sent by now."""
        return trio.current_time() >= self._send_until

    def send_until(self, deadline: float) -> None:
        """Whatever is sent must be taken by this time."""
        self._send_until = deadline
        self._sending.deadline = min(self._sending.deadline, deadline)

    async def wait_send_all_might_not_block(self) -> None:
        """As for the stream below."""
        await self._stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        """Send nothing more."""
        await self._stream.send_eof()

    async def aclose(self) -> None:
        """Close at once; if something was cut off, in a way that the client notices."""
        if self.cut_off:
            with suppress(OSError):
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await trio.aclose_forcefully(self._stream)

    def _unsent(self) -> int:
        """How many bytes the client's side has not taken yet."""
        waiting: int = struct.unpack("i", fcntl.ioctl(self.socket.fileno(), termios.TIOCOUTQ, bytes(4)))[0]
        return waiting


async def linger(wire: Wire, secure: trio.SSLStream[Wire] | None) -> None:
    """Say that nothing more is sent, and give the client time to read it. What it sends is dropped."""
    with trio.move_on_after(LINGER_SECONDS), suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        if secure is not None:
            # It may receive something other than the end of encryption, and break.
            with suppress(trio.BrokenResourceError):
                await secure.unwrap()
        await wire.send_eof()
        dropped = 0
        while dropped < LINGER_BYTES_MAX and (data := await wire.receive_some(BODY_RECEIVE_BYTES)):
            dropped += len(data)


class Stream(trio.abc.HalfCloseableStream):
    """The requests and frames of one client, whose first bytes `data` were read before.

    `end` cancels the connection's tasks: Hypercorn's would sleep until a websocket's next ping, or for the idle time.
    """

    def __init__(
        self,
        wire: Wire,
        secure: trio.SSLStream[Wire] | None,
        data: bytes,
        *,
        address: str,
        end: Callable[[], object],
        head_seconds: float,
        idle_seconds: float,
    ) -> None:
        self.wire = wire
        self.socket = wire.socket
        self.address = address
        """Where the client is, also if its socket does not say so."""
        self.end = end
        self.session = trio.CancelScope()
        """The scope in which the current request is answered; cancelled if a websocket's client breaks the protocol."""
        self._secure = secure
        self._head_seconds = head_seconds
        self._idle_seconds = idle_seconds
        self._deadline = trio.current_time() + head_seconds
        self._inbound = Inbound()
        self._inbound.feed(data)
        self._frames: Frames | None = None
        self._turn = Notice()
        self._lingers = True

    @property
    def idle(self) -> bool:
        """Whether nothing from the client is in flight, or received and not yet processed."""
        return self._inbound.idle

    @property
    def violation(self) -> Violation | None:
        """How the client broke the protocol of its websocket."""
        return self._frames.violation if self._frames is not None else None

    def answered(self) -> None:
        """The current request is answered, or its websocket has ended."""
        self._inbound.answered()
        self._deadline = trio.current_time() + (self._head_seconds if self._inbound.begun else self._idle_seconds)
        self._turn.give()

    def accepted(self) -> None:
        """The current request has become a websocket."""
        self._frames = Frames()
        self._frames.feed(self._inbound.upgrade())
        self._turn.give()

    def ask(self) -> None:
        """The next message of the websocket may come."""
        if self._frames is not None:
            self._frames.ask()
            self._turn.give()

    def drop(self) -> None:
        """End a connection on which nothing is in progress."""
        self._lingers = False
        self.end()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """What the server is to get next; empty when there is nothing more. Raises trio.BrokenResourceError."""
        await trio.lowlevel.checkpoint()
        while self._frames is None:
            if data := self._inbound.take():
                return data
            if self._inbound.waiting:
                await self._turn.wait()
            elif self._inbound.refused is not None:
                answer = answer_problem(self._inbound.refused)
                await self.send_all(_responses.make(answer, keep_alive=False))
                self.end()
                return b""
            elif self._inbound.over:
                if not self._inbound.incomplete:
                    self.end()
                return b""
            else:
                await self._read_requests()
        return await self._next_frames(self._frames)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """As for the wire."""
        await (self._secure or self.wire).send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """As for the wire."""
        await self.wire.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        """Do nothing: the owner of the connection ends it properly."""

    async def aclose(self) -> None:
        """End it."""
        # Hypercorn ends a connection from a request's task that may be cancelled by then: a checkpoint here
        # would leave the connection as it is.
        self.end()

    async def finish(self) -> None:
        """Let the client finish: closing at once could destroy answers on their way. What it sends is dropped."""
        if self._lingers and not self.wire.cut_off:
            await linger(self.wire, self._secure)

    async def _next_frames(self, frames: Frames) -> bytes:
        while True:
            if frames.violation is not None:
                self.session.cancel()
                # The session tells the client, and the connection ends.
                await trio.sleep_forever()
            if data := frames.take():
                return data
            if frames.full:
                await self._turn.wait()
                continue
            if frames.busy:
                frames.work()
                await trio.lowlevel.checkpoint()
                continue
            silence = max(self._idle_seconds, SILENCE_SECONDS_MIN)
            received = await self._receive(BODY_RECEIVE_BYTES, trio.current_time() + silence)
            if not received:
                self.end()
                return b""
            frames.feed(received)

    async def _read_requests(self) -> None:
        inbound = self._inbound
        body = inbound.incomplete
        # Whoever reads the body limits its time.
        deadline = math.inf if body else self._deadline
        data = await self._receive(BODY_RECEIVE_BYTES if body else HEAD_RECEIVE_BYTES, deadline)
        if data:
            begun = inbound.begun
            inbound.feed(data)
            if inbound.begun and not begun:
                self._deadline = trio.current_time() + self._head_seconds
        elif data is None and inbound.begun:
            inbound.expire()
            self._lingers = True
        else:
            inbound.end()

    async def _receive(self, max_bytes: int, deadline: float) -> bytes | None:
        """What has arrived: empty if the client sends no more, None if nothing came until `deadline`."""
        data = None
        with trio.move_on_at(deadline):
            data = bytes(await (self._secure or self.wire).receive_some(max_bytes))
        self._lingers = bool(data)
        return data
