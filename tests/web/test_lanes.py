"""One API, two lanes: what is asked of the express lane and of the full lane is answered alike."""

from __future__ import annotations

import contextlib
import gzip
import json
import resource
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

from tests.daemon import PATIENCE_SECONDS, Client, Daemon, wait_until

BODY_MAX = 200_000


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    path: Path = tmp_path_factory.mktemp("lanes") / "data"
    with Daemon(path, "--body-bytes-max", str(BODY_MAX)) as daemon:
        yield daemon


@pytest.fixture(params=["express", "full"])
def client(request: pytest.FixtureRequest, daemon: Daemon) -> Iterator[Client]:
    """A connection in the express lane, and one that a cold request has moved to the full lane for good."""
    with Client(daemon.address) as client:
        if request.param == "full":
            assert client.request("GET", "/v1/status").status == 200
        yield client


def event(url: str = "https://example.com/", kind: str = "like", **more: object) -> bytes:
    return json.dumps({"kind": kind, "url": url, **more}).encode()


def likes(client: Client, url: str) -> int:
    count: int = client.request("GET", f"/v1/counts?url={url}").json["counts"][0]["likes"]
    return count


@pytest.mark.parametrize(
    ("headers", "body", "accepted"),
    [
        ({"Content_Type": "application/json"}, event(), 1),
        ({"Content_Type": "application/json; charset=utf-8"}, b" " + event() + b"\n", 1),
        ({"Content_Type": "application/json"}, b"[" + event() + b"," + event() + b"]", 2),
        ({"Content_Type": "application/x-ndjson"}, event() + b"\n\n" + event() + b"\r\n" + event(), 3),
        ({"Content_Type": "text/plain;charset=UTF-8"}, event(), 1),
        ({}, event(), 1),
        ({"Content_Encoding": "gzip"}, gzip.compress(event() + b"\n" + event(), mtime=0), 2),
        ({"Content_Encoding": "x-gzip"}, gzip.compress(event(), mtime=0), 1),
        ({"Content_Encoding": "X-GZip"}, gzip.compress(event(), mtime=0), 1),
        ({"Content_Encoding": "zstd"}, zstd.compress(event() + b"\n" + event()), 2),
        ({"Content_Encoding": "zstd"}, zstd.compress(b"\xef\xbb\xbf[" + event() + b"]"), 1),
        ({}, b"\xef\xbb\xbf" + event(), 1),
        ({}, b"\xef\xbb\xbf\r\n" + event() + b"\n" + event(), 2),
        ({}, b"\xef\xbb\xbf" + event(actor="a"), 1),
        ({}, b"\xef\xbb\xbf", 0),
        ({"Content_Encoding": "identity"}, event(), 1),
        ({"Content_Type": "application/json"}, b"[]", 0),
        ({"Idempotency_Key": "contract-1"}, event(), 1),
    ],
)
def test_events_are_accepted(client: Client, headers: dict[str, str], body: bytes, accepted: int) -> None:
    response = client.request("POST", "/v1/events", body, **headers)

    assert (response.status, response.json) == (202, {"accepted": accepted})
    assert response.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("headers", "body", "status", "members"),
    [
        ({"Content_Type": "image/png"}, event(), 415, {"expected"}),
        ({"Content_Encoding": "br"}, event(), 415, {"expected"}),
        ({}, b"{", 400, set()),
        ({}, b"\xff", 400, set()),
        ({}, event() + b"\n{", 400, {"line"}),
        ({}, event(kind="hate"), 422, {"field", "expected"}),
        ({}, event(url="ftp://example.com/"), 422, {"field", "expected"}),
        ({}, b'{"kind":"like"}', 422, {"field", "expected"}),
        ({}, event() + b"\n" + event(url="/"), 422, {"line", "field", "expected"}),
        ({}, b"[" + event() + b"," + event(url="/") + b"]", 422, {"index", "field", "expected"}),
        ({"Content_Encoding": "gzip"}, b"no gzip", 400, set()),
        ({"Content_Encoding": "gzip"}, gzip.compress(event(), mtime=0)[:-4], 400, set()),
        ({"Content_Encoding": "gzip"}, gzip.compress(b"\n" * (BODY_MAX + 1), mtime=0), 413, set()),
        ({"Content_Encoding": "zstd"}, b"no zstd", 400, set()),
        ({"Content_Encoding": "zstd"}, zstd.compress(event())[:-4], 400, set()),
        ({"Content_Encoding": "zstd"}, zstd.compress(b"\n" * (BODY_MAX + 1)), 413, set()),
        ({"Content_Encoding": "zstd"}, gzip.compress(event(), mtime=0), 400, set()),
        ({"Content_Encoding": "gzip, zstd"}, event(), 415, {"expected"}),
        ({}, b"\xef\xbb\xbf\xef\xbb\xbf" + event(), 400, set()),
        ({"Idempotency_Key": "a b"}, event(), 400, {"field", "expected"}),
        ({}, b"\n" * (BODY_MAX + 1), 413, set()),
    ],
)
def test_events_are_refused(
    client: Client, headers: dict[str, str], body: bytes, status: int, members: set[str]
) -> None:
    response = client.request("POST", "/v1/events", body, **headers)

    assert (response.status, response.json["status"]) == (status, status)
    assert response.headers["content-type"] == "application/problem+json"
    assert set(response.json) == {"type", "title", "status", "detail"} | members


