"""Access, in both lanes alike: tokens, public sites, origins, limits, and what is told of them."""

from __future__ import annotations

import gzip
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon import Client, Daemon, Response

ADMIN = "admin-token-for-these-tests"
WRITE = "write-token-for-these-tests"
OPS = "admin-token-that-has-a-name"
SHOP = "write-token-that-has-a-name"
SITE = "https://www.example.com"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    path: Path = tmp_path_factory.mktemp("access") / "data"
    flags = ["--public-sites", "*.example.com", "--public-actors", "free"]
    flags += ["--address-rate", "1e6", "--address-burst", "1000000"]
    named = path.with_name("named")
    named.write_text(f"admin ops {OPS}\nwriter shop {SHOP}\n")
    flags += ["--tokens-file", str(named)]
    environment = {**os.environ, "LIKD_ADMIN_TOKEN": ADMIN, "LIKD_WRITE_TOKENS": WRITE}
    with Daemon(path, *flags, environment=environment) as daemon:
        yield daemon


@pytest.fixture(params=["express", "full"])
def client(request: pytest.FixtureRequest, daemon: Daemon) -> Iterator[Client]:
    with Client(daemon.address) as client:
        if request.param == "full":
            assert client.request("GET", "/readyz").status == 200
        yield client


def event(url: str) -> bytes:
    return json.dumps({"kind": "like", "url": url}).encode()


def post(client: Client, url: str, **headers: str) -> Response:
    return client.request("POST", "/v1/events", event(url), **headers)


def test_the_public_posts_events_of_public_sites(client: Client) -> None:
    assert post(client, f"{SITE}/a").status == 202
    refused = post(client, "https://elsewhere.test/")
    assert (refused.status, refused.json["field"]) == (403, "url")


def test_the_public_reads_counts_of_public_sites(client: Client) -> None:
    assert client.request("GET", f"/v1/counts?url={SITE}/a").status == 200
    assert client.request("GET", f"/v1/counts?url={SITE}/a&url=https://elsewhere.test/").status == 403


def test_partial_counts_answer_each_url_by_itself(client: Client) -> None:
    assert post(client, f"{SITE}/partial").status == 202
    targets = [f"{SITE}/partial", "https://elsewhere.test/", "mailto:a@example.com", "http://", f"{SITE}/{'x' * 2100}"]
    query = "&".join(f"url={target}" for target in targets)
    answer = client.request("GET", f"/v1/counts?{query}&partial=true")
    assert answer.status == 200
    good, *bad = answer.json["counts"]
    assert good["url"] == targets[0]
    assert good["likes"] >= 1
    assert [row["url"] for row in bad] == targets[1:]
    assert [row["problem"]["status"] for row in bad] == [403, 422, 422, 422]
    assert bad[0]["problem"]["detail"] == "the URL is not on a public site of this daemon"
    assert bad[1]["problem"]["expected"] == "an absolute http or https URL of at most 2048 bytes"
    assert "index" not in bad[1]["problem"]


def test_counts_are_partial_only_if_asked_for(client: Client) -> None:
    query = f"url={SITE}/a&url=https://elsewhere.test/"
    assert client.request("GET", f"/v1/counts?{query}&partial=false").status == 403
    assert client.request("GET", f"/v1/counts?{query}&partial=perhaps").json["field"] == "partial"
    assert client.request("GET", "/v1/counts?partial=true").json["field"] == "url"


def test_a_write_token_posts_and_reads_everything(client: Client) -> None:
    bearer = f"Bearer {WRITE}"
    assert post(client, "https://elsewhere.test/", Authorization=bearer).status == 202
    assert client.request("GET", "/v1/counts?url=https://elsewhere.test/", Authorization=bearer).status == 200


def test_a_wrong_token_is_refused_even_where_none_is_needed(client: Client) -> None:
    refused = post(client, f"{SITE}/a", Authorization="Bearer wrong-token-wrong-token")
    assert refused.status == 401
    assert refused.headers["www-authenticate"] == 'Bearer realm="likd"'
    assert refused.headers["content-type"] == "application/problem+json"


def test_a_page_of_a_public_site_may_read_answers_and_errors(client: Client) -> None:
    for target in (f"{SITE}/a", "https://elsewhere.test/"):
        answer = post(client, target, Origin=SITE)
        assert answer.headers["access-control-allow-origin"] == SITE
        assert answer.headers["vary"] == "Origin"


def test_a_page_from_elsewhere_is_refused(client: Client) -> None:
    refused = post(client, f"{SITE}/a", Origin="https://evil.test")
    assert (refused.status, refused.json["field"]) == (403, "Origin")
    assert "access-control-allow-origin" not in refused.headers


def test_limits_are_told(client: Client) -> None:
    answer = post(client, f"{SITE}/a")
    assert answer.headers["ratelimit-policy"].startswith('"events";q=1000000;')
    assert answer.headers["ratelimit"].startswith('"events";r=')


