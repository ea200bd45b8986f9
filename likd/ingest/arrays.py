"""JSON arrays of events, decoded in steps."""

from __future__ import annotations

import re

import msgspec

from likd.ingest.schema import Event, IngestError, decode_events, explain
from likd.runtime.cooperative import Steps

WINDOW_BYTES = 1 << 16
"""How much is decoded in a step, a millisecond's worth; no event is larger."""

_RUN = re.compile(rb'(?:[ \t\r\n]*+\{(?:[^"{}\[\]]++|"[^"\\]*+(?:\\.[^"\\]*+)*+")*+\}[ \t\r\n]*+,)++', re.DOTALL)
"""Flat objects, each with the comma after it."""

_BLANKS = re.compile(rb"[ \t\r\n]*+")


def read_array(body: bytes) -> Steps[list[Event]]:
    """The events of a JSON array at the beginning of `body`. Raises IngestError, as if it were decoded at once.

    Each step cuts off and decodes whole objects, with the commas and whitespace between them. If there are none, the
    rest is short, invalid, or a single event that is too large.
    """
    events: list[Event] = []
    begin = 1
    while (run := _RUN.match(body, begin, begin + WINDOW_BYTES)) is not None:
        events += _decode(body[begin : run.end() - 1] + b"]", len(events))
        begin = run.end()
        yield
    end = min(begin + 2 * WINDOW_BYTES, len(body))
    rest = body[begin:end]
    if events and not rest.lstrip(b" \t\r\n]"):
        raise IngestError("JSON is malformed: trailing comma in array", malformed=True)
    events += _decode(rest, len(events), whole=end == len(body))
    if _BLANKS.fullmatch(body, end) is None:
        raise IngestError("JSON is malformed: trailing characters after the array", malformed=True)
    return events


def _decode(elements: bytes, before: int, *, whole: bool = True) -> list[Event]:
    try:
        return decode_events(b"[" + elements)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        wrong = explain(error)
        if not whole and wrong.malformed:
            wrong = IngestError(f"an event is larger than {WINDOW_BYTES} bytes, or not an event at all", malformed=True)
        index = wrong.place["index"]
        if isinstance(index, int):
            wrong.place["index"] = index + before
        raise wrong from None
