"""Following the daemon's live websocket, over its restarts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import httpx
import msgspec
import trio
from trio_websocket import ConnectionClosed, HandshakeError, open_websocket_url

from likd.cli.client import ClientError, Daemon, client_backoff, open_client, printable

Message = dict[str, Any]

_WRONG = (1003, 1008, 1009, 4400)
"""Close codes that would come again."""


async def follow(
    daemon: Daemon,
    wishes: Sequence[Message],
    *,
    show: Callable[[Message], None],
    trouble: Callable[[str], None],
) -> None:
    """Tell the daemon `wishes` and `show` each message that comes, for ever; connect again when it goes away.

    Raises ClientError if the daemon can't be reached at first, or refuses the wishes.
    """
    backoff = client_backoff()
    met = False
    while True:
        try:
            async with open_websocket_url(
                daemon.live_url,
                extra_headers=[(name.encode(), value.encode()) for name, value in daemon.headers.items()],
                connect_timeout=10,
                disconnect_timeout=1,
            ) as websocket:
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
            fault = "the connection ended"
        except (HandshakeError, OSError, trio.TooSlowError) as error:
            fault = f"can't connect to {daemon.url}: {error or type(error).__name__}"
            if not met:
                raise ClientError(printable(fault)) from None
        trouble(printable(fault))
        await trio.sleep(backoff.next())


async def ask(daemon: Daemon, path: str, params: Sequence[tuple[str, str]] = ()) -> Message:
    """The JSON that the daemon answers to a GET. Raises ClientError."""
    async with open_client(daemon, 10) as client:
        try:
            response = await client.get(f"{daemon.url}{path}", params=list(params))
            answer: Message = response.json()
        except httpx.RequestError as error:
            raise ClientError(f"can't connect to {daemon.url}: {error or type(error).__name__}") from None
        except ValueError:
            raise ClientError(f"{daemon.url} does not answer as likd does") from None
    if response.is_error:
        raise ClientError(printable(str(answer.get("detail", response.status_code))))
    return answer
