"""Pieces of bodies, counted in steps: whatever repeats, and wherever a step ends, as if the body were cut up whole."""

from __future__ import annotations

import gzip
import random
import zlib
from collections import Counter
from types import SimpleNamespace
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likd.ingest import bodies
from likd.ingest.bodies import count_pieces, inflate, line_of, strip
from likd.runtime.cooperative import SLICE_BYTES, finish

RUNS = st.lists(st.tuples(st.sampled_from([b"", b"a", b"ab", b"},", b"{", b"abcdefg"]), st.integers(1, 40)), max_size=6)


@pytest.mark.parametrize("separator", [b"\n", b"},{", b"}, {"])
@given(runs=RUNS, slice_bytes=st.sampled_from([8, 64, 1 << 17]), tail=st.sampled_from([b"", b"\n", b"a", b"},{"]))
def test_pieces_are_counted_as_if_cut_up_whole(
    separator: bytes, runs: list[tuple[bytes, int]], slice_bytes: int, tail: bytes
) -> None:
    body = separator.join(piece for piece, times in runs for _ in range(times)) + tail
    with patch.object(bodies, "SLICE_BYTES", slice_bytes):
        assert finish(count_pieces(body, separator)) == Counter(body.split(separator))


def test_a_body_of_one_line_again_and_again_is_counted_in_steps() -> None:
    body = b'{"kind":"like","url":"https://example.com/"}\n' * 10_000
    assert finish(count_pieces(body, b"\n")) == {body[: body.find(b"\n")]: 10_000, b"": 1}
    assert sum(1 for _ in count_pieces(body, b"\n")) == len(body) // (1 << 17)


def test_what_cannot_be_compressed_is_inflated_in_slices_too() -> None:
    handed: list[int] = []

    class Recorded:
        def __init__(self, wbits: int) -> None:
            self._inflater = zlib.decompressobj(wbits)

        def decompress(self, data: bytes, length: int) -> bytes:
            handed.append(len(data))
            return self._inflater.decompress(data, length)

        def __getattr__(self, name: str) -> object:
            return getattr(self._inflater, name)

    body = random.Random(1).randbytes(3_000_000)
    packed = gzip.compress(body[:2_000_000]) + gzip.compress(body[2_000_000:])
    with patch.object(bodies, "zlib", SimpleNamespace(decompressobj=Recorded, error=zlib.error)):
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
