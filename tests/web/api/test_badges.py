"""Badges: well-formed, in words, and each style in its own colours."""

from __future__ import annotations

from typing import get_args
from xml.etree import ElementTree

import pytest

from likd.web.api.badges import Style, draw

STYLES: tuple[Style, ...] = get_args(Style)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("by", ["likes", "impressions", "claps"])
@pytest.mark.parametrize(("number", "exact", "shown"), [(12_847, "12,847", "12.8K"), (None, "not known", "–")])
def test_a_badge_says_the_count_in_full_and_shows_it_short(
    style: Style, by: str, number: int | None, exact: str, shown: str
) -> None:
    picture = ElementTree.fromstring(draw("<b> & so on", by, number, style))
    assert picture.get("aria-label") == f"<b> & so on: {exact}"
    assert [text.text for text in picture.iter() if text.tag.endswith("}text")] == ["<b> & so on", shown]


def test_likes_and_views_have_their_own_colours_and_what_is_not_known_has_neither() -> None:
    assert b"#c2255c" in draw("likes", "likes", 1, "solid")
    assert b"#2369a8" in draw("views", "impressions", 1, "solid")
    assert b"#ff7da7" in draw("likes", "likes", 1, "plain-dark")
    unknown = draw("likes", "likes", None, "solid")
    assert b"#c2255c" not in unknown
    assert b"#5f646c" in unknown