def test_many_events_of_the_public_are_refused_whole(client: Client) -> None:
    body = b"\n".join([event(f"{SITE}/many")] * 101)
    assert client.request("POST", "/v1/events", body).status == 403
    counts = client.request("GET", f"/v1/counts?url={SITE}/many").json["counts"]
    assert counts[0]["likes"] == 0


@pytest.mark.parametrize("gzipped", [False, True])
def test_large_bodies_of_the_public_are_refused(daemon: Daemon, client: Client, gzipped: bool) -> None:
    body, headers = b"\n" * 300_000, {}
    if gzipped:
        body, headers = gzip.compress(body), {"Content_Encoding": "gzip"}
    assert client.request("POST", "/v1/events", body, **headers).status == 413
    with Client(daemon.address) as trusted:
        headers["Authorization"] = f"Bearer {WRITE}"
        assert trusted.request("POST", "/v1/events", body, **headers).json == {"accepted": 0}


def test_a_body_without_a_length_is_bounded_as_any_other(daemon: Daemon) -> None:
    with Client(daemon.address) as client:
        client.send(b"POST /v1/events HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n")
        client.send(b"8000\r\n%b\r\n" % (b"\n" * 0x8000) * 9)
        assert client.response().status == 413


def test_whoever_anybody_is_logs_in_with_a_few_bytes(daemon: Daemon) -> None:
    with Client(daemon.address) as client:
        assert client.request("POST", "/login", b"a=b&" * 2000).status == 413
    with Client(daemon.address) as client:
        client.send(
            b"POST /login HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n2000\r\n%b\r\n" % (b"a" * 0x2000)
        )
        assert client.response().status == 413


@pytest.mark.parametrize("cookie", ['likd_admin="9999999999.\\351"', "likd_admin=9999999999.é", 'a="' + "\\" * 12_000])
def test_a_cookie_reaches_nobody_else_behind_pipelined_requests(daemon: Daemon, cookie: str) -> None:
    head = f"POST /v1/events HTTP/1.1\r\nHost: test\r\nCookie: {cookie}\r\nContent-Length: 2\r\n\r\n[]"
    like = event(f"{SITE}/pipelined")
    with Client(daemon.address) as client, Client(daemon.address) as other:
        plain = b"POST /v1/events HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n%b" % (len(like), like)
        client.send(plain * 70 + head.encode("latin-1"))
        assert post(other, f"{SITE}/other").status == 202
        assert {client.response().status for _ in range(71)} == {202}
        tree = other.request("GET", "/v1/tree", Authorization=f"Bearer {ADMIN}").body
    assert set(re.findall(rb'"restarts":\s*(\d+)', tree)) == {b"0"}


@pytest.mark.parametrize("last", ["0" * 17 + "1000000", "0" * 17 + "1" + "0" * 5000, "9" * 18, "-1", "1e3"])
def test_a_number_has_no_way_around_its_limit(client: Client, last: str) -> None:
    response = client.request("GET", f"/v1/history?url={SITE}/a&unit=minute&last={last}")
    assert (response.status, response.json["field"]) == (422, "last")


def test_keys_of_the_public_are_their_own(client: Client, request: pytest.FixtureRequest) -> None:
    key = f"order-{request.node.name}"
    bearer = {"Idempotency-Key": key, "Authorization": f"Bearer {WRITE}"}
    assert post(client, f"{SITE}/by-anybody", **{"Idempotency-Key": key}).status == 202
    assert post(client, "https://elsewhere.test/by-the-writer", **bearer).status == 202
    assert post(client, f"{SITE}/by-anybody", **{"Idempotency-Key": key}).status == 202


def test_keys_of_each_token_are_its_own(client: Client, request: pytest.FixtureRequest) -> None:
    url, key = f"{SITE}/own-{request.node.callspec.id}", f"token-{request.node.callspec.id}"
    for token in (WRITE, ADMIN, WRITE):
        assert post(client, url, Authorization=f"Bearer {token}", Idempotency_Key=key).status == 202
    assert client.request("GET", f"/v1/counts?url={url}").json["counts"][0]["likes"] == 2


def test_actors_are_one_like_each(client: Client, request: pytest.FixtureRequest) -> None:
    url = f"{SITE}/{request.node.name}"
    for actor in ("a", "b", "a"):
        body = json.dumps({"kind": "like", "url": url, "actor": actor}).encode()
        assert client.request("POST", "/v1/events", body).json == {"accepted": 1}
    assert client.request("GET", f"/v1/counts?url={url}").json["counts"][0]["likes"] == 2


def test_a_read_that_is_known_is_not_sent_again(client: Client) -> None:
    first = client.request("GET", f"/v1/counts?url={SITE}/etag")
    tag = first.headers["etag"]
    again = client.request("GET", f"/v1/counts?url={SITE}/etag", If_None_Match=tag)
    assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag)
    post(client, f"{SITE}/etag")
    assert client.request("GET", f"/v1/counts?url={SITE}/etag", If_None_Match=tag).status == 200


