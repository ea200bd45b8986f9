"""What both lanes share about requests and answers."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from email.utils import formatdate
from http import HTTPStatus

import attrs

from likd.web.problems import CONTENT_TYPE, Problem, phrase

HEAD_BYTES_MAX = 16_384
"""The largest head of a request."""
RESPONSE_CACHE_MAX = 1024
RESPONSE_CACHE_BYTES_MAX = 64
"""At most this long are answers to POST /v1/events and GET /healthz."""
MEDIA_TYPES = frozenset(
    ["application/json", "application/x-ndjson", "application/ndjson", "application/jsonl", "text/plain", ""]
)
SECURITY = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin", "Vary": "Origin"}
"""The Vary header of every answer: each may differ for another origin, or for a request without one."""

EMBEDDED_VARY = "Origin, Referer"
"""The headers that a badge depends on: see Gate.resource_policy."""


@attrs.frozen
class Answer:
    """A response with a JSON body."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: dict[str, str] = attrs.field(factory=dict)


HEALTHY = Answer(200, b'{"status":"ok"}')
"""The answer that the process is up."""


def is_person(method: str, accept: str) -> bool:
    """Whether a request is a person's browser opening a page."""
    return method == "GET" and "text/html" in accept


@attrs.frozen
class EventHeaders:
    """What the headers of POST /v1/events say about its body."""

    content_type: str = ""
    content_encoding: str = ""
    idempotency_key: str | None = None

    @property
    def media_type(self) -> str:
        """The content type without its parameters."""
        return self.content_type.partition(";")[0].strip().lower()

    @property
    def plain(self) -> bool:
        """Whether the body is plain events: no encoding, no key."""
        return self.media_type in MEDIA_TYPES and not self.content_encoding and self.idempotency_key is None


def answer_problem(problem: Problem) -> Answer:
    """`problem` as an answer."""
    return Answer(problem.status, problem.body(), CONTENT_TYPE, problem.headers)


def tagged(answer: Answer) -> Answer:
    """A read as browsers and proxies may cache it, tagged by its content."""
    tag = f'"{hashlib.blake2b(answer.body, digest_size=8).hexdigest()}"'
    headers = {"Cache-Control": "no-cache", **answer.headers, "ETag": tag}
    return Answer(answer.status, answer.body, answer.content_type, headers)


def conditional(answer: Answer, if_none_match: str) -> Answer:
    """A read with a tag: a client that already has it is not sent it again."""
    if "ETag" not in answer.headers:
        answer = tagged(answer)
    if if_none_match and (answer.headers["ETag"] in if_none_match or if_none_match == "*"):
        return Answer(304, b"", answer.content_type, answer.headers)
    return answer


class Responses:
    """Makes responses. What is common to all of them is made once a second."""

    def __init__(self) -> None:
        self._second = 0
        self._date = ""
        self._known: dict[tuple[int, str, bytes], bytes] = {}

    def make(
        self, answer: Answer, *, keep_alive: bool, extra: Mapping[str, str] | None = None, head_only: bool = False
    ) -> bytes:
        """The bytes of `answer`, with the `extra` headers added; without its body if `head_only`."""
        now = int(time.time())
        if now != self._second:
            self._second = now
            self._date = formatdate(now, usegmt=True)
            self._known.clear()
        if head_only:
            return self._head(answer, keep_alive=keep_alive, extra=extra or {})
        if extra or answer.headers or not keep_alive or len(answer.body) > RESPONSE_CACHE_BYTES_MAX:
            return self._head(answer, keep_alive=keep_alive, extra=extra or {}) + answer.body
        kind = answer.status, answer.content_type, answer.body
        response = self._known.get(kind)
        if response is None:
            response = self._head(answer, keep_alive=keep_alive, extra={}) + answer.body
            if len(self._known) < RESPONSE_CACHE_MAX:
                self._known[kind] = response
        return response

    def _head(self, answer: Answer, *, keep_alive: bool, extra: Mapping[str, str]) -> bytes:
        headers = {
            "content-type": answer.content_type,
            "content-length": str(len(answer.body)),
            "date": self._date,
            **SECURITY,
            **extra,
            **answer.headers,
        }
        if answer.status == HTTPStatus.NOT_MODIFIED:
            # It would be the length of the body that is not sent (RFC 9110, 8.6).
            del headers["content-length"]
        if not keep_alive:
            headers["connection"] = "close"
        lines = [f"HTTP/1.1 {answer.status} {phrase(answer.status)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")
