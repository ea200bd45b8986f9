"""Ranges of lines: whole lines cut out of files and streams, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from likd.cli.sending.lines import Format

LINE_BYTES_MAX = 64 << 10
"""A longer line can't be an event: its URL would be too long. It is refused, and never held in memory."""

LINE_RANGE_BYTES_MAX = 4 << 20
FIELDS = b"#Fields:"
"""The beginning of a line that names the fields of the lines after it, up to the next such line."""


@attrs.frozen
class Source:
    """A source of lines: its number among the inputs, the name it is reported by, and its format."""

    id: int
    name: str
    format: Format


@attrs.frozen
class ByteRange:
    """Where lines are: from byte `begin` up to, but not including, `end`; `lines` of them, from number `line`."""

    begin: int
    end: int
    line: int
    lines: int


@attrs.frozen
class LineRange:
    """Consecutive whole lines of a source.

    `data` has their bytes; of a line over LINE_BYTES_MAX, which forms a range of its own, it has just enough of the
    beginning to be too long. `header` is the last line before the range that names fields.
    """

    source: Source
    byte_range: ByteRange
    data: bytes = attrs.field(repr=False)
    header: bytes = b""

    def split(self, line: int) -> tuple[LineRange, LineRange]:
        """The lines before `line`, and those from it on. Either may be empty."""
        before = line - self.byte_range.line
        pieces = self.data.split(b"\n", before)
        # The last line of a source may lack its newline: nothing comes after it.
        at = len(self.data) - len(pieces[before]) if len(pieces) > before else len(self.data)
        begin, middle, end = self.byte_range.begin, self.byte_range.begin + at, self.byte_range.end
        return (
            LineRange(self.source, ByteRange(begin, middle, self.byte_range.line, before), self.data[:at], self.header),
            LineRange(
                self.source,
                ByteRange(middle, end, line, self.byte_range.lines - before),
                self.data[at:],
                last_header(self.data[:at], self.header),
            ),
        )


def last_header(data: bytes, before: bytes) -> bytes:
    """The last complete line of `data` that names fields; if there is none, the one `before`."""
    begin = data.rfind(b"\n" + FIELDS) + 1
    if not begin and not data.startswith(FIELDS):
        return before
    end = data.find(b"\n", begin)
    return data[begin:end] if end >= 0 else before


class Cutter:
    """Cuts the bytes of a source, fed piece by piece, into ranges of lines of at most `lines_max` lines.

    `begin` and `line` say where in the source the first byte is, `header` which field names apply there.
    """

    def __init__(self, source: Source, lines_max: int, *, begin: int = 0, line: int = 1, header: bytes = b"") -> None:
        self._source = source
        self._lines_max = lines_max
        self._begin = begin
        self._line = line
        self._header = header
        self._data = b""
        self._newlines = 0
        self._overlong = False
        self._dropped = 0
        """How many bytes of the overlong line are not in `_data`."""

    @property
    def waiting(self) -> bool:
        """Whether there are complete lines for `rest` to cut."""
        return self._newlines > 0

    def feed(self, data: bytes) -> Iterator[LineRange]:
        """Take `data`, the next bytes of the source, and cut the ranges that are full."""
        if self._overlong:
            newline = data.find(b"\n")
            self._dropped += newline + 1 or len(data)
            if newline < 0:
                return
            yield self._cut(len(self._data), 1)
            data = data[newline + 1 :]
        self._data += data
        self._newlines += data.count(b"\n")
        while self._newlines >= self._lines_max:
            tail = self._data.split(b"\n", self._lines_max)[self._lines_max]
            yield self._cut(len(self._data) - len(tail), self._lines_max)
        while len(self._data) > LINE_RANGE_BYTES_MAX and self._newlines:
            at = self._data.rfind(b"\n", 0, LINE_RANGE_BYTES_MAX) + 1 or self._data.index(b"\n") + 1
            yield self._cut(at, self._data.count(b"\n", 0, at))
        if len(self._data) - (self._data.rfind(b"\n") + 1) > LINE_BYTES_MAX:
            yield from self.rest()
            self._overlong = True
            self._dropped = len(self._data) - LINE_BYTES_MAX - 1
            self._data = self._data[: LINE_BYTES_MAX + 1]

    def rest(self) -> Iterator[LineRange]:
        """Cut the complete lines that are waiting."""
        if self._newlines:
            yield self._cut(self._data.rfind(b"\n") + 1, self._newlines)

    def end(self, *, whole_lines: bool = False) -> Iterator[LineRange]:
        """Cut everything that is left: the source has ended, and its last line may lack the newline.

        With `whole_lines`, such a line is not cut: its writer may not have finished it.
        """
        yield from self.rest()
        if self._data and not whole_lines:
            yield self._cut(len(self._data), 1)

    def _cut(self, at: int, lines: int) -> LineRange:
        data, self._data = self._data[:at], self._data[at:]
        self._newlines -= data.count(b"\n")
        byte_range = ByteRange(self._begin, self._begin + at + self._dropped, self._line, lines)
        self._begin, self._line = byte_range.end, byte_range.line + lines
        self._overlong, self._dropped = False, 0
        header, self._header = self._header, last_header(data, self._header)
        return LineRange(self._source, byte_range, data, header)
