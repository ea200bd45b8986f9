"""Asks the daemon to do something, and reads its answer."""

from __future__ import annotations

from typing import Any

import httpx

from likd.cli.client import ClientError, Daemon, open_client, printable


async def post(daemon: Daemon, path: str, body: bytes, headers: dict[str, str] | None = None) -> dict[str, Any]:
    """The daemon's answer to `body`. Raises ClientError, in the daemon's words if it refuses."""
    return await ask(daemon, "POST", path, body, headers)


async def ask(
    daemon: Daemon, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> dict[str, Any]:
    """The daemon's answer. Raises ClientError, in the daemon's words if it refuses."""
    async with open_client(daemon, 120, headers) as client:
        try:
            response = await client.request(method, f"{daemon.root}{path}", content=body)
        except httpx.RequestError as error:
            raise ClientError(f"can't connect to {daemon.url}: {error or type(error).__name__}") from None
    if response.is_error:
        raise ClientError(reason(response))
    answer: dict[str, Any] = response.json()
    return answer


def reason(response: httpx.Response) -> str:
    """Why the daemon refused, in one line."""
    try:
        problem = response.json()
        where = [f"{name} {problem[name]}" for name in ("line", "field") if name in problem]
        expected = f" (expected {problem['expected']})" if "expected" in problem else ""
        return printable(f"{problem['detail']}{expected}{': ' if where else ''}{', '.join(where)}")
    except (ValueError, KeyError, TypeError):
        return f"the daemon answered {response.status_code}"
