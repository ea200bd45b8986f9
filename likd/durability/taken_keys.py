"""One owner's idempotency keys: about 60 bytes each, so that a million of them cost little.

A record is the same in memory and on disk: a 16-byte hash of the key, a 16-byte digest of the body, the number of
events, and when they were accepted (seconds since 1970).
"""

from __future__ import annotations

import hashlib
from array import array
from collections import deque
from struct import Struct
from typing import NamedTuple

import attrs

PRINT_BYTES = 16
_RECORD = Struct(f"<{PRINT_BYTES}s16sQd")
RECORD_BYTES = _RECORD.size

_SMALL = 256
_LARGE = 1 << 20


class Record(NamedTuple):
    """What is remembered about a request: the digest of its body, how many events it had, when it was accepted."""

    digest: bytes
    events: int
    at: float


def fingerprint(key: str) -> bytes:
    """The hash that stands for a key."""
    return hashlib.blake2b(key.encode(), digest_size=PRINT_BYTES).digest()


def pack(key_hash: bytes, digest: bytes, events: int, at: float) -> bytes:
    """The record of a request."""
    return _RECORD.pack(key_hash, digest, events, at)


class Taken:
    """The newest `keys_max` records of one owner, found by their keys' hashes.

    An object for each would take several times their size. So they are kept one after another, in generations, each
    with an index; the oldest generation is dropped as a whole once all its records are forgotten.
    """

    def __init__(self, keys_max: int) -> None:
        self._keys_max = keys_max
        self._generations: deque[_Generation] = deque()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def get(self, key_hash: bytes) -> Record | None:
        """The newest record with this key_hash."""
        for generation in reversed(self._generations):
            record = generation.get(key_hash)
            if record is not None:
                return record
        return None

    def add(self, records: bytes) -> None:
        """Remember records, the newest last."""
        while records:
            if not self._generations or not self._generations[-1].room:
                size = min(max(_SMALL, self._size), max(_SMALL, self._keys_max // 4), _LARGE)
                self._generations.append(_Generation(size))
            end = self._generations[-1].room * RECORD_BYTES
            self._generations[-1].add(records[:end])
            self._size += min(len(records), end) // RECORD_BYTES
            records = records[end:]
            self._forget(self._size - self._keys_max)

    def _forget(self, excess: int) -> None:
        while excess > 0:
            oldest = self._generations[0]
            forgotten = min(excess, len(oldest))
            oldest.forgotten += forgotten
            self._size -= forgotten
            excess -= forgotten
            if not len(oldest):
                self._generations.popleft()


@attrs.define(eq=False)
class _Generation:
    """At most `size` records in order of arrival, the first of which are `forgotten`.

    `_index` is a hash table with open addressing that gives a record's place, counted from 1.
    """

    size: int
    forgotten: int = 0
    _records: bytearray = attrs.field(factory=bytearray, init=False, repr=False)
    _index: array[int] = attrs.field(init=False, repr=False)
    _mask: int = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._mask = (1 << (2 * self.size - 1).bit_length()) - 1
        self._index = array("I", bytes(4 * (self._mask + 1)))

    def __len__(self) -> int:
        return len(self._records) // RECORD_BYTES - self.forgotten

    @property
    def room(self) -> int:
        """How many more records fit."""
        return self.size - len(self._records) // RECORD_BYTES

    def add(self, records: bytes) -> None:
        index, mask = self._index, self._mask
        place = len(self._records) // RECORD_BYTES
        for begin in range(0, len(records), RECORD_BYTES):
            place += 1
            slot = hash(records[begin : begin + PRINT_BYTES]) & mask
            while index[slot]:
                slot = (slot + 1) & mask
            index[slot] = place
        self._records += records

    def get(self, key_hash: bytes) -> Record | None:
        index, mask = self._index, self._mask
        slot = hash(key_hash) & mask
        newest = 0
        while place := index[slot]:
            if place > newest and self._records.startswith(key_hash, (place - 1) * RECORD_BYTES):
                newest = place
            slot = (slot + 1) & mask
        if newest <= self.forgotten:
            return None
        return Record(*_RECORD.unpack_from(self._records, (newest - 1) * RECORD_BYTES)[1:])
