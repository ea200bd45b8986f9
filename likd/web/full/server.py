"""The full lane: serves connections with more than hot requests, by Quart on Hypercorn."""

from __future__ import annotations

import math
import socket
import ssl
from collections.abc import Callable
from typing import Any, TypeAlias, cast

import structlog
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config as HypercornConfig
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import (
    ASGIFramework,
    ASGIReceiveCallable,
    ASGISendCallable,
    ASGISendEvent,
    ConnectionState,
    Scope,
)
from quart_trio import QuartTrio

from likd.web.access.body_budget import BodyBudget
from likd.web.full.base_path import BelowBase
from likd.web.full.bodies import BoundedBodies
from likd.web.full.stream import PING_SECONDS, STREAM, Stream, Wire, stream_of
from likd.web.full.websocket_frames import MESSAGE_BYTES_MAX

_Connection: TypeAlias = tuple[socket.socket, bytes, Callable[[], None], str]

log = structlog.get_logger(__name__)


class FullLane:
    """Serves `app` on the connections it is given.

    Hypercorn's public `serve` accepts connections itself and can't take one that was read from before. So its
    `TCPServer`, which serves one connection, gets a stream that replays those bytes first, and on which clients do
    nothing that Hypercorn can't cope with. HTTP/2 is never used.
    """

    def __init__(
        self,
        app: QuartTrio,
        *,
        tls: ssl.SSLContext | None,
        https: bool,
        room: BodyBudget,
        connections_max: int,
        head_seconds: float,
        idle_seconds: float,
        base: str = "",
    ) -> None:
        self._app = app
        self._tls = tls
        self._https = https
        self._bounded = BelowBase(cast(ASGIFramework, BoundedBodies(cast(ASGIFramework, app), room)), base)
        self._asgi = ASGIWrapper(cast(ASGIFramework, self._answer))
        self._head_seconds = head_seconds
        self._idle_seconds = idle_seconds
        self._streams: set[Stream] = set()
        self._context = WorkerContext(None)
        self._config = HypercornConfig()
        self._config.errorlog = None
        self._config.accesslog = None
        self._config.include_server_header = False
        self._config.websocket_ping_interval = PING_SECONDS
        # How long a client may take and how much it may send are decided before this point.
        self._config.websocket_max_message_size = MESSAGE_BYTES_MAX
        self._config.read_timeout = None
        self._config.keep_alive_timeout = math.inf
        self._given, self._taken = trio.open_memory_channel[_Connection](connections_max)
        self._connections = trio.CancelScope()

    def take(self, sock: socket.socket, data: bytes, leave: Callable[[], None], address: str) -> None:
        """Serve the connection `sock` from `address`, from which `data` was read before; call `leave` at its end."""
        self._given.send_nowait((sock, data, leave, address))

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until stopped and the last connection has ended."""
        self._context = WorkerContext(None)
        async with trio.open_nursery() as nursery:
            self._connections = nursery.cancel_scope
            self._app.nursery = nursery
            await self._app.startup()
            task_status.started()
            async for connection in self._taken:
                nursery.start_soon(self._serve, *connection)
        await self._app.shutdown()

    async def stop(self, grace_seconds: float) -> None:
        """Take no more connections; the existing ones get `grace_seconds` for the requests in flight."""
        self._given.close()
        self._connections.deadline = trio.current_time() + grace_seconds
        for stream in self._streams:
            stream.wire.send_until(self._connections.deadline)
            if stream.idle:
                # Hypercorn would wait for its next request.
                stream.drop()
        await self._context.terminated.set()

    async def _serve(self, sock: socket.socket, data: bytes, leave: Callable[[], None], address: str) -> None:
        wire = Wire(sock, send_seconds=self._idle_seconds)
        try:
            secure = None if self._tls is None else await self._encrypt(wire, self._tls)
            scope = trio.CancelScope()
            stream = Stream(
                wire,
                secure,
                data,
                address=address,
                end=scope.cancel,
                head_seconds=self._head_seconds,
                idle_seconds=self._idle_seconds,
            )
            self._streams.add(stream)
            try:
                with scope:
                    state = ConnectionState({STREAM: stream})
                    await TCPServer(self._asgi, self._config, self._context, state, cast(Any, stream))
            finally:
                self._streams.discard(stream)
            await stream.finish()
        except (trio.BrokenResourceError, trio.TooSlowError):
            pass  # The client is gone, or does not speak TLS.
        except Exception as error:
            # One connection's fault must not end the others; a bad request gets its own answer.
            log.error("connection failed", fault=f"{type(error).__name__}: {error}", exc_info=error)
        finally:
            leave()
            await wire.aclose()

    async def _encrypt(self, wire: Wire, tls: ssl.SSLContext) -> trio.SSLStream[Wire]:
        secure = trio.SSLStream(wire, tls, server_side=True, https_compatible=True)
        with trio.fail_after(self._head_seconds):
            await secure.do_handshake()
        return secure

    async def _answer(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        stream = stream_of(scope)
        if self._https:
            cast(dict[str, Any], scope)["scheme"] = "https" if scope["type"] == "http" else "wss"
        if scope["type"] != "lifespan" and scope["client"] is None:
            scope["client"] = (stream.address, 0)
        begun = ended = False

        async def tell(message: ASGISendEvent) -> None:
            nonlocal begun, ended
            begun |= message["type"].endswith((".start", ".accept"))
            ended |= message["type"].endswith(".body") and not message.get("more_body", False)
            await send(message)
            if message["type"] == "websocket.accept":
                stream.accepted()

        try:
            with trio.CancelScope() as stream.session:
                await self._bounded(scope, receive, tell)
            if stream.violation is not None:
                code, reason = stream.violation.code, stream.violation.reason
                await send({"type": "websocket.close", "code": code, "reason": reason})
        except Exception as error:
            log.error("request failed", fault=f"{type(error).__name__}: {error}", exc_info=error)
            if not begun and scope["type"] == "http":
                await send({"type": "http.response.start", "status": 500, "headers": [(b"content-length", b"0")]})
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            # An answer that has begun but not ended must not look complete.
            stream.wire.cut_off |= begun and not ended and scope["type"] == "http"
            stream.answered()
