"""Sites, their past and their pages over HTTP: exact at any moment, the store's and what it does not have yet."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import pytest

from tests.daemon import Client, Daemon

DAY = 86_400
TODAY = int(time.time()) // DAY * DAY
A, B = "https://a.example/", "https://b.example/"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon whose store has a past, and which keeps what comes now in its open table."""
    path = tmp_path_factory.mktemp("sites") / "data"
    with Daemon(path, "--flush-interval", "600") as daemon:
        with Client(daemon.address) as client:
            past = [
                {"url": A + "old", "likes": 5, "impressions": 50, "time": TODAY - 3 * DAY + 60},
                {"url": A + "new", "likes": 3, "time": TODAY + 60 - DAY},
                {"url": A + "old", "likes": 2, "time": TODAY - 10 * DAY},
                {"url": B + "Page", "likes": 1, "unlikes": 1, "time": TODAY - 40 * DAY},
                {"url": B + "ever", "likes": 20},
            ]
            body = "\n".join(map(json.dumps, past)).encode()
            assert client.request("POST", "/v1/import", body, Idempotency_Key="past").status == 200
            now = [{"kind": "like", "url": A + "new"}] * 2 + [{"kind": "impression", "url": "https://c.example/"}]
            assert client.request("POST", "/v1/events", json.dumps(now).encode()).status == 202
        yield daemon


@pytest.fixture
def client(daemon: Daemon) -> Iterator[Client]:
    with Client(daemon.address) as client:
        yield client


def ask(client: Client, path: str, **query: object) -> Any:
    answer = client.request("GET", f"{path}?{urlencode(query)}")
    assert answer.status == 200, answer.body
    return answer.json


def test_the_overview_has_all_sites_with_what_is_not_in_the_store_yet(client: Client) -> None:
    told = ask(client, "/v1/sites")
    assert told["total"] == 3
    assert [(site["host"], site["likes"], site["net"], site["pages"]) for site in told["sites"]] == [
        ("b.example", 21, 20, 2),
        ("a.example", 12, 12, 2),
        ("c.example", 0, 0, 0),
    ]
    a = told["sites"][1]
    assert (a["today"], a["last7"], a["last30"], a["before7"]) == (2, 10, 12, 2)
    assert a["trend"][-4:] == [5, 0, 3, 2]
    assert len(a["trend"]) == 30


def test_sites_are_listed_in_parts_each_of_which_goes_on_after_a_key(client: Client) -> None:
    hosts, after = [], ""
    while after is not None:
        part = ask(client, "/v1/sites", by="last7", limit=1, **({"after": after} if after else {}))
        hosts += [site["host"] for site in part["sites"]]
        after = part["next"]
    assert hosts == ["a.example", "b.example", "c.example"]


def test_a_site_has_a_history_with_the_same_part_of_the_period_before(client: Client) -> None:
    told = ask(client, "/v1/history", site="a.example", unit="day", last=7, compare="before")
    assert [day["likes"] for day in told["history"]] == [0, 0, 0, 5, 0, 3, 2]
    assert [day["likes"] for day in told["before"]] == [0, 0, 0, 2, 0, 0, 0]
    assert (told["sum"]["likes"], told["sum"]["impressions"], told["sum_before"]["likes"]) == (10, 50, 2)
    assert TODAY < told["cut"] <= TODAY + DAY
    all_sites = ask(client, "/v1/history", unit="day", last=7)
    assert all_sites["sum"]["likes"] == 10
    assert all_sites["sum"]["impressions"] == 51
    assert ask(client, "/v1/history", site="nobody.example", unit="hour")["sum"]["likes"] == 0


def test_months_and_a_range_of_dates(client: Client) -> None:
    begin = TODAY - 41 * DAY
    told = ask(client, "/v1/history", site="b.example", unit="month", begin=begin, end=TODAY + DAY)
    assert told["sum"]["likes"] == 1
    starts = [datetime.fromtimestamp(row["time"], UTC) for row in told["history"]]
    assert all(start.day == 1 and start.hour == 0 for start in starts)
    day = ask(client, "/v1/history", site="a.example", unit="day", begin=TODAY - 3 * DAY, end=TODAY - 2 * DAY)
    assert [row["likes"] for row in day["history"]] == [5]


