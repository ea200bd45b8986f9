"""Bodies of requests, taken apart in steps: inflated, stripped, cut into pieces that are counted."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable

from likd.errors import LikdError
from likd.runtime.cooperative import SLICE_BYTES, Steps

BLANKS = b" \t\r\n"


class TooLarge(LikdError):
    """A body is larger than the limit after inflation."""


class BadGzip(LikdError):
    """A body is not gzip data, or not whole; the message says which."""


def count_pieces(body: bytes, separator: bytes) -> Steps[Counter[bytes]]:
    """How often each piece between separators occurs."""
    counted: Counter[bytes] = Counter()
    begin = 0
    while len(body) - begin > SLICE_BYTES:
        end = body.find(separator, begin + SLICE_BYTES)
        if end == -1:
            break
        _count(counted, body[begin:end], separator)
        begin = end + len(separator)
        yield
    _count(counted, body[begin:], separator)
    return counted


def strip(body: bytes) -> Steps[bytes]:
    """`body` without the blanks around it; copied only if there are some."""
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


def line_of(body: bytes, line: bytes) -> Steps[int]:
    """The number of the first line that is `line`, counted from 1; there is one."""
    number = 1
    begin = 0
    whole = line + b"\n"
    while not (body.startswith(whole, begin) or (len(body) - begin == len(line) and body.endswith(line))):
        # A window may end within a line; what stands there is looked at again with the next.
        window = body[begin : begin + SLICE_BYTES + len(whole)]
        found = window.find(b"\n" + whole)
        end = found if found != -1 else window.rfind(b"\n", 0, SLICE_BYTES)
        if end == -1:
            end = body.index(b"\n", begin) - begin
        number += body.count(b"\n", begin, begin + end + 1)
        begin += end + 1
        yield
    return number


def _count(counted: Counter[bytes], body: bytes, separator: bytes) -> None:
    """Add the pieces of `body`. If they are all the same, as while one URL goes viral, it is not cut up for that."""
    first = body[: max(0, body.find(separator))]
    unit = first + separator
    if body.startswith(unit, len(unit)):
        times = len(body) // len(unit)
        rest = body[times * len(unit) :]
        if rest in (b"", first) and unit * times + rest == body:
            counted[first] += times
            counted[rest] += 1
            return
    counted.update(body.split(separator))


def inflate(body: bytes, limit: int, grow: Callable[[int], None] = lambda _: None) -> Steps[bytes]:
    """A gzip body, inflated, in steps. Raises TooLarge past `limit` bytes, BadGzip if it is not whole and sound.

    `grow` is told of each piece by its size, and may raise to stop it.
    """
    pieces: list[bytes] = []
    room = limit + 1
    read = 0
    try:
        while read < len(body):
            inflater = zlib.decompressobj(wbits=31)
            waiting = b""
            while not inflater.eof:
                if not waiting:
                    # Handed over in slices, too: what zlib leaves is copied each time.
                    waiting = body[read : read + SLICE_BYTES]
                    read += len(waiting)
                if not waiting:
                    raise BadGzip("the gzip data is cut short")
                pieces.append(inflater.decompress(waiting, min(room, SLICE_BYTES)))
                waiting = inflater.unconsumed_tail
                room -= len(pieces[-1])
                grow(len(pieces[-1]))
                if room <= 0:
                    raise TooLarge
                yield
            read -= len(inflater.unused_data)
    except zlib.error as error:
        raise BadGzip(f"the body is not gzip data: {error}") from None
    return b"".join(pieces)
