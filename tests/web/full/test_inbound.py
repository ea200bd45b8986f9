"""What clients of the full lane send reaches the server as plain requests, one after the other."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likd.web.answers import HEAD_BYTES_MAX
from likd.web.full.inbound import Inbound

GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody"
CHUNKED_HEAD = b"POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNKED = CHUNKED_HEAD + b"2;x=y\r\nbo\r\n1\r\nd\r\n1\r\ny\r\n0\r\nT: t\r\n\r\n"
H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
UPGRADE = b"GET /live HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n"
KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
VERSION = b"Sec-WebSocket-Version: 13\r\n"


def read(*parts: bytes) -> tuple[list[bytes], Inbound]:
    """The requests that the server gets when it answers each at once."""
    inbound = Inbound()
    for part in parts:
        inbound.feed(part)
    requests = []
    while data := inbound.take():
        requests.append(data)
        inbound.answered()
    return requests, inbound


def only(data: bytes) -> bytes:
    (request,), inbound = read(data)
    assert inbound.refused is None
    return request


def status(data: bytes) -> int | None:
    requests, inbound = read(data)
    assert not requests
    return inbound.refused.status if inbound.refused else None


def test_a_request_waits_until_the_one_before_it_is_answered() -> None:
    inbound = Inbound()
    inbound.feed(POST + GET)

    assert inbound.take() == POST
    assert inbound.take() == b""
    assert inbound.waiting
    inbound.answered()
    assert inbound.take() == GET
    inbound.answered()
    assert inbound.idle


def test_what_of_a_body_is_here_is_handed_on() -> None:
    inbound = Inbound()
    inbound.feed(POST[:-2])

    assert inbound.take() == POST[:-2]
    assert not inbound.waiting
    inbound.feed(POST[-2:])
    assert inbound.take() == POST[-2:]
    assert inbound.waiting


@pytest.mark.parametrize("behind", [b"x", b"\r\n", GET, b"\x00" * 100])
@pytest.mark.parametrize("request_", [POST.replace(b"Host", b"Connection: close\r\nHost"), b"GET / HTTP/1.0\r\n\r\n"])
def test_what_comes_behind_the_last_request_is_neither_read_nor_complained_of(request_: bytes, behind: bytes) -> None:
    for parts in ((request_ + behind,), (request_, behind)):
        requests, inbound = read(*parts)
        assert len(requests) == 1
        assert (inbound.over, inbound.refused) == (True, None)


def test_an_upgrade_to_http2_is_as_if_it_were_not_there_and_hides_no_request() -> None:
    request = only(GET.replace(b"\r\n\r\n", b"\r\n" + H2C + b"\r\n"))
    assert request == GET

    smuggled = b"GET /inside HTTP/1.1\r\nHost: x\r\n\r\n"
    body = b"POST / HTTP/1.1\r\nHost: x\r\n" + H2C + b"Content-Length: %d\r\n\r\n" % len(smuggled) + smuggled
    requests, _ = read(body + GET)
    assert requests == [body.replace(H2C, b""), GET]

    requests, _ = read(CHUNKED.replace(b"Host", H2C + b"Host") + GET)
    assert requests == [only(CHUNKED), GET]


def test_chunks_go_on_as_one_without_extensions_and_trailers() -> None:
    assert only(CHUNKED).endswith(b"\r\n\r\n4\r\nbody\r\n0\r\n\r\n")


def test_a_request_for_a_whole_url_is_one_for_its_host() -> None:
    request = only(b"GET HTTP://other:80/a?b=//c HTTP/1.1\r\nHost: x\r\n\r\n")
    assert request == b"GET /a?b=//c HTTP/1.1\r\nHost: other:80\r\n\r\n"
    assert only(b"GET http://other?q HTTP/1.1\r\nHost: x\r\n\r\n").startswith(b"GET /?q ")


def test_blanks_around_values_are_no_part_of_them_and_empty_lines_no_part_of_requests() -> None:
    assert only(b"\r\n\r\nGET /a HTTP/1.1\r\nHost: \t x \t \r\n\r\n\r\n") == GET


def test_a_websocket_is_asked_for_without_extensions_and_its_frames_wait() -> None:
    inbound = Inbound()
    inbound.feed(UPGRADE + KEY + VERSION + b'Sec-WebSocket-Extensions: x; y="\r\n\r\n' + b"frames")

    head = inbound.take().lower()
    assert head.count(b"\r\nconnection: upgrade\r\nupgrade: websocket\r\n") == 1
    assert b"extensions" not in head
    assert inbound.waiting
    assert inbound.upgrade() == b"frames"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (KEY, 426),
        (KEY + VERSION.replace(b"13", b"8"), 426),
        (VERSION, 400),
        (VERSION + KEY + KEY, 400),
        (VERSION + b"Sec-WebSocket-Key: short\r\n", 400),
        (VERSION + b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ\r\n", 400),
        (VERSION + b"Sec-WebSocket-Key: !GhlIHNhbXBsZSBub25jZQ==\r\n", 400),
    ],
)
def test_a_handshake_that_is_wrong_is_refused(headers: bytes, expected: int) -> None:
    _, inbound = read(UPGRADE + headers + b"\r\n")

    assert inbound.refused is not None
    assert inbound.refused.status == expected
    if expected == 426:
        assert inbound.refused.headers["Sec-WebSocket-Version"] == "13"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505),
        (b"GET /\r\n\r\n", 505),
        (b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n", 501),
        (b"GET * HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET ftp://x/ HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET http://user@x/ HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: \x00\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nx", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
        (b"POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * HEAD_BYTES_MAX + b"\r\n\r\n", 431),
    ],
)
def test_what_is_no_request_is_refused_after_the_answers_before_it(data: bytes, expected: int) -> None:
    assert status(data) == expected

    requests, inbound = read(POST + data)
    assert requests == [POST]
    assert inbound.refused is not None
    assert inbound.refused.status == expected


def test_a_head_without_end_is_refused() -> None:
    inbound = Inbound()
    for data in (POST + b"GET / HTTP/1.1\r\nX: x", b"x" * HEAD_BYTES_MAX + b"x"):
        assert inbound.refused is None
        inbound.feed(data)

    assert inbound.refused is not None
    assert inbound.refused.status == 431


def test_trailers_without_end_are_not_kept() -> None:
    inbound = Inbound()
    inbound.feed(CHUNKED[:-2] + b"X: ")
    for _ in range(10):
        inbound.feed(b"x" * HEAD_BYTES_MAX)

    assert inbound.over
    assert inbound.incomplete


def test_100_continue_is_asked_for_by_http_1_1_with_a_body_only() -> None:
    expect = b"Expect: 100-continue\r\nHost"
    assert b"100-continue" in only(POST.replace(b"Host", expect))
    assert b"100-continue" not in only(GET.replace(b"Host", expect))
    assert b"100-continue" not in only(POST.replace(b"Host", expect).replace(b"1.1", b"1.0"))


@given(st.lists(st.sampled_from([GET, POST, CHUNKED, b"\r\n"]), max_size=5), st.sets(st.integers(0, 400)))
def test_requests_are_the_same_however_they_are_cut(parts: list[bytes], cuts: set[int]) -> None:
    data = b"".join(parts)
    places = [0, *sorted(cuts), len(data)]
    inbound = Inbound()
    got = b""
    for begin, end in pairwise(places):
        inbound.feed(data[begin:end])
        got += inbound.take()
        if inbound.waiting:
            inbound.answered()
    while not inbound.idle:
        got += inbound.take()
        inbound.answered()

    bodies = got.replace(b"1\r\nd\r\n1\r\ny\r\n", b"2\r\ndy\r\n")
    assert bodies.count(b"POST /b") == parts.count(POST)
    assert bodies.count(b"GET /a") == parts.count(GET)
    assert bodies.count(b"POST /c") == parts.count(CHUNKED) == bodies.count(b"0\r\n\r\n")
    assert inbound.refused is None
