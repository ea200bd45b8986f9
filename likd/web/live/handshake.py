"""The live lane's websocket handshake, without I/O: read by the full lane's parser, answered here."""

from __future__ import annotations

from email.utils import formatdate

import attrs
from wsproto.utilities import generate_accept_token

from likd.web.access.addresses import valid_host
from likd.web.access.credentials import Credentials
from likd.web.answers import HEAD_BYTES_MAX
from likd.web.full.inbound import Inbound


@attrs.frozen
class Handshake:
    """A valid handshake: who sent it, the answer that opens the websocket, and the bytes after it."""

    credentials: Credentials
    accept: bytes
    rest: bytes


def read_handshake(data: bytes, path: bytes = b"/v1/live") -> Handshake | None:
    """The handshake for `path` at the beginning of `data`; None for everything else, which the full lane answers."""
    if not data.startswith(b"GET " + path):
        return None
    inbound = Inbound()
    inbound.feed(data)
    asked = inbound.handshake()
    if asked is None:
        return None
    target, fields = asked
    host = fields[b"host"].decode("latin-1")
    size = sum(len(name) + len(value) for name, value in fields.items()) + len(target)
    if target.partition(b"?")[0] != path or not valid_host(host) or size > HEAD_BYTES_MAX:
        return None

    def header(name: str) -> str:
        return fields.get(name.lower().encode(), b"").decode("latin-1")

    return Handshake(
        Credentials.of(header, target.partition(b"?")[2]), _accept(fields[b"sec-websocket-key"]), inbound.upgrade()
    )


def _accept(key: bytes) -> bytes:
    lines = [
        b"HTTP/1.1 101 Switching Protocols",
        b"sec-websocket-accept: " + generate_accept_token(key),
        b"upgrade: WebSocket",
        b"connection: Upgrade",
        b"date: " + formatdate(usegmt=True).encode(),
    ]
    return b"\r\n".join([*lines, b"", b""])
