"""URLs and sites are deleted, reset, merged with a look ahead, and aliases removed: over HTTP and by command."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.daemon import Client, Daemon
from tests.warm import command

A, B, C = (f"https://example.com/{name}" for name in "abc")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with Daemon(tmp_path_factory.mktemp("managing") / "data", "--flush-interval", "0.1") as daemon:
        yield daemon


@pytest.fixture
def client(daemon: Daemon) -> Iterator[Client]:
    """Of a daemon that has nothing of example.com but three likes."""
    with Client(daemon.address) as client:
        assert client.request("DELETE", "/v1/counts?site=example.com").status == 200
        for row in client.request("GET", "/v1/aliases").json["aliases"]:
            assert client.request("DELETE", f"/v1/aliases?old={row['old']}").status == 200
        events = [{"kind": "like", "url": A}, {"kind": "like", "url": B, "actor": "x"}]
        events.append({"kind": "like", "url": A, "actor": "x"})
        assert client.request("POST", "/v1/events", json.dumps(events).encode()).status == 202
        yield client


def likes(client: Client, *urls: str) -> list[int]:
    rows = client.request("GET", "/v1/counts?" + "&".join(f"url={url}" for url in urls)).json["counts"]
    return [row["likes"] for row in rows]


def site(client: Client) -> dict[str, Any]:
    sites = client.request("GET", "/v1/sites").json["sites"]
    return next((site for site in sites if site["host"] == "example.com"), {})


def test_a_url_is_deleted_and_another_is_reset(client: Client) -> None:
    assert site(client)["likes"] == 3
    answer = client.request("DELETE", f"/v1/counts?url={A}")
    assert (answer.status, answer.json) == (200, {"url": A, "deleted": True, "pending": False})
    assert (likes(client, A, B), site(client)["likes"], site(client)["pages"]) == ([0, 1], 1, 1)
    answer = client.request("POST", "/v1/reset", json.dumps({"url": B}).encode())
    assert (answer.status, answer.json) == (200, {"url": B, "reset": True, "pending": False})
    assert (likes(client, A, B), site(client).get("pages")) == ([0, 0], 1)


def test_a_site_is_reset_and_deleted(client: Client) -> None:
    assert client.request("POST", "/v1/reset", b'{"site": "Example.com"}').json["site"] == "example.com"
    assert (likes(client, A, B), site(client)["pages"], site(client)["last30"]) == ([0, 0], 2, 0)
    assert client.request("DELETE", "/v1/counts?site=example.com").status == 200
    assert site(client) == {}


def test_a_merge_is_looked_at_ahead_and_aliases_are_listed_and_removed(client: Client) -> None:
    body = json.dumps({"old": A, "new": B}).encode()
    ahead = client.request("POST", "/v1/merge?dry_run=1", body).json
    assert (ahead["url"], ahead["likes"], ahead["dry_run"]) == (B, 3, True)
    assert ahead["known"] == {"old": True, "new": True}
    assert likes(client, A, B) == [2, 1]
    assert client.request("POST", "/v1/aliases", body).json["liked_both"] == 1
    assert client.request("GET", f"/v1/aliases?url={B}").json == {
        "aliases": [{"old": A, "new": B}],
        "total": 1,
        "next": None,
    }
    assert client.request("DELETE", f"/v1/aliases?old={A}").status == 200
    assert client.request("GET", "/v1/aliases").json["aliases"] == []
    assert likes(client, A, B) == [0, 3]
    assert client.request("DELETE", f"/v1/aliases?old={A}").status == 422


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("DELETE", "/v1/counts", b""),
        ("DELETE", f"/v1/counts?url={A}&site=example.com", b""),
        ("DELETE", "/v1/counts?url=x", b""),
        ("DELETE", "/v1/counts?site=%20", b""),
        ("POST", "/v1/reset", b"{}"),
        ("POST", "/v1/reset", b'{"page": 1}'),
        ("GET", "/v1/aliases?limit=0", b""),
        ("DELETE", "/v1/aliases?old=x", b""),
    ],
)
def test_what_can_not_be_is_said(client: Client, method: str, path: str, body: bytes) -> None:
    answer = client.request(method, path, body)
    assert (answer.status, answer.headers["content-type"]) == (422, "application/problem+json")


def test_the_commands_do_it(daemon: Daemon, client: Client) -> None:
    typo = command("merge", C, C + "x", "--url", daemon.url)
    assert typo.returncode == 2
    assert "--force" in typo.stderr
    assert command("merge", A, B, "--url", daemon.url).returncode == 0
    assert command("aliases", "--url", daemon.url).stdout == f"{A} counts for {B}\n"
    assert command("aliases", "--remove", A, "--url", daemon.url).returncode == 0
    assert command("delete", B, "--url", daemon.url).returncode == 2
    assert command("reset", B, "--yes", "--url", daemon.url).stdout == f"{B} is reset\n"
    assert command("delete", "example.com", "--yes", "--url", daemon.url).stdout == "example.com is deleted\n"
    assert command("merge", C, C + "x", "--force", "--url", daemon.url).returncode == 0


def test_the_status_tells_bounds_refusals_faults_and_how_long_things_take(client: Client) -> None:
    status = client.request("GET", "/v1/status").json
    assert status["bounds"]["rows"]["max"] > status["bounds"]["rows"]["is"] >= 0
    assert status["faults"] == []
    assert status["refused_24h"] == {}
    assert status["latency_ms"]["acknowledge_p99"] >= status["latency_ms"]["flush_p50"] > 0
    children = {child["name"]: child for child in client.request("GET", "/v1/tree").json["children"]}
    assert children["event manager"]["queue_max"] > children["event manager"]["queue"] >= 0
