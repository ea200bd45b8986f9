"""HTTP/1.1 heads and responses, as the express lane needs them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import Enum, auto
from typing import TypeAlias

import attrs

from likd.web.access.addresses import valid_host
from likd.web.access.credentials import Credentials
from likd.web.answers import EventHeaders, is_person
from likd.web.api.files import takes_gzip
from likd.web.api.histories import HistoryRequest
from likd.web.api.pictures import PictureRequest
from likd.web.api.reads import TopRequest
from likd.web.query_string import query_values

HEAD_CACHE_MAX = 2048
HEAD_CACHE_BYTES_MAX = 1024
COUNT_URLS_HOT_MAX = 16
KEEP_ALIVE: Mapping[str, str] = {"connection": "keep-alive"}

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_HOT = (
    rb"(POST %(base)b/v1/events|(?:GET|HEAD) %(base)b(/healthz|/v1/counts|/badge\.svg|/pixel\.gif|/v1/history|/v1/top"
    rb"|/likd(?:\.[0-9A-Za-z]+)?\.js|/openapi\.json|/static/[\w.-]+)(?:\?([\x21\x22\x24-\x7e]*))?)"
    rb" HTTP/1\.([01])\r\n"
)
_FIELDS = re.compile(rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]++:[\t\x20-\x7e\x80-\xff]*+\r\n)*+\r\n")
_FIELD = re.compile(rb"([^:]++):[ \t]*+([^\r]*+)\r\n")
_BARE_LINE_FEED = re.compile(rb"(?<!\r)\n")
_LENGTH = re.compile(rb"[0-9]{1,15}")


class Operation(Enum):
    """What a request is for: one of the hot operations, or anything else."""

    EVENTS = auto()
    COUNTS = auto()
    BADGE = auto()
    PIXEL = auto()
    HISTORY = auto()
    TOP = auto()
    FILE = auto()
    HEALTH = auto()
    COLD = auto()


_OPERATIONS = {
    b"/healthz": Operation.HEALTH,
    b"/v1/counts": Operation.COUNTS,
    b"/badge.svg": Operation.BADGE,
    b"/pixel.gif": Operation.PIXEL,
    b"/v1/history": Operation.HISTORY,
    b"/v1/top": Operation.TOP,
}
"""Operations by path. All other hot paths are files."""


@attrs.frozen
class CountsRequest:
    """The parameters of a request for the counts of a few URLs."""

    urls: tuple[str, ...]
    partial: bool
    """Whether each URL is to be answered separately."""
    if_none_match: str


@attrs.frozen
class FileRequest:
    """The parameters of a request for a file."""

    path: str
    compressed: bool
    if_none_match: str


Asked: TypeAlias = CountsRequest | PictureRequest | HistoryRequest | TopRequest | FileRequest


@attrs.frozen
class Head:
    """A valid request head."""

    operation: Operation
    length: int = 0
    keep_alive: bool = True
    expects_continue: bool = False
    events: EventHeaders = EventHeaders()
    asked: Asked | None = None
    """The parameters of a read."""
    head_only: bool = False
    """Whether the answer goes without its body."""
    credentials: Credentials = Credentials()
    data: bytes = attrs.field(default=b"", repr=False)
    """The head as received."""
    says_keep_alive: bool = False
    """Whether the answer must say that the connection stays open, as HTTP/1.0 needs."""
    plain: bool = attrs.field(init=False)
    """Whether the body of POST /v1/events is plain events."""
    frequent: bool = attrs.field(init=False)
    """Whether it is plain, has the same answer for everyone who sends it, and lets the next request follow."""

    @plain.default
    def _plain(self) -> bool:
        return self.operation is Operation.EVENTS and self.events.plain

    @frequent.default
    def _frequent(self) -> bool:
        return self.plain and self.keep_alive and not self.says_keep_alive


COLD = Head(Operation.COLD)


class Heads:
    """Parses heads of requests for paths below `base`.

    Clients repeat their heads to the letter, so parsed ones are remembered by their bytes.

    A head that breaks HTTP is COLD, too: a complete parser decides how to answer it.
    """

    def __init__(self, base: str = "") -> None:
        self._hot = re.compile(_HOT % {b"base": re.escape(base.encode())})
        self._known: dict[bytes, Head] = {}

    def recall(self, data: bytes) -> Head | None:
        """The head that `data` is, if it is remembered from before."""
        return self._known.get(data)

    def read(self, data: bytes) -> Head:
        """The head that `data` is, including its empty line."""
        head = self._known.get(data)
        if head is None:
            head = _parse(data, self._hot)
            if head.events.idempotency_key is None and len(data) <= HEAD_CACHE_BYTES_MAX:
                if len(self._known) >= HEAD_CACHE_MAX:
                    self._known.clear()
                self._known[data] = head
        return head

    def read_beginning(self, data: bytes) -> Head | None:
        """COLD if a head that begins with `data` can't become hot, None if it can."""
        return COLD if _BARE_LINE_FEED.search(data) else None


