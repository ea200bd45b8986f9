"""Ingest: a request body becomes coalesced events, or an error that says what is wrong and where."""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from likd.events import Events
from likd.urls import canonical

LINE_CACHE_MAX = 65_536
LINE_CACHE_BYTES_MAX = 512
"""Lines that are longer are not remembered: the cache stays under about 40 MB."""

_FIELD = re.compile(r"\$(?:\[(?P<index>\d+)\])?(?:\.(?P<field>\w+))?")
_NAMED = re.compile(r"(?:required|unknown) field `(?P<field>[^`]*)`")
_WHITESPACE = b" \t\r\n"


class IngestError(Exception):
    """A body is refused. `malformed` if it could not even be read, else an event of it is wrong."""

    def __init__(
        self,
        detail: str,
        *,
        malformed: bool = False,
        line: int | None = None,
        index: int | None = None,
        field: str | None = None,
        expected: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.malformed = malformed
        self.place = {"line": line, "index": index, "field": field, "expected": expected}


class TooLarge(Exception):
    """A body is larger than the limit after inflation."""


class _Event(msgspec.Struct, forbid_unknown_fields=True):
    kind: str
    url: str


_decode_event = msgspec.json.Decoder(_Event).decode
_decode_events = msgspec.json.Decoder(list[_Event]).decode


def inflate(body: bytes, limit: int) -> bytes:
    """A gzip body, inflated. Raises TooLarge past `limit` bytes, IngestError if it is not whole and sound."""
    inflater = zlib.decompressobj(wbits=31)
    pieces: list[bytes] = []
    room = limit + 1
    try:
        while True:
            pieces.append(inflater.decompress(body, room))
            room -= len(pieces[-1])
            if room <= 0:
                raise TooLarge
            if not inflater.eof:
                raise IngestError("the gzip data is cut short", malformed=True)
            body = inflater.unused_data
            if not body:
                return b"".join(pieces)
            inflater = zlib.decompressobj(wbits=31)
    except zlib.error as error:
        raise IngestError(f"the body is not gzip data: {error}", malformed=True) from None


class Ingest:
    """Reads bodies with events of the given `kinds`.

    Lines that are the same are counted as bytes and decoded once, and what they held is remembered for the
    requests to come.
    """

    def __init__(self, kinds: Iterable[str]) -> None:
        self._kinds = frozenset(kinds)
        self._expected_kinds = f"one of {', '.join(sorted(self._kinds))}"
        self._lines: dict[bytes, tuple[str, str]] = {}

    def read(self, body: bytes) -> tuple[Events, int]:
        """The events of one JSON object, an array of objects, or NDJSON, and how many. Raises IngestError."""
        stripped = body.strip(_WHITESPACE)
        if stripped.startswith(b"["):
            return self._read_array(stripped)
        if b"\n" not in stripped:
            if not stripped:
                return {}, 0
            kind, url = self._read_line(stripped)
            return {kind: {url: 1}}, 1
        return self._read_lines(body)

    def _read_lines(self, body: bytes) -> tuple[Events, int]:
        lines = body.split(b"\n")
        events: Events = {}
        size = 0
        known = self._lines
        for line, times in Counter(lines).items():
            event = known.get(line)
            if event is None:
                text = line.strip(_WHITESPACE)
                if not text:
                    continue
                try:
                    event = self._read_line(text)
                except IngestError as error:
                    whole = self._read_one_object(body)
                    if whole is not None:
                        return whole
                    error.place["line"] = lines.index(line) + 1
                    raise
                if len(line) <= LINE_CACHE_BYTES_MAX:
                    if len(known) >= LINE_CACHE_MAX:
                        known.clear()
                    known[line] = event
            kind, url = event
            urls = events.get(kind)
            if urls is None:
                urls = events[kind] = {}
            urls[url] = urls.get(url, 0) + times
            size += times
        return events, size

    def _read_one_object(self, body: bytes) -> tuple[Events, int] | None:
        """One object that is laid out over several lines, if that is what `body` is."""
        try:
            event = _decode_event(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        kind, url = self._check(event)
        return {kind: {url: 1}}, 1

    def _read_array(self, body: bytes) -> tuple[Events, int]:
        try:
            decoded: Sequence[_Event] = _decode_events(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _explain(error) from None
        counted = Counter([(event.kind, event.url) for event in decoded])
        events: Events = {}
        for (kind, url), times in counted.items():
            try:
                _, href = self._check_fields(kind, url)
            except IngestError as error:
                error.place["index"] = next(
                    index for index, event in enumerate(decoded) if event.kind == kind and event.url == url
                )
                raise
            urls = events.setdefault(kind, {})
            urls[href] = urls.get(href, 0) + times
        return events, len(decoded)

    def _read_line(self, line: bytes) -> tuple[str, str]:
        try:
            event = _decode_event(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _explain(error) from None
        return self._check(event)

    def _check(self, event: _Event) -> tuple[str, str]:
        return self._check_fields(event.kind, event.url)

    def _check_fields(self, kind: str, url: str) -> tuple[str, str]:
        if kind not in self._kinds:
            raise IngestError(f"kind is {short(kind)}", field="kind", expected=self._expected_kinds)
        try:
            return kind, canonical(url)
        except ValueError as error:
            expected = str(error).removeprefix("expected ")
            raise IngestError(f"url is {short(url)}", field="url", expected=expected) from None


def _explain(error: msgspec.DecodeError | UnicodeDecodeError) -> IngestError:
    if isinstance(error, UnicodeDecodeError):
        return IngestError("the text is not UTF-8", malformed=True)
    message = str(error)
    if not isinstance(error, msgspec.ValidationError):
        return IngestError(message, malformed=True)
    what, _, where = message.partition(" - at ")
    place = _FIELD.match(where.strip("`"))
    named = _NAMED.search(what)
    index = place["index"] if place else None
    field = named["field"] if named else place["field"] if place else None
    expected = what.partition(",")[0].removeprefix("Expected ").replace("`", "") if not named else "fields kind, url"
    return IngestError(what.replace("`", ""), index=int(index) if index else None, field=field, expected=expected)


def short(text: str) -> str:
    """`text` as ASCII, cut to a length that fits a message."""
    return ascii(text if len(text) <= 80 else text[:77] + "...")
