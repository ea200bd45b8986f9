"""A body becomes coalesced events, or an error that says what is wrong and where; never a crash, never a guess."""

from __future__ import annotations

import gzip
import json
from collections import Counter, deque
from itertools import islice
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likd.ingest.bodies import BadGzip, TooLarge, inflate
from likd.ingest.parser import Ingest, _add
from likd.ingest.schema import IngestError
from likd.ingest.urls import canonical
from likd.model import Events
from likd.runtime.cooperative import finish

KINDS = ("like", "unlike", "impression")


def read(body: bytes, ingest: Ingest | None = None) -> tuple[Events, int]:
    events, size, _ = finish((ingest or Ingest(KINDS)).read(body))
    return events, size


def plainly(body: bytes) -> tuple[Events, int] | None:
    """What the body means, told in the plainest way; None if it is to be refused."""
    try:
        text = body.decode()
        try:
            objects = json.loads(text)
            objects = objects if isinstance(objects, list) else [objects]
        except json.JSONDecodeError:
            objects = [json.loads(line) for line in text.split("\n") if line.strip(" \t\r")]
        events: Events = {}
        for one in objects:
            if set(one) != {"kind", "url"} or one["kind"] not in KINDS:
                return None
            urls = events.setdefault(one["kind"], {})
            url = canonical(one["url"])
            urls[url] = urls.get(url, 0) + 1
    except (ValueError, TypeError, AttributeError):
        return None
    return events, len(objects)


urls = st.sampled_from(
    [
        "https://a.example/",
        "http://b.example/x?y=},{",
        'https://c.example/"q',
        "HTTPS://A.EXAMPLE",
        "https://d.example/é#f",
    ]
)
good = st.builds(lambda kind, url: {"kind": kind, "url": url}, st.sampled_from(KINDS), urls)
bad = st.sampled_from(
    [{}, {"kind": "like"}, {"kind": "hate", "url": "https://a.example/"}, {"kind": "like", "url": "/"}, 1, None, "x"]
)
separators = st.sampled_from([(",", ":"), (", ", ": "), (",  ", " : ")])


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    objects: list[Any] = draw(st.lists(good, max_size=12))
    objects *= draw(st.integers(1, 3))
    if draw(st.booleans()):
        objects.insert(draw(st.integers(0, len(objects))), draw(bad))
    style = draw(separators)
    ascii_only = draw(st.booleans())
    if draw(st.booleans()):
        text = json.dumps(objects, separators=style, ensure_ascii=ascii_only)
    else:
        newline = draw(st.sampled_from(["\n", "\r\n", "\n\n", "\n  "]))
        text = newline.join(json.dumps(one, separators=style, ensure_ascii=ascii_only) for one in objects)
    return (draw(st.sampled_from(["", " ", "\n"])) + text + draw(st.sampled_from(["", "\n", " "]))).encode()


def compare(body: bytes, ingest: Ingest) -> None:
    expected = plainly(body)
    for _ in range(2):  # the second time from memory
        try:
            events, size = read(body, ingest)
        except IngestError:
            assert expected is None
        else:
            assert expected is not None
            assert ({kind: urls for kind, urls in events.items() if urls}, size) == expected


ingests = [Ingest(KINDS)]


@given(bodies())
def test_bodies_mean_what_they_plainly_mean(body: bytes) -> None:
    compare(body, Ingest(KINDS))
    compare(body, ingests[0])


@given(bodies(), st.data())
def test_mutated_bodies_are_refused_or_mean_what_they_say(body: bytes, data: st.DataObject) -> None:
    mutated = bytearray(body)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(mutated)))
        match data.draw(st.sampled_from(["cut", "insert", "change"])):
            case "cut":
                del mutated[at : at + data.draw(st.integers(1, 9))]
            case "insert":
                mutated[at:at] = data.draw(
                    st.sampled_from([b"},{", b"\n", b"{", b"}", b'"', b"\xff", b",", b"[", b"]"])
                )
            case "change" if at < len(mutated):
                mutated[at] = data.draw(st.integers(0, 255))
    body = bytes(mutated)
    try:
        events, size = read(body, ingests[0])
    except IngestError as error:
        assert error.detail
    else:
        assert ({kind: urls for kind, urls in events.items() if urls}, size) == plainly(body)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    try:
        events, size = read(body)
    except IngestError as error:
        assert error.detail
    else:
        assert size == sum(n for urls in events.values() for n in urls.values())


def test_a_hundred_thousand_lines_are_counted() -> None:
    lines = [b'{"kind":"%b","url":"https://a.example/%d"}' % (KINDS[n % 3].encode(), n % 7) for n in range(100_000)]

    events, size = read(b"\n".join(lines))

    assert size == 100_000
    expected = Counter((KINDS[n % 3], n % 7) for n in range(100_000))
    assert {(kind, int(url[-1])): n for kind, urls in events.items() for url, n in urls.items()} == expected


def test_long_bodies_are_read_in_steps() -> None:
    body = b'{"kind":"like","url":"https://a.example/"}\n' * 100_000

    assert sum(1 for _ in Ingest(KINDS).read(body)) > 20


@pytest.mark.parametrize(
    ("body", "malformed", "place"),
    [
        (b"{", True, {}),
        (b'{"kind":"like","url":"https://a.example/"}\nnope', True, {"line": 2}),
        (b'{"kind":"like","url":"https://a.example/"}\n{"kind":"like"}', False, {"line": 2, "field": "url"}),
        (b'[{"kind":"like","url":"https://a.example/"},{"kind":"like","url":7}]', False, {"index": 1, "field": "url"}),
        (b'{"kind":"hate","url":"https://a.example/"}', False, {"field": "kind"}),
        (b'{"kind":"like","url":"https://a.example/","x":1}', False, {"field": "x"}),
        (b"\xff\xfe", True, {}),
    ],
)
def test_an_error_says_where(body: bytes, malformed: bool, place: dict[str, object]) -> None:
    with pytest.raises(IngestError) as refused:
        read(body)

    assert refused.value.malformed == malformed
    found = {name: value for name, value in refused.value.place.items() if value is not None and name != "expected"}
    assert found == place


@given(st.binary(max_size=5000), st.integers(1, 9))
def test_gzip_is_inflated_whole(data: bytes, level: int) -> None:
    packed = gzip.compress(data, level)

    assert finish(inflate(packed, 5000)) == data
    assert finish(inflate(packed + packed, 10_000)) == data + data


def test_gzip_bombs_are_stopped_at_the_limit() -> None:
    steps = inflate(gzip.compress(bytes(50 << 20)), 1 << 20)

    with pytest.raises(TooLarge):
        deque(islice(steps, 9), 0)


@given(st.binary(max_size=200))
def test_any_bytes_are_inflated_or_refused(data: bytes) -> None:
    for body in (data, b"\x1f\x8b\x08" + data, gzip.compress(data)[:-5]):
        try:
            finish(inflate(body, 1000))
        except (BadGzip, TooLarge):
            pass
        else:
            assert not body or body[:2] == b"\x1f\x8b"


def test_urls_are_added_to_those_of_the_slices_before_without_copying_them() -> None:
    events: Events = {"like": {"http://a/": 1}}
    before = events["like"]
    _add(events, "like", ["http://b/"], [2], 0)
    assert events["like"] is before
    assert before == {"http://a/": 1, "http://b/": 2}
