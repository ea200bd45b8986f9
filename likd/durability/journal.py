"""The journal: a write-ahead log with one segment for each table, `journal_<id>`."""

from __future__ import annotations

import contextlib
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Literal, TypeAlias

import attrs
import msgspec
import structlog

from likd.durability import frames
from likd.durability.disk import AppendFile, Disk
from likd.durability.filenames import JOURNAL
from likd.errors import LikdError
from likd.model import Events, Fold, Liking, Likings
from likd.runtime.cooperative import Steps, finish_in_turns
from likd.runtime.histogram import Histogram, HistogramStatistics

Durability: TypeAlias = Literal["fsync", "os", "none"]

log = structlog.get_logger(__name__)


class Header(msgspec.Struct, array_like=True, tag="segment", frozen=True):
    """The first frame of a segment: its table, and the good length of earlier segments that ended in a failed write.

    `opened` is in seconds since 1970; 0 in segments of versions that did not record it.
    """

    version: int
    table_id: int
    sealed: dict[int, int]
    opened: float = 0.0


class Entry(msgspec.Struct, array_like=True, tag="events", frozen=True):
    """One group's events in one table, with what its actors like, and the keys (key, digest, events) of its requests.

    A group that spans tables has a part in the segment of each, written in order: it counts if the last part exists.
    The last part has the idempotency keys and the merge that ended the group.
    """

    group: int
    part: int
    parts: int
    keys: list[tuple[str, bytes, int]]
    events: Events
    actors: Mapping[bytes, bool | Liking] = {}
    merge: Fold | None = None

    @property
    def likings(self) -> Likings:
        """The likings of its actors. Segments of earlier versions only say who likes."""
        return {
            key: liking if isinstance(liking, Liking) else Liking(liking, None) for key, liking in self.actors.items()
        }


_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(Header | Entry)
_list_decoder = msgspec.msgpack.Decoder(list[Header | Entry])
_LIST = struct.Struct(">BI")
_MAP = struct.Struct(">BI")
ACTORS_AT_ONCE = 4096
"""How many actors are encoded at once, in less than a millisecond."""
HEADER_BYTES_MAX = 1 << 20
"""The first bytes of a segment, enough to contain its header."""
DECODED_AT_ONCE_BYTES = 1 << 16
"""How many bytes of frames are decoded at once: one call for each frame would double the time of a replay."""


def encode(entry: Entry) -> Steps[bytes | bytearray]:
    """`entry` as the payload of a frame."""
    if len(entry.actors) <= ACTORS_AT_ONCE:
        return _encode(entry)
    payload = bytearray(_encode(msgspec.structs.replace(entry, actors={}, merge=None)))
    # The last two fields, an empty map and nil, are a byte each.
    del payload[-2:]
    payload += _MAP.pack(0xDF, len(entry.actors))
    actors = iter(entry.actors.items())
    while some := dict(islice(actors, ACTORS_AT_ONCE)):
        payload += memoryview(_encode(some))[1 if len(some) < 16 else 3 :]
        yield
    payload += _encode(entry.merge)
    return payload


class JournalError(LikdError):
    """An append failed: nothing of it will be counted. Its segment takes no more entries.

    If that is not `certain`, the failed bytes could not be cut off yet: until the next segment declares them void, a
    crash would bring them back.
    """

    def __init__(self, message: str, *, certain: bool = True) -> None:
        super().__init__(message)
        self.certain = certain


@attrs.define
class _Segment:
    file: AppendFile
    length: int
    closed: bool = False


@attrs.frozen
class SegmentDamage:
    """Bytes of a segment that could not be read."""

    begin: int
    end: int
    torn: bool


@attrs.frozen
class JournalStatistics:
    """The journal in numbers, since the start."""

    durability: Durability
    """What an acknowledged event survives."""
    bytes_written: int
    """The bytes of all successful appends."""
    appends: HistogramStatistics
    """How long appends took, with their flush, seconds."""
    failures: int
    """How many appends failed, and segments could not be opened."""


