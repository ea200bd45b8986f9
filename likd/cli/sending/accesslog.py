"""Requests as logs record them, and which of them are impressions of a page."""

from __future__ import annotations

import re
from collections.abc import Mapping

import attrs

from likd.cli.sending.lines import LineRefused, NotALogLine, Skip
from likd.cli.sending.times import seconds_of
from likd.ingest.schema import short
from likd.ingest.urls import EXPECTED, canonical
from likd.web.access.crawlers import is_crawler

ORIGIN = re.compile(r"https?://[\w.\-\[\]:]+/?", re.ASCII)
AGENT_CHARACTERS_MAX = 500
"""How much of a user agent is examined."""

_REQUEST = re.compile(rb"(?P<method>[!-~]+) (?P<target>.*?)(?: HTTP/[0-9.]+)?", re.DOTALL)
_ABSOLUTE = re.compile(rb"(?P<scheme>https?)://(?P<host>[^/?#]*)(?P<target>.*)", re.DOTALL | re.IGNORECASE)
_HOST = re.compile(rb"(?P<name>\[[0-9a-fA-F:.]+\]|[!$-.0-9;=A-Z^-~]+)(?::(?P<port>\d{1,5}))?")
_STATUS = re.compile(rb"\d{3}")
# Bytes that no well-behaved client sends unencoded, or that JSON would have to escape.
_UNSAFE = re.compile(rb"[^\x21\x23-\x5b\x5d-\x7e]")
_STATIC = re.compile(
    rb"\.(?:css|m?js|map|wasm|webmanifest|png|apng|jpe?g|gif|webp|avif|svgz?|ico|cur|bmp|tiff?|woff2?|ttf|otf|eot"
    rb"|mp[34]|m4[av]|webm|og[gva]|wav|flac|mov|avi|mkv|flv|swf|m3u8|mpd|ts|vtt)(?:[?#;]|$)",
    re.IGNORECASE,
)
_FOR_PROGRAMS = re.compile(rb"/(?:(?:robots|ads|app-ads)\.txt(?:[?#]|$)|\.well-known/)", re.IGNORECASE)
_FIRST_RANGE = re.compile(rb"\s*bytes\s*=\s*0-", re.IGNORECASE)


@attrs.frozen
class Request:
    """A request and its answer. Whatever the log does not record is None."""

    method: bytes
    target: bytes
    status: bytes
    scheme: bytes | None = None
    host: bytes | None = None
    """With its port, unless that is the scheme's default."""
    agent: bytes | None = None
    range: bytes | None = None
    purpose: bytes | None = None
    time: bytes | None = None
    """The time of the request, as the server writes it."""


def request_of(fields: Mapping[str, bytes]) -> Request:
    """The request in a log line's `fields`: the value of each role (see `roles`), or "-". Raises NotALogLine."""
    told = {role: value for role, value in fields.items() if value not in (b"", b"-")}
    status = told.get("status", b"")
    if not _STATUS.fullmatch(status):
        raise NotALogLine("the line has no status")
    if "request" in fields:
        match = _REQUEST.fullmatch(told.get("request", b""))
        # A client that connects without sending a request gets a line, too.
        method, target = (match["method"], match["target"]) if match else (b"", b"")
    else:
        method = told.get("method", b"GET")
        target = told.get("uri") or told.get("path") or b""
    if "query" in told and b"?" not in target:
        target += b"?" + told["query"].removeprefix(b"?")
    scheme, host = told.get("scheme"), told.get("host") or told.get("server")
    if absolute := _ABSOLUTE.fullmatch(target):
        scheme, host = absolute["scheme"].lower(), absolute["host"]
        target = absolute["target"] if absolute["target"].startswith(b"/") else b"/" + absolute["target"]
    elif host is not None and (port := told.get("port")) and b":" not in host.rpartition(b"]")[2]:
        host += b":" + port
    return Request(
        method=method,
        target=target,
        status=status,
        scheme=scheme.lower() if scheme else None,
        host=host,
        agent=told.get("agent"),
        range=told.get("range"),
        purpose=told.get("purpose"),
        time=b"%sT%sZ" % (told["date"], told.get("time", b"")) if "date" in told else told.get("time"),
    )


