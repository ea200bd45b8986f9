"""Batch files: readable, and every byte of them checked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likd import batchfile
from likd.batchfile import Batch, DamagedBatch

NAMES = ("likes", "unlikes", "impressions")
urls = st.text(st.characters(codec="ascii", min_codepoint=33), min_size=1, max_size=40).map(
    "https://a.example/".__add__
)
counts = st.dictionaries(st.sampled_from(NAMES), st.integers(1, 1 << 50), min_size=1)
batches = st.builds(
    Batch,
    table=st.integers(1, 999_999_999_999),
    opened=st.integers(0, 1 << 40).map(lambda ms: ms / 1000),
    closed=st.integers(0, 1 << 40).map(lambda ms: ms / 1000),
    names=st.just(NAMES),
    rows=st.dictionaries(urls, counts, max_size=8),
)


def test_a_batch_file_reads_as_documented() -> None:
    batch = Batch(17, 1.25, 6.0, NAMES, {"https://b.example/": {"impressions": 7}, "https://a.example/": {"likes": 3}})

    lines = batchfile.encode(batch).decode().splitlines()

    assert lines[:3] == [
        "likd-batch 1 table=17 opened=1.250 closed=6.000 urls=2 counts=likes,unlikes,impressions",
        "3\t0\t0\thttps://a.example/",
        "0\t0\t7\thttps://b.example/",
    ]
    assert lines[3].startswith("end sums=3,0,7 sha256=")


@given(batches)
def test_what_was_written_is_read(batch: Batch) -> None:
    assert batchfile.decode(batchfile.encode(batch)) == batch


@given(batches, st.data())
def test_any_changed_byte_is_found(batch: Batch, data: st.DataObject) -> None:
    encoded = bytearray(batchfile.encode(batch))
    at = data.draw(st.integers(0, len(encoded) - 1))
    encoded[at] ^= data.draw(st.integers(1, 255))

    with pytest.raises(DamagedBatch):
        batchfile.decode(bytes(encoded))


@given(batches, st.data())
def test_a_file_cut_short_is_found(batch: Batch, data: st.DataObject) -> None:
    encoded = batchfile.encode(batch)

    with pytest.raises(DamagedBatch):
        batchfile.decode(encoded[: data.draw(st.integers(0, len(encoded) - 1))])


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_without_a_fault(data: bytes) -> None:
    with pytest.raises(DamagedBatch):
        batchfile.decode(data)
