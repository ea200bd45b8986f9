"""Request bodies in the full lane, bounded by their caller's limit, the budget for all, and the time they may take.

Hypercorn and Quart take everything into memory, at any pace, so it is bounded before they get it.
"""

from __future__ import annotations

import math
from typing import Any, cast

import attrs
import trio
from hypercorn.typing import ASGIFramework, ASGIReceiveCallable, ASGIReceiveEvent, ASGISendCallable, Scope
from quart import request

from likd.web.access.body_budget import BODY_BYTES_PER_SECOND, BODY_SECONDS, BodyBudget
from likd.web.problems import Problem

_KEY = "likd.body"
_END = cast(ASGIReceiveEvent, {"type": "http.request", "body": b"", "more_body": False})


@attrs.define(eq=False)
class _Incoming:
    """A body that is being received; `refused` once it exceeds a bound, after which no more of it is kept."""

    limit: float = math.inf
    size: int = 0
    whole: bool = False
    refused: Problem | None = None


class BoundedBodies:
    """An ASGI application that passes requests on to `app`, after taking `room` for their bodies."""

    def __init__(self, app: ASGIFramework, room: BodyBudget) -> None:
        self._app = app
        self._room = room

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Handle one connection, as ASGI defines."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        incoming = cast(dict[str, Any], scope)[_KEY] = _Incoming()
        began = trio.current_time()

        async def bounded() -> ASGIReceiveEvent:
            while True:
                deadline = began + BODY_SECONDS + incoming.size / BODY_BYTES_PER_SECOND
                with trio.move_on_at(math.inf if incoming.whole else deadline) as timeout:
                    event = await receive()
                if timeout.cancelled_caught:
                    return self._refuse(incoming, Problem(408, "the request did not arrive in time"))
                if event["type"] != "http.request" or incoming.refused is None:
                    break
            if event["type"] == "http.request":
                incoming.whole = not event.get("more_body", False)
                if not self._room.take(len(event["body"])):
                    problem = Problem(503, "too many request bodies are being received", headers={"Retry-After": "1"})
                    return self._refuse(incoming, problem)
                incoming.size += len(event["body"])
                if incoming.size > incoming.limit:
                    return self._refuse(incoming, _too_large(incoming))
            return event

        try:
            await self._app(scope, bounded, send)
        finally:
            self._room.give_back(incoming.size)

    def _refuse(self, incoming: _Incoming, problem: Problem) -> ASGIReceiveEvent:
        incoming.refused = problem
        incoming.whole = True
        return _END


def limit_body(limit: int) -> None:
    """Allow the body of this request `limit` bytes. Raises Problem if it is already known to exceed that."""
    incoming = _incoming()
    incoming.limit = limit
    if max(incoming.size, request.content_length or 0) > limit:
        raise _too_large(incoming)


async def read_body() -> bytes:
    """The body of this request. Raises Problem if it exceeded a bound."""
    body: bytes = await request.body
    refused = _incoming().refused
    if refused is not None:
        raise refused
    return body


def _incoming() -> _Incoming:
    incoming: _Incoming = cast(dict[str, Any], request.scope)[_KEY]
    return incoming


def _too_large(incoming: _Incoming) -> Problem:
    return Problem(413, f"the body is larger than {incoming.limit:.0f} bytes")
