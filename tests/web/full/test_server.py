"""The full lane with an application of its own, on real sockets and a virtual clock."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
import trio
from quart import Response, request
from quart_trio import QuartTrio
from trio.testing import MockClock

from likd.web.access.body_budget import BodyBudget
from likd.web.full.server import FullLane

IDLE_SECONDS = 60.0
Connect = Callable[[bytes], AbstractAsyncContextManager[trio.SocketStream]]


def application() -> QuartTrio:
    app = QuartTrio(__name__, static_folder=None)
    app.config.update(BODY_TIMEOUT=None, RESPONSE_TIMEOUT=None)

    @app.get("/long")
    async def long() -> Response:
        async def lines() -> AsyncIterator[bytes]:
            for _ in range(20):
                await trio.sleep(IDLE_SECONDS / 2)
                yield b"line\n"

        return Response(lines())

    @app.get("/large")
    async def large() -> Response:
        async def lines() -> AsyncIterator[bytes]:
            for _ in range(256):
                yield bytes(1 << 16)

        return Response(lines())

    @app.get("/cut")
    async def cut() -> Response:
        async def lines() -> AsyncIterator[bytes]:
            yield b"line\n"
            raise OSError("no more")

        return Response(lines())

    @app.post("/slow")
    async def slow() -> Response:
        body = await request.get_data()
        await trio.sleep(1)
        return Response(body)

    return app


@pytest.fixture
async def connect(nursery: trio.Nursery, autojump_clock: MockClock) -> Connect:
    # Real sockets take a moment, in which the virtual clock has to stand still.
    autojump_clock.autojump_threshold = 0.02
    lane = FullLane(
        application(),
        tls=None,
        https=False,
        room=BodyBudget(1 << 20),
        connections_max=10,
        head_seconds=10.0,
        idle_seconds=IDLE_SECONDS,
    )
    await nursery.start(lane.run)

    @asynccontextmanager
    async def client(data: bytes) -> AsyncIterator[trio.SocketStream]:
        """A client whose first `data` was read before the lane got the connection."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            async with await trio.open_tcp_stream(*listener.getsockname()) as stream:
                accepted, _ = listener.accept()
                accepted.setblocking(False)
                lane.take(accepted, data, lambda: None, "127.0.0.1")
                yield stream

    return client


def get(path: str, version: str = "1.1", *headers: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/{version}", "Host: test", *headers, "", ""]).encode()


def post(body: bytes, *headers: str) -> bytes:
    lines = ["POST /slow HTTP/1.1", "Host: test", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


async def rest(stream: trio.SocketStream) -> bytes:
    """All that comes until the server closes."""
    return b"".join([data async for data in stream])


async def some(stream: trio.SocketStream, end: bytes) -> bytes:
    """What comes up to `end`."""
    data = b""
    while end not in data:
        more = await stream.receive_some()
        assert more, data
        data += more
    return data


async def test_an_answer_takes_as_long_as_it_takes(connect: Connect, autojump_clock: MockClock) -> None:
    async with connect(get("/long", "1.1", "Connection: close")) as client:
        assert (await rest(client)).count(b"line\n") == 20


async def test_a_reader_that_takes_a_little_at_a_time_gets_it_all(connect: Connect, autojump_clock: MockClock) -> None:
    async with connect(get("/large", "1.0")) as client:
        size = 0
        while data := await client.receive_some(4 << 20):
            size += len(data)
            await trio.sleep(IDLE_SECONDS * 0.9)
        assert size > 256 << 16


async def test_a_reader_that_takes_nothing_is_cut_off_and_sees_it(connect: Connect, autojump_clock: MockClock) -> None:
    async with connect(get("/large", "1.0")) as client:
        await trio.sleep(IDLE_SECONDS * 3)
        with pytest.raises(trio.BrokenResourceError):
            await rest(client)


async def test_an_answer_that_fails_half_way_does_not_look_whole(connect: Connect, autojump_clock: MockClock) -> None:
    async with connect(get("/cut", "1.0")) as client:
        with pytest.raises(trio.BrokenResourceError):
            await rest(client)


async def test_a_client_that_says_it_is_done_gets_all_its_answers(connect: Connect, autojump_clock: MockClock) -> None:
    async with connect(post(b"first")) as client:
        await client.send_all(post(b"second"))
        await client.send_eof()
        answers = await rest(client)
        assert answers.count(b"HTTP/1.1 200") == 2
        assert b"first" in answers
        assert b"second" in answers


async def test_bytes_behind_the_last_request_spoil_no_answer(connect: Connect, autojump_clock: MockClock) -> None:
    async with connect(post(b"last", "Connection: close")) as client:
        await trio.sleep(0.5)
        await client.send_all(b"stray" * 1000)
        answer = await rest(client)
        assert answer.startswith(b"HTTP/1.1 200")
        assert answer.endswith(b"last")


async def test_a_head_has_its_time_and_so_has_an_idle_connection(connect: Connect, autojump_clock: MockClock) -> None:
    async with connect(b"GET / HT") as client:
        began = trio.current_time()
        assert (await rest(client)).startswith(b"HTTP/1.1 408")
        assert trio.current_time() - began == pytest.approx(10, abs=0.1)
    async with connect(get("/nothing")) as client:
        began = trio.current_time()
        assert (await rest(client)).startswith(b"HTTP/1.1 404")
        assert trio.current_time() - began == pytest.approx(IDLE_SECONDS, abs=0.1)


async def test_a_body_that_ends_too_early_is_refused(connect: Connect, autojump_clock: MockClock) -> None:
    async with connect(post(b"body")[:-1]) as client:
        await client.send_eof()
        assert (await rest(client)).startswith(b"HTTP/1.1 400")


async def test_what_is_not_taken_waits_in_the_clients_kernel(connect: Connect, autojump_clock: MockClock) -> None:
    async with connect(post(b"first")) as client:
        with trio.move_on_after(0.9) as timeout:
            while True:
                await client.send_all(bytes(1 << 16))
        assert timeout.cancelled_caught
