"""One meaning of what is sent over a connection, whichever lane it is in, and no answer that it costs."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon import Client, Daemon

BODY = json.dumps({"kind": "like", "url": "https://example.com/framing"}).encode()
POST = b"POST /v1/events HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
LAST = POST.replace(b"Host", b"Connection: close\r\nHost")
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n"
H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
UPGRADE = b"GET /v1/live HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
VERSION = b"Sec-WebSocket-Version: 13\r\n"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    path: Path = tmp_path_factory.mktemp("framing") / "data"
    with Daemon(path) as daemon:
        yield daemon
        assert daemon.stop() == 0
    # Whatever is sent, nothing of it is a fault of the daemon.
    log = daemon.log.read_text()
    assert "connection failed" not in log
    assert "request failed" not in log


@pytest.fixture(params=["express", "full"])
def client(request: pytest.FixtureRequest, daemon: Daemon) -> Iterator[Client]:
    """A connection in the express lane, and one that a cold request has moved to the full lane for good."""
    with Client(daemon.address) as client:
        if request.param == "full":
            assert client.request("GET", "/v1/status").status == 200
        yield client


@pytest.mark.parametrize("post", [POST, LAST, POST.replace(b"1.1", b"1.0")])
def test_a_half_close_behind_a_request_loses_no_answer(client: Client, post: bytes) -> None:
    client.send(post)
    client.socket.shutdown(socket.SHUT_WR)

    assert client.response().status == 202
    assert client.closed()


@pytest.mark.parametrize("stray", [b"x", b"\r\n", HEALTH])
def test_bytes_behind_the_last_request_are_not_read(daemon: Daemon, stray: bytes) -> None:
    with Client(daemon.address) as client:
        assert client.request("GET", "/v1/status").status == 200
        client.send(LAST)
        client.send(stray)
        assert client.response().status == 202
        assert client.closed()


def test_an_upgrade_to_http2_is_passed_over(client: Client) -> None:
    client.send(HEALTH.replace(b"\r\n\r\n", b"\r\n" + H2C + b"\r\n"))
    assert client.response().status == 200
    client.send(POST.replace(b"\r\n\r\n", b"\r\n" + H2C + b"\r\n") + HEALTH)
    assert client.response().json == {"accepted": 1}
    assert client.response().status == 200


def test_http2_is_not_spoken_to_those_who_just_begin(daemon: Daemon) -> None:
    with Client(daemon.address) as client:
        client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9))
        assert client.response().status == 505
        assert client.closed()


def test_a_preflight_leaves_the_connection_as_it_is(client: Client) -> None:
    for _ in range(2):
        assert client.request("OPTIONS", "/v1/events").status == 204


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"CONNECT test:80 HTTP/1.1\r\nHost: test\r\n\r\n", 501),
        (b"GET http://localhost/healthz HTTP/1.1\r\nHost: test\r\n\r\n", 200),
        (b"GET http://elsewhere.test/v1/status HTTP/1.1\r\nHost: test\r\n\r\n", 403),
        (b"GET * HTTP/1.1\r\nHost: test\r\n\r\n", 400),
        (b"OPTIONS * HTTP/1.1\r\nHost: test\r\n\r\n", 204),
        (b"GET /%00%ff%zz%f HTTP/1.1\r\nHost: test\r\n\r\n", 404),
        (b"GET /\x00 HTTP/1.1\r\nHost: test\r\n\r\n", 400),
        (b"GET /v1/tree HTTP/1.1\r\nHost: test\r\nCookie: \xff\xfe\r\nAuthorization: Bearer \xff\r\n\r\n", 200),
        (b"GET /v1/tree HTTP/1.1\r\nHost: test\r\n" + b"a:\r\n" * 3900 + b"\r\n", 200),
        (b"GET /v1/tree HTTP/1.1\r\nHost: test\r\n" + b"a:\r\n" * 4200 + b"\r\n", 431),
        (b"GET /v1/tree HTTP/1.0\r\n\r\n", 200),
        (b"POST /v1/tree HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\n\r\nx", 405),
        (b"\r\n\r\n" + POST, 202),
        (POST.replace(b"Host", b"Content-Type: text/plain \t \r\nHost"), 202),
        (POST.replace(b"Host", b"Content-Length: %d\r\nHost" % len(BODY)), 400),
        (POST.replace(b"Host: test", b"Host: test\r\nHost: test"), 400),
        (b"GET /v1/live HTTP/1.1\r\nHost: test\r\n\r\n", 400),
        (UPGRADE.replace(b"/v1/live", b"/nothing") + KEY + VERSION + b"\r\n", 404),
        (UPGRADE + KEY + VERSION + b'Sec-WebSocket-Extensions: permessage-deflate; x="y, z\r\n\r\n', 101),
        (UPGRADE + KEY + VERSION.replace(b"13", b"8") + b"\r\n", 426),
        (UPGRADE + KEY + KEY + VERSION + b"\r\n", 400),
        (UPGRADE + VERSION + b"Sec-WebSocket-Key: short\r\n\r\n", 400),
    ],
)
def test_odd_requests_have_an_answer_and_hurt_nobody(daemon: Daemon, client: Client, data: bytes, status: int) -> None:
    client.send(data)

    response = client.response()
    assert response.status == status
    assert "sec-websocket-extensions" not in response.headers
    if status == 426:
        assert response.headers["sec-websocket-version"] == "13"
    with Client(daemon.address) as other:
        assert other.request("GET", "/healthz").status == 200


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_100_continue_is_for_http_1_1(daemon: Daemon, version: bytes) -> None:
    with Client(daemon.address) as client:
        head, _, body = POST.replace(b"1.1", version).replace(b"Host", b"Expect: 100-continue\r\nHost").partition(BODY)
        client.send(head.replace(b"\r\nHost", b"\r\nAccept: a\r\nAccept: b\r\nHost"))
        if version == b"1.1":
            assert client.response().status == 100
        client.send(body or BODY)
        assert client.response().status == 202
