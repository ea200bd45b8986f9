"""One end of the wire, over real sockets: messages and connections arrive together, and sending never waits."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
import trio

from likd.web.fronts.link import Link
from likd.web.fronts.messages import VERSION, Hand, Hello, Message, Ping, Response, Welcome
from likd.web.fronts.wire import WireError, frame

Heard = list[tuple[Message, socket.socket | None]]


@pytest.fixture
def ends() -> Iterator[tuple[Link, Link]]:
    """A front's end, whose first message is said, and the engine's."""
    ours, theirs = socket.socketpair()
    front, engine = Link(ours, Welcome), Link(theirs, Hello)
    front.send(Hello(VERSION))
    yield front, engine
    front.close()
    engine.close()


async def heard(front: Link, engine: Link) -> Heard:
    """What the engine hears until the front is gone."""
    found: Heard = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(engine.run, lambda *said: found.append(said), lambda: None)
        await front.flushed()
        front.close()
    return found


async def test_each_connection_comes_with_its_message(ends: tuple[Link, Link]) -> None:
    front, engine = ends
    pairs = [socket.socketpair() for _ in range(40)]
    for number, (given, _) in enumerate(pairs):
        front.send(Ping(number))
        front.send(Hand(number, b"x" * (number * 100)), given)

    handed = [(said.seat, sock) for said, sock in await heard(front, engine) if isinstance(said, Hand)]

    assert [seat for seat, _ in handed] == list(range(40))
    for (_, sock), (_, kept) in zip(handed, pairs, strict=True):
        assert sock is not None
        with sock, kept:
            sock.send(b"hello")
            assert kept.recv(10) == b"hello"


async def test_what_the_other_end_does_not_take_waits_and_is_sent_when_it_does(ends: tuple[Link, Link]) -> None:
    front, engine = ends
    sent = [Response(number, bytes([number % 256]) * 100_000) for number in range(40)]
    for message in sent:
        front.send(message)
    assert front.backlog > 1_000_000

    said = [message for message, _ in await heard(front, engine)]

    assert said == [Hello(VERSION), *sent]
    assert front.backlog == 0


async def test_a_front_that_is_gone_ends_what_is_received(ends: tuple[Link, Link]) -> None:
    front, engine = ends
    assert [message for message, _ in await heard(front, engine)] == [Hello(VERSION)]
    engine.send(Ping(1))
    engine.send(Ping(2))
    assert engine.backlog == 0


async def test_a_message_about_a_connection_that_did_not_come_is_refused(ends: tuple[Link, Link]) -> None:
    front, engine = ends
    front.send(Hand(1, b""))
    with pytest.RaisesGroup(pytest.RaisesExc(WireError, match="is missing"), flatten_subgroups=True):
        await heard(front, engine)


async def test_what_is_no_message_ends_it() -> None:
    ours, theirs = socket.socketpair()
    engine = Link(theirs, Hello)
    with ours:
        ours.send(frame(Ping(1)))
        with pytest.RaisesGroup(pytest.RaisesExc(WireError, match="the first message is Ping")):
            await engine.run(lambda *said: None, lambda: None)
    engine.close()
