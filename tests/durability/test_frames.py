"""Frames: what was framed is read back, and damage costs only the frames it touches."""

from __future__ import annotations

import struct
from itertools import pairwise

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from likd.durability import frames
from likd.durability.frames import Damage, Frame, frame, scan
from tests.damage import strokes

PAYLOADS = st.lists(st.binary(max_size=60) | st.just(frames.MAGIC * 3), max_size=8)


def payloads(data: bytes) -> list[bytes]:
    return [bytes(piece.payload) for piece in scan(data) if isinstance(piece, Frame)]


@given(PAYLOADS)
def test_payloads_are_read_back_in_order(written: list[bytes]) -> None:
    data = b"".join(map(frame, written))
    pieces = list(scan(data))
    assert not any(isinstance(piece, Damage) for piece in pieces)
    assert payloads(data) == written


@given(st.binary(max_size=300))
@example(frames.MAGIC)
@example(frames.MAGIC * 5)
@example(frame(b"x") + frames.MAGIC + frame(b"y"))
def test_any_bytes_are_covered_without_gap_or_overlap(data: bytes) -> None:
    pieces = list(scan(data))
    edges = [0, *(piece.end for piece in pieces)]
    assert [piece.begin for piece in pieces] == edges[:-1]
    assert edges[-1] == len(data)
    assert not any(isinstance(a, Damage) and isinstance(b, Damage) for a, b in pairwise(pieces))


@given(PAYLOADS, st.data())
def test_damage_costs_only_the_frames_it_touches(written: list[bytes], data: st.DataObject) -> None:
    # Of a payload that ends as frames begin, the end can be lost and the beginning of the next frame be taken for it.
    assume(not any(payload[-n:] == frames.MAGIC[:n] for payload in written for n in range(1, 5)))
    whole = b"".join(map(frame, written))
    stroke = data.draw(strokes(len(whole)))
    begin, spared = 0, []
    for payload in written:
        end = begin + len(frame(payload))
        if stroke.spares(begin, end):
            spared.append(payload)
        begin = end
    found = payloads(stroke.on(whole))
    remaining = iter(found)
    assert all(payload in remaining for payload in spared)
    assert set(found) <= set(written)


def test_only_damage_at_the_end_is_torn() -> None:
    one, two = frame(b"one"), frame(b"two")
    assert list(scan(one + two[:-1]))[1:] == [Damage(len(one), len(one) + len(two) - 1, torn=True)]
    assert [type(piece) for piece in scan(one[:-1] + two)] == [Damage, Frame]
    damage = next(scan(one[:-1] + two))
    assert damage == Damage(0, len(one) - 1, torn=False)


def test_a_length_that_lies_does_not_hide_the_next_frame() -> None:
    lying = bytearray(frame(b"one"))
    struct.pack_into("<I", lying, 4, frames.PAYLOAD_BYTES_MAX)
    assert payloads(bytes(lying) + frame(b"two")) == [b"two"]


def test_a_payload_that_is_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "PAYLOAD_BYTES_MAX", 4)
    assert payloads(frame(b"four")) == [b"four"]
    with pytest.raises(ValueError, match="payload of 5 bytes, at most 4"):
        frame(b"fives")
