"""Batch files: readable, and every byte of them checked."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likd.durability import batch_file
from likd.durability.batch_file import Batch, DamagedBatch
from likd.model import Fold, Liking

NAMES = ("likes", "unlikes", "impressions")
urls = st.text(st.characters(codec="ascii", min_codepoint=33), min_size=1, max_size=40).map(
    "https://a.example/".__add__
)
counts = st.dictionaries(st.sampled_from(NAMES), st.integers(1, 1 << 50), min_size=1)
batches = st.builds(
    Batch,
    table_id=st.integers(1, 999_999_999_999),
    opened=st.integers(0, 1 << 40).map(lambda ms: ms / 1000),
    closed=st.integers(0, 1 << 40).map(lambda ms: ms / 1000),
    names=st.just(NAMES),
    rows=st.dictionaries(urls, counts, max_size=8),
    actors=st.dictionaries(
        st.binary(min_size=20, max_size=20),
        st.builds(Liking, st.booleans(), st.none() | st.integers(-5, 5)),
        max_size=3,
    ),
    merge=st.none() | st.builds(Fold, urls, urls, st.binary(max_size=8), st.binary(max_size=8)),
)


def test_a_batch_file_reads_as_documented() -> None:
    batch = Batch(17, 1.25, 6.0, NAMES, {"https://b.example/": {"impressions": 7}, "https://a.example/": {"likes": 3}})

    lines = batch_file.encode(batch).decode().splitlines()

    assert lines[:3] == [
        "likd-batch 1 table=17 opened=1.250 closed=6.000 urls=2 counts=likes,unlikes,impressions",
        "3\t0\t0\thttps://a.example/",
        "0\t0\t7\thttps://b.example/",
    ]
    assert lines[3].startswith("end sums=3,0,7 sha256=")


def test_actors_and_a_merge_stand_behind_the_urls() -> None:
    likings = {b"\x0a" * 20: Liking(True, 1), b"\x0b" * 20: Liking(False, 0)}
    batch = Batch(17, 1.25, 6.0, NAMES, {}, likings, Fold("https://a.example/", "https://b.example/", b"a", b"b"))

    lines = batch_file.encode(batch).decode().splitlines()

    assert lines[0].endswith(" counts=likes,unlikes,impressions actors=2 merges=1")
    assert lines[1:-1] == [
        f"+{'0a' * 20} 1",
        f"-{'0b' * 20} 0",
        "61\t62\thttps://a.example/\thttps://b.example/",
    ]


def test_actors_of_earlier_versions_are_read() -> None:
    body = f"likd-batch 1 table=1 opened=0.000 closed=0.000 urls=0 counts=likes actors=1\n+{'0a' * 20}\n".encode()
    data = body + f"end sums=0 sha256={hashlib.sha256(body).hexdigest()}\n".encode()

    assert batch_file.decode(data).actors == {b"\x0a" * 20: Liking(True, None)}


@given(batches)
def test_what_was_written_is_read(batch: Batch) -> None:
    assert batch_file.decode(batch_file.encode(batch)) == batch


@given(batches, st.data())
def test_any_changed_byte_is_found(batch: Batch, data: st.DataObject) -> None:
    encoded = bytearray(batch_file.encode(batch))
    at = data.draw(st.integers(0, len(encoded) - 1))
    encoded[at] ^= data.draw(st.integers(1, 255))

    with pytest.raises(DamagedBatch):
        batch_file.decode(bytes(encoded))


def test_a_changed_url_is_found_although_all_numbers_add_up() -> None:
    batch = Batch(1, 0.0, 0.0, ("likes",), {"https://example.com/a": {"likes": 1}})

    with pytest.raises(DamagedBatch):
        batch_file.decode(batch_file.encode(batch).replace(b"example.com/a", b"example.com/b"))


@given(batches, st.data())
def test_a_file_cut_short_is_found(batch: Batch, data: st.DataObject) -> None:
    encoded = batch_file.encode(batch)

    with pytest.raises(DamagedBatch):
        batch_file.decode(encoded[: data.draw(st.integers(0, len(encoded) - 1))])


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_without_a_fault(data: bytes) -> None:
    with pytest.raises(DamagedBatch):
        batch_file.decode(data)
