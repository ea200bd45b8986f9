"""The batch file `tab_<id>`: one table's counts, readable, sorted by URL, checksummed.

likd-batch 1 table=17 opened=1790000000.250 closed=1790000005.250 urls=2 counts=likes,unlikes,impressions
3	1	40	https://example.com/a
0	0	7	https://example.com/b
end sums=3,1,47 sha256=<of every byte before this line>

If actors liked or unliked, the header ends with `actors=<number>`, and after the URLs there is a line for each: `+` if
the actor now likes the URL or `-` if not, the key of actor and URL in hexadecimal, and by how much the actor's events
here change likes minus unlikes (missing in files of earlier versions). If a merge closed the table, the header ends
with `merges=1`, and the last of these lines has the beginnings of the keys of both URLs' actors, and the URLs. If it
was an erasure, the second URL is the same as the first, or empty.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from functools import cached_property
from itertools import repeat

import attrs

from likd.errors import LikdError
from likd.model import Counts, Fold, Liking, Likings, Rows, total

_HEADER = re.compile(
    r"likd-batch 1 table=(\d{1,12}) opened=(\d{1,12}\.\d{3}) closed=(\d{1,12}\.\d{3}) urls=(\d{1,9})"
    r" counts=([a-z][a-z0-9_]{0,31}(?:,[a-z][a-z0-9_]{0,31})*)(?: actors=([1-9]\d{0,8}))?(?: merges=(1))?"
)
_ACTOR = re.compile(r"([+-])((?:[0-9a-f]{2}){1,64})(?: (0|-?[1-9]\d{0,8}))?")

_MERGE = re.compile(r"((?:[0-9a-f]{2})*)\t((?:[0-9a-f]{2})*)\t([^\t]+)\t([^\t]*)")
_END = re.compile(r"end sums=(\d{1,20}(?:,\d{1,20})*) sha256=([0-9a-f]{64})")
_NUMBER = re.compile(r"0|[1-9]\d{0,18}")


class DamagedBatch(LikdError, ValueError):
    """A batch file is damaged; the message says what is wrong and in which line."""


@attrs.frozen
class Batch:
    """One table's counts as in its batch file. Times are seconds since 1970."""

    table_id: int
    opened: float
    closed: float
    names: tuple[str, ...]
    rows: Rows = attrs.field(repr=False)
    actors: Likings = attrs.field(factory=dict, repr=False)
    merge: Fold | None = None
    """The merge that follows all this, if any."""

    @cached_property
    def sums(self) -> Counts:
        """The sums over all URLs."""
        return total(self.rows.values())


def encode(batch: Batch) -> bytes:
    """`batch` as the bytes of its file."""
    names = batch.names
    header = (
        f"likd-batch 1 table={batch.table_id} opened={batch.opened:.3f} closed={batch.closed:.3f}"
        f" urls={len(batch.rows)} counts={','.join(names)}{f' actors={len(batch.actors)}' if batch.actors else ''}"
        f"{' merges=1' if batch.merge else ''}\n"
    )
    urls = sorted(batch.rows)
    counts = [batch.rows[url] for url in urls]
    sums = batch.sums
    columns = [
        [str(each.get(name, 0)) for each in counts] if name in sums else repeat("0", len(urls)) for name in names
    ]
    lines = [*map("\t".join, zip(*columns, urls, strict=True)), ""]
    actors = [
        f"{'+' if likes else '-'}{key.hex()}{'' if net is None else f' {net}'}\n"
        for key, (likes, net) in sorted(batch.actors.items())
    ]
    merge = [_line(batch.merge)] if batch.merge else []
    body = "".join([header, "\n".join(lines), *actors, *merge]).encode()
    end = f"end sums={','.join(str(sums.get(name, 0)) for name in names)} sha256={hashlib.sha256(body).hexdigest()}\n"
    return body + end.encode()


def decode(data: bytes) -> Batch:
    """The batch in `data`. Raises DamagedBatch unless every byte is right."""
    body, _, end = data[:-1].rpartition(b"\n")
    body += b"\n"
    match = _END.fullmatch(_text(end, "last line"))
    if match is None or not data.endswith(b"\n"):
        raise DamagedBatch("the last line is not an end line: the file is cut short")
    if hashlib.sha256(body).hexdigest() != match[2]:
        raise DamagedBatch("the checksum does not match")
    lines = _text(body, "body").split("\n")[:-1]
    header = _HEADER.fullmatch(lines[0]) if lines else None
    if header is None:
        raise DamagedBatch("line 1: this is not the header of a batch file")
    names = tuple(header[5].split(","))
    merge = _merge(lines.pop()) if header[7] else None
    actors_begin = len(lines) - int(header[6] or 0)
    rows = _rows(lines[1:actors_begin], names)
    if len(rows) != int(header[4]):
        raise DamagedBatch(f"the header announces {header[4]} URLs, but there are {len(rows)}")
    actors = _actors(lines[actors_begin:], actors_begin + 1)
    batch = Batch(int(header[1]), float(header[2]), float(header[3]), names, rows, actors, merge)
    sums = batch.sums
    if [sums.get(name, 0) for name in names] != [int(n) for n in match[1].split(",")]:
        raise DamagedBatch("the sums do not match")
    return batch


def _rows(lines: Iterable[str], names: tuple[str, ...]) -> Rows:
    rows: Rows = {}
    last = ""
    for number, line in enumerate(lines, start=2):
        *counts, url = line.split("\t")
        if len(counts) != len(names) or not all(map(_NUMBER.fullmatch, counts)):
            raise DamagedBatch(f"line {number}: expected {len(names)} counts and a URL")
        if url <= last:
            raise DamagedBatch(f"line {number}: the URLs are not sorted")
        rows[url] = {name: int(n) for name, n in zip(names, counts, strict=True) if n != "0"}
        last = url
    return rows


def _actors(lines: Iterable[str], first: int) -> Likings:
    actors: Likings = {}
    for number, line in enumerate(lines, start=first):
        match = _ACTOR.fullmatch(line)
        if match is None:
            raise DamagedBatch(f"line {number}: expected + or -, a key and a number")
        actors[bytes.fromhex(match[2])] = Liking(match[1] == "+", int(match[3]) if match[3] else None)
    return actors


def _line(merge: Fold) -> str:
    return f"{merge.old_key.hex()}\t{merge.new_key.hex()}\t{merge.old}\t{merge.new}\n"


def _merge(line: str) -> Fold:
    match = _MERGE.fullmatch(line)
    if match is None:
        raise DamagedBatch("expected a merge in the line before the last")
    return Fold(match[3], match[4], bytes.fromhex(match[1]), bytes.fromhex(match[2]))


def _text(data: bytes, where: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise DamagedBatch(f"the {where} is not UTF-8") from None
