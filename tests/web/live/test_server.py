"""The live lane: whatever comes in whatever pieces means the same, and no client is another's."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock
from wsproto.connection import Connection as Peer
from wsproto.connection import ConnectionType
from wsproto.events import CloseConnection, Event, Pong

from likd.config.settings import Config
from likd.queries.live_hub import LiveHub
from likd.queries.top_lists import TopLists
from likd.runtime.notice import Notice
from likd.web.access.caller import Caller
from likd.web.access.gate import Gate
from likd.web.access.tokens import Tokens
from likd.web.api.live_news import STATUS_SECONDS, Session
from likd.web.api.live_ops import Close
from likd.web.api.live_socket import LiveSessions
from likd.web.full.stream import PING_SECONDS, SILENCE_SECONDS_MIN
from likd.web.live.admission import by
from likd.web.live.connection import Connection, text_frame
from likd.web.live.handshake import read_handshake
from likd.web.live.server import LiveLane
from tests.fakestore import FakeStore, totals_over
from tests.web.full.test_websocket_frames import frame

HANDSHAKE = (
    b"GET /v1/live HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
IDLE_SECONDS = 5.0

TEXT = st.text(max_size=20).map(lambda text: frame(0x81, text.encode()))
PARTS = st.lists(st.text(max_size=5), min_size=2, max_size=4).map(
    lambda parts: b"".join(
        frame((0x01 if n == 0 else 0x00) | (0x80 if n == len(parts) - 1 else 0), part.encode())
        for n, part in enumerate(parts)
    )
)
PING_FRAME = st.binary(max_size=10).map(lambda payload: frame(0x89, payload))
BROKEN = [frame(0x83), frame(0x81, b"\xff"), b"\x81\x01x"]
END = st.sampled_from([b"", frame(0x88, b"\x03\xe8bye"), frame(0x88), *BROKEN])


def heard(data: bytes) -> list[Event]:
    peer = Peer(ConnectionType.CLIENT)
    peer.receive_data(data)
    return list(peer.events())


def talk(pieces: list[bytes], takes: list[bool]) -> tuple[list[str | bytes], list[Event], bool]:
    """What a connection makes of `pieces`: messages, what it says, whether it ends. `takes` says when it is asked."""
    connection, messages, said = Connection(), [], b""
    for number, piece in enumerate(pieces):
        connection.receive(piece)
        if takes[number % len(takes)]:
            while (message := connection.next()) is not None or connection.busy:
                messages += [message] if message is not None else []
                connection.work()
        said += connection.take()
    while (message := connection.next()) is not None:
        messages.append(message)
    return messages, heard(said + connection.take()), connection.ending


@given(frames=st.lists(TEXT | PARTS | PING_FRAME, max_size=6), end=END, data=st.data())
def test_frames_mean_the_same_however_they_are_cut(frames: list[bytes], end: bytes, data: st.DataObject) -> None:
    whole = b"".join(frames) + end
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    pieces = [whole[begin:stop] for begin, stop in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    at_once = talk([*frames, end], [True])
    messages, said, ending = talk(pieces, data.draw(st.lists(st.booleans(), min_size=1, max_size=4)))
    assert (said, ending) == at_once[1:]
    if end in BROKEN:
        # What was not asked for before the client broke the protocol is dropped.
        assert messages == at_once[0][: len(messages)]
    else:
        assert messages == at_once[0]


@given(messages=st.lists(st.text(max_size=70_000), max_size=3))
def test_a_message_is_one_frame_of_any_length(messages: list[str]) -> None:
    said = b"".join(text_frame(message.encode()) for message in messages)
    assert [getattr(event, "data", None) for event in heard(said)] == messages


def test_a_close_is_answered_after_the_messages_before_it_and_a_ping_at_once() -> None:
    connection = Connection()
    connection.receive(frame(0x81, b"one") + frame(0x89, b"now") + frame(0x88, b"\x03\xe8"))
    assert heard(connection.take()) == [Pong(b"now")]
    assert not connection.wants_input
    assert connection.next() == "one"
    assert connection.next() is None
    assert heard(connection.take()) == [CloseConnection(1000, "")]
    assert connection.ending


@pytest.mark.parametrize(
    "data",
    [
        HANDSHAKE.replace(b"13", b"8"),
        HANDSHAKE.replace(b"Upgrade: websocket\r\n", b""),
        HANDSHAKE.replace(b"/v1/live", b"/v1/lively"),
        HANDSHAKE.replace(b"/v1/live", b"/v1/live/"),
        HANDSHAKE.replace(b"localhost", b"a b"),
        HANDSHAKE.replace(b"GET", b"POST"),
        HANDSHAKE.replace(b"Host", b"Content-Length: 1\r\nHost"),
        HANDSHAKE[:-2],
        b"GET /v1/live HTTP/1.1\r\nHost: localhost\r\n\r\n" + HANDSHAKE,
    ],
)
def test_what_is_no_plain_handshake_is_left_to_the_full_lane(data: bytes) -> None:
    assert read_handshake(data) is None


def test_a_handshake_tells_who_asks_and_what_came_behind_it() -> None:
    twice = b"X-Forwarded-For: 10.0.0.1\r\nX-Forwarded-For: 10.0.0.2\r\nOrigin: https://a.example\r\nHost"
    handshake = read_handshake(HANDSHAKE.replace(b"/v1/live", b"/v1/live?x=1").replace(b"Host", twice) + b"frames")
    assert handshake is not None
    assert handshake.credentials.forwarded_for == "10.0.0.1, 10.0.0.2"
    assert handshake.credentials.origin == "https://a.example"
    assert handshake.rest == b"frames"


class News(LiveSessions):
    """Sessions that are told `news` as often as it changes; what they ask for is what is done with them."""

    def __init__(self) -> None:
        self.news = "0"
        self.begun: list[Session] = []
        self.told: dict[int, str] = {}
        self.obeyed: list[str | bytes] = []

    def begin(self, caller: Caller) -> Session:
        self.begun.append(Session(caller))
        return self.begun[-1]

    def end(self, session: Session) -> None:
        self.begun.remove(session)

    async def obey(self, session: Session, message: str | bytes) -> None:
        self.obeyed.append(message)
        if message == "close":
            raise Close(1008, "as asked")
        if message == "fail":
            raise RuntimeError("as asked")
        if message == "status":
            session.status_at, self.news = 0.0, "status 0"
        if message == "wait":
            await trio.sleep_forever()

    def pause(self, session: Session) -> float:
        return float("inf") if session.status_at is None else STATUS_SECONDS

    def messages(self, session: Session) -> list[bytes]:
        if session.pinged:
            raise RuntimeError("this session can't be told")
        if self.told.get(id(session)) == self.news:
            return []
        self.told[id(session)] = self.news
        return [self.news.encode()]


class Lane:
    """A lane with sessions of its own, and clients on real sockets."""

    def __init__(self, clock: MockClock) -> None:
        # Real sockets take a moment, in which the virtual clock has to stand still.
        clock.autojump_threshold = 0.02
        store = FakeStore()
        totals = totals_over(store, applied=0, cache_urls_max=10)
        self.hub = LiveHub(totals=totals, top=TopLists(store, totals), interval_seconds=1)
        self.sessions = News()
        self.left = 0
        gate = Gate(Config(data_dir=Path("unused")), Tokens())
        self.lane = LiveLane(sessions=self.sessions, hub=self.hub, admit=by(gate), idle_seconds=IDLE_SECONDS)

    def tell(self, news: str) -> None:
        self.sessions.news = news
        self.hub._tell()

    @asynccontextmanager
    async def client(self, data: bytes = b"") -> AsyncIterator[trio.SocketStream]:
        """A client that has had its handshake and the first ping."""

        def leave() -> None:
            self.left += 1

        with socket.create_server(("127.0.0.1", 0)) as listener:
            async with await trio.open_tcp_stream(*listener.getsockname()) as stream:
                accepted, _ = listener.accept()
                accepted.setblocking(False)
                assert self.lane.take(accepted, HANDSHAKE + data, leave, "127.0.0.1")
                yield stream


async def until(stream: trio.SocketStream, end: bytes) -> bytes:
    """What comes up to `end`."""
    data = b""
    while not data.endswith(end):
        more = await stream.receive_some()
        assert more, data
        data += more
    return data


@pytest.fixture
async def lane(nursery: trio.Nursery, autojump_clock: MockClock) -> Lane:
    made = Lane(autojump_clock)
    await nursery.start(made.lane.run)
    return made


async def test_all_clients_are_told_the_newest_state(lane: Lane, autojump_clock: MockClock) -> None:
    async with lane.client() as one, lane.client() as two:
        for client in (one, two):
            await until(client, b"\x89\x00")
        lane.tell("first")
        lane.tell("second")
        for client in (one, two):
            assert await until(client, b"second") == text_frame(b"second")


async def test_a_client_that_does_not_read_is_passed_over_and_then_told_what_is_newest(
    lane: Lane, autojump_clock: MockClock
) -> None:
    async with lane.client() as slow, lane.client() as quick:
        for client in (slow, quick):
            await until(client, b"\x89\x00")
        states = [f"{n}".zfill(1 << 20) for n in range(30)]
        for state in states:
            lane.tell(state)
            await until(quick, state[-20:].encode())
        behind = await until(slow, states[-1][-20:].encode())
        assert len(behind) < 20 << 20


async def test_a_client_that_takes_nothing_is_cut_off(lane: Lane, autojump_clock: MockClock) -> None:
    async with lane.client() as client:
        await until(client, b"\x89\x00")
        for n in range(10):
            lane.tell(f"{n}" * (1 << 20))
            await trio.testing.wait_all_tasks_blocked(0.01)
        await trio.sleep(IDLE_SECONDS * 2.5)
        assert lane.left == 1
        with pytest.raises(trio.BrokenResourceError):
            await until(client, b"never")


async def test_one_clients_fault_is_its_own(lane: Lane, autojump_clock: MockClock) -> None:
    async with lane.client() as bad, lane.client(frame(0x81, b"fail")) as worse, lane.client() as good:
        for client in (bad, good):
            await until(client, b"\x89\x00")
        lane.sessions.begun[0].pinged = True
        lane.tell("news")
        assert await until(good, b"news") == text_frame(b"news")
        for client in (bad, worse):
            while await client.receive_some():
                pass
    assert lane.lane.faults == 2
    assert lane.left >= 2


async def test_pings_come_in_their_time_and_who_is_silent_is_gone(lane: Lane, autojump_clock: MockClock) -> None:
    async with lane.client() as client:
        await until(client, b"\x89\x00")
        began = trio.current_time()
        assert await until(client, b"\x89\x00") == b"\x89\x00"
        assert trio.current_time() - began == pytest.approx(PING_SECONDS, abs=1.1)
        while await client.receive_some():
            pass
        assert trio.current_time() - began == pytest.approx(SILENCE_SECONDS_MIN, abs=1.1)
    assert lane.sessions.begun == []


@pytest.mark.parametrize(
    ("say", "code"),
    [(frame(0x81, b"close"), 1008), (frame(0x83), 1002), (frame(0x81, b"wait") + frame(0x83), 1002), (b"", 1001)],
)
async def test_however_a_session_ends_its_client_is_told_and_it_watches_nothing(
    lane: Lane, autojump_clock: MockClock, say: bytes, code: int
) -> None:
    async with lane.client(say) as client:
        if not say:
            await lane.lane.stop()
        said = b""
        while data := await client.receive_some():
            said += data
        close = heard(said.partition(b"\r\n\r\n")[2])[-1]
        assert isinstance(close, CloseConnection)
        assert close.code == code
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert lane.sessions.begun == []
        assert lane.left == 0
        await client.send_eof()
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert lane.left == 1


async def test_who_leaves_while_it_is_obeyed_watches_nothing(lane: Lane, autojump_clock: MockClock) -> None:
    async with lane.client(frame(0x81, b"wait")) as client:
        await until(client, b"\x89\x00")
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert lane.sessions.obeyed == ["wait"]
        lane.lane.close()
        await trio.testing.wait_all_tasks_blocked(0.01)
    assert lane.sessions.begun == []


async def test_a_notice_is_remembered_once() -> None:
    notice = Notice()
    notice.give()
    notice.give()
    with trio.fail_after(1):
        await notice.wait()
    with trio.move_on_after(0.01) as scope:
        await notice.wait()
    assert scope.cancelled_caught


async def test_a_status_comes_though_there_is_no_news(lane: Lane, autojump_clock: MockClock) -> None:
    async with lane.client(frame(0x81, b"status")) as client:
        await until(client, b"status 0")
        began = trio.current_time()
        lane.sessions.news = "status 1"
        assert await until(client, b"status 1") == text_frame(b"status 1")
        assert trio.current_time() - began == pytest.approx(STATUS_SECONDS, abs=0.2)
