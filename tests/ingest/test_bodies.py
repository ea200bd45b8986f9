"""Bodies, case by case: what each shape means and which answer each mistake gets."""

from __future__ import annotations

import gzip
import json
import sys
import zlib
from collections import deque
from itertools import islice

import pytest

from likd.ingest.bodies import BadEncoding, BadGzip, TooLarge, inflate
from likd.ingest.parser import Ingest
from likd.ingest.schema import IngestError
from likd.ingest.urls import canonical
from likd.model import Events
from likd.runtime.cooperative import finish, finish_in_turns
from tests.turns import others_turns

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

KINDS = ("like", "unlike", "impression")
A, B = "http://a/", "http://b/"


def event(url: str = A, kind: str = "like") -> bytes:
    return json.dumps({"kind": kind, "url": url}).encode()


def read(body: bytes, ingest: Ingest | None = None) -> tuple[Events, int]:
    events, size, _ = finish((ingest or Ingest(KINDS)).read(body))
    assert size == sum(n for urls in events.values() for n in urls.values())
    return {kind: urls for kind, urls in events.items() if urls}, size


def refused(body: bytes) -> IngestError:
    with pytest.raises(IngestError) as caught:
        read(body)
    assert "\n" not in caught.value.detail
    return caught.value


def test_one_object_is_one_event() -> None:
    for body in (
        event(),
        b" \r\n\t" + event() + b"\n",
        event() + b" ",
        json.dumps(json.loads(event()), indent=2).encode(),
    ):
        assert read(body) == ({"like": {A: 1}}, 1)


def test_lines_are_events() -> None:
    body = b"\n".join([event(A), event(B, "unlike"), event(A), event(A, "impression")])
    expected = ({"like": {A: 2}, "unlike": {B: 1}, "impression": {A: 1}}, 4)
    assert read(body) == read(body + b"\n") == read(body.replace(b"\n", b"\r\n")) == expected


def test_an_array_is_events() -> None:
    events = [event(A), event(B), event(A)]
    for separator in (b",", b", ", b" ,\n"):
        assert read(b"[" + separator.join(events) + b"]") == ({"like": {A: 2, B: 1}}, 3)


@pytest.mark.parametrize("body", [b"", b" ", b"\n", b"\n \r\n\t\n", b"[]", b" [ ]\n"])
def test_a_body_without_events_is_none(body: bytes) -> None:
    assert read(body) == ({}, 0)


def test_blank_lines_are_no_events() -> None:
    assert read(b"\n\n" + event() + b"\n  \n\r\n" + event() + b"\n\n") == ({"like": {A: 2}}, 2)


def test_events_are_coalesced_by_canonical_url() -> None:
    spellings = ["http://a", "HTTP://A/", "http://a:80/#x", "http://a/./"]
    assert read(b"\n".join(map(event, spellings))) == ({"like": {A: 4}}, 4)
    assert read(b"[" + b",".join(map(event, spellings)) + b"]") == ({"like": {A: 4}}, 4)


def test_fields_may_come_in_any_order_spacing_and_escaping() -> None:
    line = rb'{ "url" :"http:\/\/\u0061/" ,"\u006bind": "l\u0069ke"}'
    assert read(line) == read(line + b"\n" + line[:0]) == ({"like": {A: 1}}, 1)


def test_a_string_may_look_like_the_end_of_an_object() -> None:
    url = 'http://a/?q="},{"'
    for body in (event(url), event(url) + b"\n" + event(url), b"[" + event(url) + b"," + event(url) + b"]"):
        events, size = read(body)
        assert events == {"like": {canonical(url): size}}


def test_a_great_many_lines_are_counted_exactly() -> None:
    urls = [f"http://h/{n}" for n in range(3000)]
    body = b"\n".join(map(event, urls)) + b"\n" + (event(A) + b"\n") * 20_000
    for one in (body, b"[" + body.rstrip().replace(b"\n", b",") + b"]"):
        assert read(one) == ({"like": {**dict.fromkeys(urls, 1), A: 20_000}}, 23_000)


