"""Share links: who has one reads exactly what it is for, writes nothing, and no longer than it holds."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from trio_websocket import ConnectionClosed, ConnectionRejected, wrap_client_stream

from likd.web.api.live_ops import POLICY_VIOLATION
from tests.daemon import PATIENCE_SECONDS, Client, Daemon

ADMIN = "an-admin-token-of-tests"
A, B, OTHER = "https://a.example/1", "https://a.example/2", "https://other.example/"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shares") / "data"


def start(path: Path) -> Daemon:
    token = path.parent / "token"
    token.write_text(ADMIN)
    return Daemon(path, "--admin-token-file", str(token), "--flush-interval", "0.1")


@pytest.fixture(scope="module")
def daemon(path: Path) -> Iterator[Daemon]:
    with start(path) as daemon:
        yield daemon


@pytest.fixture
def client(daemon: Daemon) -> Iterator[Client]:
    with Client(daemon.address) as client:
        yield client


def admin(client: Client, method: str, target: str, body: object = None) -> Any:
    data = b"" if body is None else json.dumps(body).encode()
    return client.request(method, target, data, Authorization=f"Bearer {ADMIN}")


def share(client: Client, **about: object) -> dict[str, Any]:
    answer = admin(client, "POST", "/v1/shares", about)
    assert answer.status == 201, answer.body
    made: dict[str, Any] = answer.json
    assert made["href"] == f"/s/{made['token']}"
    return made


SITE_READS = [
    f"/v1/counts?url={A}",
    f"/v1/history?url={B}",
    "/v1/history?site=a.example&unit=day&compare=before",
    "/v1/pages?site=a.example",
]
OTHERS = [
    f"/v1/counts?url={OTHER}",
    f"/v1/counts?url={A}&url={OTHER}",
    f"/v1/history?url={OTHER}",
    "/v1/history?site=other.example",
    "/v1/history",
    "/v1/pages",
    "/v1/pages?site=other.example",
    "/v1/sites",
    "/v1/top",
    "/v1/status",
    "/v1/export",
    "/v1/shares",
    "/v1/aliases",
    f"/pixel.gif?url={A}",
]


@pytest.mark.parametrize("by_query", [False, True])
def test_a_link_for_a_site_lets_read_that_site_and_nothing_else(client: Client, by_query: bool) -> None:
    token = share(client, site="A.example")["token"]

    def read(target: str) -> int:
        if by_query:
            return client.request("GET", f"{target}{'&' if '?' in target else '?'}share={token}").status
        return client.request("GET", target, Authorization=f"Bearer {token}").status

    assert {target: read(target) for target in SITE_READS} == dict.fromkeys(SITE_READS, 200)
    assert {target: read(target) for target in OTHERS} == dict.fromkeys(OTHERS, 403)


def test_a_link_for_a_url_lets_read_that_url_alone(client: Client) -> None:
    token = share(client, url=A)["token"]
    reads = {f"/v1/counts?url={A}": 200, f"/v1/history?url={A}": 200, f"/v1/counts?url={B}": 403}
    reads |= {"/v1/history?site=a.example": 403, "/v1/pages?site=a.example": 403}
    assert {target: client.request("GET", f"{target}&share={token}").status for target in reads} == reads


def test_a_link_lets_nobody_write(client: Client) -> None:
    token = share(client, site="a.example")["token"]
    for method, target, body in [
        ("POST", "/v1/events", json.dumps({"kind": "like", "url": A, "actor": "x"}).encode()),
        ("DELETE", f"/v1/counts?url={A}", b""),
        ("POST", "/v1/reset", json.dumps({"url": A}).encode()),
        ("POST", "/v1/shares", json.dumps({"url": A}).encode()),
    ]:
        assert client.request(method, target, body, Authorization=f"Bearer {token}").status == 403, target
    assert admin(client, "GET", f"/v1/counts?url={A}").json["counts"][0]["likes"] == 0


def test_a_link_that_is_revoked_or_over_or_forged_lets_nobody_in(client: Client) -> None:
    made = share(client, site="a.example", until=int(time.time()) + 2)
    target = f"/v1/counts?url={A}&share="
    assert client.request("GET", target + made["token"]).status == 200
    forged = made["token"][:-1] + ("0" if made["token"][-1] != "0" else "1")
    assert client.request("GET", target + forged).status == 401
    other = share(client, site="a.example")
    assert admin(client, "DELETE", f"/v1/shares?id={other['id']}").json == {"id": other["id"], "revoked": True}
    assert client.request("GET", target + other["token"]).status == 401
    assert admin(client, "DELETE", f"/v1/shares?id={other['id']}").status == 404
    time.sleep(max(0.0, made["until"] - time.time()) + 0.1)
    assert client.request("GET", target + made["token"]).status == 401
    assert made["id"] not in [row["id"] for row in admin(client, "GET", "/v1/shares").json["shares"]]


@pytest.mark.parametrize("about", [{}, {"url": A, "site": "a.example"}, {"url": "x"}, {"url": A, "until": 5}, {"x": 1}])
def test_what_can_not_be_shared_is_said(client: Client, about: dict[str, object]) -> None:
    answer = admin(client, "POST", "/v1/shares", about)
    assert (answer.status, answer.headers["content-type"]) == (422, "application/problem+json")


def test_links_outlive_the_daemon(tmp_path: Path) -> None:
    with start(tmp_path / "data") as daemon, Client(daemon.address) as client:
        token = share(client, url=A)["token"]
        daemon.stop()
    with start(tmp_path / "data") as daemon, Client(daemon.address) as client:
        assert client.request("GET", f"/v1/counts?url={A}&share={token}").status == 200
    assert token.encode() not in (tmp_path / "data" / "shares").read_bytes()


async def told(daemon: Daemon, token: str, op: dict[str, object]) -> object:
    """What the websocket answers first to who has a link: a message, or the code that it is closed with."""
    async with await trio.open_tcp_stream(*daemon.address) as stream, trio.open_nursery() as nursery:
        websocket = await wrap_client_stream(nursery, stream, "test", f"/v1/live?share={token}")
        with trio.fail_after(PATIENCE_SECONDS):
            await websocket.send_message(json.dumps(op))
            try:
                answer: object = json.loads(await websocket.get_message())
            except ConnectionClosed as closed:
                assert closed.reason is not None
                answer = closed.reason.code
        nursery.cancel_scope.cancel()
    return answer


@pytest.mark.parametrize("about", [{"site": "a.example"}, {"url": A}])
async def test_a_link_watches_over_the_websocket_what_it_is_for_and_nothing_else(
    daemon: Daemon, client: Client, about: dict[str, str]
) -> None:
    token = share(client, **about)["token"]
    watched = await told(daemon, token, {"op": "watch", "urls": [A]})
    assert isinstance(watched, dict)
    assert watched["counts"][0]["url"] == A
    site = await told(daemon, token, {"op": "watch_site", "host": "a.example"})
    assert isinstance(site, dict) == ("site" in about)
    ops: list[dict[str, object]] = [
        {"op": "watch", "urls": [OTHER]},
        {"op": "watch_site", "host": "other.example"},
        {"op": "watch_site"},
        {"op": "watch_hot"},
        {"op": "watch_top"},
        {"op": "watch_status"},
    ]
    for op in ops:
        assert await told(daemon, token, op) == POLICY_VIOLATION, op


async def test_a_link_that_was_revoked_opens_no_websocket(daemon: Daemon, client: Client) -> None:
    made = share(client, site="a.example")
    assert admin(client, "DELETE", f"/v1/shares?id={made['id']}").status == 200
    with pytest.raises((ConnectionRejected, ExceptionGroup)):
        await told(daemon, made["token"], {"op": "ping"})
