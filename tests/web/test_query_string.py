"""Query parameters, as both lanes read them."""

from __future__ import annotations

from urllib.parse import quote_from_bytes, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likd.ingest.urls import canonical
from likd.web.query_string import query_value, query_values


@pytest.mark.parametrize(
    ("query", "values"),
    [
        (b"", []),
        (b"x", []),
        (b"url", [""]),
        (b"url=", [""]),
        (b"url=&url", ["", ""]),
        (b"url=a&x=b&url=c", ["a", "c"]),
        (b"&&url=a&&", ["a"]),
        (b"url=a=b", ["a=b"]),
        (b"u%72l=a", ["a"]),
        (b"url=a+b%20c%2Bd", ["a b c+d"]),
        (b"url=%C3%A9", ["é"]),
        ("url=é".encode(), ["é"]),
        (b"url=%ff", ["%FF"]),
        (b"url=\xff", ["%FF"]),
        (b"url=%25ff", ["%ff"]),
        (b"url=%", ["%"]),
        (b"url=%zz%4", ["%zz%4"]),
        (b"url=%ed%a0%80", ["%ED%A0%80"]),
        (b"url=%00", ["\0"]),
        (b"%ff=a", []),
        (b"url;url=a", []),
    ],
)
def test_values_are_utf8_in_percent_escapes_and_what_is_not_stays_escaped(query: bytes, values: list[str]) -> None:
    assert query_values(query, "url") == values


def test_the_first_value_counts_where_there_is_one() -> None:
    assert query_value(b"by=net&by=likes", "by", "likes") == "net"
    assert query_value(b"", "by", "likes") == "likes"


@given(st.binary(max_size=200), st.text(max_size=5))
def test_no_query_makes_trouble(query: bytes, name: str) -> None:
    for value in query_values(query, name):
        value.encode()


@given(st.lists(st.text()))
def test_what_was_encoded_comes_back(values: list[str]) -> None:
    assert query_values(urlencode([("url", value) for value in values]).encode(), "url") == values


@given(st.binary(max_size=20), st.binary(max_size=20))
def test_different_bytes_are_different_urls(first: bytes, second: bytes) -> None:
    def url(path: bytes) -> str:
        (value,) = query_values(
            b"url=https://e.example/p" + quote_from_bytes(path.hex().encode() + path, "").encode(), "url"
        )
        return canonical(value)

    assert (url(first) == url(second)) == (first == second)