def _parse(data: bytes, hot_head: re.Pattern[bytes]) -> Head:
    """A hot head in the plainest form that HTTP allows. Everything else is COLD and left to a complete parser."""
    hot = hot_head.match(data)
    if hot is None or not _FIELDS.fullmatch(data, hot.end()):
        return COLD
    fields = _FIELD.findall(data, hot.end())
    headers = {name.lower(): value.rstrip(b" \t") for name, value in fields}
    old = hot[4] == b"0"
    connection = headers.get(b"connection", b"").lower()
    host = headers.get(b"host")
    length = headers.get(b"content-length", b"0")
    expect = headers.get(b"expect", b"").lower()
    if (
        len(headers) < len(fields)
        or b"transfer-encoding" in headers
        or b"upgrade" in headers
        or connection not in (b"", b"keep-alive", b"close")
        or (host is None and not old)
        or (host is not None and not valid_host(host.decode("latin-1")))
        or not _LENGTH.fullmatch(length)
        or expect not in (b"", b"100-continue")
    ):
        return COLD

    def header(name: str) -> str:
        value: bytes = headers.get(name.lower().encode(), b"")
        return value.decode("latin-1")

    credentials = Credentials.of(header, hot[3] or b"")
    method = hot[1].partition(b" ")[0].decode()
    operation, asked = _operation(hot, method, header, credentials)
    if operation is Operation.COLD or (int(length) and operation is not Operation.EVENTS):
        return COLD
    if is_person(method, header("Accept")):
        # A person may have to log in, and gets errors as a page.
        return COLD
    keep_alive = connection == b"keep-alive" if old else connection != b"close"
    return Head(
        operation,
        int(length),
        keep_alive,
        expect == b"100-continue" and not old,
        EventHeaders(
            header("Content-Type"),
            header("Content-Encoding"),
            header("Idempotency-Key") if b"idempotency-key" in headers else None,
        ),
        asked,
        method == "HEAD",
        credentials,
        data,
        says_keep_alive=old and keep_alive,
    )


def _operation(
    hot: re.Match[bytes], method: str, header: Callable[[str], str], credentials: Credentials
) -> tuple[Operation, Asked | None]:
    path, query = hot[2], hot[3] or b""
    if path is None:
        return Operation.EVENTS, None
    operation = _OPERATIONS.get(path, Operation.FILE)
    if_none_match = header("If-None-Match")
    match operation:
        case Operation.HEALTH:
            return operation, None
        case Operation.FILE:
            return operation, FileRequest(path.decode(), takes_gzip(header("Accept-Encoding")), if_none_match)
        case Operation.COUNTS:
            urls = tuple(query_values(query, "url"))
            partial = query_values(query, "partial")
            if 1 <= len(urls) <= COUNT_URLS_HOT_MAX and partial in ([], ["true"]):
                return operation, CountsRequest(urls, bool(partial), if_none_match)
            return Operation.COLD, None
        case Operation.HISTORY:
            return operation, HistoryRequest.of(query, if_none_match)
        case Operation.TOP:
            return operation, TopRequest.of(query, if_none_match)
    return operation, PictureRequest.of(method, query, header, credentials)