@pytest.mark.parametrize(
    "path", ["/", "/engine", "/v1/status", "/v1/tree", "/metrics", "/url?url=https://www.example.com/"]
)
def test_the_inside_needs_the_admin_token(daemon: Daemon, path: str) -> None:
    with Client(daemon.address) as client:
        assert client.request("GET", path).status == 401
        assert client.request("GET", path, Authorization=f"Bearer {WRITE}").status == 403
        assert client.request("GET", path, Authorization=f"Bearer {ADMIN}").status == 200


@pytest.mark.parametrize("path", ["/v1/top", "/v1/export"])
def test_what_tells_of_all_urls_needs_a_token(daemon: Daemon, path: str) -> None:
    with Client(daemon.address) as client:
        assert client.request("GET", path).status == 401
        assert client.request("GET", path, Authorization=f"Bearer {WRITE}", Connection="close").status == 200


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/likd.js", "/openapi.json", "/docs", "/demo", "/login"])
def test_some_things_are_for_everyone(daemon: Daemon, path: str) -> None:
    with Client(daemon.address) as client:
        assert client.request("GET", path).status == 200


def test_a_browser_is_sent_to_the_login_and_let_in_with_its_cookie(daemon: Daemon) -> None:
    with Client(daemon.address) as client:
        away = client.request("GET", "/", Accept="text/html,*/*")
        assert (away.status, away.headers["location"]) == (303, "/login?next=%2F")
        form = "application/x-www-form-urlencoded"
        assert client.request("POST", "/login", b"token=wrong", Content_Type=form).status == 401
        let_in = client.request("POST", "/login", f"token={ADMIN}".encode(), Content_Type=form)
        assert (let_in.status, let_in.headers["location"]) == (303, "/")
        cookie = let_in.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert client.request("GET", "/", Cookie=cookie.partition(";")[0]).status == 200


def test_the_token_is_not_to_be_guessed(daemon: Daemon) -> None:
    with Client(daemon.address) as client:
        form = "application/x-www-form-urlencoded"
        tried = [client.request("POST", "/login", b"token=guess", Content_Type=form).status for _ in range(15)]
    assert 429 in tried


def test_a_preflight_is_answered_for_pages_that_are_let_in(daemon: Daemon) -> None:
    with Client(daemon.address) as client:
        asked = {"Access_Control_Request_Method": "POST", "Access_Control_Request_Headers": "idempotency-key"}
        answer = client.request("OPTIONS", "/v1/events", Origin=SITE, **asked)
        assert answer.status == 204
        assert answer.headers["access-control-allow-origin"] == SITE
        assert "Idempotency-Key" in answer.headers["access-control-allow-headers"]
    with Client(daemon.address) as client:
        assert client.request("OPTIONS", "/v1/events", Origin="https://evil.test", **asked).status == 403


def test_pages_let_nothing_in_from_elsewhere(daemon: Daemon) -> None:
    with Client(daemon.address) as client:
        page = client.request("GET", "/demo")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert page.headers["x-content-type-options"] == "nosniff"
    assert b"<script>" not in page.body
    assert b" style=" not in page.body


def lines_of(daemon: Daemon, event: str) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in daemon.log.read_text().splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == event]


@pytest.mark.parametrize(
    ("event", "method", "target", "body"),
    [
        ("merged", "POST", "/v1/merge", {"old": f"{SITE}/old", "new": f"{SITE}/new"}),
        ("alias removed", "DELETE", f"/v1/aliases?old={SITE}/old", None),
        ("erased", "DELETE", f"/v1/counts?url={SITE}/old", None),
        ("erased", "POST", "/v1/reset", {"url": f"{SITE}/old"}),
        ("loaded", "POST", "/v1/import", {"url": f"{SITE}/old", "likes": 1}),
        ("link made", "POST", "/v1/shares", {"url": f"{SITE}/old"}),
    ],
)
def test_what_an_admin_does_is_told_with_the_name_of_the_token(
    daemon: Daemon, event: str, method: str, target: str, body: object
) -> None:
    sent = b"" if body is None else json.dumps(body).encode()
    with Client(daemon.address) as client:
        # One connection for both: the second is not told as the first.
        assert client.request("GET", "/v1/tree", Authorization=f"Bearer {ADMIN}").status == 200
        headers = {"Authorization": f"Bearer {OPS}", "Idempotency_Key": f"key-of-{event.split()[0]}-{method}"}
        assert client.request(method, target, sent, **headers).status in (200, 201)
    assert lines_of(daemon, event)[-1]["by"] == "token ops"


def test_a_refusal_is_told_with_the_name_of_the_token(daemon: Daemon) -> None:
    with Client(daemon.address) as client:
        assert client.request("GET", "/v1/tree", Authorization=f"Bearer {SHOP}").status == 403
    assert "token shop" in [line["name"] for line in lines_of(daemon, "refused: this needs the admin token")]


def test_no_token_is_in_the_log(daemon: Daemon) -> None:
    for token in (ADMIN, WRITE, OPS, SHOP):
        assert token not in daemon.log.read_text()
