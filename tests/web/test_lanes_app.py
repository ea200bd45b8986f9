"""What the application answers to heads, queries and websockets that are not as they should be."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote
from xml.etree import ElementTree

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.daemon import Client, Daemon, Response
from tests.web.test_lanes_access import ADMIN, SITE, WRITE, event

PAGE = "http://localhost:3000"


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon that is open to this machine."""
    with Daemon(tmp_path_factory.mktemp("local") / "data") as daemon:
        yield daemon


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with tokens and a public site."""
    environment = {**os.environ, "LIKD_ADMIN_TOKEN": ADMIN, "LIKD_WRITE_TOKENS": WRITE}
    flags = ["--public-sites", "*.example.com", "--public-actors", "free"]
    flags += ["--address-rate", "1e6", "--address-burst", "1000000"]
    with Daemon(tmp_path_factory.mktemp("guarded") / "data", *flags, environment=environment) as daemon:
        yield daemon


@pytest.fixture(params=["express", "full"])
def client(request: pytest.FixtureRequest, local: Daemon) -> Iterator[Client]:
    with Client(local.address) as client:
        if request.param == "full":
            assert client.request("GET", "/v1/tree").status == 200
        yield client


@pytest.fixture
def full(local: Daemon) -> Iterator[Client]:
    with Client(local.address) as client:
        assert client.request("GET", "/v1/tree").status == 200
        yield client


def handshake(client: Client, path: str = "/v1/live", **headers: str) -> Response:
    fields = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
    }
    return client.request("GET", path, **fields, **headers)


def is_problem(answer: Response, status: int) -> bool:
    problem = answer.headers["content-type"] == "application/problem+json" and answer.json["status"] == status
    return problem and answer.status == status


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/v1/live", {}, 401),
        ("/v1/live", {"Accept": "text/html"}, 401),
        ("/v1/live", {"Authorization": "Bearer no-such-token"}, 401),
        ("/v1/live", {"Authorization": "Basic x"}, 401),
        ("/v1/live", {"Origin": "https://evil.test"}, 403),
        ("/v1/live", {"Cookie": "likd_admin=1.2"}, 401),
        ("/v1/live", {"Host": "a b"}, 400),
        ("/v1/live/", {}, 404),
        ("/nothing", {}, 404),
        ("//v1/live", {}, 404),
        ("/v1//live", {}, 404),
        ("/v1/status", {}, 400),
        ("/v1/history?url=x", {}, 400),
        ("http://[/v1/live", {}, 400),
        ("http://evil test/v1/live", {}, 400),
    ],
)
def test_a_websocket_that_is_not_let_in_is_told_why(
    tmp_path: Path, path: str, headers: dict[str, str], status: int, closed: Daemon
) -> None:
    with Client(closed.address) as client:
        answer = handshake(client, path, **headers)
    assert answer.status == status
    if " " not in path:
        assert is_problem(answer, status)
        assert (answer.headers["vary"], answer.headers["x-content-type-options"]) == ("Origin", "nosniff")
    if status == 401:
        assert answer.headers["www-authenticate"] == 'Bearer realm="likd"'
    assert "Traceback" not in closed.log.read_text()


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with tokens and nothing public."""
    environment = {**os.environ, "LIKD_ADMIN_TOKEN": ADMIN}
    with Daemon(tmp_path_factory.mktemp("closed") / "data", environment=environment) as daemon:
        yield daemon


def test_a_websocket_past_the_limit_is_told_so(tmp_path: Path) -> None:
    flags = ["--public-sites", "example.com", "--address-rate", "0.01", "--address-burst", "1"]
    with Daemon(tmp_path / "data", *flags) as daemon:
        statuses = []
        for _ in range(2):
            with Client(daemon.address) as client:
                answer = handshake(client)
                statuses.append(answer.status)
        assert statuses == [101, 429]
        assert int(answer.headers["retry-after"]) >= 1


@pytest.mark.parametrize("host", ["a b", "a/b", "a@b", "[::1", "a:b", "a:99999", "a,b", "é", ""])
def test_what_is_no_host_is_refused(client: Client, host: str) -> None:
    answer = client.request("GET", "/healthz", Host=host)
    assert is_problem(answer, 400)
    assert answer.json["field"] == "Host"


