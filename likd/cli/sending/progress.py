"""How far a file is done: which of its bytes are settled, and what is left of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import attrs

from likd.cli.sending.records import Ended, File, Record, SetAside
from likd.cli.sending.rotation import Head
from likd.cli.sending.spans import Extent
from likd.cli.sending.tally import Tally

SETTLED_MAX = 256
"""So many extents are kept before those that touch are made one."""


@attrs.frozen
class Gap:
    """Bytes that were not sent yet, from `begin` to before `end` or the end of the file; `line` is the first."""

    begin: int
    end: int | None
    line: int


@attrs.define
class Progress:
    """What the records say of a file."""

    file: File
    settled: list[Extent] = attrs.field(factory=list)
    tally: Tally = attrs.field(factory=Tally)
    end: int | None = None
    """How long it is, if it was rotated away and grows no more."""
    _merge_at: int = SETTLED_MAX

    def settle(self, extent: Extent, tally: Tally) -> None:
        """Nothing is left to do for the lines at `extent`."""
        self.settled.append(extent)
        self.tally.add(tally)
        if len(self.settled) >= self._merge_at:
            self.settled = _merged(self.settled)
            self._merge_at = 2 * len(self.settled) + SETTLED_MAX

    @property
    def head(self) -> Head:
        """By what the file is known again."""
        return Head(self.file.head_bytes, self.file.head)

    @property
    def complete(self) -> bool:
        """Whether all of it is settled, and no more will come."""
        gaps = gaps_between(self.settled)
        return self.end is not None and len(gaps) == 1 and gaps[0].begin >= self.end

    @property
    def bytes_settled(self) -> int:
        """How many bytes are done."""
        return sum(extent.end - extent.begin for extent in self.settled)

    def records(self) -> Iterator[Record]:
        """Records that say the same."""
        yield self.file
        tally = self.tally
        for extent in _merged(self.settled):
            yield SetAside(self.file.id, extent, tally)
            tally = Tally()
        if self.end is not None:
            yield Ended(self.file.id, self.end)


def gaps_between(taken: Iterable[Extent]) -> list[Gap]:
    """What is between and behind `taken`; the last gap is open."""
    gaps: list[Gap] = []
    begin, line = 0, 1
    for extent in sorted(taken, key=lambda extent: extent.begin):
        if extent.begin > begin:
            gaps.append(Gap(begin, extent.begin, line))
        begin, line = extent.end, extent.line + extent.lines
    return [*gaps, Gap(begin, None, line)]


def _merged(extents: Iterable[Extent]) -> list[Extent]:
    """`extents` in order, those that touch being one."""
    merged: list[Extent] = []
    for extent in sorted(extents, key=lambda extent: (extent.begin, extent.end)):
        if merged and merged[-1].end == extent.begin:
            last = merged[-1]
            merged[-1] = Extent(last.begin, extent.end, last.line, last.lines + extent.lines)
        else:
            merged.append(extent)
    return merged