class Journal:
    """Appends entries to the segments, each one durable when `append` returns.

    `durability` "fsync" survives power loss; "os" leaves the bytes to the operating system and survives the death of
    the process; "none" keeps no journal.
    """

    def __init__(
        self, disk: Disk, durability: Durability = "fsync", *, wall_clock: Callable[[], float] = time.time
    ) -> None:
        self._disk = disk
        self._durability = durability
        self._wall_clock = wall_clock
        self._segments: dict[int, _Segment] = {}
        self._unsealed: dict[int, int] = {}
        self._sealed: dict[int, int] = {}
        self.bytes_written = 0
        self.appends = Histogram()
        """How long appends took, seconds."""
        self.failures = 0

    async def append(self, table_id: int, entry: Entry) -> None:
        """Append to the segment of `table_id`. Raises JournalError; then the segment is closed for good."""
        if self._durability == "none":
            return
        try:
            segment = self._segments.get(table_id) or await self._open(table_id)
        except OSError as error:
            self.failures += 1
            raise JournalError(f"can't open the journal segment: {error.strerror}") from error
        if segment.closed:
            raise JournalError("the journal segment is closed")
        data = frames.frame(await finish_in_turns(encode(entry)))
        began = time.monotonic()
        try:
            await segment.file.append(data, sync=self._durability == "fsync")
        except OSError as error:
            self.failures += 1
            sealed = await self._seal(table_id, segment)
            raise JournalError(f"can't write the journal: {error.strerror}", certain=sealed) from error
        self.appends.observe(time.monotonic() - began)
        segment.length += len(data)
        self.bytes_written += len(data)

    def statistics(self) -> JournalStatistics:
        """The journal in numbers."""
        return JournalStatistics(self._durability, self.bytes_written, self.appends.statistics(), self.failures)

    def length(self, table_id: int) -> int:
        """The bytes in the segment of `table_id` so far."""
        segment = self._segments.get(table_id)
        return segment.length if segment is not None else 0

    def holds(self, table_id: int) -> bool:
        """Whether `table_id` has a segment, whatever it contains."""
        return table_id in self._segments

    def withdraw(self, table_id: int, length: int) -> None:
        """Declare all after `length` in the segment of `table_id` void, because a later part of its group failed.

        The next segment says so. Until then, the bytes stay: if the last part is on the disk after all, a crash must
        bring back the whole group.
        """
        segment = self._segments.get(table_id)
        if segment is not None:
            segment.length = length
            segment.closed = True
            self._unsealed[table_id] = length

    async def finish(self, table_id: int) -> None:
        """Close a segment that gets no more entries; its file stays until `drop`."""
        segment = self._segments.pop(table_id, None)
        if segment is not None:
            await segment.file.close()

    async def drop(self, table_id: int) -> None:
        """Remove the segment of `table_id`, whose counts are durable elsewhere."""
        await self.finish(table_id)
        await self._disk.remove(JOURNAL.name(table_id))
        self._sealed.pop(table_id, None)

    async def _open(self, table_id: int) -> _Segment:
        # As long as a segment exists, every later one says how much of it is good, because any may be damaged.
        unsealed = dict(self._unsealed)
        header = frames.frame(_encode(Header(1, table_id, {**self._sealed, **unsealed}, round(self._wall_clock(), 3))))
        file = await self._disk.create(JOURNAL.name(table_id))
        try:
            await file.append(header, sync=self._durability == "fsync" and bool(unsealed))
        except OSError:
            with contextlib.suppress(OSError):
                await file.close()
                await self._disk.remove(JOURNAL.name(table_id))
            raise
        for earlier, length in unsealed.items():
            self._unsealed.pop(earlier, None)
            self._sealed[earlier] = length
        segment = self._segments[table_id] = _Segment(file, len(header))
        return segment

    async def _seal(self, table_id: int, segment: _Segment) -> bool:
        """Make sure that nothing after the segment's good length is ever counted. Returns whether that is certain now.

        If it can't be cut off now, the next segment says so before anything else is acknowledged.
        """
        segment.closed = True
        try:
            await segment.file.truncate(segment.length)
        except OSError as error:
            self._unsealed[table_id] = segment.length
            log.error("can't cut off a failed journal write", table=table_id, fault=error.strerror)
            return False
        return True


def read(data: bytes, *, whole: bool = False) -> Iterator[tuple[int, Header | Entry] | SegmentDamage]:
    """The contents of a segment: each record with its offset, and the damage between. Never raises.

    A valid frame with unknown contents is damage, too. If the segment is known to be `whole`, it can't end in a torn
    frame.
    """
    for piece in frames.scan_runs(data, DECODED_AT_ONCE_BYTES):
        if isinstance(piece, frames.Run):
            yield from _decode(piece)
            continue
        # Without a header, it never had anything that was acknowledged.
        may_be_torn = piece.torn and (not whole or piece.begin == 0)
        torn = may_be_torn and frames.is_cut_short(data, piece.begin)
        # File systems extend a file before its data arrives; zeros followed by something are a lost block.
        if not torn or any(data[piece.begin : piece.end]):
            yield SegmentDamage(piece.begin, piece.end, torn)


def _decode(run: frames.Run) -> Iterator[tuple[int, Header | Entry] | SegmentDamage]:
    """The contents of the frames in `run`: decoded in one call, or separately if one of them can't be decoded."""
    try:
        records = _list_decoder.decode(b"".join([_LIST.pack(0xDD, len(run.payloads)), *run.payloads]))
    except (msgspec.DecodeError, UnicodeDecodeError):
        for begin, end, payload in zip(run.begins, [*run.begins[1:], run.end], run.payloads, strict=True):
            try:
                yield begin, _decoder.decode(payload)
            except (msgspec.DecodeError, UnicodeDecodeError):
                yield SegmentDamage(begin, end, torn=False)
    else:
        yield from zip(run.begins, records, strict=True)
