"""Batches: the events in a range of lines, and what its other lines are."""

from __future__ import annotations

import codecs

import attrs

from likd.cli.sending.line_ranges import FIELDS, LINE_BYTES_MAX, LineRange
from likd.cli.sending.line_stats import LineStats
from likd.cli.sending.lines import LineRefused, NotALogLine


@attrs.frozen
class Batch:
    """The events in a range of lines, and what its other lines are."""

    line_range: LineRange
    body: bytes = attrs.field(repr=False)
    """The events as NDJSON."""
    lines: list[int] = attrs.field(repr=False)
    """For each line of the body, the number of its line in the source."""
    refused: list[tuple[int, str]]
    unparsable: list[tuple[int, str]]
    line_stats: LineStats

    @property
    def events(self) -> int:
        """How many events the body holds."""
        return len(self.lines)


def read(line_range: LineRange) -> Batch:
    """The batch of `line_range`. Raises ClientError if its source's format is unknown."""
    texts = line_range.data.split(b"\n")
    if not texts[-1]:
        texts.pop()
    if line_range.byte_range.begin == 0 and texts:
        texts[0] = texts[0].removeprefix(codecs.BOM_UTF8)
    log_format, header = line_range.source.format, line_range.header
    events: list[bytes] = []
    lines: list[int] = []
    refused: list[tuple[int, str]] = []
    unparsable: list[tuple[int, str]] = []
    line_stats = LineStats(lines=line_range.byte_range.lines)
    for number, text in enumerate(texts, line_range.byte_range.line):
        if not text or text.isspace():
            line_stats.blank += 1
            continue
        try:
            if len(text) > LINE_BYTES_MAX:
                raise LineRefused(f"the line is longer than {LINE_BYTES_MAX} bytes")
            event = log_format.event(text, header)
        except LineRefused as error:
            refused.append((number, str(error)))
        except NotALogLine as error:
            unparsable.append((number, str(error)))
        else:
            if isinstance(event, bytes):
                events.append(event)
                lines.append(number)
            else:
                line_stats.skip(event)
                if text.startswith(FIELDS):
                    header = text
    line_stats.refused, line_stats.unparsable = len(refused), len(unparsable)
    return Batch(line_range, b"\n".join(events), lines, refused, unparsable, line_stats)
