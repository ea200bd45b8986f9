"""Heads of requests: those that pages are full of are read here, all others are for the full lane."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likd.web.express.http1 import Heads, Operation

HEAD = b"POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n"


def test_heads_are_read_and_remembered() -> None:
    heads = Heads()
    head = heads.read(HEAD + b"Content-Type: text/plain\r\n\r\n")

    assert (head.operation, head.length, head.keep_alive, head.plain) == (Operation.EVENTS, 5, True, True)
    assert heads.read(HEAD + b"Content-Type: text/plain\r\n\r\n") is head
    key = HEAD + b"Idempotency-Key: k\r\n\r\n"
    assert heads.read(key) is not heads.read(key), "keys are not remembered"


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"PUT /v1/events HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /v1/events HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
        b"POST /v1/events HTTP/1.1\r\nHost: a\r\nX: 1\r\nX: 2\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\n",
    ],
)
def test_what_is_not_hot_is_for_the_other_lane(head: bytes) -> None:
    assert Heads().read(head).operation is Operation.COLD


@pytest.mark.parametrize(
    ("target", "operation"),
    [
        ("/badge.svg?url=https://a.example/", Operation.BADGE),
        ("/pixel.gif?url=https://a.example/", Operation.PIXEL),
        ("/likd.js", Operation.FILE),
        ("/likd.0123456789abcdef.js", Operation.FILE),
        ("/static/likd.css?0123", Operation.FILE),
        ("/openapi.json", Operation.FILE),
        ("/v1/history?url=https://a.example/&unit=day", Operation.HISTORY),
        ("/v1/top", Operation.TOP),
        ("/v1/counts?url=https://a.example/", Operation.COUNTS),
        ("/healthz", Operation.HEALTH),
    ],
)
def test_what_pages_are_full_of_is_hot(target: str, operation: Operation) -> None:
    browser = b"Host: a\r\nAccept: image/avif,*/*\r\nAccept-Encoding: gzip, br\r\nReferer: https://a.example/\r\n\r\n"
    for method in ("GET", "HEAD"):
        head = Heads().read(f"{method} {target} HTTP/1.1\r\n".encode() + browser)
        assert (head.operation, head.head_only) == (operation, method == "HEAD")


@given(st.data())
def test_mutated_heads_are_read_or_for_the_other_lane(data: st.DataObject) -> None:
    head = bytearray(HEAD + b"Content-Type: text/plain\r\n")
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(head) - 1))
        head[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
    read = Heads().read(bytes(head) + b"\r\n")

    assert read.operation in (Operation.EVENTS, Operation.COLD)
