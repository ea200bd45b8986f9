"""Frames of a websocket reach the server in order, one message at a time, or are a violation with its code."""

from __future__ import annotations

import pytest
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, TextMessage

from likd.web.full.websocket_frames import MESSAGE_BYTES_MAX, Frames


def frame(first: int, payload: bytes = b"", *, masked: bool = True) -> bytes:
    """A frame of a client, with a mask that leaves the payload as it is."""
    mask = 0x80 if masked else 0
    length = len(payload)
    if length < 126:
        head = bytes([first, mask | length])
    elif length < 1 << 16:
        head = bytes([first, mask | 126]) + length.to_bytes(2, "big")
    else:
        head = bytes([first, mask | 127]) + length.to_bytes(8, "big")
    return head + (bytes(4) if masked else b"") + payload


def heard(data: bytes) -> list[Event]:
    server = Connection(ConnectionType.SERVER)
    server.receive_data(data)
    return list(server.events())


def asked() -> Frames:
    frames = Frames()
    frames.ask()
    return frames


def test_a_message_is_handed_on_once_it_is_asked_for() -> None:
    frames = Frames()
    frames.feed(frame(0x81, b"one") + frame(0x82, b"two"))

    assert frames.take() == b""
    frames.ask()
    assert heard(frames.take()) == [TextMessage("one")]
    assert frames.take() == b""
    assert frames.full
    frames.ask()
    assert heard(frames.take()) == [BytesMessage(b"two")]
    assert not frames.full


def test_a_ping_waits_for_no_message() -> None:
    frames = Frames()
    frames.feed(frame(0x81, b"one") + frame(0x89, b"ping"))

    assert heard(frames.take()) == [Ping(b"ping")]


def test_a_close_waits_for_the_messages_before_it_only() -> None:
    frames = asked()
    frames.feed(frame(0x81, b"one") + frame(0x88, b"\x03\xe8bye"))

    assert heard(frames.take()) == [TextMessage("one"), CloseConnection(1000, "bye")]
    frames.feed(frame(0x81, b"more"))
    assert frames.take() == b""


def test_fragments_are_handed_on_as_they_come_and_empty_ones_are_not() -> None:
    frames = asked()
    frames.feed(frame(0x01, "€".encode()[:1]) + frame(0x00) * 1000)
    steps = 0
    while frames.busy:
        frames.work()
        steps += 1
    assert steps == 10
    assert len(frames.take()) < 100
    frames.feed(frame(0x80, "€".encode()[1:]))

    assert frames.violation is None
    server = Connection(ConnectionType.SERVER)
    server.receive_data(frames.take())


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(0x81, b"x", masked=False), 1002),
        (frame(0xC1, b"x"), 1002),
        (frame(0x83, b"x"), 1002),
        (frame(0x8B, b"x"), 1002),
        (frame(0x80, b"x"), 1002),
        (frame(0x01, b"x") + frame(0x81, b"x"), 1002),
        (frame(0x09, b"x"), 1002),
        (frame(0x89, b"x" * 126), 1002),
        (frame(0x88, b"x"), 1002),
        (frame(0x88, b"\x03\xed"), 1002),
        (bytes([0x81, 0xFF]) + b"\xff" * 8 + bytes(4), 1002),
        (frame(0x81, b"\xff"), 1007),
        (frame(0x81, "€".encode()[:2]), 1007),
        (frame(0x01, "€".encode()[:2]) + frame(0x80, b"x"), 1007),
        (frame(0x88, b"\x03\xe8\xff"), 1007),
        (frame(0x82, bytes(MESSAGE_BYTES_MAX + 1)), 1009),
        (frame(0x02, bytes(MESSAGE_BYTES_MAX)) + frame(0x80, b"x"), 1009),
        (frame(0x01, "€".encode() * 100_000) + frame(0x00, "€".encode() * 300_000), 1009),
    ],
)
def test_what_breaks_the_protocol_is_a_violation_with_its_code_and_nothing_of_it_is_kept(
    data: bytes, code: int
) -> None:
    frames = Frames()
    frames.feed(data)
    while frames.busy:
        frames.work()

    assert frames.violation is not None
    assert frames.violation.code == code
    assert not frames.full
    frames.feed(bytes(1 << 20))
    assert frames.take() == b""


def test_the_largest_message_is_let_through() -> None:
    frames = asked()
    frames.feed(frame(0x81, b"x" * MESSAGE_BYTES_MAX))

    assert frames.violation is None
    assert len(frames.take()) > MESSAGE_BYTES_MAX