def test_what_was_read_before_is_read_the_same() -> None:
    ingest = Ingest(KINDS)
    bodies = [event(), event() + b"\n" + event(B), b"[" + event() + b"," + event(B, "unlike") + b"]", event()]
    for body in bodies * 3:
        assert read(body, ingest) == read(body)


def test_a_single_event_is_remembered_by_its_bytes_once_it_was_read() -> None:
    ingest = Ingest(KINDS)
    assert ingest.recall(event()) is None
    read(event(), ingest)
    assert ingest.recall(event()) == ("like", A)
    assert ingest.recall(event(B)) is None
    with pytest.raises(IngestError):
        read(event("nonsense"), ingest)
    assert ingest.recall(event("nonsense")) is None


@pytest.mark.parametrize(
    ("bad", "field", "expected"),
    [
        (event(A, "love"), "kind", "one of impression, like, unlike"),
        (event(A, ""), "kind", "one of impression, like, unlike"),
        (event("ftp://a/"), "url", "an absolute http or https URL of at most 2048 bytes"),
        (event("http://a/" + "x" * 2048), "url", "an absolute http or https URL of at most 2048 bytes"),
        (b'{"kind": "like"}', "url", "fields kind, url"),
        (b'{"url": "http://a/"}', "kind", "fields kind, url"),
        (b'{"kind": "like", "url": "http://a/", "n": 5}', "n", "fields kind, url"),
        (b'{"kind": 1, "url": "http://a/"}', "kind", "str"),
        (b'{"kind": "like", "url": null}', "url", "str"),
        (b'"like"', None, "object"),
        (b"17", None, "object"),
    ],
)
def test_an_event_that_is_wrong_is_found(bad: bytes, field: str | None, expected: str) -> None:
    alone, line, element = refused(bad), refused(event() + b"\n\n" + bad), refused(b"[" + event() + b"," + bad + b"]")
    for error in (alone, line, element):
        assert not error.malformed
        assert (error.place["field"], error.place["expected"]) == (field, expected)
    assert (alone.place["line"], alone.place["index"]) == (None, None)
    assert (line.place["line"], line.place["index"]) == (3, None)
    assert (element.place["line"], element.place["index"]) == (None, 1)


@pytest.mark.parametrize(
    "bad",
    [
        b"{",
        b"}",
        b"nonsense",
        event() + b",",
        event() + event(),
        event() + b"," + event(B),
        b'{"kind": "\xff"}',
        b"\xef\xbb\xbf" * 2 + event(),
        b"\0",
    ],
)
def test_what_is_no_json_is_malformed(bad: bytes) -> None:
    assert refused(bad).malformed
    line = refused(event() + b"\n" + bad + b"\n" + event())
    assert (line.malformed, line.place["line"]) == (True, 2)


@pytest.mark.parametrize("bad", [b"[", b"[" + event(), b"[" + event() + b",]", b"[{]", b"[" + event() + b"]]", b"[}{]"])
def test_an_array_that_is_no_json_is_malformed(bad: bytes) -> None:
    assert refused(bad).malformed


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b'{"a":' * 100_000, b'{"kind":' + b"[" * 100_000, b"[[" + event() + b"]]"]
)
def test_depth_is_only_an_error(body: bytes) -> None:
    refused(body)


def test_the_first_bad_line_is_named_whatever_was_read_before() -> None:
    ingest = Ingest(KINDS)
    read(event(), ingest)
    lines = [event(), event(B), event(A, "bad"), event(), event("bad"), event(A, "bad")]
    with pytest.raises(IngestError) as caught:
        read(b"\n".join(lines), ingest)
    assert (caught.value.place["line"], caught.value.place["field"]) == (3, "kind")


@pytest.mark.parametrize(
    "body",
    [
        event("é" * 5000),
        event(A, "é\n" * 5000),
        json.dumps({"é\n" * 5000: 1}).encode(),
        json.dumps({"x - at `$[" + "9" * 5000 + "]": 1}).encode(),
    ],
)
def test_what_a_client_wrote_is_quoted_short_and_escaped(body: bytes) -> None:
    error = refused(body)
    assert len(error.detail) < 1000
    assert error.detail.isascii()
    assert error.detail.isprintable()
    assert len(error.place["field"] or "") < 1000  # type: ignore[arg-type]


