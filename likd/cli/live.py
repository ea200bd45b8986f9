"""Follows the daemon's live websocket, across its restarts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec
import trio
from trio_websocket import (
    ConnectionClosed,
    HandshakeError,
    WebSocketConnection,
    open_websocket_url,
    wrap_client_stream,
)

from likd.cli.client import ClientError, Daemon, client_backoff, open_client, printable

Message = dict[str, Any]

CONNECT_SECONDS = 10
DISCONNECT_SECONDS = 1

_WRONG = (1003, 1008, 1009, 4400)
"""Close codes that a new connection would get, too."""


async def follow(
    daemon: Daemon,
    wishes: Sequence[Message],
    *,
    show: Callable[[Message], None],
    trouble: Callable[[str], None],
) -> None:
    """Tell the daemon `wishes` and `show` each message it sends, for ever; reconnect when the connection is lost.

    Raises ClientError if the first connection fails, or if the daemon refuses the wishes.
    """
    backoff = client_backoff()
    met = False
    while True:
        try:
            async with _open_websocket(daemon) as websocket:
                for wish in wishes:
                    await websocket.send_message(msgspec.json.encode(wish).decode())
                while True:
                    message = msgspec.json.decode(await websocket.get_message())
                    met = True
                    backoff.reset()
                    show(message)
        except ConnectionClosed as closed:
            reason = closed.reason
            if reason is not None and reason.code in _WRONG:
                raise ClientError(printable(reason.reason or f"closed with {reason.code}")) from None
            fault = "the connection was lost"
        except (HandshakeError, OSError, trio.TooSlowError) as error:
            fault = f"can't connect to {daemon.url}: {error or type(error).__name__}"
            if not met:
                raise ClientError(printable(fault)) from None
        trouble(printable(fault))
        await trio.sleep(backoff.next())


@asynccontextmanager
async def _open_websocket(daemon: Daemon) -> AsyncIterator[WebSocketConnection]:
    """The daemon's websocket. Raises HandshakeError, OSError, trio.TooSlowError."""
    headers = [(name.encode(), value.encode()) for name, value in daemon.headers.items()]
    if daemon.socket is None:
        async with open_websocket_url(
            daemon.live_url,
            extra_headers=headers,
            connect_timeout=CONNECT_SECONDS,
            disconnect_timeout=DISCONNECT_SECONDS,
        ) as websocket:
            yield websocket
        return
    failed: Exception | None = None
    async with trio.open_nursery() as nursery:
        try:
            with trio.fail_after(CONNECT_SECONDS):
                stream = await trio.open_unix_socket(daemon.socket)
            async with stream:
                with trio.fail_after(CONNECT_SECONDS):
                    parts = urlsplit(daemon.live_url)
                    websocket = await wrap_client_stream(
                        nursery, stream, parts.netloc, parts.path, extra_headers=headers
                    )
                yield websocket
                with trio.move_on_after(DISCONNECT_SECONDS):
                    await websocket.aclose()
        except Exception as error:
            # Raised below, not wrapped in the nursery's exception group.
            failed = error
        nursery.cancel_scope.cancel()
    if failed is not None:
        raise failed


async def ask(daemon: Daemon, path: str, params: Sequence[tuple[str, str]] = ()) -> Message:
    """The daemon's JSON answer to a GET. Raises ClientError."""
    async with open_client(daemon, 10) as client:
        try:
            response = await client.get(f"{daemon.root}{path}", params=list(params))
            answer: Message = response.json()
        except httpx.RequestError as error:
            raise ClientError(f"can't connect to {daemon.url}: {error or type(error).__name__}") from None
        except ValueError:
            raise ClientError(f"{daemon.url} does not answer like likd") from None
    if response.is_error:
        raise ClientError(printable(str(answer.get("detail", response.status_code))))
    return answer