def test_whoever_uses_curl_with_its_habitual_flag_is_told_what_to_add(client: Client) -> None:
    refused = client.request("POST", "/v1/events", event(), Content_Type="application/x-www-form-urlencoded")
    assert refused.status == 415
    assert "-H 'Content-Type: application/json'" in refused.json["detail"]
    assert "--json" in refused.json["detail"]


def test_the_encodings_that_are_known_are_told(client: Client) -> None:
    refused = client.request("POST", "/v1/events", event(), Content_Encoding="br")
    assert (refused.headers["accept-encoding"], refused.json["expected"]) == ("gzip, zstd", "gzip, zstd or identity")


def test_a_request_is_taken_whole_or_not_at_all(client: Client) -> None:
    before = likes(client, "https://example.com/whole")

    response = client.request("POST", "/v1/events", event("https://example.com/whole") + b'\n{"kind":"like","url":""}')

    assert response.status == 422
    assert likes(client, "https://example.com/whole") == before


def test_a_key_with_another_body_is_refused(client: Client, request: pytest.FixtureRequest) -> None:
    key = str(abs(hash(request.node.name)))
    assert client.request("POST", "/v1/events", event("https://a.example/k"), Idempotency_Key=key).status == 202
    assert client.request("POST", "/v1/events", event("https://a.example/k"), Idempotency_Key=key).status == 202
    assert client.request("POST", "/v1/events", event("https://b.example/k"), Idempotency_Key=key).status == 422


def test_a_retry_may_be_compressed_anew(client: Client, request: pytest.FixtureRequest) -> None:
    url = f"https://example.com/anew/{request.node.callspec.id}"
    headers = {"Idempotency_Key": f"anew-{request.node.callspec.id}"}
    assert client.request("POST", "/v1/events", event(url), **headers).json == {"accepted": 1}
    for level, mtime in ((1, 0), (9, 1)):
        body = gzip.compress(event(url), level, mtime=mtime)
        retry = client.request("POST", "/v1/events", body, Content_Encoding="gzip", **headers)
        assert (retry.status, retry.json) == (202, {"accepted": 1})
    assert likes(client, url) == 1


