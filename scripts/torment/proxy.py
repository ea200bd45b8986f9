"""A TCP proxy between a node and its store, which can be cut in either way: at once, or in silence."""

from __future__ import annotations

from collections.abc import Callable

import trio

BUFFER_BYTES = 1 << 16


class Proxy:
    """Forwards connections to whichever port `target` says, until it is cut."""

    def __init__(self, target: Callable[[], int]) -> None:
        self._target = target
        self._open = trio.Event()
        self._open.set()
        self._refuses = False
        self._connections: set[trio.CancelScope] = set()
        self.port = 0

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve, until cancelled."""
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.port = listener.socket.getsockname()[1]
        task_status.started()
        await trio.serve_listeners(self._serve, [listener])

    def cut(self, *, silently: bool) -> None:
        """Let nothing through from now on. Connections end; or, `silently`, they stay open but carry nothing."""
        if silently:
            self._open = trio.Event()
            return
        self._refuses = True
        for scope in self._connections:
            scope.cancel()

    def heal(self) -> None:
        """Let everything through again. Silently cut connections end: their servers may be different by now."""
        self._refuses = False
        if not self._open.is_set():
            self._open.set()
            for scope in self._connections:
                scope.cancel()

    async def _serve(self, client: trio.SocketStream) -> None:
        if self._refuses:
            await client.aclose()
            return
        with trio.CancelScope() as scope:
            self._connections.add(scope)
            try:
                server = await trio.open_tcp_stream("127.0.0.1", self._target())
                async with server, trio.open_nursery() as nursery:
                    nursery.start_soon(self._pass_on, client, server, nursery.cancel_scope)
                    nursery.start_soon(self._pass_on, server, client, nursery.cancel_scope)
            except OSError:
                pass
            finally:
                self._connections.discard(scope)
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(client)

    async def _pass_on(self, source: trio.SocketStream, to: trio.SocketStream, both: trio.CancelScope) -> None:
        try:
            while data := await source.receive_some(BUFFER_BYTES):
                await self._open.wait()
                await to.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        both.cancel()
