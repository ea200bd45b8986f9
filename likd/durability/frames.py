"""Frames: payloads with a length and a checksum, one after another, readable past damage.

A frame is a 12-byte header and its payload. The header is the magic number, the payload's length, and the CRC-32
of length and payload, both as 32-bit little-endian numbers.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

import attrs

MAGIC = b"\xa1LKF"
PAYLOAD_BYTES_MAX = 1 << 28

SECTOR_BYTES = 512
RUN_BYTES = 1 << 16

_HEADER = struct.Struct("<4sII")
_LENGTH = struct.Struct("<I")


class Frame(NamedTuple):
    """A payload with a valid checksum, and where its frame begins and ends."""

    begin: int
    end: int
    payload: bytes


class Run(NamedTuple):
    """Consecutive frames: where each begins, its payload, and where the last ends."""

    begins: list[int]
    payloads: list[bytes]
    end: int


@attrs.frozen
class Damage:
    """Bytes without a valid frame. `torn` if nothing follows them: an append that was cut short."""

    begin: int
    end: int
    torn: bool


Piece: TypeAlias = Frame | Damage


def frame(payload: bytes | bytearray) -> bytes:
    """`payload` as a frame."""
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise ValueError(f"payload of {len(payload)} bytes, at most {PAYLOAD_BYTES_MAX} fit a frame")
    length = _LENGTH.pack(len(payload))
    return _HEADER.pack(MAGIC, len(payload), zlib.crc32(payload, zlib.crc32(length))) + payload


def scan(data: bytes) -> Iterator[Piece]:
    """The frames of `data` and the damage between them, in order, covering every byte. Never raises."""
    for piece in scan_runs(data, RUN_BYTES):
        if isinstance(piece, Damage):
            yield piece
        else:
            yield from map(Frame, piece.begins, [*piece.begins[1:], piece.end], piece.payloads)


def scan_runs(data: bytes, run_bytes: int) -> Iterator[Run | Damage]:
    """The same, with consecutive frames in one run, which ends when it is `run_bytes` long."""
    begin = 0
    while begin < len(data):
        run = _run_at(data, begin, run_bytes)
        if run.begins:
            yield run
            begin = run.end
            continue
        candidate = data.find(MAGIC, begin + 1)
        while candidate != -1 and not _run_at(data, candidate, 1).begins:
            candidate = data.find(MAGIC, candidate + 1)
        end = len(data) if candidate == -1 else candidate
        yield Damage(begin, end, torn=candidate == -1)
        begin = end


def is_cut_short(data: bytes, begin: int) -> bool:
    """Whether the bytes from `begin`, without a valid frame, look like an append that a crash cut short.

    Such an append ends too early, or a sector of it reads as zeros: file systems extend a file before its data arrives.
    A complete frame with a wrong checksum is not one: it was written, and damaged later.
    """
    end = len(data)
    if end - begin < _HEADER.size:
        return MAGIC.startswith(data[begin : begin + len(MAGIC)]) or not any(data[begin:])
    magic, length, checksum = _HEADER.unpack_from(data, begin)
    start = begin + _HEADER.size
    if magic == MAGIC:
        if start + length > end:
            # Unless it is complete, and only its length is wrong.
            return int(checksum) != zlib.crc32(data[start:], zlib.crc32(_LENGTH.pack(end - start)))
        end = start + length
    sectors = range(begin // SECTOR_BYTES * SECTOR_BYTES, end, SECTOR_BYTES)
    return any(not any(data[max(begin, sector) : min(end, sector + SECTOR_BYTES)]) for sector in sectors)


def _run_at(data: bytes, begin: int, run_bytes: int) -> Run:
    """The frames from `begin` up to the first invalid one, in one loop because there are many."""
    begins: list[int] = []
    payloads: list[bytes] = []
    unpack, crc32, size, until = _HEADER.unpack_from, zlib.crc32, len(data), begin + run_bytes
    seeds: dict[int, int] = {}  # checksums of lengths
    while begin < until:
        start = begin + _HEADER.size
        if start > size:
            break
        magic, length, checksum = unpack(data, begin)
        end = start + length
        if magic != MAGIC or length > PAYLOAD_BYTES_MAX or end > size:
            break
        payload = data[start:end]
        seed = seeds.get(length)
        if seed is None:
            seed = seeds[length] = crc32(data[begin + 4 : begin + 8])
        if crc32(payload, seed) != checksum:
            break
        begins.append(begin)
        payloads.append(payload)
        begin = end
    return Run(begins, payloads, begin)
