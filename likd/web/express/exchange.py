"""A request of the express lane, and the place for its answer."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from likd.web.express.http1 import Head
from likd.web.problems import Problem

NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class Exchange:
    """A request, and the place for its answer.

    Without a `body` it is only announced: the body is large, and comes once it is admitted. With a `problem` it could
    not be read, and that is the answer.
    """

    __slots__ = ("admitted", "body", "client", "head", "headers", "keep_alive", "problem", "response")

    def __init__(self, head: Head, body: bytes | None) -> None:
        self.head = head
        self.body = body
        self.problem: Problem | None = None
        self.keep_alive = head.keep_alive
        self.admitted = 0
        """Bytes of the body that are charged to the budget until the answer is known."""
        self.headers: Mapping[str, str] = NO_HEADERS
        """Headers that the answer gets because of its caller."""
        self.response: bytes | None = None
        self.client: Any = None
        """The owner of the connection's bytes; the connection itself ignores it."""
