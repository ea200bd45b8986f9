"""Bodies of any shape, whole and mutated, against the plain way: json.loads of the body or of each line."""

from __future__ import annotations

import contextlib
import gzip
import json

from hypothesis import example, given, settings
from hypothesis import strategies as st

from likd.ingest.bodies import BadGzip, TooLarge, inflate
from likd.ingest.parser import Ingest
from likd.ingest.schema import IngestError
from likd.ingest.urls import canonical
from likd.model import Events
from likd.runtime.cooperative import finish
from tests.ingest.test_bodies import KINDS, A, B, read

WHITESPACE = " \t\r\n"


def strict_pairs(pairs: list[tuple[str, object]]) -> dict[str, object]:
    for _, value in pairs:
        if not isinstance(value, str):
            raise ValueError("no text")
        value.encode()
    return dict(pairs)


def oracle_event(text: str) -> tuple[str, str]:
    """Raises ValueError."""
    decoded = json.loads(text, object_pairs_hook=strict_pairs)
    return oracle_check(decoded)


def oracle_check(decoded: object) -> tuple[str, str]:
    if not isinstance(decoded, dict) or decoded.keys() != {"kind", "url"} or decoded["kind"] not in KINDS:
        raise ValueError("no event")
    return decoded["kind"], canonical(decoded["url"])


def oracle(body: bytes) -> tuple[Events, int] | None:
    """The plain way: json.loads for the body, or for each line; None for a refusal."""
    try:
        text = body.decode().strip(WHITESPACE)
        if text.startswith("["):
            found = [oracle_check(one) for one in json.loads(text, object_pairs_hook=strict_pairs)]
        else:
            try:
                found = [oracle_event(text)] if text else []
            except ValueError:
                found = [oracle_event(line) for line in text.split("\n") if line.strip(WHITESPACE)]
    except ValueError:
        return None
    events: Events = {}
    for kind, url in found:
        urls = events.setdefault(kind, {})
        urls[url] = urls.get(url, 0) + 1
    return events, len(found)


URLS = st.one_of(
    st.sampled_from([A, "http://a", B, 'http://a/"},{"', "http://a/},{", "http://é/", "ftp://a/", ""]),
    st.text(max_size=8).map(lambda rest: A + rest),
)
OBJECTS: st.SearchStrategy[dict[str, object]] = st.one_of(
    st.fixed_dictionaries({"kind": st.sampled_from(KINDS), "url": URLS}),
    st.fixed_dictionaries({"kind": st.sampled_from(KINDS), "url": st.sampled_from([A, B])}),
    st.dictionaries(st.sampled_from(["kind", "url", "x"]), st.sampled_from(["like", A, 1, None, {}]), max_size=3),
)
LINES = st.builds(
    lambda one, compact, ascii_only: json.dumps(
        one, separators=(",", ":") if compact else None, ensure_ascii=ascii_only
    ).encode(),
    OBJECTS,
    st.booleans(),
    st.booleans(),
)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    lines = draw(st.lists(LINES, max_size=5)) * draw(st.sampled_from([1, 2]))
    if draw(st.booleans()):
        return draw(st.sampled_from([b"\n", b"\r\n", b"\n\n", b"\n \n"])).join(lines) + draw(
            st.sampled_from([b"", b"\n"])
        )
    return b"[" + draw(st.sampled_from([b",", b", ", b" , "])).join(lines) + b"]"


MUTATIONS = st.lists(
    st.tuples(
        st.floats(0, 1),
        st.integers(0, 3),
        st.sampled_from([b"", b"\n", b'"', b"{", b"},{", b"},\n{", b",", b"\\", b"\xff", b" "]),
    ),
    max_size=3,
)


@given(bodies(), MUTATIONS)
@example(b'[{"kind":"like"},{"url":"http://a/"}]', [])
@example(b'{"kind":"like","url":"http://a/"},{"kind":"like","url":"http://a/"}\n ', [])
@example(b'{\n"kind":"like",\n"url":"http://a/"}', [])
@example(b'{"kind":"like","kind":"unlike","url":"http://a/"}', [])
@example(b'{"kind":"like","url":"http://a/\\ud800"}', [])
@settings(max_examples=300)
def test_any_body_is_counted_as_the_plain_way_counts_it_or_refused(
    body: bytes, mutations: list[tuple[float, int, bytes]]
) -> None:
    for where, cut, patch in mutations:
        at = int(where * len(body))
        body = body[:at] + patch + body[at + cut :]
    expected = oracle(body)
    ingest = Ingest(KINDS)
    for _ in range(2):
        try:
            found = read(body, ingest)
        except IngestError as error:
            assert expected is None
            assert error.detail.isprintable()
        else:
            assert found == expected


@given(st.binary(max_size=60))
def test_random_bytes_are_refused_or_empty(body: bytes) -> None:
    try:
        assert read(body) == oracle(body)
    except IngestError:
        assert oracle(body) is None


@given(st.binary(max_size=60))
def test_random_bytes_are_inflated_or_refused(data: bytes) -> None:
    for one in (data, gzip.compress(data)[:-1] + data, gzip.compress(b"data")[:10] + data):
        with contextlib.suppress(BadGzip, TooLarge):
            assert len(finish(inflate(one, 100))) <= 100
