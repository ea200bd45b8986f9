"""Pieces of bodies, counted in steps: whatever repeats, and wherever a step ends, as if the body were cut up whole."""

from __future__ import annotations

import gzip
import random
import zlib
from collections import Counter
from itertools import islice
from types import SimpleNamespace
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likd.ingest import bodies
from likd.ingest.bodies import LongPiece, count_pieces, inflate, line_of, lines_until, strip
from likd.ingest.parser import Ingest
from likd.ingest.remembered import CACHED_MAX
from likd.ingest.schema import TooManyUrls
from likd.runtime.cooperative import SLICE_BYTES, Steps, finish

RUNS = st.lists(st.tuples(st.sampled_from([b"", b"a", b"ab", b"},", b"{", b"abcdefg"]), st.integers(1, 40)), max_size=6)


def all_pieces(body: bytes, separator: bytes) -> Steps[Counter[bytes]]:
    pieces: Counter[bytes] = Counter()
    begin = 0
    while begin <= len(body):
        counted, begin = yield from count_pieces(body, separator, begin)
        pieces.update(counted)
    return pieces


@pytest.mark.parametrize("separator", [b"\n", b"},{", b"}, {"])
@given(runs=RUNS, slice_bytes=st.sampled_from([8, 64, 1 << 17]), tail=st.sampled_from([b"", b"\n", b"a", b"},{"]))
def test_pieces_are_counted_as_if_cut_up_whole(
    separator: bytes, runs: list[tuple[bytes, int]], slice_bytes: int, tail: bytes
) -> None:
    body = separator.join(piece for piece, times in runs for _ in range(times)) + tail
    with patch.object(bodies, "SLICE_BYTES", slice_bytes):
        assert finish(all_pieces(body, separator)) == Counter(body.split(separator))


def test_a_body_of_one_line_again_and_again_is_counted_in_steps() -> None:
    body = b'{"kind":"like","url":"https://example.com/"}\n' * 10_000
    assert finish(all_pieces(body, b"\n")) == {body[: body.find(b"\n")]: 10_000, b"": 1}
    assert sum(1 for _ in count_pieces(body, b"\n")) == len(body) // (1 << 17)


def recording(handed: list[int]) -> SimpleNamespace:
    """zlib, that notes how much it is handed each time."""

    class Recorded:
        def __init__(self, wbits: int) -> None:
            self._inflater = zlib.decompressobj(wbits)

        def decompress(self, data: bytes, length: int) -> bytes:
            handed.append(len(data))
            return self._inflater.decompress(data, length)

        def __getattr__(self, name: str) -> object:
            return getattr(self._inflater, name)

    return SimpleNamespace(decompressobj=Recorded, error=zlib.error)


def test_many_small_members_do_not_cost_a_large_slice_each() -> None:
    handed: list[int] = []
    packed = gzip.compress(b"a") * 20_000
    with patch.object(bodies, "zlib", recording(handed)):
        steps = inflate(packed, 1 << 20)
        assert sum(1 for _ in steps) >= 20_000 * bodies.MEMBER_BYTES // (2 * SLICE_BYTES)
    assert sum(handed) <= 20_000 * bodies.MEMBER_BYTES


def test_what_cannot_be_compressed_is_inflated_in_slices_too() -> None:
    handed: list[int] = []
    body = random.Random(1).randbytes(3_000_000)
    packed = gzip.compress(body[:2_000_000]) + gzip.compress(body[2_000_000:])
    with patch.object(bodies, "zlib", recording(handed)):
        assert finish(inflate(packed, len(body))) == body
    assert max(handed) <= SLICE_BYTES
    assert sum(handed) < 3 * len(body)


@given(
    lines=st.lists(st.sampled_from([b"", b"a", b"ab", b"b", b"abcdefghij" * 3]), min_size=1, max_size=40),
    data=st.data(),
    slice_bytes=st.sampled_from([8, 64, 1 << 17]),
)
def test_a_line_is_found_as_if_the_body_were_cut_up_whole(
    lines: list[bytes], data: st.DataObject, slice_bytes: int
) -> None:
    body = b"\n".join(lines)
    line = data.draw(st.sampled_from(lines))
    with patch.object(bodies, "SLICE_BYTES", slice_bytes):
        assert finish(line_of(body, line)) == lines.index(line) + 1


@given(
    st.text(alphabet=" \t\r\na", max_size=60).map(str.encode),
    st.sampled_from([4, 64]),
)
def test_blanks_are_stripped_in_steps(body: bytes, slice_bytes: int) -> None:
    with patch.object(bodies, "SLICE_BYTES", slice_bytes):
        assert finish(strip(body)) == body.strip(b" \t\r\n")


def test_a_body_of_blanks_is_stripped_a_slice_at_a_time() -> None:
    body = b" \n" * (1 << 18)
    assert sum(1 for _ in strip(body)) == len(body) // SLICE_BYTES


@pytest.mark.parametrize("line", [b"", b"a", b"ab", b" "])
def test_tiny_lines_are_cut_a_few_thousand_at_a_time(line: bytes) -> None:
    body = b"\n".join([line, b"b"] * 150_000)
    steps = sum(1 for _ in all_pieces(body, b"\n"))
    assert steps >= 300_000 // bodies.SLICE_PIECES


def test_different_pieces_are_counted_up_to_a_number_before_they_are_read() -> None:
    body = b"\n".join(b"%d" % n for n in range(200_000))
    begin = 0
    while begin <= len(body):
        counted, begin = finish(count_pieces(body, b"\n", begin))
        assert len(counted) < bodies.PIECES_MAX + SLICE_BYTES


@pytest.mark.parametrize("before", [b"", b"a\n" * 100_000])
def test_a_piece_that_is_too_long_is_not_looked_at(before: bytes) -> None:
    body = before + b"x" * (bodies.PIECE_BYTES_MAX + 2 * SLICE_BYTES)
    with pytest.raises(LongPiece) as raised:
        finish(all_pieces(body, b"\n"))
    assert raised.value.begin == len(before)
    assert finish(lines_until(body, raised.value.begin)) == before.count(b"\n")


def test_long_pieces_are_read_one_by_one() -> None:
    body = b"\n".join(b'{"kind":"like","url":"https://e.example/%d"%s}' % (n, b" " * 600_000) for n in range(8))
    ingest = Ingest(["like"])
    assert finish(ingest.read(body))[1] == 8
    assert sum(1 for _ in ingest.read(body)) >= 8


def test_of_what_is_remembered_some_is_forgotten_at_once_and_not_all() -> None:
    ingest = Ingest(["like"])
    lines = [b'{"kind":"like","url":"https://e.example/%d"}\n' % n for n in range(CACHED_MAX + 1)]
    for begin in range(0, len(lines), 10_000):
        finish(ingest.read(b"".join(lines[begin : begin + 10_000])))
    known = sum(ingest.recall(line.strip()) is not None for line in lines)
    assert CACHED_MAX * 7 // 8 < known <= CACHED_MAX


def test_more_urls_than_a_body_may_have_are_not_all_read() -> None:
    body = b"\n".join(b'{"kind":"like","url":"https://e.example/%d"}' % n for n in range(100_000))
    steps = Ingest(["like"], urls_max=1000).read(body)
    with pytest.raises(TooManyUrls):
        sum(1 for _ in islice(steps, 150))
