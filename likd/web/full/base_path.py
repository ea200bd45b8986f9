"""The base path: everything is served below it, and views see only what comes after it."""

from __future__ import annotations

from typing import Any, cast

from hypercorn.typing import ASGIFramework, ASGIReceiveCallable, ASGISendCallable, Scope

ELSEWHERE = "//"
"""A path with this beginning never exists."""


class BelowBase:
    """An application whose paths are below `base`; any other path does not exist."""

    def __init__(self, app: ASGIFramework, base: str) -> None:
        self._app = app
        self._base = base

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Serve a request or a websocket."""
        if self._base and scope["type"] in ("http", "websocket"):
            asked = cast(dict[str, Any], scope)
            path: str = asked["path"]
            if path == self._base and scope["type"] == "http":
                await self._add_slash(send)
                return
            below = path.startswith(f"{self._base}/")
            asked["path"] = path.removeprefix(self._base) if below else ELSEWHERE + path
        await self._app(scope, receive, send)

    async def _add_slash(self, send: ASGISendCallable) -> None:
        headers = [(b"location", f"{self._base}/".encode()), (b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 308, "headers": headers})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
