"""Turns what a client sends into what the full lane's server gets: one request after another, each in one plain form.

The express lane takes only heads in the plainest form and leaves all others to this parser, so a request means the same
in both lanes. What Hypercorn and h11 would stumble over does not reach them: HTTP/2 and other upgrades, bytes after the
last request, repeated framing headers, websocket extensions.
"""

from __future__ import annotations

import binascii
import re
from collections import deque

import attrs
import httptools

from likd.web.answers import HEAD_BYTES_MAX
from likd.web.problems import Problem

_ABSOLUTE = re.compile(rb"https?://([^/?#@]*)((?:[/?].*)?)", re.IGNORECASE)
_ONCE = frozenset({b"host", b"sec-websocket-key", b"sec-websocket-version"})
_OURS = frozenset(
    b"connection content-length expect http2-settings keep-alive proxy-connection sec-websocket-extensions te trailer"
    b" transfer-encoding upgrade".split()
)
"""Headers about the connection: those that apply to the server are rewritten. Websockets get no extensions:
nothing that the server checks in time bounds what permessage-deflate inflates to."""


@attrs.define(eq=False)
class _Request:
    """A request, and the part of it that the server has not got yet."""

    data: bytearray
    last: bool
    chunked: bool
    websocket: bool
    whole: bool = False


