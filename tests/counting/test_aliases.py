"""Aliases: what counts for what, whoever merged it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from likd.counting.aliases import Aliases

A, B, C, D = URLS = ["https://a/", "https://b/", "https://c/", "https://d/"]
PAIRS = st.lists(st.tuples(st.sampled_from(URLS), st.sampled_from(URLS)), max_size=5)


def no_keys() -> Aliases:
    return Aliases(str.encode)


def test_what_counted_for_a_url_follows_it() -> None:
    aliases = no_keys()
    aliases.add(A, B)
    aliases.add(B, C)
    assert dict(aliases.items()) == {A: C, B: C}
    assert aliases.of(C) == [A, B]


def test_the_store_says_which_of_two_urls_is_the_name_of_both() -> None:
    aliases = no_keys()
    aliases.add(A, B)
    assert aliases.follow(B, A) == [B]
    assert dict(aliases.items()) == {B: A}
    assert aliases.of(A) == [B]
    assert aliases.follow(B, A) == []


@given(PAIRS, PAIRS)
def test_after_following_all_is_as_the_store_says_and_what_was_one_is_one(
    own: list[tuple[str, str]], stored: list[tuple[str, str]]
) -> None:
    aliases, store = no_keys(), no_keys()
    for old, new in own:
        aliases.add(old, new)
    one = [{url, aliases(url)} for url in URLS]
    for old, new in stored:
        store.add(old, new)
    for old, new in store.items():
        aliases.follow(old, new)
    assert all(aliases(old) == aliases(new) for old, new in store.items())
    assert all(len({aliases(url) for url in urls}) == 1 for urls in one)
    assert all(aliases(aliases(url)) == aliases(url) for url in URLS)
    assert all(url in aliases.of(aliases(url)) for url in URLS if url in aliases)