@attrs.frozen
class Impressions:
    """Decides which requests are impressions: each delivery of a page to a person, or with `count_all` any delivery.

    A delivery is a GET answered with 2xx, or with 304: the page was viewed from the client's cache. With `site`
    ("https://example.com"), only requests to that host count, and those without a recorded host.
    """

    site: bytes | None
    count_all: bool
    past_until: float | None = None
    """If set, lines become counts per minute, up to that time (seconds since 1970), as `POST /v1/import` takes them."""
    _host: bytes | None = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        host = None if self.site is None else _name(self.site.partition(b"://")[2])
        object.__setattr__(self, "_host", host)

    def event(self, request: Request) -> bytes | Skip:
        """The impression as a line of JSON, or why there is none. Raises LineRefused, NotALogLine."""
        if request.method != b"GET" or not (request.status.startswith(b"2") or request.status == b"304"):
            return Skip.NO_DELIVERY
        if not request.target.startswith(b"/"):
            return Skip.NO_DELIVERY
        if self.site is not None and request.host is not None and _name(request.host) != self._host:
            return Skip.OTHER_HOST
        if not self.count_all and (reason := _uncounted(request)):
            return reason
        if self.past_until is None:
            return b'{"kind":"impression","url":"%s"}' % self._url(request)
        seconds = seconds_of(request.time)
        if seconds is None:
            raise NotALogLine("the line has no time")
        if seconds > self.past_until:
            raise LineRefused("the time is in the future")
        return b'{"impressions":1,"time":%d,"url":"%s"}' % (seconds - seconds % 60, self._url(request))

    def _url(self, request: Request) -> bytes:
        """Bytes that don't belong in a URL are percent-encoded, so that it is ASCII without quotes."""
        origin = self.site or _origin(request)
        url = origin + _UNSAFE.sub(_percent_encode, request.target)
        try:
            canonical(url.decode("ascii"))
        except ValueError:
            raise LineRefused(f"url is {short(url.decode('latin-1'))} (expected {EXPECTED})") from None
        return url


def is_bot(agent: bytes) -> bool:
    """Whether `agent` is the user agent of a known bot or other program, not of a browser."""
    return is_crawler(agent.decode("latin-1")[:AGENT_CHARACTERS_MAX].strip(), AGENT_CHARACTERS_MAX)


def _uncounted(request: Request) -> Skip | None:
    """Why a delivery is not a person's impression of a page, or None if it is one."""
    if request.status == b"206" and not _FIRST_RANGE.match(request.range or b""):
        return Skip.PART
    if _STATIC.search(request.target.partition(b"?")[0]) or _FOR_PROGRAMS.match(request.target):
        return Skip.STATIC
    if request.purpose is not None and b"pre" in request.purpose.lower():
        return Skip.PREFETCH
    if request.agent is not None and is_bot(request.agent):
        return Skip.BOT
    return None


def _name(host: bytes) -> bytes:
    """`host` without port and final dot, in lower case, for comparison."""
    match = _HOST.match(host.rstrip(b"/"))
    return match["name"].rstrip(b".").lower() if match else host


def _origin(request: Request) -> bytes:
    if request.host is None:
        raise NotALogLine("the line does not name its site: give it with --site")
    match = _HOST.fullmatch(request.host)
    if match is None:
        raise LineRefused(f"the host is {short(request.host.decode('latin-1'))}")
    name, port = match["name"].lower(), match["port"]
    scheme = (
        request.scheme if request.scheme in (b"http", b"https") else b"http" if port not in (None, b"443") else b"https"
    )
    return b"%s://%s%s" % (scheme, name, b":" + port if port else b"")


def _percent_encode(match: re.Match[bytes]) -> bytes:
    return b"%%%02X" % ord(match[0])
