"""Access logs in the common or combined format: each delivery of a page is an impression of its URL."""

from __future__ import annotations

import re

_LINE = re.compile(
    rb"\S+ \S+ [^\[]+ \[[^\]]*\] "  # client, identity, user (which may have spaces), time
    rb'"(?P<request>(?:[^"\\]|\\.)*)" '
    rb"(?P<status>\d{3}) (?:\d+|-)(?:\s|$)"
)
_REQUEST = re.compile(rb"GET (?P<target>.*?)(?: HTTP/[0-9.]+)?", re.DOTALL)
_ESCAPE = re.compile(rb"\\(?:x([0-9a-fA-F]{2})|(.))", re.DOTALL)
_CONTROLS = {b"b": b"\b", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}
ORIGIN = re.compile(r"https?://[\w.\-\[\]:]+/?", re.ASCII)
# What no client that follows the rules sends as it is, and what JSON would need to escape.
_UNSAFE = re.compile(rb"[^\x21\x23-\x5b\x5d-\x7e]")


class NotALogLine(ValueError):
    """The line is in neither the common nor the combined format."""


def delivered(line: bytes, site: bytes) -> bytes | None:
    """The URL that `line` says was delivered from `site` ("https://example.com"), or None if it was no delivery.

    A delivery is a GET answered with 2xx, or with 304: the page was looked at, out of the client's cache. The
    URL is the site with the request's path and query; bytes that don't belong in a URL are percent-encoded, so
    that it is ASCII without quotes. What follows the size (referrer, user agent, fields of one's own) is not
    looked at. Raises NotALogLine.
    """
    match = _LINE.match(line)
    if match is None:
        raise NotALogLine("not a line of the common or combined log format")
    status = match["status"]
    if not (status.startswith(b"2") or status == b"304"):
        return None
    request = _REQUEST.fullmatch(match["request"])
    if request is None:
        return None
    target: bytes = request["target"]
    if b"\\" in target:
        target = _ESCAPE.sub(_unescape, target)
    if not target.startswith(b"/"):
        # The absolute form, as proxies get it: for another site than this one it is no delivery of ours.
        if not target.lower().startswith(site.lower() + b"/"):
            return None
        target = target[len(site) :]
    return site + _UNSAFE.sub(_percent_encode, target)


def _unescape(match: re.Match[bytes]) -> bytes:
    """Servers write quotes, backslashes and bytes that don't print as `\\"`, `\\\\`, `\\n` or `\\xhh`."""
    if match[1] is not None:
        return bytes.fromhex(match[1].decode())
    return _CONTROLS.get(match[2], match[2])


def _percent_encode(match: re.Match[bytes]) -> bytes:
    return b"%%%02X" % ord(match[0])
