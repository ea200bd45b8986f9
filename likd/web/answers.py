"""What both lanes say of requests and answers."""

from __future__ import annotations

import hashlib

import attrs

from likd.web.problems import CONTENT_TYPE, Problem

MEDIA_TYPES = frozenset(
    ["application/json", "application/x-ndjson", "application/ndjson", "application/jsonl", "text/plain", ""]
)
SECURITY = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin", "Vary": "Origin"}
"""What every answer says to browsers: each might be another for another origin, be it that it has none."""

EMBEDDED_VARY = "Origin, Referer"
"""What an answer depends on that pages embed: see Gate.resource_policy."""


@attrs.frozen
class Answer:
    """A response with a JSON body."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: dict[str, str] = attrs.field(factory=dict)


@attrs.frozen
class EventHeaders:
    """What the headers of POST /v1/events say of its body."""

    content_type: str = ""
    content_encoding: str = ""
    idempotency_key: str | None = None

    @property
    def media_type(self) -> str:
        """The content type without its parameters."""
        return self.content_type.partition(";")[0].strip().lower()

    @property
    def plain(self) -> bool:
        """Whether the body is the events and nothing else: no encoding, no key."""
        return self.media_type in MEDIA_TYPES and not self.content_encoding and self.idempotency_key is None


def answer_problem(problem: Problem) -> Answer:
    """`problem` as an answer."""
    return Answer(problem.status, problem.body(), CONTENT_TYPE, problem.headers)


def conditional(answer: Answer, if_none_match: str) -> Answer:
    """A read as browsers and proxies may keep it: whoever has it already need not be sent it again."""
    tag = f'"{hashlib.blake2b(answer.body, digest_size=8).hexdigest()}"'
    headers = {"Cache-Control": "no-cache", **answer.headers, "ETag": tag}
    if tag in if_none_match or if_none_match == "*":
        return Answer(304, b"", answer.content_type, headers)
    return attrs.evolve(answer, headers=headers)
