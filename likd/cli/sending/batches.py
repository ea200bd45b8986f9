"""Batches: the events of a span of lines, and what its other lines are."""

from __future__ import annotations

import codecs

import attrs

from likd.cli.sending.lines import LineRefused, NotALogLine
from likd.cli.sending.spans import FIELDS, LINE_BYTES_MAX, Span
from likd.cli.sending.tally import Tally


@attrs.frozen
class Batch:
    """The events of a span, and what its other lines are."""

    span: Span
    body: bytes = attrs.field(repr=False)
    """NDJSON, the events."""
    lines: list[int] = attrs.field(repr=False)
    """Of each line of the body, the number of its line in the source."""
    refused: list[tuple[int, str]]
    unparsable: list[tuple[int, str]]
    tally: Tally

    @property
    def events(self) -> int:
        """How many events the body holds."""
        return len(self.lines)


def read(span: Span) -> Batch:
    """The batch of `span`. Raises ClientError if its source is of no format that is known."""
    texts = span.data.split(b"\n")
    if not texts[-1]:
        texts.pop()
    if span.extent.begin == 0 and texts:
        texts[0] = texts[0].removeprefix(codecs.BOM_UTF8)
    format, header = span.source.format, span.header
    events: list[bytes] = []
    lines: list[int] = []
    refused: list[tuple[int, str]] = []
    unparsable: list[tuple[int, str]] = []
    tally = Tally(lines=span.extent.lines)
    for number, text in enumerate(texts, span.extent.line):
        if not text or text.isspace():
            tally.blank += 1
            continue
        try:
            if len(text) > LINE_BYTES_MAX:
                raise LineRefused(f"the line is longer than {LINE_BYTES_MAX} bytes")
            event = format.event(text, header)
        except LineRefused as error:
            refused.append((number, str(error)))
        except NotALogLine as error:
            unparsable.append((number, str(error)))
        else:
            if isinstance(event, bytes):
                events.append(event)
                lines.append(number)
            else:
                tally.skip(event)
                if text.startswith(FIELDS):
                    header = text
    tally.refused, tally.unparsable = len(refused), len(unparsable)
    return Batch(span, b"\n".join(events), lines, refused, unparsable, tally)
