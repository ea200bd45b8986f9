"""A page watches its counts: the live websocket, with a real client."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_client_stream

from tests.daemon import PATIENCE_SECONDS, PROCESSES, Client, Daemon, wait_until

URL = "https://example.com/live"
MOVE = b"GET /readyz HTTP/1.1\r\nHost: test\r\n\r\n"
"""A cold request, which moves its connection to the full lane for good."""
moves_first = False


@pytest.fixture(params=["live", "full", pytest.param("front", marks=pytest.mark.thorough)], autouse=True)
def lane(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A websocket means the same on a connection of its own, one moved to the full lane before, and one of a front."""
    monkeypatch.setattr(f"{__name__}.moves_first", request.param == "full")
    if request.param == "front":
        monkeypatch.setenv(PROCESSES, "2")
        monkeypatch.setattr(f"{__name__}.URL", f"https://example.com/{quote(request.node.name)}")


@asynccontextmanager
async def connect(daemon: Daemon) -> AsyncIterator[WebSocketConnection]:
    async with await trio.open_tcp_stream(*daemon.address) as stream, trio.open_nursery() as nursery:
        if moves_first:
            await stream.send_all(MOVE)
            answer = b""
            while b"ready" not in answer:
                answer += await stream.receive_some()
        websocket = await wrap_client_stream(nursery, stream, "test", "/v1/live")
        yield websocket
        with trio.move_on_after(1):
            await websocket.aclose()
        nursery.cancel_scope.cancel()


async def say(websocket: WebSocketConnection, **message: Any) -> None:
    await websocket.send_message(json.dumps(message))


async def hear(websocket: WebSocketConnection) -> dict[str, Any]:
    with trio.fail_after(PATIENCE_SECONDS):
        message: dict[str, Any] = json.loads(await websocket.get_message())
        return message


async def close_code(websocket: WebSocketConnection) -> int:
    with trio.fail_after(PATIENCE_SECONDS):
        while websocket.closed is None:
            with contextlib.suppress(ConnectionClosed):
                await websocket.get_message()
    return int(websocket.closed.code)


def like(daemon: Daemon, times: int = 1, url: str = "") -> None:
    with Client(daemon.address) as client:
        body = b"\n".join([json.dumps({"kind": "like", "url": url or URL}).encode()] * times)
        assert client.request("POST", "/v1/events", body).status == 202


@contextlib.contextmanager
def started(path: Path) -> Iterator[Daemon]:
    flags = ["--table-limit", "5", "--flush-interval", "0.1", "--live-interval", "0.1", "--watches-max", "2"]
    with Daemon(path, *flags) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with the fronts that `lane` asks for: to start them takes a moment."""
    with started(tmp_path_factory.mktemp("shared") / "data") as daemon:
        yield daemon


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon that has counted nothing, and that nobody else needs."""
    with started(tmp_path / "data") as daemon:
        yield daemon


@pytest.fixture
def daemon(request: pytest.FixtureRequest) -> Daemon:
    found: Daemon = request.getfixturevalue("shared" if PROCESSES in os.environ else "fresh")
    return found


async def test_a_watcher_gets_a_snapshot_at_once_and_then_each_exact_total(daemon: Daemon) -> None:
    like(daemon, 3)
    async with connect(daemon) as websocket:
        await say(websocket, op="watch", urls=[URL, "https://example.com/never"])
        snapshot = await hear(websocket)
        assert snapshot["type"] == "snapshot"
        assert {row["url"]: row["likes"] for row in snapshot["counts"]} == {URL: 3, "https://example.com/never": 0}

        for n in range(30):
            await trio.to_thread.run_sync(like, daemon, 1)
            await trio.to_thread.run_sync(like, daemon, 1, f"https://example.com/other/{n}")
        seen = [3]
        while seen[-1] < 33:
            message = await hear(websocket)
            assert message["type"] == "changes"
            seen += [row["likes"] for row in message["counts"]]
            assert all(
                set(row) >= {"url", "likes", "unlikes", "net", "impressions", "rate"} for row in message["counts"]
            )
        assert seen == sorted(seen)
        assert seen[-1] == 33

        await say(websocket, op="unwatch", urls=[URL])
        await trio.to_thread.run_sync(like, daemon, 1)
        await say(websocket, op="watch", urls=["https://example.com/never"])
        assert (await hear(websocket))["type"] in ("snapshot", "changes")