@pytest.mark.parametrize(("zone", "days"), [("America/New_York", 4), ("Asia/Tokyo", 3)])
def test_days_of_a_time_zone_are_made_of_hours(client: Client, zone: str, days: int) -> None:
    told = ask(client, "/v1/history", url=A + "old", unit="day", last=12, tz=zone)
    starts = [datetime.fromtimestamp(row["time"], ZoneInfo(zone)) for row in told["history"]]
    assert {(start.hour, start.minute) for start in starts} == {(0, 0)}
    by_day = {start.date(): row["likes"] for start, row in zip(starts, told["history"], strict=True)}
    came = datetime.fromtimestamp(TODAY - 3 * DAY + 60, ZoneInfo(zone)).date()
    assert by_day[came] == 5
    assert (datetime.fromtimestamp(TODAY, UTC).date() - came).days == days


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "America/New_York", "Asia/Kolkata", "UTC"])
def test_sites_and_pages_have_the_days_of_a_time_zone_that_the_history_has(client: Client, zone: str) -> None:
    days = ask(client, "/v1/history", site="a.example", unit="day", last=30, tz=zone)["history"]
    likes = [day["likes"] for day in days]
    site = next(row for row in ask(client, "/v1/sites", tz=zone)["sites"] if row["host"] == "a.example")
    assert site["trend"] == likes
    assert (site["today"], site["last7"], site["last30"]) == (likes[-1], sum(likes[-7:]), sum(likes))
    pages = ask(client, "/v1/pages", site="a.example", tz=zone)
    assert (pages["begin"], pages["end"]) == (days[0]["time"], days[-1]["time"] + DAY)
    assert [sum(day) for day in zip(*(page["trend"] for page in pages["pages"]), strict=True)] == likes
    assert sum(page["likes"] for page in pages["pages"]) == sum(likes)


def test_pages_are_found_ranked_and_told_with_what_is_not_in_the_store_yet(client: Client) -> None:
    told = ask(client, "/v1/pages", site="a.example")
    assert [(page["url"], page["likes"], page["all"]) for page in told["pages"]] == [
        (A + "old", 7, 7),
        (A + "new", 5, 5),
    ]
    assert told["pages"][1]["trend"][-2:] == [3, 2]
    assert told["total"] == 2
    today = ask(client, "/v1/pages", begin=TODAY, end=TODAY + DAY)
    assert today["pages"][0]["url"] == A + "new"
    assert today["pages"][0]["likes"] == 2
    assert len(today["pages"][0]["trend"]) == 24
    assert [page["url"] for page in ask(client, "/v1/pages", by="all")["pages"]][:2] == [B + "ever", A + "old"]
    assert [page["url"] for page in ask(client, "/v1/pages", q="PAGE")["pages"]] == [B + "Page"]
    assert ask(client, "/v1/pages", by="views")["pages"][0]["url"] == A + "old"
    assert ask(client, "/v1/pages", by="rate")["pages"][0]["likes"] == 7


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_each_part_of_a_list_of_pages_goes_on_after_a_key(client: Client, order: str) -> None:
    whole = [page["url"] for page in ask(client, "/v1/pages", order=order)["pages"]]
    found, after = [], ""
    while after is not None:
        part = ask(client, "/v1/pages", order=order, limit=2, **({"after": after} if after else {}))
        found += [page["url"] for page in part["pages"]]
        after = part["next"]
    assert found == whole
    assert len(whole) == 5


def test_an_answer_that_is_known_is_not_sent_again(client: Client) -> None:
    for path in ("/v1/sites", "/v1/pages?site=a.example", "/v1/history?site=a.example&unit=day"):
        first = client.request("GET", path)
        assert client.request("GET", path, If_None_Match=first.headers["etag"]).status == 304


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/v1/sites?by=x", "by"),
        ("/v1/sites?limit=0", "limit"),
        ("/v1/sites?after=x", "after"),
        ("/v1/pages?by=x", "by"),
        ("/v1/pages?order=x", "order"),
        ("/v1/pages?begin=9&end=5", "begin"),
        ("/v1/pages?after=%5B1%5D", "after"),
        ("/v1/pages?q=" + "x" * 201, "q"),
        ("/v1/pages?site=%20", "site"),
        ("/v1/history?unit=week", "unit"),
        ("/v1/history?tz=Mars", "tz"),
        ("/v1/sites?tz=Mars", "tz"),
        ("/v1/pages?tz=Mars", "tz"),
        ("/v1/history?tz=../etc/passwd", "tz"),
        ("/v1/history?compare=x", "compare"),
        ("/v1/history?end=5", "end"),
        ("/v1/history?begin=5&last=3", "last"),
        ("/v1/history?unit=minute&begin=5&end=5000000", "begin"),
        ("/v1/history?url=https://a.example/&site=a.example", "site"),
        ("/v1/history?url=", "url"),
    ],
)
def test_what_is_wrong_is_said_with_its_field(client: Client, path: str, field: str) -> None:
    answer = client.request("GET", path)
    assert (answer.status, answer.headers["content-type"]) == (422, "application/problem+json")
    assert answer.json["field"] == field
    assert answer.json["expected"]
