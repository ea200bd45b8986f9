"""Logs whose lines are formatted text: common, combined, with virtual host, ALB, or by a format string."""

from __future__ import annotations

import re
from collections.abc import Callable

import attrs

from likd.cli.sending.accesslog import Request, request_of
from likd.cli.sending.lines import NotALogLine
from likd.cli.sending.roles import role_of
from likd.errors import LikdError

_QUOTED = r'(?:[^"\\]|\\.)*+'
# Client, identity, user (which may have spaces), time, request, status, size.
_COMMON = (
    rf'\S+ \S+ [^\[]+ \[(?P<time>[^\]]*+)\] "(?P<request>{_QUOTED})" (?P<status>\d{{3}}) (?:\d+|-)'
    rf'(?: "{_QUOTED}" "(?P<agent>{_QUOTED})")?(?=\s|$)'
)
_VHOST = rf"(?P<host>\S+) {_COMMON}"
# Type, time, balancer, client and target with port, three durations, status, target's status, bytes in and out.
_ALB = (
    r"(?:https?|h2|grpcs|wss?) (?P<time>\S+) \S+ \S+ \S+ \S+ \S+ \S+ (?P<status>\d{3}|-) \S+ \S+ \S+ "
    rf'"(?P<request>{_QUOTED})" "(?P<agent>{_QUOTED})" '
)
_LOOKS_VHOST = re.compile(
    rb"(?:[^\s:]+:\d{1,5}|[^\s:]*[a-zA-Z][^\s:]* (?:\d+\.\d+\.\d+\.\d+|[0-9a-fA-F:]*:[0-9a-fA-F:.]*)) \S+ [^\[]+ \["
)

_ESCAPE = re.compile(rb"\\(?:x([0-9a-fA-F]{2})|(.))", re.DOTALL)
_CONTROLS = {b"b": b"\b", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}

_NGINX = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_APACHE = re.compile(r"%(?:[!\d,]*)[<>]?(?:\{([^}]*)\})?(\^?[a-zA-Z]{1,2}|%)")
_DIRECTIVES = {
    "r": "request",
    "m": "method",
    "U": "path",
    "q": "query",
    "s": "status",
    "v": "server",
    "V": "host",
    "p": "port",
}


class FormatError(LikdError, ValueError):
    """A format string that can't be read; the message says why."""


@attrs.frozen
class TextLog:
    """Reads lines with a regular expression whose groups are named after roles."""

    name: str
    match: Callable[[bytes], re.Match[bytes] | None] = attrs.field(repr=False)
    """Matches a line of the format."""

    def request(self, line: bytes, header: bytes) -> Request:
        """The request in `line`. Raises NotALogLine."""
        match = self.match(line)
        if match is None:
            raise NotALogLine(f"not a line in the {self.name} log format")
        return request_of({role: unescape(value) for role, value in match.groupdict(b"").items()})


def _log(name: str, pattern: str) -> TextLog:
    return TextLog(name, re.compile(pattern.encode(), re.DOTALL).match)


COMMON = _log("common", _COMMON)
COMBINED = _log("combined", _COMMON)
VHOST = _log("vhost", _VHOST)
ALB = _log("ALB", _ALB)


def look(line: bytes) -> TextLog | None:
    """The format of `line`, if it is one of those that need no format string."""
    if _LOOKS_VHOST.match(line) and VHOST.match(line):
        return VHOST
    for log in (ALB, COMBINED):
        if log.match(line):
            return log
    return None


def from_string(text: str) -> TextLog:
    """The format that a format string of nginx (`$status`) or Apache (`%>s`) describes. Raises FormatError."""
    text = text.replace('\\"', '"').replace("\\t", "\t")
    pieces = _nginx(text) if _NGINX.search(text) else _apache(text)
    pattern: list[str] = []
    seen: set[str] = set()
    for number, (literal, role, own) in enumerate(pieces):
        pattern.append(re.escape(literal))
        if own is None:
            continue
        after, next_role, next_own = pieces[number + 1]
        ends_line = not after and next_own is None and role is not None and role[0] in ("agent", "request")
        value = (
            own
            or (".*+" if ends_line else None)
            or _value_before(after + ("[" if next_own == _TIME else ""), literal, next_role)
        )
        if role is not None and role[0] not in seen:
            seen.add(role[0])
            pattern.append(f"(?P<{role[0]}>{value})")
        else:
            pattern.append(f"(?:{value})")
    if "status" not in seen or not seen & {"request", "uri", "path"}:
        raise FormatError("a format needs the request (or its URI) and the status")
    return _log("given", "".join(pattern))


_TIME = r"\[[^\]]*+\]"
_Piece = tuple[str, tuple[str, int] | None, str | None]
"""Text, and the field after it: its role, and its pattern ("" if the next text ends it; None if there is no field)."""


def _nginx(text: str) -> list[_Piece]:
    pieces: list[_Piece] = []
    end = 0
    for match in _NGINX.finditer(text):
        pieces.append((text[end : match.start()], role_of(match[1] or match[2]), ""))
        end = match.end()
    return [*pieces, (text[end:], None, None)]


def _apache(text: str) -> list[_Piece]:
    pieces: list[_Piece] = []
    literal = ""
    end = 0
    for match in _APACHE.finditer(text):
        literal += text[end : match.start()]
        end = match.end()
        header, directive = match[1], match[2]
        if directive == "%":
            literal += "%"
            continue
        if directive == "i":
            role = role_of(f"http_{header}")
        elif name := _DIRECTIVES.get(directive):
            role = (name, 0)
        else:
            role = ("time", 0) if directive == "t" and header is None else None
        pieces.append((literal, role, _TIME if directive == "t" and header is None else ""))
        literal = ""
    return [*pieces, (literal + text[end:], None, None)]


def _value_before(following: str, before: str, next_role: tuple[str, int] | None) -> str:
    """The pattern of a value that ends where `following` begins. It never backtracks, whatever the line."""
    if before.endswith('"') and following.startswith('"'):
        return _QUOTED
    if not following:
        # Two fields without text between them, or the end of the line.
        first = {"uri": "/", "path": "/", "query": "?"}.get(next_role[0] if next_role else "", "")
        return rf"[^\s{first}]*+"
    if following.startswith(" ["):
        return r"[^\[]*"
    return rf"(?:[^{re.escape(following[0])}\\]|\\.)*+"


def unescape(text: bytes) -> bytes:
    """Undo what servers do to quotes, backslashes and unprintable bytes: `\\"`, `\\\\`, `\\n` or `\\xhh`."""
    return _ESCAPE.sub(_unescape, text) if b"\\" in text else text


def _unescape(match: re.Match[bytes]) -> bytes:
    if match[1] is not None:
        return bytes.fromhex(match[1].decode())
    return _CONTROLS.get(match[2], match[2])
