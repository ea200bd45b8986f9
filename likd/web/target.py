"""Request targets of the full lane: where the absolute form points, before Quart looks at it."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, Scope
from quart_trio import QuartTrio

NO_PATH = "*"
"""The path of a target that has none: of `OPTIONS *`, and of what is no target."""
_ABSOLUTE = re.compile(rb"https?://([^/?#]*)(/.*)?", re.IGNORECASE | re.DOTALL)


class App(QuartTrio):
    """A Quart application that understands request targets as RFC 9112 has them (3.2)."""

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] in ("http", "websocket"):
            resolve(scope)  # type: ignore[arg-type]
        await super().__call__(scope, receive, send)


def resolve(scope: dict[str, Any]) -> None:
    """Put the path of the target, and its host if it names one, where Quart looks for them.

    An absolute target's host stands for the Host header (RFC 9112, 3.2.2).
    """
    if scope["path"].startswith("/"):
        return
    absolute = _ABSOLUTE.fullmatch(scope["raw_path"])
    if absolute is None:
        scope["path"] = NO_PATH
        return
    scope["path"] = unquote((absolute[2] or b"/").decode("latin-1"))
    others = [(name, value) for name, value in scope["headers"] if name.lower() != b"host"]
    scope["headers"] = [(b"host", absolute[1]), *others]
