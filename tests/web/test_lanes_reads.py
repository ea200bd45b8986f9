"""Pictures, files, histories and top lists: the same in either lane to the last header, and never older than asked."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon import Client, Daemon, Response
from tests.web.test_lanes_access import ADMIN, WRITE

SITE = "https://www.example.com"
LATER = {"date", "ratelimit", "etag"}
"""Headers that differ from one request to the next, or are compared where nothing is counted meanwhile."""
TARGETS = [
    f"/badge.svg?url={SITE}/a",
    f"/badge.svg?url={SITE}/a&label=stars&by=net",
    "/badge.svg?url=https://elsewhere.test/",
    "/badge.svg?url=nothing",
    f"/pixel.gif?url={SITE}/pixel",
    "/pixel.gif?url=https://elsewhere.test/",
    f"/v1/history?url={SITE}/a&unit=day&until=86400",
    "/v1/history?url=https://elsewhere.test/",
    "/v1/top?by=unlikes",
    "/likd.js",
    "/static/likd.css",
    "/static/nothing.css",
]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    path: Path = tmp_path_factory.mktemp("reads") / "data"
    flags = ["--public-sites", "*.example.com", "--address-rate", "1e6", "--address-burst", "1000000"]
    environment = {**os.environ, "LIKD_ADMIN_TOKEN": ADMIN, "LIKD_WRITE_TOKENS": WRITE}
    with Daemon(path, *flags, environment=environment) as daemon:
        yield daemon


@pytest.fixture(params=["express", "full"])
def client(request: pytest.FixtureRequest, daemon: Daemon) -> Iterator[Client]:
    with connect(daemon, request.param) as client:
        yield client


def connect(daemon: Daemon, lane: str) -> Client:
    client = Client(daemon.address)
    if lane == "full":
        assert client.request("GET", "/readyz").status == 200
    return client


def ask(client: Client, target: str, method: str = "GET", **headers: str) -> Response:
    if method == "GET":
        return client.request("GET", target, **headers)
    lines = [f"{method} {target} HTTP/1.1", "Host: test", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    client.send("\r\n".join([*lines, "", ""]).encode())
    received = b""
    while piece := client.socket.recv(65536):
        received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    first, *rest = head.decode().split("\r\n")
    told = {name.lower(): value for name, _, value in (line.partition(": ") for line in rest)}
    return Response(int(first.split()[1]), told, body)


def told(answer: Response) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name not in LATER}


def like(client: Client, url: str) -> None:
    body = json.dumps({"kind": "like", "url": url}).encode()
    assert client.request("POST", "/v1/events", body, Authorization=f"Bearer {WRITE}").status == 202


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Accept_Encoding": "gzip"},
        {"Origin": SITE},
        {"Origin": "https://evil.test"},
        {"Authorization": f"Bearer {WRITE}"},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer wrong", "Accept": "text/html"},
        {"Referer": "https://evil.test/", "Sec_Fetch_Site": "cross-site"},
    ],
    ids=str,
)
def test_both_lanes_answer_to_the_last_header_alike(
    daemon: Daemon, target: str, method: str, headers: dict[str, str]
) -> None:
    with connect(daemon, "express") as hot, connect(daemon, "full") as full:
        answers = [ask(client, target, method, **headers) for client in (hot, full)]
    for answer in answers:
        answer.headers.pop("connection", None)
    assert told(answers[0]) == told(answers[1])
    assert (answers[0].status, answers[0].body) == (answers[1].status, answers[1].body)
    assert not (method == "HEAD" and answers[0].body)


@pytest.mark.parametrize("target", ["/likd.js", f"/badge.svg?url={SITE}/kept", f"/v1/history?url={SITE}/kept"])
def test_who_has_it_already_is_not_sent_it_again(daemon: Daemon, client: Client, target: str) -> None:
    first = client.request("GET", target)
    assert (first.status, client.request("GET", target).headers["etag"]) == (200, first.headers["etag"])
    for lane in ("express", "full"):
        with connect(daemon, lane) as other:
            again = other.request("GET", target, If_None_Match=first.headers["etag"])
            assert (again.status, again.body, again.headers["etag"]) == (304, b"", first.headers["etag"])


def test_a_badge_and_a_top_list_show_what_was_acknowledged_before_they_were_asked_for(client: Client) -> None:
    url = f"{SITE}/counted/{id(client)}"
    bearer = {"Authorization": f"Bearer {WRITE}"}
    for n in range(1, 30):
        like(client, url)
        assert f"likes: {n}<".encode() in client.request("GET", f"/badge.svg?url={url}").body
        for _ in range(2):
            top = client.request("GET", "/v1/top?limit=1000", **bearer).json["top"]
            assert {row["url"]: row["likes"] for row in top}[url] == n


def test_a_pixel_of_nobody_counts_nothing(client: Client, daemon: Daemon) -> None:
    url = f"{SITE}/nobody/{id(client)}"
    assert ask(client, f"/pixel.gif?url={url}", "HEAD").status == 200
    with connect(daemon, "express") as other:
        assert other.request("GET", f"/v1/counts?url={url}").json["counts"][0]["impressions"] == 0


def test_top_lists_are_not_for_the_public_and_a_person_is_sent_to_the_login(client: Client) -> None:
    assert client.request("GET", "/v1/top").status == 401
    sent = client.request("GET", "/v1/top", Accept="text/html,*/*;q=0.8")
    assert (sent.status, sent.headers["location"], sent.body) == (303, "/login?next=%2Fv1%2Ftop", b"")
    assert ask(client, "/v1/top", "HEAD", Accept="text/html").status == 401


@pytest.mark.parametrize("lane", ["express", "full"])
def test_pictures_have_their_price_and_files_have_none(tmp_path: Path, lane: str) -> None:
    flags = ["--public-sites", "*.example.com", "--address-rate", "0.001", "--address-burst", "3"]
    with Daemon(tmp_path / "data", *flags) as daemon, connect(daemon, lane) as client:
        assert [client.request("GET", f"/badge.svg?url={SITE}/").status for _ in range(3)] == [200] * 3
        refused = client.request("GET", f"/badge.svg?url={SITE}/")
        assert (refused.status, refused.headers["content-type"]) == (429, "application/problem+json")
        assert client.request("GET", f"/pixel.gif?url={SITE}/").status == 429
        assert client.request("GET", f"/v1/history?url={SITE}/").status == 429
        assert client.request("GET", "/likd.js").status == 200
