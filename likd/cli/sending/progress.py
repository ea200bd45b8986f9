"""How far a file has been sent: which of its bytes are settled, and what is left."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import attrs

from likd.cli.sending.line_ranges import ByteRange
from likd.cli.sending.line_stats import LineStats
from likd.cli.sending.records import Ended, File, Record, SetAside
from likd.cli.sending.rotation import Head

SETTLED_MAX = 256
"""How many byte ranges are kept before adjacent ones are merged."""


@attrs.frozen
class Gap:
    """Bytes not sent yet, from `begin` up to `end` or the end of the file; `line` is the first line's number."""

    begin: int
    end: int | None
    line: int


@attrs.define
class Progress:
    """What the records say about a file."""

    file: File
    settled: list[ByteRange] = attrs.field(factory=list)
    line_stats: LineStats = attrs.field(factory=LineStats)
    end: int | None = None
    """Its length, if it was rotated away and grows no more."""
    _merge_at: int = SETTLED_MAX

    def settle(self, byte_range: ByteRange, line_stats: LineStats) -> None:
        """Nothing is left to do for the lines at `byte_range`."""
        self.settled.append(byte_range)
        self.line_stats.add(line_stats)
        if len(self.settled) >= self._merge_at:
            self.settled = _merged(self.settled)
            self._merge_at = 2 * len(self.settled) + SETTLED_MAX

    @property
    def head(self) -> Head:
        """The beginning by which the file is recognised."""
        return Head(self.file.head_bytes, self.file.head)

    @property
    def complete(self) -> bool:
        """Whether all of it is settled and it grows no more."""
        gaps = gaps_between(self.settled)
        return self.end is not None and len(gaps) == 1 and gaps[0].begin >= self.end

    @property
    def bytes_settled(self) -> int:
        """How many bytes are settled."""
        return sum(byte_range.end - byte_range.begin for byte_range in self.settled)

    def records(self) -> Iterator[Record]:
        """The records that describe this progress."""
        yield self.file
        line_stats = self.line_stats
        for byte_range in _merged(self.settled):
            yield SetAside(self.file.id, byte_range, line_stats)
            line_stats = LineStats()
        if self.end is not None:
            yield Ended(self.file.id, self.end)


def gaps_between(taken: Iterable[ByteRange]) -> list[Gap]:
    """The gaps between and after `taken`; the last gap is open-ended."""
    gaps: list[Gap] = []
    begin, line = 0, 1
    for byte_range in sorted(taken, key=lambda byte_range: byte_range.begin):
        if byte_range.begin > begin:
            gaps.append(Gap(begin, byte_range.begin, line))
        begin, line = byte_range.end, byte_range.line + byte_range.lines
    return [*gaps, Gap(begin, None, line)]


def _merged(byte_ranges: Iterable[ByteRange]) -> list[ByteRange]:
    """`byte_ranges` in order, with adjacent ones merged."""
    merged: list[ByteRange] = []
    for byte_range in sorted(byte_ranges, key=lambda byte_range: (byte_range.begin, byte_range.end)):
        if merged and merged[-1].end == byte_range.begin:
            last = merged[-1]
            merged[-1] = ByteRange(last.begin, byte_range.end, last.line, last.lines + byte_range.lines)
        else:
            merged.append(byte_range)
    return merged