async def test_changes_come_at_most_once_an_interval(daemon: Daemon) -> None:
    async with connect(daemon) as websocket:
        await say(websocket, op="watch", urls=[URL])
        await hear(websocket)
        began = trio.current_time()
        for _ in range(50):
            await trio.to_thread.run_sync(like, daemon, 1)
        messages, likes = 0, 0
        while likes < 50:
            likes = (await hear(websocket))["counts"][0]["likes"]
            messages += 1
        assert messages <= (trio.current_time() - began) / 0.1 + 1


async def test_the_top_list_and_the_status_are_live(fresh: Daemon) -> None:
    daemon = fresh
    like(daemon, 2)
    async with connect(daemon) as websocket:
        await say(websocket, op="watch_top", by="likes", limit=3)
        top = await hear(websocket)
        assert (top["type"], top["by"], top["top"][0]["likes"]) == ("top", "likes", 2)
        await say(websocket, op="watch_status")
        while (message := await hear(websocket))["type"] != "status":
            assert message["type"] == "top"
        assert message["status"]["totals"]["events_accepted"] == 2


@pytest.mark.parametrize(
    "message",
    ["{", "[]", '{"op":"nothing"}', '{"op":"watch"}', '{"op":"watch","urls":["x"]}', '{"op":"watch_top","by":"x"}'],
)
async def test_a_message_that_is_not_understood_closes_with_4400(daemon: Daemon, message: str) -> None:
    async with connect(daemon) as websocket:
        await websocket.send_message(message)
        assert await close_code(websocket) == 4400


async def test_a_binary_message_closes_with_1003(daemon: Daemon) -> None:
    async with connect(daemon) as websocket:
        await websocket.send_message(b"{}")
        assert await close_code(websocket) == 1003


async def test_watching_too_much_closes_with_1008(daemon: Daemon) -> None:
    async with connect(daemon) as websocket:
        await say(websocket, op="watch", urls=[f"https://example.com/{n}" for n in range(3)])
        assert await close_code(websocket) == 1008


async def test_what_is_watched_is_counted_over_all_messages_each_url_once(daemon: Daemon) -> None:
    async with connect(daemon) as websocket:
        for n in (0, 1, 0, 1):
            await say(websocket, op="watch", urls=[f"https://example.com/{n}"])
            assert len((await hear(websocket))["counts"]) == 1
        await say(websocket, op="watch", urls=["https://example.com/2"])
        assert await close_code(websocket) == 1008


async def test_a_partial_watch_refuses_the_bad_urls_alone(tmp_path: Path) -> None:
    environment = {**os.environ, "LIKD_ADMIN_TOKEN": "an-admin-token-for-this"}
    flags = ["--public-sites", "example.com", "--watches-max", "2", "--live-interval", "0.1"]
    with Daemon(tmp_path / "data", *flags, environment=environment) as daemon:
        async with connect(daemon) as websocket:
            bad = ["https://elsewhere.test/", "mailto:a@example.com", f"https://example.com/{'x' * 2100}"]
            good = ["https://example.com/1", "https://example.com/2"]
            await say(websocket, op="watch", urls=[*bad, *good, "https://example.com/3"], partial=True)
            refused = await hear(websocket)
            assert refused["type"] == "refused"
            statuses = {row["url"]: row["problem"]["status"] for row in refused["refused"]}
            assert statuses == dict(zip([*bad, "https://example.com/3"], [403, 422, 422, 429], strict=True))
            assert [row["url"] for row in (await hear(websocket))["counts"]] == good
            await say(websocket, op="unwatch", urls=[good[0], bad[0]])
            await say(websocket, op="watch", urls=["https://example.com/3"], partial=True)
            assert [row["url"] for row in (await hear(websocket))["counts"]] == ["https://example.com/3"]


async def test_a_ping_is_answered(daemon: Daemon) -> None:
    async with connect(daemon) as websocket:
        await say(websocket, op="ping")
        assert await hear(websocket) == {"type": "pong"}


async def test_a_shutdown_closes_with_1001(fresh: Daemon) -> None:
    async with connect(fresh) as websocket:
        await say(websocket, op="watch", urls=[URL])
        await hear(websocket)
        fresh.process.send_signal(signal.SIGTERM)
        assert await close_code(websocket) == 1001
    assert await trio.to_thread.run_sync(fresh.process.wait, PATIENCE_SECONDS) == 0


