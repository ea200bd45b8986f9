"""Pieces of bodies, counted in steps: whatever repeats, and wherever a step ends, as if the body were cut up whole."""

from __future__ import annotations

from collections import Counter
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likd import steps
from likd.steps import count_pieces, finish

RUNS = st.lists(st.tuples(st.sampled_from([b"", b"a", b"ab", b"},", b"{", b"abcdefg"]), st.integers(1, 40)), max_size=6)


@pytest.mark.parametrize("separator", [b"\n", b"},{", b"}, {"])
@given(runs=RUNS, slice_bytes=st.sampled_from([8, 64, 1 << 17]), tail=st.sampled_from([b"", b"\n", b"a", b"},{"]))
def test_pieces_are_counted_as_if_cut_up_whole(
    separator: bytes, runs: list[tuple[bytes, int]], slice_bytes: int, tail: bytes
) -> None:
    body = separator.join(piece for piece, times in runs for _ in range(times)) + tail
    with patch.object(steps, "SLICE_BYTES", slice_bytes):
        assert finish(count_pieces(body, separator)) == Counter(body.split(separator))


def test_a_body_of_one_line_again_and_again_is_counted_in_steps() -> None:
    body = b'{"kind":"like","url":"https://example.com/"}\n' * 10_000
    assert finish(count_pieces(body, b"\n")) == {body[: body.find(b"\n")]: 10_000, b"": 1}
    assert sum(1 for _ in count_pieces(body, b"\n")) == len(body) // (1 << 17)
