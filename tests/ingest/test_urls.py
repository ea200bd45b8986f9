"""Canonical URLs: one URL has one form, the WHATWG's, without its fragment."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from likd.ingest.urls import URL_BYTES_MAX, UrlRules, canonical


@pytest.mark.parametrize(
    ("written", "counted"),
    [
        ("https://example.com", "https://example.com/"),
        ("https://example.com/a", "https://example.com/a"),
        ("HTTPS://EXAMPLE.com/A", "https://example.com/A"),
        ("http://example.com:80/", "http://example.com/"),
        ("https://example.com:443/", "https://example.com/"),
        ("https://example.com:80/", "https://example.com:80/"),
        ("https://example.com/a/./b/../c", "https://example.com/a/c"),
        ("https://example.com/../..", "https://example.com/"),
        ("https://example.com/%2e%2E/a", "https://example.com/a"),
        ("https://example.com\\a\\b", "https://example.com/a/b"),
        ("http:///example.com/", "http://example.com/"),
        ("https://example.com/a b", "https://example.com/a%20b"),
        ("https://example.com/é?ü", "https://example.com/%C3%A9?%C3%BC"),
        ("https://bücher.example/", "https://xn--bcher-kva.example/"),
        ("https://例え.jp/", "https://xn--r8jz45g.jp/"),
        ("https://EXA%4dPLE.com/", "https://example.com/"),
        ("https://example.com/%7e", "https://example.com/%7e"),
        ("https://example.com?b=2&a=1", "https://example.com/?b=2&a=1"),
        ("https://example.com/?", "https://example.com/?"),
        ("https://example.com/a#top", "https://example.com/a"),
        ("https://example.com/a#", "https://example.com/a"),
        ("https://example.com/?q#a?b#c", "https://example.com/?q"),
        ("https://example.com/a//b/", "https://example.com/a//b/"),
        ("https://user:pass@example.com/", "https://user:pass@example.com/"),
        ("http://127.1/", "http://127.0.0.1/"),
        ("http://0x7f.0.0.1/", "http://127.0.0.1/"),
        ("http://[0:0::1]:80/", "http://[::1]/"),
        ("http://exa\tmp\nle.com/\r", "http://example.com/"),
        ("HTTPS://EXAMPLE.com:443/a/../b#part", "https://example.com/b"),
        ("http://example.com:80/?q=1#x", "http://example.com/?q=1"),
        ("http://example.com:8080/", "http://example.com:8080/"),
        ("https://example.com/ä b", "https://example.com/%C3%A4%20b"),
        ("http://0x7f.1/", "http://127.0.0.1/"),
        ("https://example.com/a%2fb", "https://example.com/a%2fb"),
    ],
)
def test_urls_are_counted_in_their_canonical_form(written: str, counted: str) -> None:
    assert canonical(written) == counted
    assert canonical(counted) == counted


@pytest.mark.parametrize(
    "written",
    [
        "", "a", "/a", "//example.com/", "example.com", "ftp://example.com/", "javascript:alert(1)",
        "mailto:a@example.com", "httpss://example.com/", "http:example.com", "http:/example.com", "http://",
        "https://example.com:99999/", "https://example.com:x/", "http://a b/", "http://[::1/", "http://1.2.3.256/",
        " https://example.com/", "https://exa<mple.com/", "https://\ud800/", "https://xn--/", "https://%00/",
        "https://", "https://[::1", "https://a b/", "https://example.com/" + "x" * URL_BYTES_MAX,
        "https://example.com/" + "ä" * 400,
    ],
)  # fmt: skip
def test_anything_else_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="expected an absolute http or https URL of at most 2048 bytes"):
        canonical(written)


def test_the_limit_holds_for_the_url_as_written() -> None:
    prefix = "https://example.com/"
    assert len(canonical(prefix + "a" * (URL_BYTES_MAX - len(prefix)))) == URL_BYTES_MAX
    for too_long in (prefix + "a" * (URL_BYTES_MAX + 1 - len(prefix)), prefix + "#" + "a" * URL_BYTES_MAX):
        with pytest.raises(ValueError, match="at most 2048 bytes"):
            canonical(too_long)


def test_the_limit_holds_for_the_canonical_form() -> None:
    written = "https://example.com/" + "é" * 400
    assert len(written.encode()) < URL_BYTES_MAX
    with pytest.raises(ValueError, match="at most 2048 bytes"):
        canonical(written)


@given(st.sampled_from(["http://", "https://", "HTTP://h/", "https://h:1/?", "http://h/#"]), st.text(max_size=40))
def test_a_canonical_url_is_its_own_canonical_form(start: str, rest: str) -> None:
    try:
        url = canonical(start + rest)
    except ValueError:
        return
    assert canonical(url) == url
    assert url.isascii()
    assert url.isprintable()
    assert " " not in url
    assert "#" not in url


PIECES = (
    "http://", "https://", "HTTPS://", "example", "com", "x", "xn--", "xn--bcher-kva", "0x7f", "127", "1", "a1", "-",
    "--", ".", "..", "/", "//", "%2e", "%2E", "%2", "%", "?", "#", ":", ":80", ":443", "@", "_", "~", "'", "\\", "é",
    "A", "{", " ", "^", "|", "&", "=", "utm_a=1", "\t", "\n", "[::1]", "/a/b.html?c=d",
)  # fmt: skip
RULES = (
    UrlRules(),
    UrlRules(True),
    UrlRules(False, ("utm_*",)),
)


@settings(max_examples=400)
@given(
    st.sampled_from(RULES),
    st.sampled_from(["", "https://example.com/", "http://a.example.com", "https://example."]),
    st.lists(st.sampled_from(PIECES), max_size=8).map("".join),
)
def test_many_urls_count_as_each_of_them_does(rules: UrlRules, start: str, rest: str) -> None:
    urls = ["https://example.com/a", start + rest, "http://example.com/b?c"]
    try:
        each = [rules(url) for url in urls]
    except ValueError:
        with pytest.raises(ValueError, match="expected an absolute"):
            rules.all(urls)
    else:
        assert rules.all(urls) == each


@pytest.mark.parametrize(
    "place", ["http{}://a.b/", "https://{}a.b/", "https://a{}b/", "https://a.b/{}", "https://a/b?{}c"]
)
def test_no_character_is_left_as_it_is_where_it_must_not_be(place: str) -> None:
    for character in map(chr, range(256)):
        url = place.format(character)
        try:
            counted = canonical(url)
        except ValueError:
            continue
        assert UrlRules().all([url]) == [counted]


def test_urls_that_are_too_long_are_found_among_many() -> None:
    with pytest.raises(ValueError, match="at most 2048 bytes"):
        UrlRules().all(["https://example.com/a", "https://example.com/" + "a" * URL_BYTES_MAX])