@pytest.mark.parametrize("level", [0, 1, 9])
def test_gzip_is_inflated(level: int) -> None:
    body = (event() + b"\n") * 50_000
    assert finish(inflate(gzip.compress(body, level), len(body))) == body


def test_gzip_may_come_in_several_members() -> None:
    assert finish(inflate(gzip.compress(b"one") + gzip.compress(b"two"), 6)) == b"onetwo"


def test_the_limit_holds_after_inflation_to_the_byte() -> None:
    body = b"x" * 1_000_000
    assert finish(inflate(gzip.compress(body), len(body))) == body
    for data in (gzip.compress(body), gzip.compress(body[:500_000]) * 2, gzip.compress(b"x" * 100_000_000)):
        with pytest.raises(TooLarge):
            finish(inflate(data, len(body) - 1))


@pytest.mark.parametrize("data", [b"x", b"\x1f\x8b", zlib.compress(b"data"), gzip.compress(b"data", mtime=0) + b"x"])
def test_what_is_no_gzip_is_malformed(data: bytes) -> None:
    with pytest.raises(BadGzip):
        finish(inflate(data, 100))


def test_gzip_that_is_cut_short_or_changed_is_malformed() -> None:
    data = gzip.compress(bytes(range(256)) * 4, mtime=0)
    for size in range(1, len(data)):
        with pytest.raises(BadGzip, match="gzip"):
            finish(inflate(data[:size], 10_000))
    for offset in (0, 1, 2, len(data) // 2, len(data) - 6, len(data) - 1):
        broken = bytearray(data)
        broken[offset] ^= 0x10
        with pytest.raises((BadGzip, TooLarge)):
            finish(inflate(bytes(broken), 10_000))


async def test_long_bodies_let_others_have_their_turn() -> None:
    body = b"\n".join(event(f"http://h/{n}") for n in range(5000))
    async with others_turns() as turns:
        events, size, _ = await finish_in_turns(Ingest(KINDS).read(body))
    assert (len(events["like"]), size) == (5000, 5000)
    assert turns.count >= 5


@pytest.mark.parametrize("level", [1, 3, 19])
def test_zstd_is_inflated(level: int) -> None:
    body = (event() + b"\n") * 50_000
    stream = zstd.ZstdCompressor(level)
    streamed = b"".join([*(stream.compress(body[i : i + 999]) for i in range(0, len(body), 999)), stream.flush()])
    for data in (zstd.compress(body, level), streamed, zstd.compress(body[:7]) + zstd.compress(body[7:])):
        assert finish(inflate(data, len(body), encoding="zstd")) == body
        with pytest.raises(TooLarge):
            finish(inflate(data, len(body) - 1, encoding="zstd"))


def test_zstd_bombs_are_stopped_at_the_limit() -> None:
    steps = inflate(zstd.compress(bytes(50 << 20)), 1 << 20, encoding="zstd")
    with pytest.raises((TooLarge, BadEncoding)):
        deque(islice(steps, 9), 0)


def test_a_zstd_frame_gets_no_window_for_the_asking() -> None:
    options: dict[int, int] = {zstd.CompressionParameter.window_log: 27, zstd.CompressionParameter.content_size_flag: 0}
    stream = zstd.ZstdCompressor(options=options)
    data = stream.compress(event()) + stream.flush()
    with pytest.raises(BadEncoding, match="zstd"):
        finish(inflate(data, 1 << 18, encoding="zstd"))


def test_zstd_that_is_cut_short_or_no_zstd_is_malformed() -> None:
    data = zstd.compress(bytes(range(256)) * 4)
    for size in range(1, len(data)):
        with pytest.raises(BadEncoding, match="zstd"):
            finish(inflate(data[:size], 10_000, encoding="zstd"))
    for wrong in (b"x" * 20, gzip.compress(b"data"), data + b"x", data + b"garbage!"):
        with pytest.raises(BadEncoding, match="zstd"):
            finish(inflate(wrong, 10_000, encoding="zstd"))


async def test_zstd_is_inflated_in_slices() -> None:
    data = zstd.compress(bytes(20 << 20))
    assert sum(1 for _ in inflate(data, 20 << 20, encoding="zstd")) >= 20 << 20 >> 17