def test_a_host_may_be_missing_in_http_1_0(local: Daemon) -> None:
    with Client(local.address) as client:
        client.send(b"GET /v1/status HTTP/1.0\r\n\r\n")
        assert client.response().status == 200


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("http://test/v1/counts?x", 422),
        ("HTTP://test/healthz", 200),
        ("http://test", 200),
        ("http://[/v1/counts?x", 400),
        ("http://]/v1/counts?x", 400),
        ("http://a b/v1/counts?x", 400),
        ("http://a:b/v1/counts?x", 400),
        ("http:///v1/counts?x", 400),
        ("ftp://test/v1/counts?x", 400),
        ("x:y", 400),
        ("*", 400),
        ("/v1/counts?x#f", 422),
        ("/v1/counts%3Fx", 404),
        ("/v1/%ff", 404),
        ("/v1/%00", 404),
    ],
)
def test_a_target_is_a_path_or_an_absolute_url_of_a_host(local: Daemon, target: str, status: int) -> None:
    with Client(local.address) as client:
        assert client.request("GET", "/v1/tree").status == 200
        assert client.request("GET", target).status == status


def test_the_host_of_an_absolute_target_stands_for_the_header(full: Client) -> None:
    refused = full.request("GET", "http://evil.test/v1/status", Host="localhost")
    assert (refused.status, refused.json["field"]) == (403, "Host")
    assert full.request("GET", "http://localhost/v1/status", Host="evil.test").status == 200


@pytest.mark.parametrize(
    "path", ["//", "//evil.test", "//evil.test/docs", "//docs", "/v1//status", "/docs/", "///x/.."]
)
def test_no_path_leads_elsewhere(full: Client, path: str) -> None:
    answer = full.request("GET", path, Host="localhost")
    assert is_problem(answer, 404)
    assert "location" not in answer.headers


@pytest.mark.parametrize("path", ["/v1/events", "/v1/counts", "/docs", "*"])
def test_options_leave_the_connection_open(full: Client, path: str) -> None:
    for _ in range(3):
        answer = full.request("OPTIONS", path)
        assert (answer.status, answer.body, answer.headers["vary"]) == (204, b"", "Origin")
        assert "content-length" not in answer.headers
    assert full.request("GET", "/healthz").status == 200


FOR_ANY_PAGE = ["/likd.js", "/static/likd.css", "/openapi.json"]


@pytest.mark.parametrize("path", ["/v1/counts?url=https://a.example/304", "/v1/top", *FOR_ANY_PAGE])
def test_an_answer_that_is_known_already_has_no_length(full: Client, path: str) -> None:
    tag = full.request("GET", path).headers["etag"]
    for _ in range(2):
        answer = full.request("GET", path, If_None_Match=tag)
        assert (answer.status, answer.headers["etag"]) == (304, tag)
        assert "content-length" not in answer.headers
        assert answer.headers["vary"] == ("Accept-Encoding" if path in FOR_ANY_PAGE else "Origin")


@pytest.mark.parametrize("origin", [None, PAGE, "https://evil.test"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/healthz"),
        ("GET", "/v1/counts?url=https://a.example/"),
        ("GET", "/v1/counts"),
        ("POST", "/v1/events"),
        ("GET", "/v1/top"),
        ("GET", "/nothing"),
        ("GET", "/v1/events"),
        ("OPTIONS", "/v1/events"),
        ("GET", "/badge.svg?url=https://a.example/"),
        ("GET", "/docs"),
    ],
)
def test_caches_are_told_that_another_origin_gets_another_answer(
    client: Client, method: str, path: str, origin: str | None
) -> None:
    headers = {} if origin is None else {"Origin": origin}
    answer = client.request(method, path, **headers)
    assert "Origin" in re.split(r", *", answer.headers["vary"])
    assert answer.headers.get("access-control-allow-origin") == (origin if origin == PAGE else None)


@pytest.mark.parametrize(
    ("written", "counted"),
    [
        ("%ff", "%FF"),
        ("%25FF", "%FF"),
        ("%ed%a0%80", "%ED%A0%80"),
        ("%c3%a9", "%C3%A9"),
        ("caf%e9", "caf%E9"),
    ],
)
def test_bytes_that_are_not_utf8_are_what_the_url_has_there(full: Client, written: str, counted: str) -> None:
    url = f"https://e.example/{counted}"
    full.request("POST", "/v1/events", event(url))
    (row,) = full.request("GET", f"/v1/counts?url=https://e.example/{written}").json["counts"]
    assert row["url"] == url
    assert row["likes"] > 0