def test_counts_come_in_the_order_asked(client: Client) -> None:
    client.request("POST", "/v1/events", event("https://example.com/seen"))

    response = client.request("GET", "/v1/counts?url=https://example.com/never&url=https://example.com/seen")

    never, seen = response.json["counts"]
    assert never == {"url": "https://example.com/never", "likes": 0, "unlikes": 0, "net": 0, "impressions": 0}
    assert seen["url"] == "https://example.com/seen"
    assert seen["likes"] > 0


@pytest.mark.parametrize("query", ["", "?url=", "?url=nothing", "?url=https://a.example/&url=%20"])
def test_counts_of_what_is_no_url_are_refused(client: Client, query: str) -> None:
    response = client.request("GET", f"/v1/counts{query}")

    assert response.status == 422
    assert response.json["field"] == "url"


def test_health(client: Client) -> None:
    assert client.request("GET", "/healthz").json == {"status": "ok"}


@pytest.mark.parametrize(("method", "status"), [("PUT", 405), ("DELETE", 405), ("GET", 405)])
def test_other_methods_are_refused(client: Client, method: str, status: int) -> None:
    response = client.request(method, "/v1/events")

    assert response.status == status
    assert "POST" in response.headers["allow"]


def test_what_is_not_there_is_a_problem(client: Client) -> None:
    response = client.request("GET", "/nothing")

    assert (response.status, response.headers["content-type"]) == (404, "application/problem+json")


