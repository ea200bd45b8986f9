"""The web server: accepts connections and gives them to Hypercorn, and ends them in order."""

from __future__ import annotations

import errno
from typing import Any

import structlog
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config as HypercornConfig
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from quart_trio import QuartTrio

from likd.config import Bind
from likd.live import LiveHub

BACKLOG = 1024
PING_SECONDS = 20.0
READ_TIMEOUT_SECONDS = 75.0
KEEP_ALIVE_SECONDS = 60.0
GOODBYE_SECONDS = 1.0
"""How long websockets get for their closing handshake at a shutdown."""

log = structlog.get_logger(__name__)


class BindError(Exception):
    """The address can't be listened on; the message says which and why."""


async def open_listeners(bind: Bind) -> list[trio.SocketListener]:
    """Listen on `bind`. Raises BindError."""
    try:
        return await trio.open_tcp_listeners(bind.port, host=bind.host, backlog=BACKLOG)
    except OSError as error:
        reason = error.strerror or str(error)
        if isinstance(error.__cause__, BaseExceptionGroup):
            reason = "; ".join(str(inner) for inner in error.__cause__.exceptions)
        if error.errno == errno.EADDRINUSE:
            reason = "the address is in use"
        raise BindError(f"can't listen on {bind}: {reason}") from error


class WebServer:
    """Serves `app` on `listeners`, to at most `connections_max` connections at once.

    The connections live in a nursery of `run`; when `run` is cancelled, or `stop` is called, listening ends
    first, then websockets are closed with 1001, then requests in flight get `grace_seconds`.
    """

    def __init__(
        self,
        *,
        app: QuartTrio,
        listeners: list[trio.SocketListener],
        hub: LiveHub,
        connections_max: int,
        grace_seconds: float,
    ) -> None:
        self._app = app
        self._listeners = listeners
        self._hub = hub
        self._connections_max = connections_max
        self._grace = grace_seconds
        self._stopping = trio.Event()
        self._asgi = ASGIWrapper(app)
        self._context = WorkerContext(None)
        self._config = HypercornConfig()
        self._config.errorlog = None
        self._config.accesslog = None
        self._config.include_server_header = False
        self._config.websocket_ping_interval = PING_SECONDS
        self._config.websocket_max_message_size = 1 << 20
        self._config.read_timeout = int(READ_TIMEOUT_SECONDS)
        self._config.keep_alive_timeout = KEEP_ALIVE_SECONDS
        self.connections = 0
        self.connections_refused = 0

    @property
    def addresses(self) -> list[str]:
        """The URLs that are listened on."""
        addresses = []
        for listener in self._listeners:
            host, port = listener.socket.getsockname()[:2]
            addresses.append(f"http://{Bind(host, port)}")
        return addresses

    def stop(self) -> None:
        """Take no more connections, and end the ones there are."""
        self._stopping.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until stopped."""
        self._context = WorkerContext(None)
        async with trio.open_nursery() as connections:
            self._app.nursery = connections
            await self._app.startup()
            task_status.started()
            async with trio.open_nursery() as accepting:
                if not self._stopping.is_set():
                    for listener in self._listeners:
                        accepting.start_soon(self._accept, listener, connections)
                await self._stopping.wait()
                accepting.cancel_scope.cancel()
            for listener in self._listeners:
                await listener.aclose()
            self._hub.closing.set()
            # Idle connections end at once by this, requests in flight when they are answered.
            await self._context.terminated.set()
            connections.cancel_scope.deadline = trio.current_time() + self._grace
        await self._app.shutdown()

    async def _accept(self, listener: trio.SocketListener, connections: trio.Nursery) -> None:
        """Accept until cancelled. `connections` outlives the accepting, so that requests in flight are answered."""
        while True:
            try:
                stream = await listener.accept()
            except OSError as error:
                if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    raise
                log.error("can't accept a connection", fault=error.strerror)
                await trio.sleep(0.1)
                continue
            if self.connections >= self._connections_max:
                self.connections_refused += 1
                await trio.aclose_forcefully(stream)
                continue
            self.connections += 1
            connections.start_soon(self._serve, stream)

    async def _serve(self, stream: trio.SocketStream) -> None:
        try:
            await TCPServer(self._asgi, self._config, self._context, ConnectionState({}), _as_tls(stream))
        except Exception as error:
            # One connection's fault must not end the others; what a request does wrong has its own answer.
            log.error("connection failed", fault=f"{type(error).__name__}: {error}", exc_info=error)
        finally:
            self.connections -= 1
            await trio.aclose_forcefully(stream)


def _as_tls(stream: trio.SocketStream) -> Any:
    """TCPServer is typed for TLS streams and takes plain ones just as well."""
    return stream
