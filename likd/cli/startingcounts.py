"""Files of starting counts, checked line by line: CSV with a header, or one JSON object per line."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import BinaryIO

import attrs
import msgspec

from likd.cli.client import ClientError
from likd.ingest.schema import COUNT_MAX, explain, short
from likd.ingest.urls import canonical

LINE_BYTES_MAX = 64 << 10
TIME = "time"
"""The column with the time of a line's counts: seconds since 1970, or a date with or without a time as in RFC 3339."""
DERIVED = "net"
"""An export has this column beside the counts from which it is computed."""

SECONDS_DIGITS_MAX = 11

_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class BadFile(ClientError):
    """The file can't be imported; the message has its name, the line and what is wrong there."""


@attrs.frozen
class Row:
    """The contents of a line, as a line of NDJSON, and its number."""

    line: int
    data: bytes


@attrs.frozen
class CountsFile:
    """Reads `file`, which is called `name`. Each pass yields the same rows, or raises BadFile at the same one."""

    file: BinaryIO
    name: str
    names: frozenset[str]
    """The names of the counts that exist."""

    def rows(self, *, as_csv: bool) -> Iterator[Row]:
        """All rows, checked. Raises BadFile, OSError."""
        self.file.seek(0)
        yield from self._csv() if as_csv else self._ndjson()

    def _ndjson(self) -> Iterator[Row]:
        for number, line in self._lines():
            if not line.strip():
                continue
            try:
                fields = _decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                what = "nested too deeply" if isinstance(error, RecursionError) else explain(error).detail
                raise self._bad(number, f"{what} (expected a JSON object with url and numbers)") from None
            try:
                url = msgspec.json.decode(fields.pop("url", b"null"), type=str)
            except (msgspec.DecodeError, UnicodeError):
                raise self._bad(number, "the URL is missing or not a string") from None
            texts = {name: bytes(value).decode() for name, value in fields.items()}
            yield self._row(number, url, texts)

    def _csv(self) -> Iterator[Row]:
        lines = self._lines()
        taken = 0

        def texts() -> Iterator[str]:
            nonlocal taken
            for number, line in lines:
                taken = number
                yield line.decode()

        source = texts()
        header = next(source, None)
        if header is None:
            return
        separator = max(",;\t", key=header.count)
        try:
            columns = [column.strip() for column in next(csv.reader([header], delimiter=separator, strict=True), [])]
            self._check_columns(columns)
            reader = csv.reader(source, delimiter=separator, strict=True)
            begin = taken + 1
            for values in reader:
                if values:
                    yield self._csv_row(begin, columns, values)
                begin = taken + 1
        except csv.Error as error:
            raise self._bad(taken, str(error)) from None

    def _check_columns(self, columns: list[str]) -> None:
        if "url" not in columns:
            raise self._bad(1, "the header has no url column")
        for column in columns:
            if columns.count(column) > 1:
                raise self._bad(1, f"column {short(column)} occurs twice")

    def _csv_row(self, number: int, columns: list[str], values: list[str]) -> Row:
        if len(values) != len(columns):
            raise self._bad(number, f"{len(values)} values instead of {len(columns)}")
        texts = {column: value.strip() for column, value in zip(columns, values, strict=True)}
        url = texts.pop("url")
        return self._row(number, url, {name: text for name, text in texts.items() if text})

    def _row(self, number: int, url: str, texts: dict[str, str]) -> Row:
        try:
            canonical(url)
        except ValueError as error:
            raise self._bad(number, f"url is {short(url)} ({error})") from None
        counts: dict[str, int] = {}
        for name, text in texts.items():
            if name == TIME and TIME not in self.names:
                counts[name] = self._time(number, text.strip('"'))
                continue
            if name == DERIVED and DERIVED not in self.names:
                continue
            if name not in self.names:
                raise self._bad(number, f"{short(name)} is not a count (expected {', '.join(sorted(self.names))})")
            if not (text.isascii() and text.isdecimal()):
                raise self._bad(number, f"{name} is {short(text)}, not a whole number")
            digits = text.lstrip("0") or "0"
            if len(digits) > len(str(COUNT_MAX)) or int(digits) > COUNT_MAX:
                raise self._bad(number, f"{name} is {short(text)}, more than 2^53")
            counts[name] = int(digits)
        return Row(number, msgspec.json.encode({"url": url, **counts}) + b"\n")

    def _time(self, number: int, text: str) -> int:
        """Seconds since 1970. A time without a zone is UTC."""
        seconds = -1.0
        if text.isascii() and text.isdecimal() and len(text) <= SECONDS_DIGITS_MAX:
            seconds = int(text)
        else:
            with suppress(ValueError, OverflowError):
                time = datetime.fromisoformat(text)
                seconds = (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
        if not 0 <= seconds <= datetime.now(UTC).timestamp():
            expected = "expected seconds since 1970 or a time like 2024-05-01T10:00:00Z, not in the future"
            raise self._bad(number, f"time is {short(text)} ({expected})")
        return int(seconds)

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        """The lines with their numbers, without a byte order mark. Raises BadFile if one is not UTF-8 or too long."""
        number = 0
        while line := self.file.readline(LINE_BYTES_MAX + 1):
            number += 1
            if number == 1:
                if line.startswith(_UTF_16) or b"\0" in line[:4]:
                    raise self._bad(1, "the text is UTF-16 (expected UTF-8)")
                line = line.removeprefix(codecs.BOM_UTF8)
            if len(line) > LINE_BYTES_MAX:
                raise self._bad(number, f"the line is longer than {LINE_BYTES_MAX} bytes")
            try:
                line.decode()
            except UnicodeDecodeError as error:
                raise self._bad(number, f"byte {error.start + 1} is not UTF-8") from None
            yield number, line

    def _bad(self, line: int, what: str) -> BadFile:
        return BadFile(f"{self.name}: line {line}: {what}")


def is_csv(file: BinaryIO, name: str) -> bool:
    """Whether the file is CSV, judged by its name or else by how it begins."""
    if name.lower().endswith((".csv", ".tsv", ".txt")):
        return True
    if name.lower().endswith((".ndjson", ".jsonl", ".json")):
        return False
    file.seek(0)
    return not file.read(io.DEFAULT_BUFFER_SIZE).removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"{")
