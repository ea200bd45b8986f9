"""HTTP/1.1 heads and responses, as the express lane needs them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum, auto

import attrs

from likd.web.access.addresses import valid_host
from likd.web.access.gate import Credentials
from likd.web.access.visitors import PURPOSES
from likd.web.answers import EventHeaders
from likd.web.query_string import query_values

HEAD_CACHE_MAX = 2048
HEAD_CACHE_BYTES_MAX = 1024
COUNT_URLS_HOT_MAX = 16
KEEP_ALIVE: Mapping[str, str] = {"connection": "keep-alive"}

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_HOT = re.compile(rb"(POST /v1/events|GET /healthz|GET /v1/counts\?([\x21\x22\x24-\x7e]*)) HTTP/1\.([01])\r\n")
_FIELDS = re.compile(rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]++:[\t\x20-\x7e\x80-\xff]*+\r\n)*+\r\n")
_FIELD = re.compile(rb"([^:]++):[ \t]*+([^\r]*+)\r\n")
_BARE_LINE_FEED = re.compile(rb"(?<!\r)\n")
_PURPOSES = [name.lower().encode() for name in PURPOSES]
_LENGTH = re.compile(rb"[0-9]{1,15}")


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
    partial: bool = False
    """Whether each of the URLs is to be answered by itself."""
    credentials: Credentials = Credentials()
    if_none_match: str = ""
    says_keep_alive: bool = False
    """Whether the client has to be told that the connection stays open: in HTTP/1.0 it does not by itself."""
    plain: bool = attrs.field(init=False)
    """Whether the body of POST /v1/events is events and nothing else."""

    @plain.default
    def _plain(self) -> bool:
        return self.operation is Operation.EVENTS and self.events.plain


COLD = Head(Operation.COLD)


class Heads:
    """Reads heads. Clients repeat theirs to the letter, so what was parsed is remembered by its bytes.

    A head that breaks HTTP is COLD, too: what is said of it is for a whole parser to decide.
    """

    def __init__(self) -> None:
        self._known: dict[bytes, Head] = {}

    def read(self, data: bytes) -> Head:
        """The head that `data` is, up to and with its empty line."""
        head = self._known.get(data)
        if head is None:
            head = _parse(data)
            if head.events.idempotency_key is None and len(data) <= HEAD_CACHE_BYTES_MAX:
                if len(self._known) >= HEAD_CACHE_MAX:
                    self._known.clear()
                self._known[data] = head
        return head

    def read_beginning(self, data: bytes) -> Head | None:
        """COLD if a head that begins with `data` can't become a hot one, None if it may."""
        return COLD if _BARE_LINE_FEED.search(data) else None


def _parse(data: bytes) -> Head:
    """A hot head, of the plainest form that HTTP allows. Everything else is COLD: a whole parser looks at it."""
    hot = _HOT.match(data)
    if hot is None or not _FIELDS.fullmatch(data, hot.end()):
        return COLD
    fields = _FIELD.findall(data, hot.end())
    headers = {name.lower(): value.rstrip(b" \t") for name, value in fields}
    old = hot[3] == b"0"
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
    operation, urls, partial = _operation(hot)
    if operation is Operation.COLD or (int(length) and operation is not Operation.EVENTS):
        return COLD
    key = headers.get(b"idempotency-key")
    keep_alive = connection == b"keep-alive" if old else connection != b"close"
    return Head(
        operation,
        int(length),
        keep_alive,
        expect == b"100-continue" and not old,
        EventHeaders(
            headers.get(b"content-type", b"").decode("latin-1"),
            headers.get(b"content-encoding", b"").decode("latin-1"),
            None if key is None else key.decode("latin-1"),
        ),
        urls,
        partial,
        Credentials(
            headers.get(b"authorization", b"").decode("latin-1"),
            headers.get(b"origin", b"").decode("latin-1"),
            headers.get(b"host", b"").decode("latin-1"),
            headers.get(b"x-forwarded-for", b"").decode("latin-1"),
            headers.get(b"cookie", b"").decode("latin-1"),
            headers.get(b"user-agent", b"").decode("latin-1"),
            b" ".join([headers.get(name, b"") for name in _PURPOSES]).decode("latin-1"),
        ),
        headers.get(b"if-none-match", b"").decode("latin-1"),
        says_keep_alive=old and keep_alive,
    )


def _operation(hot: re.Match[bytes]) -> tuple[Operation, tuple[str, ...], bool]:
    if hot[1].startswith(b"POST"):
        return Operation.EVENTS, (), False
    if hot[2] is None:
        return Operation.HEALTH, (), False
    urls = tuple(query_values(hot[2], "url"))
    partial = query_values(hot[2], "partial")
    hot_read = 1 <= len(urls) <= COUNT_URLS_HOT_MAX and partial in ([], ["true"])
    return (Operation.COUNTS if hot_read else Operation.COLD), urls, bool(partial)
