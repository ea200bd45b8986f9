"""Events kept aside because their handler failed: `aside_<id>`, one NDJSON line an event, for replay."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from likd.disk import Disk
from likd.handlers import Aside

NAME = re.compile(r"aside_(\d{12})(?:\.tab_(\d{12}))?")
"""A file of events set aside; with the table's id behind it, it is being replayed into that table."""

_encode_lines = msgspec.json.Encoder().encode_lines
_decode_lines = msgspec.json.Decoder(Aside).decode_lines


async def write(disk: Disk, table: int, events: Sequence[Aside]) -> None:
    """Keep the events that `table` could not count. Raises OSError."""
    if events:
        await disk.write(name(table), encode(events))


def encode(events: Sequence[Aside]) -> bytes:
    """`events` as the bytes of a file."""
    return _encode_lines(events)


def decode(data: bytes) -> list[Aside]:
    """The events of a file. Raises msgspec.DecodeError if it is damaged."""
    try:
        return _decode_lines(data)
    except UnicodeDecodeError as error:
        raise msgspec.DecodeError(str(error)) from None


def name(table: int) -> str:
    """The file name for events that `table` could not count."""
    return f"aside_{table:012d}"
