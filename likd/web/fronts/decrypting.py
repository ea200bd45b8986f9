"""TLS in a front: what its clients send is decrypted before a lane sees it, wherever the lane is."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import TypeAlias

import trio

from likd.web.full.stream import Wire, linger

RECEIVE_BYTES = 1 << 16

Take: TypeAlias = Callable[[socket.socket, bytes, Callable[[], None], str], None]
"""Serves a connection of which so much was read before; what gives its seat back, and the address it comes from."""


class Decrypting:
    """Speaks TLS with clients, and passes on what they say over a socket pair, whose other end `take` serves.

    So a connection can move to the engine like any other. Its encryption stays here, and ends with it.
    """

    def __init__(self, tls: ssl.SSLContext, take: Take, *, head_seconds: float, idle_seconds: float) -> None:
        self._tls = tls
        self._take = take
        self._head_seconds = head_seconds
        self._idle_seconds = idle_seconds
        self._beginning: dict[Callable[[], None], trio.CancelScope] = {}
        """Connections that no lane has yet."""
        self._open = 0
        self._ended = trio.Event()
        self._stopping = False
        # No bound of its own: a connection has a seat.
        self._given, self._taken = trio.open_memory_channel[tuple[socket.socket, Callable[[], None], str]](float("inf"))

    def take(self, sock: socket.socket, leave: Callable[[], None], address: str) -> None:
        """Serve a client from `address` that was just accepted; `leave` gives its seat back."""
        self._open += 1
        self._given.send_nowait((sock, leave, address))

    def expel(self, leave: Callable[[], None]) -> None:
        """Close the connection that has this seat, if no lane has it."""
        if (scope := self._beginning.get(leave)) is not None:
            scope.cancel()

    async def run(self) -> None:
        """Serve until cancelled."""
        async with trio.open_nursery() as nursery:
            async for sock, leave, address in self._taken:
                self._beginning[leave] = scope = trio.CancelScope()
                nursery.start_soon(self._serve, sock, leave, address, scope)

    def stop(self) -> None:
        """Begin no more with connections that no lane has."""
        self._stopping = True
        for scope in self._beginning.values():
            scope.cancel()
        if not self._open:
            self._ended.set()

    async def wait_ended(self) -> None:
        """Wait until the last connection has ended after `stop`."""
        await self._ended.wait()

    async def _serve(
        self, sock: socket.socket, leave: Callable[[], None], address: str, beginning: trio.CancelScope
    ) -> None:
        wire = Wire(sock, send_seconds=self._idle_seconds)
        secure = trio.SSLStream(wire, self._tls, server_side=True, https_compatible=True)
        try:
            begun = False
            with beginning, suppress(trio.BrokenResourceError, trio.TooSlowError):
                with trio.fail_after(self._head_seconds):
                    await secure.do_handshake()
                begun = not self._stopping
            del self._beginning[leave]
            if not begun:
                leave()
                return
            ours, theirs = socket.socketpair()
            self._take(theirs, b"", leave, address)
            async with trio.SocketStream(trio.socket.from_stdlib_socket(ours)) as plain:
                whole = await self._pass_on(secure, plain)
            if whole:
                await linger(wire, secure)
        finally:
            await wire.aclose()
            self._open -= 1
            if self._stopping and not self._open:
                self._ended.set()

    async def _pass_on(self, secure: trio.SSLStream[Wire], plain: trio.SocketStream) -> bool:
        """Pass on what both sides say, until the lane or the client has ended it; whether the lane had said all."""
        whole = False
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._listen, secure, plain, nursery.cancel_scope)
            with suppress(trio.BrokenResourceError):
                while data := await plain.receive_some(RECEIVE_BYTES):
                    await secure.send_all(data)
                whole = True
            nursery.cancel_scope.cancel()
        return whole

    async def _listen(self, secure: trio.SSLStream[Wire], plain: trio.SocketStream, both: trio.CancelScope) -> None:
        try:
            while data := await secure.receive_some(RECEIVE_BYTES):
                await plain.send_all(data)
            await plain.send_eof()
        except trio.BrokenResourceError:
            both.cancel()
