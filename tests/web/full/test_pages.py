"""What pages are made of: ranges of time, their figures, addresses, and fields of the API."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likd.web.full.pages.board import Sum, board_of, spark
from likd.web.full.pages.docs import Field, fields
from likd.web.full.pages.ranges import Range, range_of
from likd.web.full.pages.render import at, own_path, split
from likd.web.problems import Problem

NOW = int(dt.datetime(2026, 11, 25, 14, 20, tzinfo=dt.UTC).timestamp())
DAY = 86_400


def chosen(**parameters: str) -> Range:
    return range_of(lambda name: parameters.get(name, ""), NOW)


@pytest.mark.parametrize(
    ("parameters", "unit", "words", "before"),
    [
        ({}, "day", "19–25 Nov 2026", "12–18 Nov 2026"),
        ({"range": "7d"}, "day", "19–25 Nov 2026", "12–18 Nov 2026"),
        ({"range": "30d"}, "day", "27 Oct – 25 Nov 2026", "27 Sep – 26 Oct 2026"),
        ({"range": "12m"}, "month", "Dec 2025 – Nov 2026", "Dec 2024 – Nov 2025"),
        ({"range": "dates", "from": "2026-11-01", "to": "2026-11-10"}, "day", "1–10 Nov 2026", "22–31 Oct 2026"),
        (
            {"range": "dates", "from": "2026-01-03", "to": "2025-12-30"},
            "day",
            "30 Dec 2025 – 3 Jan 2026",
            "25–29 Dec 2025",
        ),
        ({"range": "dates", "from": "2026-11-24", "to": "2026-11-25"}, "hour", "24–25 Nov 2026", "22–23 Nov 2026"),
        (
            {"range": "dates", "from": "2024-02-29", "to": "2026-11-25"},
            "month",
            "Feb 2024 – Nov 2026",
            "Apr 2021 – Jan 2024",
        ),
        ({"range": "dates", "from": "2026-11-20", "to": "2027-01-01"}, "day", "20–25 Nov 2026", "14–19 Nov 2026"),
    ],
)
def test_a_range_is_called_like_this(parameters: dict[str, str], unit: str, words: str, before: str) -> None:
    range_ = chosen(**parameters)
    assert (range_.unit, range_.words(), range_.before().words()) == (unit, words, before)


def test_today_ends_now_and_is_compared_with_the_same_part_of_yesterday() -> None:
    today = chosen(range="today")
    assert today.words(NOW) == "Wed 25 Nov, 00:00–14:20"
    assert today.before().words(NOW - DAY) == "Tue 24 Nov, 00:00–14:20"


@pytest.mark.parametrize(
    ("tz", "words", "begin"),
    [
        ("Pacific/Kiritimati", "Thu 26 Nov, 00:00–04:20", NOW // 3600 * 3600 - 4 * 3600),
        ("America/New_York", "Wed 25 Nov, 00:00–09:20", NOW // 3600 * 3600 - 9 * 3600),
        ("Asia/Kolkata", "Wed 25 Nov, 00:00–19:50", NOW // 3600 * 3600 - 19 * 3600 - 1800),
    ],
)
def test_today_is_that_of_the_time_zone(tz: str, words: str, begin: int) -> None:
    today = range_of({"range": "today"}.get, NOW, tz)  # type: ignore[arg-type]
    assert (today.words(NOW), today.begin, today.end) == (words, begin, begin + DAY)
    assert today.short(begin) == "00:00"


@pytest.mark.parametrize("parameters", [{"range": "yesterday"}, {"range": "dates", "from": "1 Nov"}])
def test_a_range_that_is_none_is_a_problem(parameters: dict[str, str]) -> None:
    with pytest.raises(Problem) as caught:
        chosen(**parameters)
    assert caught.value.status == 422


@given(st.dates(dt.date(1971, 1, 1), dt.date(2026, 11, 25)), st.dates(dt.date(1971, 1, 1), dt.date(2026, 11, 25)))
def test_the_period_before_ends_where_a_range_begins(first: dt.date, last: dt.date) -> None:
    range_ = chosen(range="dates", **{"from": first.isoformat(), "to": last.isoformat()})
    before = range_.before()
    assert before.first <= before.last
    if range_.unit != "month":
        assert (before.end, before.end - before.begin) == (range_.begin, range_.end - range_.begin)
    assert chosen(**{name: str(value) for name, value in range_.parameters.items()}) == range_


def history(*counts: tuple[int, int, int, int]) -> dict[str, Any]:
    return {"history": [{"time": at_, "likes": a, "unlikes": b, "impressions": c} for at_, a, b, c in counts]}


def test_a_board_has_the_pieces_that_have_begun() -> None:
    rows = [(NOW - NOW % DAY + index * DAY, 10, 1, 100) for index in (-1, 0, 1)]
    board = board_of(history(*rows), chosen(), NOW)
    assert [piece.long for piece in board.pieces] == ["Tue 24 Nov", "Wed 25 Nov"]
    assert [piece.short for piece in board.pieces] == ["Tue 24", "Wed 25"]
    assert board.now == Sum(20, 2, 200)
    assert (board.before, board.going_on) == (None, True)


def test_a_board_compares_with_the_period_before_as_it_is_told() -> None:
    told = history((NOW - NOW % DAY, 10, 1, 100))
    told["before"] = history((NOW - NOW % DAY - 7 * DAY, 8, 0, 50))["history"]
    told["sum_before"] = {"likes": 5, "unlikes": 0, "impressions": 30}
    board = board_of(told, chosen(), NOW)
    assert board.pieces[0].before == Sum(8, 0, 50)
    assert board.pieces[0].long_before == "Wed 18 Nov"
    assert board.before == Sum(5, 0, 30)


def test_a_small_line_goes_from_the_left_to_the_right_and_up_to_its_top() -> None:
    assert spark([]) == spark([7]) == ""
    assert spark([0, 5, 10]) == "M0,23L50,12L100,1"
    assert spark([0, 0]) == "M0,23L100,23"


@pytest.mark.parametrize(
    "path", ["//evil.test", "/\\evil.test", "https://evil.test", "/\t/evil.test", "/a b", "", "evil", "/é"]
)
def test_a_login_leads_to_no_other_site(path: str) -> None:
    assert own_path(path) == "/"


@pytest.mark.parametrize("path", ["/", "/url?url=https%3A%2F%2Fa.example%2F&range=30d", "/engine#tree"])
def test_a_login_leads_to_pages_of_our_own(path: str) -> None:
    assert own_path(path) == path


@given(st.text())
def test_an_address_in_two_halves_is_the_whole(address: str) -> None:
    begin, end = split(address)
    assert begin + end == address
    assert len(end) <= 17


def test_the_end_of_a_long_address_begins_at_a_separator() -> None:
    assert split("/short") == ("/short", "")
    assert split("/guides/2026/how-to-choose-a-kettle-that-will-outlive-your-kitchen")[1] == "-your-kitchen"
    assert split("a" * 40) == ("a" * 23, "a" * 17)


def test_a_link_has_the_parameters_that_say_something() -> None:
    assert (
        at("/url", url="https://a.example/?b&c", q="", page=0, site=None)
        == "/url?url=https%3A%2F%2Fa.example%2F%3Fb%26c&page=0"
    )
    assert at("/") == "/"


def test_a_schema_is_told_field_by_field() -> None:
    schema = {
        "type": "object",
        "required": ["url"],
        "properties": {
            "url": {"type": "string", "format": "uri", "maxLength": 2048, "description": "Which."},
            "more": {"type": "object", "properties": {"by": {"enum": ["likes", "net"], "default": "likes"}}},
            "rows": {"type": "array", "items": {"$ref": "#/components/schemas/Counts"}},
        },
    }
    assert list(fields(schema)) == [
        Field("url", "string (uri)", "", True, "Which. At most 2048 characters."),
        Field("more", "object", "", False, ""),
        Field("more.by", "any", "", False, "One of likes, net. Default likes."),
        Field("rows", "array of", "Counts", False, ""),
    ]
