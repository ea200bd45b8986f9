"""HTTP/1.1 heads and responses, as the express lane needs them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from email.utils import formatdate
from enum import Enum, auto
from http import HTTPStatus
from urllib.parse import parse_qsl

import attrs
import httptools

from likd.web.access import Credentials
from likd.web.answer import SECURITY, Answer, EventHeaders

HEAD_BYTES_MAX = 16_384
HEAD_CACHE_MAX = 2048
HEAD_CACHE_BYTES_MAX = 1024
COUNT_URLS_HOT_MAX = 16
RESPONSE_CACHE_MAX = 1024
RESPONSE_CACHE_BYTES_MAX = 64
"""Answers to POST /v1/events and GET /healthz: each of these bodies has one status and no headers of its own."""

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class BadHead(ValueError):
    """A request head that breaks HTTP/1.1; the message says how."""


class Operation(Enum):
    """What a request asks for: one of the hot operations, or anything else."""

    EVENTS = auto()
    COUNTS = auto()
    HEALTH = auto()
    COLD = auto()


@attrs.frozen
class Head:
    """A request head that checks out."""

    operation: Operation
    length: int = 0
    keep_alive: bool = True
    expects_continue: bool = False
    events: EventHeaders = EventHeaders()
    urls: tuple[str, ...] = ()
    credentials: Credentials = Credentials()
    if_none_match: str = ""
    plain: bool = attrs.field(init=False)
    """Whether the body of POST /v1/events is events and nothing else."""

    @plain.default
    def _plain(self) -> bool:
        return self.events.plain


COLD = Head(Operation.COLD)


class Heads:
    """Reads heads. Clients repeat theirs to the letter, so what was parsed is remembered by its bytes."""

    def __init__(self) -> None:
        self._known: dict[bytes, Head] = {}

    def read(self, data: bytes) -> Head:
        """The head that `data` is, up to and with its empty line. Raises BadHead."""
        head = self._known.get(data)
        if head is None:
            head = _parse(data)
            if head.events.idempotency_key is None and len(data) <= HEAD_CACHE_BYTES_MAX:
                if len(self._known) >= HEAD_CACHE_MAX:
                    self._known.clear()
                self._known[data] = head
        return head


class _Fields:
    """What the parser finds in a head."""

    def __init__(self) -> None:
        self.parser = httptools.HttpRequestParser(self)
        self.target = b""
        self.headers: dict[bytes, bytes] = {}
        self.repeated = False
        self.begun = 0
        self.keep_alive = False

    def on_message_begin(self) -> None:
        self.begun += 1

    def on_url(self, target: bytes) -> None:
        self.target += target

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        self.repeated |= name in self.headers
        self.headers[name] = value

    def on_headers_complete(self) -> None:
        # The parser forgets it when the message is complete, as one without a body is at once.
        self.keep_alive = self.parser.should_keep_alive()


def _parse(data: bytes) -> Head:
    if data.startswith(b"PRI * HTTP/2"):
        return COLD
    fields = _Fields()
    parser = fields.parser
    try:
        parser.feed_data(data)
    except httptools.HttpParserUpgrade:
        return COLD
    except httptools.HttpParserError as error:
        raise BadHead(str(error) or type(error).__name__) from None
    if fields.begun != 1:
        raise BadHead("a head ends before its empty line")
    headers = fields.headers
    if b"host" not in headers and parser.get_http_version() != "1.0":
        raise BadHead("the Host header is missing")
    # Whatever is unusual, Hypercorn is asked: repeated headers, chunked bodies, other methods and paths.
    if fields.repeated or b"transfer-encoding" in headers or b"upgrade" in headers:
        return COLD
    operation, urls = _operation(parser.get_method(), fields.target)
    length = int(headers.get(b"content-length", b"0"))
    if operation is Operation.COLD or (length and operation is not Operation.EVENTS):
        return COLD
    key = headers.get(b"idempotency-key")
    return Head(
        operation,
        length,
        fields.keep_alive,
        headers.get(b"expect", b"").lower() == b"100-continue",
        EventHeaders(
            headers.get(b"content-type", b"").decode("latin-1"),
            headers.get(b"content-encoding", b"").decode("latin-1"),
            None if key is None else key.decode("latin-1"),
        ),
        urls,
        Credentials(
            headers.get(b"authorization", b"").decode("latin-1"),
            headers.get(b"origin", b"").decode("latin-1"),
            headers.get(b"host", b"").decode("latin-1"),
            headers.get(b"x-forwarded-for", b"").decode("latin-1"),
            headers.get(b"cookie", b"").decode("latin-1"),
        ),
        headers.get(b"if-none-match", b"").decode("latin-1"),
    )


def _operation(method: bytes, target: bytes) -> tuple[Operation, tuple[str, ...]]:
    if method == b"POST" and target == b"/v1/events":
        return Operation.EVENTS, ()
    if method == b"GET":
        if target == b"/healthz":
            return Operation.HEALTH, ()
        path, _, query = target.partition(b"?")
        if path == b"/v1/counts":
            fields = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
            urls = tuple(value for name, value in fields if name == "url")
            if 1 <= len(urls) <= COUNT_URLS_HOT_MAX:
                return Operation.COUNTS, urls
    return Operation.COLD, ()


class Responses:
    """Makes responses. What does not change from one to the next is made once a second."""

    def __init__(self) -> None:
        self._second = 0
        self._date = ""
        self._known: dict[bytes, bytes] = {}

    def make(self, answer: Answer, *, keep_alive: bool, extra: Mapping[str, str] | None = None) -> bytes:
        """The bytes of `answer`, with the headers that `extra` adds to its own."""
        now = int(time.time())
        if now != self._second:
            self._second = now
            self._date = formatdate(now, usegmt=True)
            self._known.clear()
        if extra:
            return self._make(answer, keep_alive, extra)
        common = keep_alive and answer.status < 300 and len(answer.body) <= RESPONSE_CACHE_BYTES_MAX
        response = self._known.get(answer.body) if common else None
        if response is None:
            response = self._make(answer, keep_alive, {})
            if common and len(self._known) < RESPONSE_CACHE_MAX:
                self._known[answer.body] = response
        return response

    def _make(self, answer: Answer, keep_alive: bool, extra: Mapping[str, str]) -> bytes:
        headers = {
            "content-type": answer.content_type,
            "content-length": str(len(answer.body)),
            "date": self._date,
            **SECURITY,
            **extra,
            **answer.headers,
        }
        if answer.status == HTTPStatus.NOT_MODIFIED:
            # It would be that of the answer which is not sent (RFC 9110, 8.6).
            del headers["content-length"]
        if not keep_alive:
            headers["connection"] = "close"
        lines = [f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + answer.body
