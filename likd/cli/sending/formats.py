"""Formats of input: what events a span of lines holds."""

from __future__ import annotations

from typing import Protocol

import attrs

from likd.cli.sending.accesslog import NotALogLine, delivered
from likd.cli.sending.spans import LINE_BYTES_MAX, Span
from likd.cli.sending.tally import Tally


class LineRefused(Exception):
    """The line can't be an event; the message says why."""


class Format(Protocol):
    """Reads one line. The same line always gives the same bytes: retries depend on it."""

    def event(self, line: bytes) -> bytes | None:
        """The event that `line` holds as a line of NDJSON, or None if it holds none.

        Raises LineRefused, or NotALogLine.
        """


class Ndjson:
    """A JSON object a line. The bytes are passed through: what they say is the daemon's to judge."""

    def event(self, line: bytes) -> bytes | None:
        """`line` itself. Raises LineRefused."""
        # Within a body of several lines an array, say, would be refused, and alone it would not. An object
        # that goes on in the next line likewise. So that the place of a line decides nothing:
        if not line.lstrip().startswith(b"{"):
            raise LineRefused("expected a JSON object on one line")
        return line


@attrs.frozen
class AccessLog:
    """An access log: each delivery is an impression of its URL on `site`, an origin without a slash at its end."""

    site: bytes

    def event(self, line: bytes) -> bytes | None:
        """The impression, or None if `line` is no delivery. Raises NotALogLine."""
        url = delivered(line, self.site)
        return b'{"kind":"impression","url":"%s"}' % url if url is not None else None


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


def read(span: Span, format: Format) -> Batch:
    """The batch of `span`."""
    texts = span.data.split(b"\n")
    if not texts[-1]:
        texts.pop()
    events: list[bytes] = []
    lines: list[int] = []
    refused: list[tuple[int, str]] = []
    unparsable: list[tuple[int, str]] = []
    blank = skipped = 0
    for number, text in enumerate(texts, span.extent.line):
        if not text or text.isspace():
            blank += 1
            continue
        try:
            if len(text) > LINE_BYTES_MAX:
                raise LineRefused(f"the line is longer than {LINE_BYTES_MAX} bytes")
            event = format.event(text)
        except LineRefused as error:
            refused.append((number, str(error)))
        except NotALogLine as error:
            unparsable.append((number, str(error)))
        else:
            if event is None:
                skipped += 1
            else:
                events.append(event)
                lines.append(number)
    tally = Tally(
        lines=span.extent.lines,
        refused=len(refused),
        unparsable=len(unparsable),
        skipped=skipped,
        blank=blank,
    )
    return Batch(span, b"\n".join(events), lines, refused, unparsable, tally)
