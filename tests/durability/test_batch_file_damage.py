"""The batch file, damaged on purpose: each bit, each cut, and bodies that are sealed well but wrong."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likd.durability.batch_file import Batch, DamagedBatch, decode, encode
from tests.damage import Stroke, strokes

ROWS = {"http://b/": {"impressions": 7}, "http://a/": {"likes": 3, "unlikes": 1, "impressions": 40}}
BATCH = Batch(17, 1_790_000_000.25, 1_790_000_005.25, ("likes", "unlikes", "impressions"), ROWS)
DATA = encode(BATCH)
HEADER = "likd-batch 1 table=1 opened=1.000 closed=2.000 urls={} counts=likes\n"


def sealed(body: str, sums: str = "0") -> bytes:
    """A file with a right checksum, whatever its body."""
    return f"{body}end sums={sums} sha256={hashlib.sha256(body.encode()).hexdigest()}\n".encode()


def test_every_flipped_bit_is_found() -> None:
    for offset in range(len(DATA)):
        for bit in range(8):
            broken = bytearray(DATA)
            broken[offset] ^= 1 << bit
            with pytest.raises(DamagedBatch):
                decode(bytes(broken))


def test_every_cut_is_found() -> None:
    for size in range(len(DATA)):
        with pytest.raises(DamagedBatch):
            decode(DATA[:size])


@given(strokes(len(DATA)))
def test_damage_is_found_or_did_nothing(stroke: Stroke) -> None:
    broken = stroke.on(DATA)
    if broken == DATA:
        assert decode(broken) == BATCH
    else:
        with pytest.raises(DamagedBatch):
            decode(broken)


@given(st.dictionaries(st.text(st.characters(codec="utf-8", exclude_characters="\t\n"), min_size=1), st.just({"n": 1})))
def test_text_of_any_language_is_read_back(rows: dict[str, dict[str, int]]) -> None:
    batch = Batch(1, 0.0, 0.0, ("n",), rows)
    assert decode(encode(batch)) == batch


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "cut short"),
        (DATA + b"\n", "cut short"),
        (sealed("likd-batch 2 table=1\n"), "line 1: this is not the header"),
        (sealed(HEADER.format(1) + "x\thttp://a/\n"), "line 2: expected 1 counts and a URL"),
        (sealed(HEADER.format(1) + "-1\thttp://a/\n"), "line 2: expected 1 counts and a URL"),
        (sealed(HEADER.format(1) + "1\t1\thttp://a/\n"), "line 2: expected 1 counts and a URL"),
        (sealed(HEADER.format(2) + "1\thttp://b/\n1\thttp://a/\n", "2"), "line 3: the URLs are not sorted"),
        (sealed(HEADER.format(2) + "1\thttp://a/\n1\thttp://a/\n", "2"), "line 3: the URLs are not sorted"),
        (sealed(HEADER.format(2) + "1\thttp://a/\n", "1"), "the header announces 2 URLs, but there are 1"),
        (sealed(HEADER.format(1) + "1\thttp://a/\n", "2"), "the sums do not match"),
        (DATA.replace(b"http://a", b"http://x"), "the checksum does not match"),
    ],
)
def test_the_message_says_what_is_wrong_and_where(data: bytes, what: str) -> None:
    with pytest.raises(DamagedBatch, match=what):
        decode(data)
