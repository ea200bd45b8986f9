"""The full lane: connections that ask for more than the hot requests, served by Quart on Hypercorn."""

from __future__ import annotations

import contextlib
import math
import socket
import ssl
from collections.abc import Callable
from typing import Any, cast

import structlog
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config as HypercornConfig
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ASGIFramework, ASGIReceiveCallable, ASGISendCallable, ConnectionState, Scope
from quart_trio import QuartTrio

from likd.web.bodies import BoundedBodies
from likd.web.room import Room

PING_SECONDS = 20.0
READ_TIMEOUT_SECONDS_MIN = 45.0
"""A websocket that is watched and says nothing still answers two pings in that time."""
MESSAGE_BYTES_MAX = 1 << 20
_STREAM = "likd.stream"

log = structlog.get_logger(__name__)


class FullLane:
    """Serves `app` on the connections it is given.

    Hypercorn's public `serve` accepts for itself and knows no connection that somebody has read from before,
    so its `TCPServer`, one connection's server, is given a stream that plays those bytes first.
    """

    def __init__(
        self, app: QuartTrio, *, tls: ssl.SSLContext | None, room: Room, connections_max: int, idle_seconds: float
    ) -> None:
        self._app = app
        self._tls = tls
        self._bounded = BoundedBodies(cast(ASGIFramework, app), room)
        self._asgi = ASGIWrapper(cast(ASGIFramework, self._answer))
        self._idle_seconds = idle_seconds
        self._streams: set[_Resumed] = set()
        self._context = WorkerContext(None)
        self._config = HypercornConfig()
        self._config.errorlog = None
        self._config.accesslog = None
        self._config.include_server_header = False
        self._config.websocket_ping_interval = PING_SECONDS
        self._config.websocket_max_message_size = MESSAGE_BYTES_MAX
        # Hypercorn's own timer for idle connections does not start when the request's task is cancelled, which
        # Quart-Trio does after each response; a read that takes too long ends the connection all the same.
        self._config.read_timeout = math.ceil(max(idle_seconds, READ_TIMEOUT_SECONDS_MIN))
        self._config.keep_alive_timeout = idle_seconds
        self._given, self._taken = trio.open_memory_channel[tuple[socket.socket, bytes, Callable[[], None]]](
            connections_max
        )
        self._connections = trio.CancelScope()

    def take(self, sock: socket.socket, data: bytes, leave: Callable[[], None]) -> None:
        """Serve the connection `sock`, of which `data` was read before, from now on, and `leave` its seat then."""
        self._given.send_nowait((sock, data, leave))

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until stopped and the last connection has ended."""
        self._context = WorkerContext(None)
        async with trio.open_nursery() as nursery:
            self._connections = nursery.cancel_scope
            self._app.nursery = nursery
            await self._app.startup()
            task_status.started()
            async for sock, data, leave in self._taken:
                nursery.start_soon(self._serve, sock, data, leave)
        await self._app.shutdown()

    async def stop(self, grace_seconds: float) -> None:
        """Take no more connections; those there are have `grace_seconds` for the requests in flight."""
        self._given.close()
        self._connections.deadline = trio.current_time() + grace_seconds
        for stream in self._streams:
            stream.send_until(self._connections.deadline)
            if stream.idle:
                # Hypercorn would wait for its next request.
                stream.end()
        await self._context.terminated.set()

    async def _serve(self, sock: socket.socket, data: bytes, leave: Callable[[], None]) -> None:
        scope = trio.CancelScope()
        plain = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
        resumed = _Resumed(plain, data, end=scope.cancel, send_seconds=self._idle_seconds)
        self._streams.add(resumed)
        stream: Any = resumed
        if self._tls is not None:
            stream = trio.SSLStream(resumed, self._tls, server_side=True, https_compatible=True)
        try:
            with scope:
                state = ConnectionState({_STREAM: resumed})
                await TCPServer(self._asgi, self._config, self._context, state, stream)
        except Exception as error:
            # One connection's fault must not end the others; what a request does wrong has its own answer.
            log.error("connection failed", fault=f"{type(error).__name__}: {error}", exc_info=error)
        finally:
            self._streams.discard(resumed)
            leave()
            await trio.aclose_forcefully(stream)

    async def _answer(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        stream: _Resumed = cast(dict[str, Any], scope)["state"][_STREAM]
        stream.requests += 1
        try:
            await self._bounded(scope, receive, send)
        finally:
            stream.requests -= 1


class _Resumed(trio.abc.HalfCloseableStream):
    """A stream whose first bytes have been read before.

    `end` ends the connection's tasks: Hypercorn's would sleep on for a websocket's next ping. A client that
    does not take an answer within `send_seconds` loses the connection: Hypercorn waits without end, and shields that.
    """

    def __init__(
        self, stream: trio.SocketStream, data: bytes, *, end: Callable[[], object], send_seconds: float
    ) -> None:
        self._stream = stream
        self._data = data
        self.end = end
        self.requests = 0
        """Requests and websockets of this connection that are in flight."""
        self._send_seconds = send_seconds
        self._send_until = math.inf
        self._sending = trio.CancelScope()
        self.socket = stream.socket

    @property
    def idle(self) -> bool:
        """Whether nothing of the client is in flight, or was received and not looked at yet."""
        return not self.requests and not self._data

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if self._data:
            await trio.lowlevel.checkpoint()
            data, self._data = self._data[:max_bytes], self._data[max_bytes:] if max_bytes else b""
            return data
        return await self._stream.receive_some(max_bytes)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        deadline = min(trio.current_time() + self._send_seconds, self._send_until)
        with trio.CancelScope(deadline=deadline) as self._sending:
            await self._stream.send_all(data)
        if self._sending.cancelled_caught:
            await trio.aclose_forcefully(self._stream)
            raise trio.BrokenResourceError("the client does not take its answer")

    def send_until(self, deadline: float) -> None:
        """Whatever is sent must be taken by then."""
        self._send_until = deadline
        self._sending.deadline = min(self._sending.deadline, deadline)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        # Hypercorn ends a connection from a request's task that may be cancelled by then: a checkpoint here
        # would leave the client without its end of file (hypercorn issue 106).
        with contextlib.suppress(OSError):
            self.socket.shutdown(trio.socket.SHUT_WR)

    async def aclose(self) -> None:
        self.end()
        await self._stream.aclose()
