"""The same bytes in either lane: the same statuses, the same bodies, the same counts."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.daemon import Client, Daemon

EXAMPLES = int(os.environ.get("LIKD_ALIKE_EXAMPLES", "250"))
URL = "https://example.com/alike"
LIKE = json.dumps({"kind": "like", "url": URL}).encode()
LAST = b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
ACT = json.dumps({"kind": "like", "url": URL, "actor": "a"}).encode()


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    path: Path = tmp_path_factory.mktemp("alike") / "data"
    with Daemon(path, "--body-bytes-max", "100000", "--head-timeout", "1") as daemon:
        with Client(daemon.address) as client:
            # An actor's first like counts, and no other.
            assert client.request("POST", "/v1/events", ACT).status == 202
        yield daemon


@attrs.frozen
class Heard:
    """What a client hears of what it sent."""

    answers: list[tuple[int, dict[str, str], bytes]]
    """Status, headers and body of each."""
    whole: bool
    """Whether the connection ended where an answer does."""


def fields(*pairs: tuple[str, str]) -> st.SearchStrategy[list[tuple[str, str]]]:
    return st.lists(st.sampled_from(pairs), max_size=3)


TARGETS = st.sampled_from(
    [
        "/v1/events",
        "/v1/events?x=1",
        "/v1/events/",
        "//v1/events",
        "/v1/event%73",
        "http://a/v1/events",
        "/healthz",
        f"/v1/counts?url={URL}",
        f"/v1/counts?url={URL}&url={URL}%23x",
        "/v1/counts?url=https://e.example/%ff",
        "/v1/counts?url=https://e.example/%25ff",
        "/v1/counts?url=https://e.example/a+b&url=%",
        f"/v1/counts?partial=true&url={URL}&url=mailto:a&url=",
        f"/v1/counts?url=%ff&url={URL}&partial=%74rue",
        f"/v1/counts?url=mailto:a&url={URL}&partial=false",
        f"/v1/counts?url=%&url={URL}&partial=true&partial=no",
        f"/v1/counts?url=%&url={URL}&partial=no&partial=true",
        "/v1/counts?partial=true",
        "/v1/counts?url=a&partial",
        "/v1/counts?url",
        "/v1/counts?x",
        "/v1/counts?url=;url=",
        "/v1/counts",
        "/v1/counts#x",
        f"/badge.svg?url={URL}&by=impressions",
        f"/badge.svg?url={URL}&by=impressions&label=a%20%3Cb%3E&label=x",
        f"/badge.svg?url={URL}&by=unlikes&impression=true",
        f"/badge.svg?url={URL}&impression=perhaps",
        f"/badge.svg?url={URL}&by=nothing",
        f"/badge.svg?url={URL}&label=%00",
        "/badge.svg",
        "/badge.svg/",
        f"/pixel.gif?url={URL}",
        "/pixel.gif?url=mailto:a",
        f"/v1/history?url={URL}&unit=day&until=86400&last=2",
        f"/v1/history?url={URL}&unit=year",
        f"/v1/history?url={URL}&last=0",
        "/v1/history?url=%",
        "/v1/top?by=net&limit=1",
        "/v1/top?by=nothing",
        "/v1/top?limit=0",
        "/likd.js",
        "/likd.js?x",
        "/likd.0123456789abcdef.js",
        "/likd.a.b.js",
        "/likd..js",
        "/openapi.json",
        "/static/heart.svg",
        "/static/none.js",
        "/static/..",
        "/static/",
        "/nothing",
        "*",
    ]
)
# Bodies that do not come whole are not among these: whether their answer or the end comes first is no promise.
FIELDS = fields(
    ("Host", "b"),
    ("Host", ""),
    ("Host", "a b"),
    ("Host", "a/b"),
    ("Connection", "close"),
    ("Connection", "keep-alive"),
    ("Connection", "keep-alive, close"),
    ("Connection", "Close  "),
    ("Content-Type", "application/json \t"),
    ("Content-Type", "image/png"),
    ("Content-Length", " 0 "),
    ("Content-Length", "+2"),
    ("Content-Encoding", "gzip"),
    ("Content-Encoding", "br"),
    ("Expect", "100-continue"),
    ("Expect", "else"),
    ("Idempotency-Key", "k e y"),
    ("Origin", "https://evil.example"),
    ("Origin", "http://localhost"),
    ("If-None-Match", "*"),
    ("Accept", "text/html"),
    ("Accept-Encoding", "gzip"),
    ("Accept-Encoding", "br, *;q=0.1"),
    ("Accept-Encoding", "gzip;q=0, *"),
    ("Referer", "https://evil.example/"),
    ("Referer", "http://localhost/"),
    ("Referer", "http://[x"),
    ("Sec-Fetch-Site", "cross-site"),
    ("Authorization", "Bearer none-that-is-known"),
    ("X-Odd", "\x01"),
    ("X-Odd", "a\x00b"),
    ("X-Odd", "caf\xe9"),
    ("X odd", "1"),
    ("X-Odd ", "1"),
    ("", "1"),
    (" folded", "1"),
    ("Upgrade", "h2c"),
)
TOLD = {
    "access-control-allow-origin",
    "access-control-expose-headers",
    "allow",
    "cache-control",
    "content-encoding",
    "content-security-policy",
    "content-type",
    "cross-origin-resource-policy",
    "referrer-policy",
    "retry-after",
    "vary",
    "x-content-type-options",
}
"""Headers that are the same from one moment to the next."""
BODIES = st.sampled_from(
    [b"", LIKE, ACT, LIKE + b"\n" + LIKE, b"[%b]" % LIKE, b"{", b"\xff", gzip.compress(LIKE, mtime=0), b"x" * 20_000]
)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """A request, nearly right."""
    method = draw(st.sampled_from(["POST", "POST", "POST", "GET", "GET", "OPTIONS", "PUT", "post", "CONNECT", ""]))
    version = draw(st.sampled_from(["HTTP/1.1"] * 5 + ["HTTP/1.0", "HTTP/1.2", "HTTP/2.0", "http/1.1", "HTTP/1.1 "]))
    body = draw(BODIES) if method in ("POST", "PUT", "post") else b""
    lines = [f"{method} {draw(TARGETS)} {version}"]
    # Whether the connection of an HTTP/1.0 client stays open is no promise: the full lane closes it.
    pairs = [pair for pair in draw(FIELDS) if version != "HTTP/1.0" or "keep-alive" not in pair[1]]
    if draw(st.integers(0, 9)) and not any(name == "Host" for name, _ in pairs):
        lines.append("Host: a")
    if body and draw(st.integers(0, 9)) and not any(name == "Transfer-Encoding" for name, _ in pairs):
        lines.append(f"Content-Length: {len(body)}")
    lines += [f"{name}:{draw(st.sampled_from([' ', '', '  ']))}{value}" for name, value in pairs]
    end = draw(st.sampled_from(["\r\n"] * 12 + ["\n"]))
    return draw(st.sampled_from([b""] * 8 + [b"\r\n"])) + end.join([*lines, "", ""]).encode("latin-1") + body


_COUNTED = re.compile(rb"(?<=impressions): [0-9,]+|(?<=<b&gt;): [0-9,]+")


@settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
@given(st.lists(requests(), min_size=1, max_size=3), st.booleans())
@example([b"POST /v1/events HTTP/1.1\r\nHost: b\r\n\r\n" + LIKE], False)
@example([b"POST /v1/events HTTP/1.1\r\nHo"], False)
def test_both_lanes_answer_alike(daemon: Daemon, sent: list[bytes], stays: bool) -> None:
    data = b"".join(sent)
    counts: list[int] = []
    heard: list[Heard] = []
    for lane in ("express", "full"):
        before = _likes(daemon)
        heard.append(_say(daemon, data, full=lane == "full", stays=stays))
        counts.append(_likes(daemon) - before)

    assert heard[0] == heard[1]
    assert counts[0] == counts[1]


def _likes(daemon: Daemon) -> int:
    with Client(daemon.address) as client:
        row = client.request("GET", f"/v1/counts?url={URL}").json["counts"][0]
        count: int = row["likes"]
        return count


def _say(daemon: Daemon, data: bytes, *, full: bool, stays: bool) -> Heard:
    """Send `data`, then the end or a last request; what is heard until the connection ends."""
    with Client(daemon.address) as client:
        if full:
            assert client.request("GET", "/v1/status").status == 200
        # What is not read to its end may be reset.
        with contextlib.suppress(OSError):
            client.send(data + LAST if stays else data)
            if not stays:
                client.socket.shutdown(socket.SHUT_WR)
        received = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := client.socket.recv(65536):
                received += piece
    return _parse(received)


def _parse(received: bytes) -> Heard:
    answers = []
    while b"\r\n\r\n" in received:
        head, _, rest = received.partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        said = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        code = int(status.split()[1])
        length = int(said.get("content-length", "0")) if code >= 200 and code != 304 else 0
        answers.append((code, {name: said[name] for name in said.keys() & TOLD}, _stable(rest[:length])))
        received = rest[length:]
    return Heard(answers, not received)


def _stable(body: bytes) -> bytes:
    """A body without what differs from one moment to the next."""
    body = _COUNTED.sub(b": n", body)
    try:
        said = json.loads(body)
    except ValueError:
        return body
    for row in [*said.get("counts", []), *said.get("top", [])] if isinstance(said, dict) else []:
        row["impressions"] = row["likes"] = row["net"] = 0
    return json.dumps(said).encode()