PATHS = ["/v1/counts", "/v1/history", "/v1/top", "/badge.svg", "/url"]
NAMES = ["url", "unit", "last", "until", "by", "limit", "label", "x", ""]
PIECES = [
    "url=",
    "label=",
    "https://a.example/",
    "&",
    "=",
    "+",
    ";",
    "%",
    "%0",
    "%00",
    "%ff",
    "%ed%a0%80",
    "%f0%9f%91%8d",
]
RAW = st.lists(st.sampled_from([*PIECES, "%25", "%3a//", "..", "a", "1", "-", "[", "]", "@", ":"]), max_size=12).map(
    "".join
)
VALUES = st.text(max_size=8).map(lambda text: quote(text, errors="replace")) | RAW
QUERIES = RAW | st.lists(st.tuples(st.sampled_from(NAMES), VALUES), max_size=6).map(
    lambda pairs: "&".join(f"{name}={value}" for name, value in pairs)
)


@pytest.mark.parametrize("lane", ["express", "full"])
@settings(max_examples=100, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(path=st.sampled_from(PATHS), query=QUERIES)
def test_no_query_is_a_fault_of_the_daemon(local: Daemon, lane: str, path: str, query: str) -> None:
    with Client(local.address) as client:
        if lane == "full":
            client.request("GET", "/readyz")
        answer = client.request("GET", f"{path}?{query}")
    assert answer.status in (200, 400, 422), answer
    if answer.status != 200:
        assert answer.json["status"] == answer.status
    elif path == "/badge.svg":
        ElementTree.fromstring(answer.body)


@pytest.mark.parametrize("query", ["?x", "?url", "?url=&url", "?" + "a&" * 7000, "?" + "url&" * 3000, "?url=%", "?%"])
def test_counts_of_no_url_are_refused_however_they_are_asked_for(client: Client, query: str) -> None:
    answer = client.request("GET", f"/v1/counts{query}")
    assert is_problem(answer, 422)
    assert answer.json["field"] == "url"


@settings(max_examples=40, deadline=None)
@given(body=st.binary(max_size=60) | RAW.map(str.encode) | RAW.map(lambda raw: b"token=" + raw.encode()))
def test_no_login_is_a_fault_of_the_daemon(guarded: Daemon, body: bytes) -> None:
    with Client(guarded.address) as client:
        assert client.request("POST", "/login", body).status in (401, 429)


@pytest.mark.parametrize("label", ["%00", "a%0Ab", "%1b[31m", "%7f", "%c2%85", "%ef%bf%be", "%ef%bf%bf", "%09"])
def test_a_badge_has_no_control_characters(full: Client, label: str) -> None:
    answer = full.request("GET", f"/badge.svg?url=https://a.example/&label={label}")
    assert is_problem(answer, 422)
    assert answer.json["field"] == "label"


@pytest.mark.parametrize(("label", "text"), [("%ff", "%FF"), ("%3Cb%3E%22%26", '<b>"&'), ("%f0%9f%91%8d", "👍")])
def test_a_badge_shows_any_other_label(full: Client, label: str, text: str) -> None:
    answer = full.request("GET", f"/badge.svg?url=https://a.example/&label={label}")
    title = ElementTree.fromstring(answer.body).find("{http://www.w3.org/2000/svg}title")
    assert title is not None
    assert title.text == f"{text}: 0"


def test_an_empty_body_has_no_events_as_the_description_says(client: Client) -> None:
    assert client.request("POST", "/v1/events").json == {"accepted": 0}
    description = client.request("GET", "/openapi.json").json
    assert not description["paths"]["/v1/events"]["post"]["requestBody"].get("required", False)


def test_badges_of_a_daemon_that_is_not_public_are_embedded_by_pages_of_this_machine_only(full: Client) -> None:
    path = "/badge.svg?url=https://a.example/"
    policies = {
        referer: full.request("GET", path, Referer=referer).headers["cross-origin-resource-policy"]
        for referer in (f"{PAGE}/page.html", "https://evil.test/", "")
    }
    assert list(policies.values()) == ["cross-origin", "same-origin", "same-origin"]
    assert full.request("GET", path).headers["vary"] == "Origin, Referer"


def test_badges_of_a_daemon_with_public_sites_are_embedded_by_all(guarded: Daemon) -> None:
    with Client(guarded.address) as client:
        answer = client.request("GET", f"/badge.svg?url={SITE}/")
        assert answer.headers["cross-origin-resource-policy"] == "cross-origin"


@pytest.mark.parametrize("path", FOR_ANY_PAGE)
@pytest.mark.parametrize("origin", [PAGE, "https://evil.test", "null"])
def test_files_for_browsers_are_for_the_pages_of_all_origins_of_every_daemon(
    full: Client, path: str, origin: str
) -> None:
    answer = full.request("GET", path, Origin=origin, Referer=f"{origin}/page.html")
    told = [answer.headers[name] for name in ("access-control-allow-origin", "cross-origin-resource-policy", "vary")]
    assert (answer.status, told) == (200, ["*", "cross-origin", "Accept-Encoding"])


READS = ["/v1/counts?url=https://a.example/", "/v1/history?url=https://a.example/", "/badge.svg?url=https://a.example/"]


def test_with_write_tokens_alone_this_machine_may_do_everything_and_other_names_nothing(tmp_path: Path) -> None:
    paths = [*READS, "/v1/top", "/v1/export", "/v1/status", "/v1/tree", "/metrics", "/", "/url?url=https://a.example/"]
    with Daemon(tmp_path / "data", environment={**os.environ, "LIKD_WRITE_TOKENS": WRITE}) as daemon:
        for host, status in (("localhost", 200), ("likes.test", 403)):
            for path in paths:
                with Client(daemon.address) as client:
                    assert (path, client.request("GET", path, Host=host, Connection="close").status) == (path, status)
            with Client(daemon.address) as client:
                posted = client.request("POST", "/v1/events", event("https://a.example/"), Host=host).status
                assert posted == (202 if status == 200 else 403)
            with Client(daemon.address) as client:
                assert handshake(client, Host=host).status == (101 if status == 200 else 403)
        with Client(daemon.address) as client:
            bearer = {"Host": "likes.test", "Authorization": f"Bearer {WRITE}"}
            assert [client.request("GET", path, **bearer).status for path in READS] == [200] * 3


def test_a_session_ends_with_its_logout_also_over_a_restart(tmp_path: Path) -> None:
    environment = {**os.environ, "LIKD_ADMIN_TOKEN": ADMIN}

    def login(client: Client) -> str:
        answer = client.request("POST", "/login", f"token={ADMIN}".encode())
        assert answer.status == 303
        return answer.headers["set-cookie"].partition(";")[0]

    with Daemon(tmp_path / "data", environment=environment) as daemon, Client(daemon.address) as client:
        ended, kept = login(client), login(client)
        assert client.request("POST", "/logout", Cookie=ended, Origin="https://evil.test").status == 403
        assert client.request("POST", "/logout", Cookie=ended, Origin=PAGE).status == 403
        assert client.request("GET", "/v1/status", Cookie=ended).status == 200
        assert client.request("POST", "/logout", Cookie=ended, Origin="http://test").status == 303
        assert client.request("GET", "/v1/status", Cookie=ended).status == 401
        assert daemon.stop() == 0
    with Daemon(tmp_path / "data", environment=environment) as daemon, Client(daemon.address) as client:
        assert client.request("GET", "/v1/status", Cookie=ended).status == 401
        assert client.request("GET", "/v1/status", Cookie=kept).status == 200


def test_refusals_are_in_the_log_once_with_what_would_let_them_in(guarded: Daemon) -> None:
    with Client(guarded.address) as client:
        for _ in range(3):
            assert client.request("POST", "/v1/events", event("https://told.test/")).status == 403
            assert client.request("GET", "/healthz", Origin="https://told.test").status == 403
    lines = [json.loads(line) for line in guarded.log.read_text().splitlines() if "told.test" in line]
    assert [(line["level"], line["name"], line["setting"]) for line in lines] == [
        ("warning", "told.test", "--public-sites"),
        ("warning", "https://told.test", "--origins"),
    ]
