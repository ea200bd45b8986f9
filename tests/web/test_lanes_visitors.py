"""Visitors, in both lanes alike: whose the likes of the public are, and which impressions of theirs count."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from likd.counting.actors import ActorKeys
from tests.daemon import Client, Daemon, Response

ADMIN = "admin-token-for-these-tests"
BEARER = f"Bearer {ADMIN}"
SITE = "https://www.example.com"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"


@pytest.fixture(scope="module", params=["required", "address", "free"])
def daemon(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    path: Path = tmp_path_factory.mktemp("visitors") / "data"
    flags = ["--public-sites", "*.example.com", "--address-rate", "0", "--trusted-proxies", "127.0.0.1"]
    if request.param != "required":
        flags += ["--public-actors", request.param]
    with Daemon(path, *flags, environment={**os.environ, "LIKD_ADMIN_TOKEN": ADMIN}) as daemon:
        yield daemon


@pytest.fixture
def setting(daemon: Daemon, request: pytest.FixtureRequest) -> str:
    setting: str = request.node.callspec.params["daemon"]
    return setting


@pytest.fixture(params=["express", "full"])
def client(request: pytest.FixtureRequest, daemon: Daemon) -> Iterator[Client]:
    with Client(daemon.address) as client:
        if request.param == "full":
            assert client.request("GET", "/readyz").status == 200
        yield client


@pytest.fixture
def page() -> str:
    return f"{SITE}/{uuid4().hex}"


def event(url: str, kind: str = "like", **more: object) -> dict[str, object]:
    return {"kind": kind, "url": url, **more}


def post(client: Client, events: object, **headers: str) -> Response:
    headers.setdefault("User_Agent", FIREFOX)
    return client.request("POST", "/v1/events", json.dumps(events).encode(), **headers)


def counts(client: Client, url: str) -> tuple[int, int, int]:
    row = client.request("GET", f"/v1/counts?url={url}").json["counts"][0]
    return row["likes"], row["unlikes"], row["impressions"]


def test_likes_of_the_public_without_an_actor(client: Client, setting: str, page: str) -> None:
    answers = [post(client, event(page)) for _ in range(3)]
    if setting == "required":
        assert {answer.status for answer in answers} == {422}
        problem = answers[0].json
        assert problem["field"] == "actor"
        assert "the visitor's own id" in problem["expected"]
        assert "write token" in problem["expected"]
    else:
        assert [answer.json for answer in answers] == [{"accepted": 1}] * 3
    assert counts(client, page)[0] == {"required": 0, "address": 1, "free": 3}[setting]


def test_likes_with_a_token_are_free(client: Client, page: str) -> None:
    for _ in range(3):
        assert post(client, event(page), Authorization=BEARER).status == 202
    assert counts(client, page)[0] == 3


def test_impressions_need_no_actor(client: Client, page: str) -> None:
    assert post(client, [event(page, "impression")] * 2).json == {"accepted": 2}
    assert counts(client, page)[2] == 2


def test_an_address_is_one_visitor_whatever_actor_it_says(client: Client, setting: str, page: str) -> None:
    for actor in ("a", "b", "a"):
        assert post(client, event(page, actor=actor)).json == {"accepted": 1}
    assert counts(client, page)[0] == (1 if setting == "address" else 2)


def test_a_visitor_takes_back_the_like_that_is_theirs(client: Client, setting: str, page: str) -> None:
    named = {"actor": "somebody"} if setting == "required" else {}
    for kind in ("like", "unlike", "unlike"):
        assert post(client, event(page, kind, **named)).status == 202
    assert counts(client, page)[:2] == ((1, 2) if setting == "free" else (1, 1))


@pytest.mark.parametrize(
    ("form", "place"),
    [("array", {"index": 2}), ("lines", {"line": 3}), ("spaced", {"index": 2}), ("gzip", {"line": 3})],
)
def test_nothing_of_a_body_with_one_nameless_like_is_taken(
    client: Client, setting: str, page: str, form: str, place: dict[str, int]
) -> None:
    events = [event(page, "impression"), event(page, actor="a"), event(page), event(page, "impression")]
    body = json.dumps(events, indent=1 if form == "spaced" else None).encode()
    if form in ("lines", "gzip"):
        body = "\n".join(map(json.dumps, events)).encode()
    headers = {}
    if form == "gzip":
        body, headers = gzip.compress(body), {"Content_Encoding": "gzip"}
    answer = client.request("POST", "/v1/events", body, **headers)
    if setting != "required":
        assert answer.json == {"accepted": 4}
        assert counts(client, page) == ({"address": 1, "free": 2}[setting], 0, 2)
        return
    assert answer.status == 422
    assert answer.json.items() >= {"field": "actor", **place}.items()
    assert counts(client, page) == (0, 0, 0)


def test_a_body_of_nameless_impressions_and_named_likes_is_taken(client: Client, setting: str, page: str) -> None:
    events = [
        event(page, "impression"),
        event(page, actor="a"),
        event(page, actor="b"),
        event(page, "unlike", actor="a"),
    ]
    assert post(client, events).json == {"accepted": 4}
    assert counts(client, page) == ((1, 1, 1) if setting == "address" else (2, 1, 1))


def test_a_wrong_actor_is_refused_whoever_the_like_is_put_down_to(client: Client, page: str) -> None:
    refused = post(client, event(page, actor="a" * 129))
    assert (refused.status, refused.json["field"]) == (422, "actor")


@pytest.mark.parametrize("daemon", ["address"], indirect=True)
def test_visitors_are_told_apart_by_address_and_browser(client: Client, page: str) -> None:
    visitors = [
        ("203.0.113.1", FIREFOX),
        ("203.0.113.1", CHROME),
        ("203.0.113.2", FIREFOX),
        ("2001:db8:0:1::1", FIREFOX),
        ("2001:db8:0:1::2", FIREFOX),  # of the same network
        ("2001:db8:0:2::1", FIREFOX),
        ("203.0.113.1", FIREFOX),
    ]
    for address, browser in visitors:
        assert post(client, event(page), X_Forwarded_For=address, User_Agent=browser).status == 202
    assert counts(client, page)[0] == 5


@pytest.mark.parametrize("daemon", ["address"], indirect=True)
def test_both_lanes_know_the_same_visitor(daemon: Daemon, page: str) -> None:
    for lane in ("express", "full"):
        with Client(daemon.address) as client:
            if lane == "full":
                client.request("GET", "/readyz")
            assert post(client, event(page), User_Agent="caf\xe9").status == 202
            assert counts(client, page)[0] == 1


@pytest.mark.parametrize("daemon", ["required"], indirect=True)
def test_refused_likes_are_counted_and_told(daemon: Daemon, client: Client, page: str) -> None:
    def refused() -> float:
        with Client(daemon.address) as inside:
            lines = inside.request("GET", "/metrics", Authorization=BEARER).body.decode().splitlines()
        return next(float(line.split()[1]) for line in lines if 'callers_refused_total{status="422"}' in line)

    before = refused()
    assert post(client, event(page), X_Forwarded_For="203.0.113.77").status == 422
    assert refused() == before + 1
    told = [line for line in daemon.log.read_text().splitlines() if "a like without an actor" in line]
    assert any("203.0.113.77" in line and "--public-actors" in line for line in told)


def test_nobody_can_name_the_actor_that_is_made_of_an_address() -> None:
    actor = ActorKeys(b"secret" * 4).visitor("203.0.113.1", FIREFOX)
    assert actor != ActorKeys(b"other!" * 4).visitor("203.0.113.1", FIREFOX)
    assert "203" not in bytes.fromhex(actor).decode("latin-1")


BOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
NOBODY_LOOKS = [
    {"User_Agent": BOT},
    {"User_Agent": "curl/8.14.1"},
    {"Sec_Purpose": "prefetch"},
    {"Sec_Purpose": "prefetch;prerender"},
    {"Purpose": "prefetch"},
    {"X_Purpose": "preview"},
    {"X_Moz": "prefetch"},
]


@pytest.mark.parametrize("daemon", ["required"], indirect=True)
@pytest.mark.parametrize("headers", NOBODY_LOOKS, ids=str)
def test_impressions_that_nobody_looks_at_are_accepted_and_do_not_count(
    client: Client, page: str, headers: dict[str, str]
) -> None:
    assert post(client, event(page, "impression"), **headers).json == {"accepted": 1, "ignored": 1}
    both = [event(page, "impression"), event(page, actor="a"), event(page, "impression")]
    assert post(client, both, **headers).json == {"accepted": 3, "ignored": 2}
    assert post(client, event(page, "impression")).json == {"accepted": 1}
    assert counts(client, page) == (1, 0, 1)


@pytest.mark.parametrize("daemon", ["required"], indirect=True)
def test_a_token_holder_counts_impressions_for_whomever(client: Client, page: str) -> None:
    for headers in NOBODY_LOOKS:
        assert post(client, event(page, "impression"), Authorization=BEARER, **headers).json == {"accepted": 1}
    assert counts(client, page)[2] == len(NOBODY_LOOKS)


@pytest.mark.parametrize("daemon", ["required"], indirect=True)
def test_an_impression_that_is_not_counted_has_to_be_right_all_the_same(client: Client) -> None:
    assert post(client, event("https://elsewhere.test/", "impression"), User_Agent=BOT).status == 403
    assert post(client, event("mailto:a", "impression"), User_Agent=BOT).status == 422


@pytest.mark.parametrize("daemon", ["required"], indirect=True)
def test_a_retry_of_what_is_not_counted_is_answered_as_the_first_time(client: Client, page: str) -> None:
    key = page.removeprefix(SITE)
    for _ in range(2):
        answer = post(client, event(page, "impression"), User_Agent=BOT, Idempotency_Key=key)
        assert answer.json == {"accepted": 1, "ignored": 1}


@pytest.mark.parametrize("daemon", ["required"], indirect=True)
def test_pictures_are_shown_to_bots_and_do_not_count(daemon: Daemon, page: str) -> None:
    with Client(daemon.address) as client:
        for headers in NOBODY_LOOKS:
            for picture in ("pixel.gif?", "badge.svg?impression=true&"):
                assert client.request("GET", f"/{picture}url={page}", **headers).status == 200
        assert counts(client, page)[2] == 0
        assert client.request("GET", f"/pixel.gif?url={page}", User_Agent=FIREFOX).status == 200
        assert counts(client, page)[2] == 1


@pytest.mark.parametrize("daemon", ["required"], indirect=True)
def test_what_does_not_count_is_in_the_metrics(daemon: Daemon, client: Client, page: str) -> None:
    def ignored() -> float:
        with Client(daemon.address) as inside:
            lines = inside.request("GET", "/metrics", Authorization=BEARER).body.decode().splitlines()
        return next(float(x.split()[1]) for x in lines if 'events_total{kind="impression",result="ignored"}' in x)

    before = ignored()
    post(client, [event(page, "impression")] * 3, User_Agent=BOT)
    assert ignored() == before + 3


def test_bots_count_where_that_is_wished(tmp_path: Path) -> None:
    flags = ["--public-sites", "*.example.com", "--ignore-bots", "false"]
    with Daemon(tmp_path / "data", *flags) as daemon, Client(daemon.address) as client:
        for headers in NOBODY_LOOKS:
            assert post(client, event(SITE, "impression"), **headers).json == {"accepted": 1}
        assert counts(client, SITE)[2] == len(NOBODY_LOOKS)
