"""Lines of key files: the records of keys that were accepted at one time, by their owners."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import attrs
import msgspec

from likd.durability import frames
from likd.durability.taken_keys import PRINT_BYTES, RECORD_BYTES, fingerprint, pack
from likd.model import IdempotencyKey
from likd.runtime.cooperative import Steps

LINE_KEYS = 1000
"""A line has so many keys at most: a step of a millisecond or two."""

Owned = dict[str, bytes]
"""Owner → records."""


class _Written(msgspec.Struct, array_like=True, frozen=True):
    """A line as it is written; `keys` (key, digest, events) are of files that had no records yet."""

    at: float
    keys: list[tuple[str, bytes, int]]
    owned: Owned = {}


_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(_Written)


@attrs.frozen
class Line:
    """Keys that were written at `at` (seconds since 1970), `size` of them; what expired has no records."""

    at: float
    size: int
    owned: Owned

    @classmethod
    def of(cls, at: float, owned: Mapping[str, Sequence[bytes]]) -> Line:
        """The line of these records."""
        return cls(at, sum(map(len, owned.values())), {owner: b"".join(each) for owner, each in owned.items()})

    def encode(self) -> bytes:
        """The line as it is written."""
        return frames.frame(_encode(_Written(self.at, [], self.owned)))


def make(keys: Iterable[tuple[IdempotencyKey, int]], at: float) -> Line:
    """The line of keys with the number of events of each."""
    return _line([(key.key, key.digest, size) for key, size in keys], at)


def read(data: bytes, file: str, damage: list[str], *, expired: float) -> Steps[list[Line]]:
    """The lines of a key file. Those that were written until `expired` are only counted.

    What can't be read is added to `damage`.
    """
    lines: list[Line] = []
    done = 0
    for piece in frames.scan(data):
        written = _decode(piece)
        if written is None:
            # A torn append is written again: its journal segment is still there.
            if not (isinstance(piece, frames.Damage) and piece.torn and frames.is_cut_short(data, piece.begin)):
                damage.append(f"{file}: bytes {piece.begin} to {piece.end}: damage, keys are lost")
            continue
        for line in _lines(written, expired):
            lines.append(line)
            done += line.size
            if done >= LINE_KEYS:
                done = 0
                yield
    return lines


def records(packed: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The records that stand one after the other in `packed`, each with what stands for its key."""
    for begin in range(0, len(packed), RECORD_BYTES):
        record = packed[begin : begin + RECORD_BYTES]
        yield record[:PRINT_BYTES], record


def _lines(written: _Written, expired: float) -> Iterator[Line]:
    if written.at <= expired:
        yield Line(written.at, len(written.keys) + _size(written.owned), {})
        return
    for begin in range(0, len(written.keys), LINE_KEYS):
        yield _line(written.keys[begin : begin + LINE_KEYS], written.at)
    if written.owned:
        yield Line(written.at, _size(written.owned), written.owned)


def _line(keys: list[tuple[str, bytes, int]], at: float) -> Line:
    owned: dict[str, list[bytes]] = {}
    for key, digest, size in keys:
        owner, _, name = key.rpartition(" ")
        owned.setdefault(owner, []).append(pack(fingerprint(name), digest, size, at))
    return Line.of(at, owned)


def _size(owned: Owned) -> int:
    return sum(map(len, owned.values())) // RECORD_BYTES


def _decode(piece: frames.Piece) -> _Written | None:
    if isinstance(piece, frames.Frame):
        try:
            written = _decoder.decode(piece.payload)
            if not any(len(packed) % RECORD_BYTES for packed in written.owned.values()):
                return written
        except (msgspec.DecodeError, UnicodeDecodeError):
            pass
    return None