class Inbound:
    """Cuts what a client sends into requests, without I/O."""

    def __init__(self) -> None:
        self.refused: Problem | None = None
        """A problem to be answered after the requests before it; nothing comes after it."""
        self.over = False
        """Whether nothing comes after the requests that are here."""
        self._requests: deque[_Request] = deque()
        self._parser = httptools.HttpRequestParser(self)
        self._rest = b""
        self._begun = False
        self._chunk = bytearray()
        self._silent = 0
        """Bytes since the last ones of a body: of an incomplete head, of trailers."""
        self._upgrading = False
        self._target = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._fields: dict[bytes, bytes] = {}

    @property
    def begun(self) -> bool:
        """Whether part of a head is here but not the rest."""
        return self._begun

    @property
    def incomplete(self) -> bool:
        """Whether a body is being received."""
        return bool(self._requests) and not self._requests[-1].whole

    @property
    def waiting(self) -> bool:
        """Whether the current request is complete: until it is answered, nothing needs to be read."""
        return bool(self._requests) and self._requests[0].whole

    @property
    def idle(self) -> bool:
        """Whether nothing from the client is pending."""
        return not self._requests and not self.begun and self.refused is None

    def handshake(self) -> tuple[bytes, dict[bytes, bytes]] | None:
        """The target and headers (repeated ones joined) of the current request, if it is a websocket handshake."""
        if len(self._requests) != 1 or not self._requests[0].websocket:
            return None
        return self._target, self._fields

    def take(self) -> bytes:
        """What the server is to get now: nothing of a request until the one before it is answered."""
        if not self._requests:
            return b""
        request = self._requests[0]
        data, request.data = bytes(request.data), bytearray()
        return data

    def answered(self) -> None:
        """The current request is answered. The server closes the connection if it is the last one or incomplete."""
        if self._requests:
            request = self._requests.popleft()
            self.over |= request.last or request.websocket or not request.whole

    def upgrade(self) -> bytes:
        """The current request has become a websocket. Returns what is here of its frames."""
        self.over = True
        return self._rest

    def end(self) -> None:
        """The client sends no more."""
        self.over = True

    def expire(self) -> None:
        """The rest of what the client began did not arrive in time."""
        if self.begun:
            self.refused = Problem(408, "the request did not arrive in time")
        self.over = True

    def feed(self, data: bytes) -> None:
        """Take what the client sent next."""
        while data and not self.over:
            if not self.begun and not self.incomplete:
                # Empty lines before a request are ignored (RFC 9112, 2.2).
                data = data.lstrip(b"\r\n")
            self._silent += len(data)
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                data = data[upgrade.args[0] :]
                if self._requests[-1].websocket:
                    self._rest = data
                    return
                self._ignore_upgrade()
                continue
            except httptools.HttpParserError as error:
                # An exception from a callback arrives as the context of another.
                known = error.__context__ if isinstance(error.__context__, Problem) else None
                self._break(known or Problem(400, str(error) or type(error).__name__))
            self._flush()
            if self._silent > HEAD_BYTES_MAX and (self.begun or self.incomplete):
                self._break(_head_too_large())
            return

    def _flush(self) -> None:
        """Pass on what came of a chunked body as one chunk, however small the client's chunks are."""
        if self._chunk:
            self._requests[-1].data += b"%x\r\n%b\r\n" % (len(self._chunk), bytes(self._chunk))
            self._chunk.clear()

    def _break(self, problem: Problem) -> None:
        """The client broke HTTP. Bytes after the last request are no reason to complain."""
        broken = self.incomplete or (self._requests and self._requests[-1].last)
        self.over = True
        # A broken body just ends: the server has an answer for that.
        if not broken and self.refused is None:
            preface = self._parser.get_method() == b"PRI"
            self.refused = Problem(505, "only HTTP/1.1 is supported") if preface else problem

    def _ignore_upgrade(self) -> None:
        """Continue after a head that asks for an upgrade: the parser stops there, and has skipped the body."""
        request = self._requests[-1]
        self._parser = httptools.HttpRequestParser(self)
        if not request.whole:
            framing = b"Transfer-Encoding: chunked" if request.chunked else b"Content-Length: " + self._length
            self._upgrading = True
            self._parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n\r\n" % framing)
            self._upgrading = False

    @property
    def _length(self) -> bytes:
        return self._fields.get(b"content-length", b"0")

    # Called by the parser:

    def on_message_begin(self) -> None:
        """A request begins."""
        if not self._upgrading:
            self._begun = True
            self._target, self._headers, self._fields = b"", [], {}

    def on_url(self, target: bytes) -> None:
        """Its target, or a part of it."""
        if not self._upgrading:
            self._target += target

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; or a trailer, which nobody needs."""
        if not self._begun:
            return
        key, value = name.lower(), value.strip(b" \t")
        if key in self._fields:
            if key in _ONCE:
                raise Problem(400, f"there are several headers {key.decode('latin-1')}")
            self._fields[key] += b", " + value
        else:
            self._fields[key] = value
        if key not in _OURS:
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The head is complete."""
        if self._upgrading:
            return
        self._begun = False
        parser, fields = self._parser, self._fields
        method, version = parser.get_method(), parser.get_http_version()
        if version not in ("1.0", "1.1"):
            raise Problem(505, "only HTTP/1.1 is supported")
        if method == b"CONNECT":
            raise Problem(501, "this is not a proxy")
        if sum(len(name) + len(value) + 3 for name, value in self._headers) + len(self._target) > HEAD_BYTES_MAX:
            raise _head_too_large()
        target = self._origin_form(method)
        if b"host" not in fields and version == "1.1":
            raise Problem(400, "the Host header is missing")
        chunked = self._is_chunked(version)
        body = chunked or int(self._length) > 0
        websocket = version == "1.1" and method == b"GET" and not body and self._wants_websocket()
        last = not parser.should_keep_alive() and not websocket
        lines = [b"%b %b HTTP/%b" % (method, target, version.encode())]
        lines += [b"%b: %b" % header for header in self._headers]
        if chunked:
            lines.append(b"Transfer-Encoding: chunked")
        elif b"content-length" in fields:
            lines.append(b"Content-Length: " + self._length)
        if websocket:
            lines += [b"Connection: Upgrade", b"Upgrade: websocket"]
        elif last:
            lines.append(b"Connection: close")
        if body and version == "1.1" and fields.get(b"expect", b"").lower() == b"100-continue":
            lines.append(b"Expect: 100-continue")
        head = bytearray(b"\r\n".join([*lines, b"", b""]))
        self._requests.append(_Request(head, last, chunked, websocket, whole=not body))

    def on_body(self, data: bytes) -> None:
        """A part of the body."""
        request = self._requests[-1]
        self._silent = 0
        if request.chunked:
            self._chunk += data
        else:
            request.data += data

    def on_message_complete(self) -> None:
        """The request is complete, or the parser stops before its body because it asks for an upgrade."""
        self._silent = 0
        request = self._requests[-1]
        if request.whole or (self._parser.should_upgrade() and not request.websocket):
            return
        if request.chunked:
            self._flush()
            request.data += b"0\r\n\r\n"
        request.whole = True

    def _is_chunked(self, version: str) -> bool:
        """Whether the body is chunked. Raises Problem for any other transfer encoding."""
        encoding = self._fields.get(b"transfer-encoding")
        if encoding is None:
            return False
        if version == "1.0":
            raise Problem(400, "HTTP/1.0 has no Transfer-Encoding")
        if encoding.lower() != b"chunked":
            raise Problem(501, "Transfer-Encoding: expected chunked")
        return True

    def _origin_form(self, method: bytes) -> bytes:
        """The target as a path; a host that it names replaces the Host header (RFC 9112, 3.2.2)."""
        if self._target.startswith(b"/") or (self._target == b"*" and method == b"OPTIONS"):
            return self._target
        found = _ABSOLUTE.fullmatch(self._target)
        if found is None:
            raise Problem(400, "the target is neither a path nor a URL")
        host, target = found.groups()
        self._fields[b"host"] = host
        self._headers = [(name, value) for name, value in self._headers if name.lower() != b"host"]
        self._headers.append((b"Host", host))
        return target if target.startswith(b"/") else b"/" + target

    def _wants_websocket(self) -> bool:
        """Whether this is a websocket handshake. Raises Problem if it is an invalid one (RFC 6455, 4.2)."""
        fields = self._fields
        if b"upgrade" not in _tokens(fields, b"connection") or b"websocket" not in _tokens(fields, b"upgrade"):
            return False
        if fields.get(b"sec-websocket-version") != b"13":
            headers = {"Sec-WebSocket-Version": "13", "Upgrade": "websocket"}
            raise Problem(426, "Sec-WebSocket-Version: expected 13", headers=headers)
        try:
            key = binascii.a2b_base64(fields.get(b"sec-websocket-key", b""), strict_mode=True)
        except binascii.Error:
            key = b""
        if len(key) != 16:
            raise Problem(400, "Sec-WebSocket-Key: expected 16 bytes in base64")
        return True


def _tokens(fields: dict[bytes, bytes], name: bytes) -> list[bytes]:
    return [token.strip().lower() for token in fields.get(name, b"").split(b",")]


def _head_too_large() -> Problem:
    return Problem(431, f"the head is longer than {HEAD_BYTES_MAX} bytes")
