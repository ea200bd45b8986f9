"""Dead letters: events whose handler failed. `aside_<id>`, readable, checksummed, one JSON line per event.

{"aside":1,"at":1790000005.25,"events":2,"sha256":"<of the time and every byte after this line>"}
["mine","like","https://a.example/",1]
["mine","like","https://b.example/",3]

Files of earlier versions lack the first line.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import TypeAlias

import attrs
import msgspec

from likd.durability.disk import Disk
from likd.durability.filenames import DEAD_LETTERS
from likd.model import DeadLetter

BLOCK_BYTES = 4096
"""The space that a file takes at least."""

DeadLetters: TypeAlias = dict[tuple[str, str, str], int]
"""Handler, kind and URL → how many events were set aside. It grows only with unique URLs."""


class _Head(msgspec.Struct):
    aside: int
    at: float
    events: int
    sha256: str


@attrs.frozen
class DeadLetterFile:
    """The contents of a file, and when its events were accepted (seconds since 1970; 0 if unknown)."""

    events: list[DeadLetter]
    at: float = 0.0


_encode_lines = msgspec.json.Encoder().encode_lines
_decode_lines = msgspec.json.Decoder(DeadLetter).decode_lines
_encode = msgspec.json.Encoder().encode
_decode_head = msgspec.json.Decoder(_Head).decode


def add(kept: DeadLetters, events: Iterable[DeadLetter]) -> None:
    """Add `events` to `kept` in place."""
    for handler, kind, url, times in events:
        place = handler, kind, url
        kept[place] = kept.get(place, 0) + times


def listed(kept: DeadLetters) -> list[DeadLetter]:
    """`kept` as events."""
    return [DeadLetter(*place, times) for place, times in kept.items()]


async def write(
    disk: Disk, table_id: int, events: Sequence[DeadLetter], at: float = 0.0, *, replaces: bool = False
) -> int:
    """Keep the events, accepted `at` (seconds since 1970), that `table_id` could not count. Returns their space.

    If the file `replaces` one that an earlier attempt to count the table left, it is written even without events: the
    earlier one must not be counted, and a file that is only removed may be back after a crash. Raises OSError.
    """
    if not events and not replaces:
        return 0
    data = encode(events, at)
    await disk.write(DEAD_LETTERS.name(table_id), data)
    return space(len(data))


def space(size: int) -> int:
    """The bytes that a file of `size` bytes takes on a disk."""
    return -(-size // BLOCK_BYTES) * BLOCK_BYTES


def encode(events: Sequence[DeadLetter], at: float = 0.0) -> bytes:
    """`events` as the bytes of a file."""
    lines = _encode_lines(events)
    return _encode(_Head(1, at, len(events), _checksum(at, lines))) + b"\n" + lines


def decode(data: bytes) -> DeadLetterFile:
    """The contents of a file. Raises msgspec.DecodeError if it is damaged."""
    try:
        if not data.startswith(b"{"):
            return DeadLetterFile(_decode_lines(data))
        first, _, lines = data.partition(b"\n")
        head = _decode_head(first)
        if _checksum(head.at, lines) != head.sha256:
            raise msgspec.DecodeError("the checksum does not match")
        events = _decode_lines(lines)
    except UnicodeDecodeError as error:
        raise msgspec.DecodeError(str(error)) from None
    if encode(events, head.at) != data:
        raise msgspec.DecodeError("the first line does not fit the rest")
    return DeadLetterFile(events, head.at)


def _checksum(at: float, lines: bytes) -> str:
    return hashlib.sha256(_encode(at) + b"\n" + lines).hexdigest()
