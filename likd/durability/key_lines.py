"""Lines of key files: the records of keys that were accepted at the same time, by owner."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import attrs
import msgspec

from likd.durability import frames
from likd.durability.taken_keys import PRINT_BYTES, RECORD_BYTES, fingerprint, pack
from likd.model import IdempotencyKey
from likd.runtime.cooperative import Steps

LINE_KEYS = 1000
"""How many keys a line has at most: a step of a millisecond or two."""

Owned = dict[str, bytes]
"""Owner → records."""


class _Written(msgspec.Struct, array_like=True, frozen=True):
    """A line as written; `keys` (key, digest, events) is from versions before there were records."""

    at: float
    keys: list[tuple[str, bytes, int]]
    owned: Owned = {}


_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(_Written)


@attrs.frozen
class Line:
    """`size` keys that were written at `at` (seconds since 1970); expired ones have no records."""

    at: float
    size: int
    owned: Owned

    @classmethod
    def of(cls, at: float, owned: Mapping[str, Sequence[bytes]]) -> Line:
        """The line with these records."""
        return cls(at, sum(map(len, owned.values())), {owner: b"".join(each) for owner, each in owned.items()})

    def encode(self) -> bytes:
        """The line as written."""
        return frames.frame(_encode(_Written(self.at, [], self.owned)))


def make(keys: Iterable[tuple[IdempotencyKey, int]], at: float) -> Line:
    """The line with these keys and the number of events of each."""
    return _line([(key.key, key.digest, size) for key, size in keys], at)


def read(data: bytes, file: str, damage: list[str], *, expired: float) -> Steps[list[Line]]:
    """The lines of a key file. Those written up to `expired` are only counted.

    What can't be read is added to `damage`.
    """
    lines: list[Line] = []
    done = 0
    for piece in frames.scan(data):
        written = _decode(piece)
        if written is None:
            # A torn append is written again: its journal segment still exists.
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
    """The consecutive records in `packed`, each with its key's hash."""
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
