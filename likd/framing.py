"""Frames: payloads with a length and a checksum, one after the other, readable past damage.

A frame is a 12-byte header and its payload. The header is the magic number, the payload's length, and the CRC-32
of length and payload, both as 32-bit little-endian numbers.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import TypeAlias

import attrs

MAGIC = b"\xa1LKF"
PAYLOAD_BYTES_MAX = 1 << 28

_HEADER = struct.Struct("<4sII")
_LENGTH = struct.Struct("<I")


@attrs.frozen
class Frame:
    """A payload that checks out, and where its frame begins and ends."""

    begin: int
    end: int
    payload: memoryview


@attrs.frozen
class Damage:
    """Bytes in which no frame checks out. `torn` when nothing follows them: an append that was cut short."""

    begin: int
    end: int
    torn: bool


Piece: TypeAlias = Frame | Damage


def frame(payload: bytes) -> bytes:
    """`payload` as a frame."""
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise ValueError(f"payload of {len(payload)} bytes, at most {PAYLOAD_BYTES_MAX} fit a frame")
    length = _LENGTH.pack(len(payload))
    return _HEADER.pack(MAGIC, len(payload), zlib.crc32(payload, zlib.crc32(length))) + payload


def scan(data: bytes) -> Iterator[Piece]:
    """The frames of `data` and the damage between them, in order, covering every byte. Never raises."""
    view = memoryview(data)
    begin = 0
    while begin < len(data):
        found = _frame_at(view, begin)
        if found is not None:
            yield found
            begin = found.end
            continue
        candidate = data.find(MAGIC, begin + 1)
        while candidate != -1 and _frame_at(view, candidate) is None:
            candidate = data.find(MAGIC, candidate + 1)
        end = len(data) if candidate == -1 else candidate
        yield Damage(begin, end, torn=candidate == -1)
        begin = end


def _frame_at(view: memoryview, begin: int) -> Frame | None:
    if len(view) - begin < _HEADER.size:
        return None
    magic, length, checksum = _HEADER.unpack_from(view, begin)
    start = begin + _HEADER.size
    end = start + length
    if magic != MAGIC or length > PAYLOAD_BYTES_MAX or end > len(view):
        return None
    payload = view[start:end]
    if zlib.crc32(payload, zlib.crc32(_LENGTH.pack(length))) != checksum:
        return None
    return Frame(begin, end, payload)