def test_pipelined_requests_are_answered_in_order(client: Client) -> None:
    post = b"POST /v1/events HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n%b"
    several = [event() + b"\n" + event(), event(), b"{", event()]
    client.send(b"".join(post % (len(body), body) for body in several) + b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n")

    statuses = [client.response().status for _ in range(5)]

    assert statuses == [202, 202, 400, 202, 200]


def test_a_chunked_body_is_read(client: Client) -> None:
    body = event()
    client.send(
        b"POST /v1/events HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"10\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (body[:16], len(body) - 16, body[16:])
    )

    assert client.response().json == {"accepted": 1}


def test_a_client_may_half_close_and_still_gets_its_answer(daemon: Daemon) -> None:
    with Client(daemon.address) as client:
        body = event()
        client.send(b"POST /v1/events HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        client.socket.shutdown(socket.SHUT_WR)

        assert client.response().json == {"accepted": 1}
        assert client.closed()


@pytest.mark.parametrize(
    "data",
    [
        b"POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}x",
        b"POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Length: +2\r\n\r\n{}",
        b"POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\n{}",
        b"POST /v1/events HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        b"POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Length : 2\r\n\r\n{}",
        b"GET /healthz HTTP/1.1\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 40_000 + b"\r\n\r\n",
        b"NO HTTP AT ALL\r\n\r\n",
    ],
)
def test_what_breaks_http_is_refused_and_the_connection_closed(client: Client, data: bytes) -> None:
    client.send(data)

    assert 400 <= client.response().status < 500
    assert client.closed()


def test_a_connection_ends_when_the_client_says_it_is_the_last_request(client: Client) -> None:
    assert client.request("GET", "/healthz", Connection="close").headers["connection"] == "close"
    assert client.closed()


def test_bare_line_feeds_smuggle_nothing(daemon: Daemon) -> None:
    with Client(daemon.address) as client:
        client.send(b"GET /healthz HTTP/1.1\nHost: a\n\nPOST /v1/events HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.response().status == 400
        assert client.closed()


def test_a_hot_connection_moves_to_the_full_lane_after_its_answers(daemon: Daemon) -> None:
    with Client(daemon.address) as client:
        body = event()
        post = b"POST /v1/events HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        client.send(post + b"GET /v1/tree HTTP/1.1\r\nHost: test\r\n\r\n" + post)

        assert client.response().json == {"accepted": 1}
        assert client.response().json["name"] == "likd"
        assert client.response().json == {"accepted": 1}


def test_expect_continue_is_answered_before_the_body(daemon: Daemon) -> None:
    with Client(daemon.address) as client:
        body = event()
        head = "POST /v1/events HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
        client.send(head.encode() % len(body))
        assert client.response().status == 100
        client.send(body)
        assert client.response().status == 202


def test_a_request_in_single_bytes_is_read(daemon: Daemon) -> None:
    with Client(daemon.address) as client:
        body = event()
        data = b"\r\nPOST /v1/events HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        for byte in data:
            client.send(bytes([byte]))
        assert client.response().status == 202


def test_answers_wait_for_a_client_that_is_slow_to_read_them(daemon: Daemon) -> None:
    n = 20_000
    url = "https://example.com/" + "x" * 1500
    with Client(daemon.address) as client, Client(daemon.address) as other:
        get = f"GET /v1/counts?url={url} HTTP/1.1\r\nHost: test\r\n\r\n".encode()
        client.socket.settimeout(0.3)
        sent = 0
        with contextlib.suppress(TimeoutError):
            while sent < n:
                client.send(get)
                sent += 1
        assert sent < n, "the daemon took requests without end"
        assert other.request("GET", "/healthz").status == 200


def test_connections_past_the_limit_are_closed_and_room_is_made_again(tmp_path: Path) -> None:
    with Daemon(tmp_path / "data", "--connections-max", "2") as daemon:
        with Client(daemon.address) as first, Client(daemon.address) as second:
            assert first.request("GET", "/healthz").status == 200
            assert second.request("GET", "/v1/status").status == 200
            with Client(daemon.address) as third:
                assert third.closed()

        wait_until(lambda: _is_served(daemon))


def _is_served(daemon: Daemon) -> bool:
    with Client(daemon.address) as client:
        try:
            return client.request("GET", "/healthz").status == 200
        except (AssertionError, OSError):
            return False


def test_bodies_past_the_limit_of_all_together_are_refused(tmp_path: Path) -> None:
    with (
        Daemon(tmp_path / "data", "--body-bytes-max", "100000", "--bodies-bytes-max", "150000") as daemon,
        Client(daemon.address) as first,
        Client(daemon.address) as second,
    ):
        first.send(b"POST /v1/events HTTP/1.1\r\nHost: test\r\nContent-Length: 100000\r\n\r\n")
        wait_until(lambda: _refused(daemon))
        first.send(b"\n" * 100_000)
        assert first.response().status == 202
        assert second.request("POST", "/v1/events", b"\n" * 100_000).status == 202


def _refused(daemon: Daemon) -> bool:
    with Client(daemon.address) as client:
        client.send(b"POST /v1/events HTTP/1.1\r\nHost: test\r\nContent-Length: 100000\r\n\r\n" + b"\n" * 100_000)
        response = client.response()
        return response.status == 503 and "retry-after" in response.headers


def test_a_request_that_trickles_in_is_refused_in_time_and_holds_up_nobody(tmp_path: Path) -> None:
    with Daemon(tmp_path / "data", "--head-timeout", "0.5") as daemon:
        slow = [Client(daemon.address) for _ in range(200)]
        for n, client in enumerate(slow):
            client.send(b"POST /v1/events HTTP/1.1\r\nX: "[: 1 + n % 30])
        with Client(daemon.address) as client:
            assert client.request("POST", "/v1/events", event()).status == 202
        for client in slow:
            with client:
                assert client.response().status == 408
                assert client.closed()


def test_a_chunked_body_takes_its_part_of_the_room_for_all(tmp_path: Path) -> None:
    with (
        Daemon(tmp_path / "data", "--body-bytes-max", "100000", "--bodies-bytes-max", "150000") as daemon,
        Client(daemon.address) as first,
    ):
        head = b"POST /v1/events HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"
        first.send(head + b"18000\r\n%b\r\n" % (b"\n" * 0x18000))
        wait_until(lambda: _refused(daemon))
        first.send(b"0\r\n\r\n")
        assert first.response().status == 202
        wait_until(lambda: not _refused(daemon))


def test_a_body_that_can_never_be_counted_is_refused_with_the_limit(tmp_path: Path) -> None:
    body = b"\n".join(event(f"https://example.com/{n}") for n in range(21))
    with Daemon(tmp_path / "data", "--counters-max", "20") as daemon, Client(daemon.address) as client:
        refused = client.request("POST", "/v1/events", body)
        assert (refused.status, refused.json["expected"]) == (413, "at most 20 URLs")
        assert client.request("POST", "/v1/events", body.rpartition(b"\n")[0]).status == 202


def test_a_client_that_takes_no_answer_holds_up_no_shutdown(tmp_path: Path) -> None:
    with Daemon(tmp_path / "data", "--shutdown-timeout", "1") as daemon, Client(daemon.address) as client:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.send(b"GET /likd.js HTTP/1.1\r\nHost: test\r\n\r\n" * 1000)
        with Client(daemon.address) as other:
            for _ in range(200):
                assert other.request("GET", "/readyz").status == 200
        daemon.process.terminate()
        assert daemon.process.wait(10) == 0


def test_idle_connections_hold_up_no_shutdown_and_requests_in_flight_are_answered(tmp_path: Path) -> None:
    with (
        Daemon(tmp_path / "data", "--shutdown-timeout", "600") as daemon,
        Client(daemon.address) as idle,
        Client(daemon.address) as busy,
    ):
        assert idle.request("GET", "/v1/status").status == 200
        assert busy.request("GET", "/v1/status").status == 200
        head = b"POST /v1/events HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
        busy.send(head % len(event()))
        assert busy.socket.recv(1000).startswith(b"HTTP/1.1 100 ")
        daemon.process.terminate()
        assert idle.closed()
        busy.send(event())
        assert busy.response().status == 202
        assert daemon.process.wait(PATIENCE_SECONDS) == 0


def test_bodies_behind_pipelined_requests_have_their_own_time(tmp_path: Path) -> None:
    with Daemon(tmp_path / "data", "--idle-timeout", "0.5") as daemon, Client(daemon.address) as client:
        like, long = event(), b"\n" * 40_000
        head = b"POST /v1/events HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n"
        client.send(head % len(like) + like + head % len(long) + long[:20_000])
        assert client.response().status == 202
        with Client(daemon.address) as idle:
            assert idle.request("GET", "/healthz").status == 200
            assert idle.closed()
        client.send(long[20_000:])
        assert client.response().status == 202


def test_an_idle_connection_is_closed(tmp_path: Path) -> None:
    with Daemon(tmp_path / "data", "--idle-timeout", "0.5") as daemon, Client(daemon.address) as client:
        assert client.request("GET", "/healthz").status == 200
        assert client.closed()


def test_connections_leave_descriptors_to_the_journal(tmp_path: Path) -> None:
    with Daemon(tmp_path / "data", "--flush-interval", "0.1", descriptors=100) as daemon:
        clients = [Client(daemon.address) for _ in range(150)]
        served = 0
        for client in clients:
            with client, contextlib.suppress(OSError, AssertionError):
                served += client.request("POST", "/v1/events", event("https://example.com/fd")).status == 202
        assert 30 <= served <= 36

        wait_until(lambda: _is_served(daemon))
        with Client(daemon.address) as client:
            assert likes(client, "https://example.com/fd") == served
        assert daemon.stop() == 0


def test_running_out_of_file_descriptors_is_survived(tmp_path: Path) -> None:
    with Daemon(tmp_path / "data", "--flush-interval", "0.1") as daemon:
        resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, (40, 40))
        clients = [Client(daemon.address) for _ in range(100)]
        wait_until(lambda: b"can't accept a connection" in daemon.log.read_bytes())
        for client in clients:
            client.socket.close()

        wait_until(lambda: _is_served(daemon))
        with Client(daemon.address) as client:
            wait_until(lambda: client.request("POST", "/v1/events", event()).status == 202)
        assert daemon.stop() == 0
