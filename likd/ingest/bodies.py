"""Request bodies, taken apart in steps: inflated, stripped, cut into pieces that are counted."""

from __future__ import annotations

import io
import sys
import zlib
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Protocol

from likd.errors import LikdError
from likd.runtime.cooperative import SLICE_BYTES, Steps

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

BLANKS = b" \t\r\n"
ZSTD_WINDOW_BITS = 23
"""The window size that every frame may have (RFC 9659), and that none needs to exceed."""
PIECES_MAX = 1 << 15
"""How many different pieces are counted before they are read: resizing a larger index would take too long a step."""
PIECE_BYTES_MAX = 1 << 20
"""A longer line is not an event, however much whitespace it has."""
OBJECT_BYTES_MAX = 1 << 16
"""The largest single object, spanning several lines, that is decoded at once."""
MEMBER_BYTES = 1024
"""The first slice of each member of a gzip body."""
SLICE_PIECES = 8192
"""How many pieces a step cuts a body into at most."""


class TooLarge(LikdError):
    """A body is larger than the limit after inflation."""


class BadEncoding(LikdError):
    """A body is not in its declared encoding, or is incomplete; the message says which."""


class BadGzip(BadEncoding):
    """The same for gzip."""


def without_bom(body: bytes) -> bytes:
    """`body` without a byte order mark."""
    return body.removeprefix(BOM_UTF8)


class LongPiece(Exception):
    """A piece of a body, which begins at `begin`, is longer than any event."""

    def __init__(self, begin: int) -> None:
        super().__init__(f"a piece is longer than {PIECE_BYTES_MAX} bytes")
        self.begin = begin


def count_pieces(
    body: bytes, separator: bytes, begin: int = 0, end: int | None = None
) -> Steps[tuple[Counter[bytes], int]]:
    """How often each piece between separators occurs in `body` from `begin` to `end`, and where the next one begins.

    That is beyond `end` if all are counted; counting stops after about PIECES_MAX different ones. Raises LongPiece.
    """
    end = len(body) if end is None else end
    counted: Counter[bytes] = Counter()
    while begin <= end and len(counted) < PIECES_MAX:
        stop = end
        if end - begin > SLICE_BYTES:
            reach = begin + SLICE_BYTES + PIECE_BYTES_MAX
            stop = body.find(separator, begin + SLICE_BYTES, min(reach, end))
            if stop == -1:
                if reach < end:
                    found = body.rfind(separator, begin, begin + SLICE_BYTES + len(separator) - 1)
                    raise LongPiece(begin if found == -1 else found + len(separator))
                stop = end
        yield from _count(counted, body[begin:stop], separator)
        begin = stop + len(separator)
        if begin <= end:
            yield
    return counted, begin


def strip(body: bytes) -> Steps[bytes]:
    """`body` without surrounding whitespace; copied only if there is some."""
    begin, end = 0, len(body)
    while begin < end and body[begin] in BLANKS:
        window = body[begin : begin + SLICE_BYTES]
        begin += len(window) - len(window.lstrip(BLANKS))
        yield
    while begin < end and body[end - 1] in BLANKS:
        window = body[max(begin, end - SLICE_BYTES) : end]
        end -= len(window) - len(window.rstrip(BLANKS))
        yield
    return body[begin:end]


def lines_until(body: bytes, end: int) -> Steps[int]:
    """How many lines end before `end`."""
    lines = 0
    for begin in range(0, end, 4 * SLICE_BYTES):
        lines += body.count(b"\n", begin, min(end, begin + 4 * SLICE_BYTES))
        yield
    return lines


def line_of(body: bytes, line: bytes) -> Steps[int]:
    """The number of the first line that equals `line`, counted from 1; it must exist."""
    number = 1
    begin = 0
    whole = line + b"\n"
    while not (body.startswith(whole, begin) or (len(body) - begin == len(line) and body.endswith(line))):
        # A window may end within a line, which is then examined again with the next window.
        window = body[begin : begin + SLICE_BYTES + len(whole)]
        found = window.find(b"\n" + whole)
        end = found if found != -1 else window.rfind(b"\n", 0, SLICE_BYTES)
        if end == -1:
            end = body.index(b"\n", begin) - begin
        number += body.count(b"\n", begin, begin + end + 1)
        begin += end + 1
        yield
    return number


def _count(counted: Counter[bytes], body: bytes, separator: bytes) -> Steps[None]:
    """Add the pieces of `body`. If they are all equal, as when one URL goes viral, it is not cut up."""
    first = body[: max(0, body.find(separator))]
    unit = first + separator
    if body.startswith(unit, len(unit)):
        times = len(body) // len(unit)
        rest = body[times * len(unit) :]
        if rest in (b"", first) and unit * times + rest == body:
            counted[first] += times
            counted[rest] += 1
            return
    while len(pieces := body.split(separator, SLICE_PIECES)) > SLICE_PIECES:
        body = pieces.pop()
        counted.update(pieces)
        yield
    counted.update(pieces)


def inflate(
    body: bytes, limit: int, grow: Callable[[int], None] = lambda _: None, encoding: str = "gzip"
) -> Steps[bytes]:
    """Inflate a body in one of ENCODINGS, in steps. Raises BadEncoding, and TooLarge beyond `limit` bytes.

    `grow` is called with the size of each piece, and may raise to stop.
    """
    # It grows as it is written, and its value is not copied: joining 32 MiB would take 20 ms.
    inflated = io.BytesIO()
    room = limit + 1
    read = work = 0
    bad = BadGzip if encoding == "gzip" else BadEncoding
    try:
        while read < len(body):
            inflater = ENCODINGS[encoding](limit)
            slice_bytes = MEMBER_BYTES
            while not inflater.eof:
                waiting = b""
                if inflater.needs_input:
                    # The input is passed in slices, too: what is left of it may be copied each time. Small slices
                    # first, because there may be any number of small members.
                    waiting = body[read : read + slice_bytes]
                    read += len(waiting)
                    work += slice_bytes
                    slice_bytes = min(2 * slice_bytes, SLICE_BYTES)
                    if not waiting:
                        raise bad(f"the {encoding} data is cut short")
                piece = inflater.decompress(waiting, min(room, SLICE_BYTES))
                inflated.write(piece)
                room -= len(piece)
                grow(len(piece))
                if room <= 0:
                    raise TooLarge
                work += len(piece)
                if work >= SLICE_BYTES:
                    work = 0
                    yield
            read -= len(inflater.unused_data)
    except (zlib.error, zstd.ZstdError) as error:
        raise bad(f"the body is not {encoding} data: {error}") from None
    return inflated.getvalue()


class _Inflater(Protocol):
    """Inflates one frame of a body, with the interface of the standard library's newer formats."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Gunzip:
    """zlib with that interface."""

    def __init__(self, _: int) -> None:
        self._zlib = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def needs_input(self) -> bool:
        return not self._zlib.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._zlib.decompress(data or self._zlib.unconsumed_tail, max_length)


def _unzstd(limit: int) -> _Inflater:
    # A frame may demand a window of the size it declares. If it was written in one piece, the window is its size.
    window = max(ZSTD_WINDOW_BITS, limit.bit_length())
    return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: min(window, 31)})


ENCODINGS: Mapping[str, Callable[[int], _Inflater]] = {"gzip": _Gunzip, "zstd": _unzstd}
"""By encoding, the function that makes an inflater for a body of at most that many bytes."""
