"""Kinds that the settings name are counted as likes are: each on its own, one for each actor, undone by un-."""

from __future__ import annotations

import csv
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from likd.config import parsers
from tests.daemon import Client, Daemon, Response, wait_until
from tests.warm import command

FLAGS = ["--kinds", "clap,laugh", "--flush-interval", "0.2"]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with Daemon(tmp_path_factory.mktemp("kinds") / "data", *FLAGS) as daemon:
        yield daemon


@pytest.fixture
def page() -> str:
    return f"https://example.com/{uuid4().hex}"


def post(daemon: Daemon, *events: tuple[str, str, str | None]) -> Response:
    body = [{"kind": kind, "url": url, "actor": actor} for kind, url, actor in events]
    with Client(daemon.address) as client:
        return client.request("POST", "/v1/events", json.dumps(body).encode())


def row(daemon: Daemon, url: str) -> dict[str, int]:
    with Client(daemon.address) as client:
        found: dict[str, int] = client.request("GET", f"/v1/counts?url={url}").json["counts"][0]
    return found


def stored(daemon: Daemon, url: str, **counts: int) -> None:
    wait_until(lambda: daemon.stored().get(url, {}).items() >= counts.items())


def test_each_kind_has_counts_of_its_own(daemon: Daemon, page: str) -> None:
    assert post(daemon, ("clap", page, None), ("clap", page, None), ("unclap", page, None)).json == {"accepted": 3}
    assert post(daemon, ("laugh", page, None), ("like", page, None)).status == 202
    found = row(daemon, page)
    counts = {"claps": 2, "unclaps": 1, "laughs": 1, "unlaughs": 0, "likes": 1, "unlikes": 0, "net": 1}
    assert found.items() >= counts.items()
    assert post(daemon, ("wow", page, None)).json["expected"] == (
        "one of clap, impression, laugh, like, unclap, unlaugh, unlike"
    )


def test_an_actor_does_each_once_and_takes_each_back(daemon: Daemon, page: str) -> None:
    for kind in ("clap", "clap", "laugh", "like", "unlaugh", "unlaugh", "clap"):
        assert post(daemon, (kind, page, "a")).status == 202
    assert post(daemon, ("clap", page, "b"), ("unlike", page, "b")).status == 202
    counts = {"claps": 2, "unclaps": 0, "laughs": 1, "unlaughs": 1, "likes": 1, "unlikes": 0}
    assert row(daemon, page).items() >= counts.items()
    stored(daemon, page, **counts)
    assert post(daemon, ("clap", page, "a"), ("like", page, "a"), ("unclap", page, "b")).status == 202
    assert row(daemon, page).items() >= {**counts, "unclaps": 1}.items()


def test_kinds_are_in_lists_history_metrics_and_export(daemon: Daemon, page: str, tmp_path: Path) -> None:
    for _ in range(3):
        post(daemon, *[("clap", page, None)] * 50)
    stored(daemon, page, claps=150)
    with Client(daemon.address) as client:
        assert client.request("GET", "/v1/top?by=claps").json["top"][0]["url"] == page
        assert client.request("GET", f"/v1/history?url={page}&unit=minute&last=2").json["history"]
        assert sum(each["claps"] for each in client.request("GET", f"/v1/history?url={page}").json["history"]) == 150
        assert b'likd_events_total{kind="clap",result="accepted"}' in client.request("GET", "/metrics").body
    exported = map(json.loads, command("export", "--url", daemon.url).stdout.splitlines())
    assert {one["url"]: one["claps"] for one in exported}[page] == 150
    file = tmp_path / "counts.csv"
    with file.open("w") as out:
        csv.writer(out).writerows([["url", "claps", "unclaps"], [page, 7, 2]])
    assert command("import", str(file), "--url", daemon.url).returncode == 0
    assert row(daemon, page).items() >= {"claps": 157, "unclaps": 2}.items()


def test_merged_urls_have_one_of_each_kind_for_each_actor(daemon: Daemon, page: str) -> None:
    old = page + "/old"
    both = [(kind, url, "a") for url in (old, page) for kind in ("clap", "laugh")]
    post(daemon, *both, ("like", old, "a"), ("clap", old, "b"), ("like", page, "c"))
    stored(daemon, page, claps=1, laughs=1)
    with Client(daemon.address) as client:
        merged = client.request("POST", "/v1/merge", json.dumps({"old": old, "new": page}).encode()).json
    assert merged["liked_both"] == 0
    counts = {"claps": 3, "unclaps": 1, "laughs": 2, "unlaughs": 1, "likes": 2, "unlikes": 0}
    assert row(daemon, page).items() >= counts.items()
    post(daemon, ("clap", page, "a"), ("clap", old, "b"), ("unclap", old, "b"))
    assert row(daemon, page).items() >= {**counts, "unclaps": 2}.items()


def test_what_an_actor_did_outlives_a_crash_and_a_time_without_the_setting(tmp_path: Path, page: str) -> None:
    with Daemon(tmp_path / "data", *FLAGS[:2], "--flush-interval", "3600") as daemon:
        post(daemon, ("clap", page, "a"), ("laugh", page, "a"), ("clap", page, "b"))
        daemon.stop(signal.SIGKILL)
    with Daemon(tmp_path / "data", *FLAGS) as daemon:
        stored(daemon, page, claps=2, laughs=1)
        assert post(daemon, ("clap", page, "a"), ("unlaugh", page, "a")).status == 202
        assert row(daemon, page).items() >= {"claps": 2, "laughs": 1, "unlaughs": 1}.items()
        assert daemon.stop() == 0
    with Daemon(tmp_path / "data") as daemon:
        assert post(daemon, ("clap", page, "a")).json["field"] == "kind"
        assert "claps" not in row(daemon, page)
        assert daemon.stop() == 0
    with Daemon(tmp_path / "data", *FLAGS) as daemon:
        assert post(daemon, ("clap", page, "a")).status == 202
        assert row(daemon, page).items() >= {"claps": 2, "unlaughs": 1}.items()


@pytest.mark.parametrize(
    "kinds",
    [
        "like",
        "unlike",
        "impression",
        "clap,clap",
        "do,undo",
        "Clap",
        "1up",
        "a-b",
        "x" * 30,
        ["clap", 1],
        ",".join(f"k{n}" for n in range(17)),
    ],
)
def test_what_can_be_no_kind_is_refused(kinds: object) -> None:
    with pytest.raises(ValueError, match="a list of at most 16 new kinds, for example clap,laugh"):
        parsers.kinds(kinds)


@pytest.mark.parametrize(("kinds", "found"), [("", ()), ("clap, union", ("clap", "union")), (["x" * 29], ("x" * 29,))])
def test_kinds_are_listed_as_other_names_are(kinds: object, found: tuple[str, ...]) -> None:
    assert parsers.kinds(kinds) == found


def test_a_kind_whose_name_begins_as_an_undo_does(tmp_path: Path, page: str) -> None:
    with Daemon(tmp_path / "data", "--kinds", "unite") as daemon:
        for kind in ("unite", "unite", "ununite", "unite"):
            assert post(daemon, (kind, page, "a")).status == 202
        assert row(daemon, page).items() >= {"unites": 2, "ununites": 1}.items()
