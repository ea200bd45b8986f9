"""Logs that name their fields: W3C extended (IIS, CloudFront) in a `#Fields:` line, and JSON in each line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any
from urllib.parse import unquote_to_bytes

import attrs
import msgspec

from likd.cli.sending.accesslog import Request, request_of
from likd.cli.sending.line_ranges import FIELDS
from likd.cli.sending.lines import NotALogLine, Skip
from likd.cli.sending.roles import role_of

_HEX_ESCAPE = re.compile(rb"\\x([0-9a-fA-F]{2})")
_DEPTH_MAX = 4
_decode = msgspec.json.Decoder(dict[str, Any]).decode


@attrs.frozen
class W3cLog:
    """The extended log format: IIS has spaces between values, CloudFront tabs."""

    name = "W3C"

    def request(self, line: bytes, header: bytes) -> Request | Skip:
        """The request in `line`, whose fields `header` names. Raises NotALogLine."""
        if line.startswith(b"#"):
            return Skip.COMMENT
        roles = _columns(header)
        if not roles:
            raise NotALogLine("no #Fields: line before this one names its fields")
        values = line.rstrip(b"\r").split(b"\t" if b"\t" in line else None)
        if len(values) <= max(roles.values()):
            raise NotALogLine(f"{len(values)} values, fewer than #Fields: names")
        fields = {role: values[column] for role, column in roles.items()}
        if "agent" in fields:
            # CloudFront percent-encodes, and encodes again what already was; IIS writes + for a space.
            fields["agent"] = unquote_to_bytes(unquote_to_bytes(fields["agent"])).replace(b"+", b" ")
        return request_of(fields)


@attrs.frozen
class JsonLog:
    """One JSON object per line, as Caddy and Traefik write it, or nginx with `escape=json`."""

    name = "JSON"

    def request(self, line: bytes, header: bytes) -> Request | Skip:
        """The request in `line`. Raises NotALogLine."""
        told = decode(line)
        fields = _fields(told)
        if not fields.keys() & {"request", "uri", "path", "status"}:
            # Servers write messages of their own into the same file.
            return Skip.NO_DELIVERY
        request = told.get("request")
        if "scheme" not in fields and isinstance(request, dict):
            fields["scheme"] = b"https" if request.get("tls") else b"http"
        return request_of(fields)


def decode(line: bytes) -> dict[str, Any]:
    """The object in `line`. Raises NotALogLine."""
    try:
        return _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        # nginx without `escape=json` escapes bytes as in its other logs.
        return _decode(_HEX_ESCAPE.sub(rb"\\u00\1", line).decode("utf-8", "replace").encode())
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise NotALogLine("not a JSON object on one line") from None


def is_log(told: dict[str, Any]) -> bool:
    """Whether the object is a request in a log, not an event."""
    fields = _fields(told).keys()
    return "status" in fields and bool(fields & {"request", "uri", "path"})


@lru_cache(64)
def _columns(header: bytes) -> dict[str, int]:
    """The column of each role."""
    best: dict[str, tuple[int, int]] = {}
    for column, name in enumerate(header.removeprefix(FIELDS).split()):
        if found := role_of(name.decode("latin-1")):
            role, rank = found
            best[role] = min(best.get(role, (rank, column)), (rank, column))
    return {role: column for role, (_, column) in best.items()}


def _fields(told: dict[str, Any]) -> dict[str, bytes]:
    best: dict[str, tuple[int, bytes]] = {}
    for name, value in _flat(told, "", _DEPTH_MAX):
        if found := role_of(name):
            role, rank = found
            if role not in best or rank < best[role][0] or best[role][1] in (b"", b"-"):
                best[role] = rank, value.encode("utf-8", "replace")
    return {role: value for role, (_, value) in best.items()}


def _flat(told: dict[str, Any], above: str, depth: int) -> Iterator[tuple[str, str]]:
    """The values that are strings or numbers, each with its name, prefixed by those of the enclosing objects."""
    for name, value in told.items():
        if isinstance(value, list) and value:
            value = value[0]
        if isinstance(value, str):
            yield above + name, value
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield above + name, str(value)
        elif isinstance(value, dict) and depth:
            yield from _flat(value, f"{above}{name} ", depth - 1)
