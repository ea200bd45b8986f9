"""Problems: errors as HTTP answers, RFC 9457."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType

import msgspec

from likd.errors import LikdError, StoreError, Unsupported

CONTENT_TYPE = "application/problem+json"

_PHRASES = MappingProxyType({413: "Request Entity Too Large", 422: "Unprocessable Entity"})
"""Reason phrases that differ between versions of Python."""


def phrase(status: int) -> str:
    """The reason phrase of an HTTP status."""
    return _PHRASES.get(status) or HTTPStatus(status).phrase


class Problem(LikdError):
    """An answer that says what is wrong: a `status`, a sentence, and members that say where."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        members: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})
        self.members = {name: value for name, value in (members or {}).items() if value is not None}

    def body(self) -> bytes:
        """The problem as JSON."""
        return msgspec.json.encode({"type": "about:blank", "title": phrase(self.status), **self.about()})

    def about(self) -> dict[str, object]:
        """The problem as one part of an answer."""
        return {"status": self.status, "detail": self.detail, **self.members}


def wrong(field: str, value: str, expected: str) -> Problem:
    """The problem of a parameter."""
    return Problem(422, f"{field} is {value[:80]!a}", members={"field": field, "expected": expected})


def store_away(error: StoreError) -> Problem:
    """The problem of a store that does not answer a read, or can't."""
    if isinstance(error, Unsupported):
        return Problem(501, str(error))
    return Problem(503, f"the store does not answer: {error}", headers={"Retry-After": "1"})