async def test_a_watcher_that_does_not_read_holds_nobody_up(daemon: Daemon) -> None:
    with Client(daemon.address) as silent:
        silent.send(
            b"GET /v1/live HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        assert silent.response().status == 101
        async with connect(daemon) as websocket:
            await say(websocket, op="watch", urls=[URL])
            await hear(websocket)
            await trio.to_thread.run_sync(like, daemon, 1)
            assert (await hear(websocket))["counts"][0]["likes"] == 1


def raw(daemon: Daemon) -> Client:
    """A websocket of which the test sends every byte."""
    client = Client(daemon.address)
    try:
        shake_hands(client)
    except BaseException:
        client.socket.close()
        raise
    return client


def shake_hands(client: Client) -> None:
    if moves_first:
        client.send(MOVE)
        assert client.response().status == 200
    client.send(
        b"GET /v1/live HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
    )
    response = client.response()
    assert response.status == 101
    assert "sec-websocket-extensions" not in response.headers


def close_frame(client: Client) -> int:
    """The code with which the server closes, after its pings."""
    said = b""
    with contextlib.suppress(ConnectionError):
        while data := client.socket.recv(65536):
            said += data
    said = said.removeprefix(b"\x89\x00")
    assert said[0] == 0x88
    return int.from_bytes(said[2:4], "big")


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x81\x01x", 1002),
        (b"\xc1\x81\0\0\0\0x", 1002),
        (b"\x83\x81\0\0\0\0x", 1002),
        (b"\x81\x81\0\0\0\0\xff", 1007),
        (b"\x82\xff" + (2 << 20).to_bytes(8, "big") + bytes(4) + bytes(2 << 20), 1009),
        ((b"\x01\xff" + (1 << 20).to_bytes(8, "big") + bytes(4) + bytes(1 << 20)) + b"\x00\x81\0\0\0\0x", 1009),
    ],
)
def test_a_websocket_that_breaks_the_protocol_is_failed_and_told_why(daemon: Daemon, data: bytes, code: int) -> None:
    with raw(daemon) as client:
        client.send(data)
        assert close_frame(client) == code


def resident(daemon: Daemon) -> int:
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) << 10


def test_a_message_without_end_is_not_kept(daemon: Daemon) -> None:
    before = resident(daemon)
    with raw(daemon) as client, contextlib.suppress(ConnectionError):
        client.send(b"\x82\xff" + (1 << 40).to_bytes(8, "big") + bytes(4))
        for _ in range(400):
            client.send(bytes(1 << 20))
            assert resident(daemon) - before < 64 << 20
        raise AssertionError("the server reads on and on")


def test_messages_wait_for_those_before_them_in_the_clients_kernel(daemon: Daemon) -> None:
    before = resident(daemon)
    watch = json.dumps({"op": "watch", "urls": [URL]}).encode()
    message = watch + b" " * (1_000_000 - len(watch))
    with raw(daemon) as client, contextlib.suppress(ConnectionError, TimeoutError):
        client.socket.settimeout(2)
        for _ in range(50):
            client.send(b"\x81\xff" + len(message).to_bytes(8, "big") + bytes(4) + message)
            assert resident(daemon) - before < 64 << 20


def test_a_websocket_whose_client_leaves_gives_its_seat_back_at_once(tmp_path: Path) -> None:
    with Daemon(tmp_path / "data", "--connections-max", "1") as daemon:
        for _ in range(5):
            wait_until(lambda: _takes_a_seat(daemon))


def _takes_a_seat(daemon: Daemon) -> bool:
    try:
        with raw(daemon):
            return True
    except (AssertionError, OSError):
        return False


async def test_a_site_is_watched_by_its_sums_and_what_is_hot_there_by_likes(daemon: Daemon) -> None:
    async with connect(daemon) as websocket:
        await say(websocket, op="watch_site", host="Hot.Example")
        first = await hear(websocket)
        assert (first["type"], first["host"], first["likes"]) == ("site", "hot.example", 0)
        await say(websocket, op="watch_hot", limit=5, by="likes", site="hot.example")
        await say(websocket, op="ping")
        heard: dict[str, dict[str, Any]] = {}
        while "pong" not in heard:
            message = await hear(websocket)
            heard[message["type"]] = message
        for url in ("https://hot.example/a", "https://hot.example/b", URL):
            like(daemon, url=url)
        while len(heard.get("hot", {}).get("hot", [])) < 2 or heard.get("site", {}).get("likes") != 2:
            message = await hear(websocket)
            heard[message["type"]] = message
        assert heard["site"]["today"] == 2
        assert {row["url"] for row in heard["hot"]["hot"]} == {"https://hot.example/a", "https://hot.example/b"}
        assert heard["hot"]["hot"][0]["likes"] > 0
        await say(websocket, op="unwatch_site")
        await say(websocket, op="watch_site", host="no host")
        assert await close_code(websocket) == 4400
