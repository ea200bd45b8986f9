"""URLs that move, counts that come from elsewhere or go there: with a real process and the command."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.daemon import Client, Daemon, wait_until
from tests.warm import command

OLD, NEW = "https://example.com/old", "https://example.com/new"


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with Daemon(tmp_path / "data", "--table-limit", "5", "--flush-interval", "0.1") as daemon:
        yield daemon


def likd(daemon: Daemon, *arguments: str) -> subprocess.CompletedProcess[str]:
    return command(*arguments, "--url", daemon.url)


def post(daemon: Daemon, *events: dict[str, Any]) -> None:
    with Client(daemon.address) as client:
        body = b"\n".join(json.dumps(event).encode() for event in events)
        assert client.request("POST", "/v1/events", body).status == 202


def counts(daemon: Daemon, url: str) -> dict[str, Any]:
    with Client(daemon.address) as client:
        row: dict[str, Any] = client.request("GET", f"/v1/counts?url={url}").json["counts"][0]
        return row


def like(url: str, actor: str | None = None) -> dict[str, Any]:
    return {"kind": "like", "url": url} | ({"actor": actor} if actor else {})


def test_http_and_https_are_one_page(daemon: Daemon) -> None:
    post(daemon, like("http://example.com/"), like("https://example.com/"), like("http://example.com:8000/"))
    assert counts(daemon, "http://example.com/")["likes"] == counts(daemon, "https://example.com/")["likes"] == 2


def test_a_merge_holds_at_once_and_over_a_restart_although_the_store_is_away(tmp_path: Path) -> None:
    path, environment = tmp_path / "data", {**os.environ, "LIKD_TEST_FAULTS": "1"}
    body = json.dumps({"old": OLD, "new": NEW, "wait": 0.1}).encode()
    pending = {"url": NEW, "merged": OLD, "pending": True}
    with Daemon(path, "--flush-interval", "0.1", environment=environment) as daemon, Client(daemon.address) as client:
        post(daemon, like(OLD, "a"), like(NEW, "a"), like(NEW, "b"))
        client.request("POST", "/v1/fault", b'{"fault":"store","seconds":600}')
        answer = client.request("POST", "/v1/merge", body)
        assert (answer.status, answer.json) == (202, pending)
        assert client.request("POST", "/v1/merge", body.replace(b"/old", b"/older")).status == 409
        daemon.process.kill()
    with Daemon(path, "--flush-interval", "0.1") as daemon:
        post(daemon, like(OLD, "b"), like(OLD, "c"))
        wait_until(lambda: counts(daemon, OLD)["net"] == 3)
        done = {"url": NEW, "likes": 4, "unlikes": 1, "net": 3, "impressions": 0, "merged": OLD, "pending": False}
        with Client(daemon.address) as client:
            assert client.request("POST", "/v1/merge", body).json == {**done, "liked_both": 1}


def test_what_was_counted_by_other_rules_is_not_lost(tmp_path: Path) -> None:
    path = tmp_path / "data"
    with Daemon(path, "--same-schemes", "false", "--flush-interval", "0.1") as daemon:
        post(daemon, like("http://example.com/", "a"), like("https://example.com/", "a"), like(NEW + "?utm_x=1"))
        assert counts(daemon, "http://example.com/")["likes"] == 1
        daemon.stop()
    with Daemon(path, "--drop-parameters", "utm_*", "--flush-interval", "0.1") as daemon:
        with Client(daemon.address) as client:
            wait_until(lambda: client.request("GET", "/v1/status").json["folding"]["done"])
        assert counts(daemon, "http://example.com/")["net"] == counts(daemon, "https://example.com/")["net"] == 1
        assert counts(daemon, NEW)["likes"] == 1
        assert set(daemon.stored()) == {"https://example.com/", NEW}


def test_tracking_parameters_can_be_dropped(tmp_path: Path) -> None:
    with Daemon(tmp_path / "data", "--drop-parameters", "utm_*,fbclid") as daemon:
        post(daemon, like(NEW + "?utm_source=x&fbclid=1"), like(NEW + "?id=1&utm_medium=y"), like(NEW + "?id=1"))
        assert counts(daemon, NEW)["likes"] == 1
        assert counts(daemon, NEW + "?id=1")["likes"] == 2


def test_a_page_that_moved_keeps_its_likes_and_each_actor_has_one(daemon: Daemon) -> None:
    post(daemon, like(OLD, "a"), like(OLD, "b"), like(NEW, "b"), like(NEW, "c"), like(OLD))

    merged = likd(daemon, "merge", OLD, NEW)

    assert (merged.returncode, merged.stdout) == (0, f"{OLD} is part of {NEW} now: 5 likes, 1 unlikes\n")
    assert counts(daemon, OLD)["net"] == counts(daemon, NEW)["net"] == 4
    post(daemon, like(OLD, "a"), like(NEW, "c"), like(OLD, "d"), {"kind": "unlike", "url": NEW, "actor": "a"})
    assert counts(daemon, NEW)["net"] == 4
    assert likd(daemon, "merge", OLD, NEW).returncode == 0
    assert counts(daemon, NEW)["net"] == 4


def test_a_merge_is_remembered(tmp_path: Path) -> None:
    with Daemon(tmp_path / "data", "--flush-interval", "0.1") as daemon:
        post(daemon, like(OLD))
        assert likd(daemon, "merge", OLD, NEW).returncode == 0
        daemon.stop()
    with Daemon(tmp_path / "data") as daemon:
        post(daemon, like(OLD), like(NEW))
        assert counts(daemon, OLD)["likes"] == counts(daemon, NEW)["likes"] == 3


def test_urls_are_merged_while_likes_come_for_both_and_none_is_lost(daemon: Daemon) -> None:
    sent = [0, 0]
    stop = threading.Event()

    def send(number: int) -> None:
        with Client(daemon.address) as client:
            while not stop.is_set():
                body = b"\n".join(json.dumps(like(url)).encode() for url in (OLD, NEW))
                assert client.request("POST", "/v1/events", body).status == 202
                sent[number] += 2

    senders = [threading.Thread(target=send, args=(number,)) for number in range(2)]
    for sender in senders:
        sender.start()
    merged = likd(daemon, "merge", OLD, NEW)
    stop.set()
    for sender in senders:
        sender.join()

    assert merged.returncode == 0, merged.stderr
    assert counts(daemon, OLD)["likes"] == counts(daemon, NEW)["likes"] == sum(sent)
    daemon.stop()
    assert daemon.stored()[NEW]["likes"] == sum(sent)
    assert OLD not in daemon.stored()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [(OLD, OLD, "into itself"), ("nonsense", NEW, "old is 'nonsense'"), (OLD, "ftp://x/", "new is 'ftp://x/'")],
)
def test_what_cannot_be_merged_is_one_line(daemon: Daemon, old: str, new: str, said: str) -> None:
    refused = likd(daemon, "merge", old, new)
    assert refused.returncode == 1
    assert said in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_starting_counts_are_loaded_once_however_often(daemon: Daemon, tmp_path: Path) -> None:
    file = tmp_path / "counts.csv"
    file.write_text(f"url,likes,impressions\n{OLD},100,5000\nhttp://example.com/new,7,\n")
    post(daemon, like(OLD))
    assert counts(daemon, OLD)["likes"] == 1

    first, again = likd(daemon, "import", str(file)), likd(daemon, "import", str(file))

    assert first.stdout == "2 URLs loaded\n"
    assert again.stdout == "0 URLs loaded; 2 lines were loaded before\n"
    assert (counts(daemon, OLD)["likes"], counts(daemon, OLD)["impressions"]) == (101, 5000)
    assert counts(daemon, NEW)["likes"] == 7


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", "page,likes\nx,1\n", "no url column"),
        ("a.csv", f"url,likes\n{OLD},many\n", "line 2: likes is 'many'"),
        ("a.ndjson", '{"url":"https://example.com/","loves":1}\n', "line 1"),
        ("a.ndjson", '{"url":"x","likes":1}\n', "line 1"),
        ("a.ndjson", "{\n", "line 1"),
        ("a.csv", f"url,likes\n{OLD},{2**53 + 1}\n", "line 2: likes is '9007199254740993', more than 2^53"),
        ("a.csv", f"url,likes\n{OLD},{'9' * 5000}\n", "line 2: likes is '999"),
    ],
)
def test_a_wrong_file_is_refused_with_its_line(daemon: Daemon, tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    refused = likd(daemon, "import", str(tmp_path / name))
    assert refused.returncode in (1, 2)
    assert said in refused.stderr
    assert "Traceback" not in refused.stderr


def test_nothing_is_loaded_before_the_whole_file_is_checked(daemon: Daemon, tmp_path: Path) -> None:
    file = tmp_path / "counts.csv"
    rows = [f"https://example.com/{n},1" for n in range(10_600)]
    bad = [*rows[:10_499], "https://example.com/bad", *rows[10_499:]]
    file.write_text("\n".join(["url,likes", *bad]))

    wrong = likd(daemon, "import", str(file))
    nothing = likd(daemon, "export").stdout
    file.write_text("\n".join(["url,likes", *rows]))
    dry = likd(daemon, "import", "--dry-run", str(file))
    right = likd(daemon, "import", str(file))

    assert wrong.returncode == 2
    assert wrong.stderr == f"likd import: {file}: line 10501: 1 values instead of 2\n"
    assert "likes" not in nothing
    assert dry.stdout == "10,600 lines can be loaded\n"
    assert right.stdout == "10,600 URLs loaded\n"
    assert sum(json.loads(line)["likes"] for line in likd(daemon, "export").stdout.splitlines()) == 10_600


def test_a_file_that_was_corrected_after_a_part_of_it_was_loaded_counts_each_row_once(
    daemon: Daemon, tmp_path: Path
) -> None:
    file = tmp_path / "counts.csv"
    most = [f"https://example.com/most,{2**53}"] * 300
    rows = [*(f"https://example.com/{n},1" for n in range(4900)), *most, *(["https://example.com/0,0"] * 5000)]
    # The total is past what can be held, but not in one portion: only the store finds it.
    file.write_text("\n".join(["url,likes", *rows, *most]))

    broken = likd(daemon, "import", str(file))
    part = sum(json.loads(line)["likes"] for line in likd(daemon, "export").stdout.splitlines())
    file.write_text("\n".join(["url,likes", *rows]))
    corrected, again = likd(daemon, "import", str(file)), likd(daemon, "import", str(file))

    assert broken.returncode == 1
    assert "exceed 2^62" in broken.stderr
    assert part == 4900 + 300 * 2**53
    assert corrected.returncode == 0
    assert again.stdout == "0 URLs loaded; 10,200 lines were loaded before\n"
    assert sum(json.loads(line)["likes"] for line in likd(daemon, "export").stdout.splitlines()) == part


def test_a_file_that_an_earlier_version_loaded_is_not_loaded_again(daemon: Daemon, tmp_path: Path) -> None:
    file = tmp_path / "counts.csv"
    file.write_text(f"url,likes\n{OLD},100\n")
    key = f"import-{hashlib.sha256(file.read_bytes()).hexdigest()[:32]}-0"
    with Client(daemon.address) as client:
        client.request("POST", "/v1/import", f'{{"url":"{OLD}","likes":100}}'.encode(), Idempotency_Key=key)

    again = likd(daemon, "import", str(file))

    assert again.stdout == "0 URLs loaded; 1 lines were loaded before\n"
    assert counts(daemon, OLD)["likes"] == 100


def test_a_mark_before_the_text_is_no_part_of_what_is_loaded_or_merged(daemon: Daemon) -> None:
    mark = b"\xef\xbb\xbf"
    with Client(daemon.address) as client:
        body = mark + b'{"url":"%s","likes":3}' % OLD.encode()
        assert client.request("POST", "/v1/import", body, Idempotency_Key="marked").json["loaded"] == 1
        merge = mark + b'{"old":"%s","new":"%s"}' % (OLD.encode(), NEW.encode())
        assert client.request("POST", "/v1/merge", merge).json["likes"] == 3


def test_starting_counts_with_a_time_are_in_the_history_where_they_belong(daemon: Daemon, tmp_path: Path) -> None:
    file = tmp_path / "counts.csv"
    now = int(time.time())
    long_ago = datetime.fromtimestamp(now - 40 * 86_400, UTC)
    file.write_text(f"url,likes,time\n{OLD},5,{now - 7200}\n{OLD},7,{long_ago:%Y-%m-%dT%H:%M:%SZ}\n{OLD},11,\n")
    post(daemon, like(NEW))

    assert likd(daemon, "import", str(file)).stdout == "1 URLs loaded\n"
    assert likd(daemon, "import", str(file)).stdout == "0 URLs loaded; 3 lines were loaded before\n"

    def history(unit: str, last: int) -> dict[int, int]:
        with Client(daemon.address) as client:
            answer = client.request("GET", f"/v1/history?url={OLD}&unit={unit}&last={last}").json
            return {row["time"]: row["likes"] for row in answer["history"] if row["likes"]}

    then, before = now - 7200, int(long_ago.timestamp())
    assert counts(daemon, OLD)["likes"] == 23
    assert history("minute", 180) == {then - then % 60: 5}
    assert history("hour", 1000) == {then - then % 3600: 5, before - before % 3600: 7}
    assert history("day", 100) == {then - then % 86_400: 5, before - before % 86_400: 7}


@pytest.mark.parametrize("value", ["x", "-5", "99999999999", "2999-01-01", "2024-13-01", "1e9"])
def test_a_time_that_is_none_is_refused_with_its_line(daemon: Daemon, tmp_path: Path, value: str) -> None:
    file = tmp_path / "counts.csv"
    file.write_text(f"url,likes,time\n{OLD},5,{value}\n")
    refused = likd(daemon, "import", str(file))
    assert refused.returncode == 2
    assert f"line 2: time is '{value}'" in refused.stderr
    with Client(daemon.address) as client:
        body = json.dumps({"url": OLD, "likes": 5, "time": value}).encode()
        answer = client.request("POST", "/v1/import", body, Idempotency_Key="times")
    assert (answer.status, answer.json["line"], answer.json["field"]) == (422, 1, "time")


@pytest.mark.parametrize("form", ["csv", "ndjson"])
def test_what_an_export_writes_an_import_reads(tmp_path: Path, form: str) -> None:
    with Daemon(tmp_path / "one", "--flush-interval", "0.1") as daemon:
        post(daemon, like(OLD), like(NEW), {"kind": "unlike", "url": NEW}, {"kind": "unlike", "url": NEW})
        told = likd(daemon, "export", "--format", form).stdout
        file = tmp_path / f"counts.{form}"
        file.write_text(told)
    with Daemon(tmp_path / "two") as daemon:
        empty = likd(daemon, "export", "--format", form).stdout
        (tmp_path / f"empty.{form}").write_text(empty)
        assert likd(daemon, "import", str(tmp_path / f"empty.{form}")).stdout == "0 URLs loaded\n"
        assert likd(daemon, "import", str(file)).returncode == 0
        assert likd(daemon, "export", "--format", form).stdout == told


def test_all_counts_are_exported_also_those_not_in_the_store_yet(tmp_path: Path) -> None:
    with Daemon(tmp_path / "data", "--flush-interval", "3600") as daemon:
        urls = [f"https://example.com/{n:04}" for n in range(2500)]
        post(daemon, *map(like, urls))
        rows = [json.loads(line) for line in likd(daemon, "export").stdout.splitlines()]
        table = list(csv.DictReader(io.StringIO(likd(daemon, "export", "--format", "csv").stdout)))
    assert [row["url"] for row in rows] == urls
    assert sum(row["likes"] for row in rows) == 2500
    assert [row["url"] for row in table] == urls


def test_the_history_of_a_url_is_told(daemon: Daemon) -> None:
    post(daemon, like(NEW), like(NEW))

    def history(unit: str) -> list[dict[str, int]]:
        with Client(daemon.address) as client:
            found: list[dict[str, int]] = client.request("GET", f"/v1/history?url={NEW}&unit={unit}&last=3").json[
                "history"
            ]
            return found

    wait_until(lambda: sum(row["likes"] for row in history("minute")) == 2)
    assert [sum(row["likes"] for row in history(unit)) for unit in ("hour", "day")] == [2, 2]
    assert all(len(history(unit)) == 3 for unit in ("minute", "hour", "day"))


def test_metrics_are_as_prometheus_asks(daemon: Daemon) -> None:
    post(daemon, like(OLD), like(NEW))
    with Client(daemon.address) as client:
        client.request("POST", "/v1/events", json.dumps(like(NEW)).encode())
        text = client.request("GET", "/metrics").body.decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    events = {(s.labels["kind"], s.labels["result"]): s.value for s in families["likd_events"].samples}
    assert events["like", "accepted"] == 3
    assert events["impression", "refused"] == 0
    assert all(family.documentation for family in families.values())
    assert {"likd_journal_fsync_seconds", "likd_acknowledgement_seconds", "likd_child_restarts"} <= set(families)


@pytest.mark.parametrize("name", ["alerts.yml", "grafana.json"])
def test_alerts_and_panels_ask_for_metrics_that_there_are(daemon: Daemon, name: str) -> None:
    rules = (Path(__file__).resolve().parents[2] / "docs" / "deploy" / name).read_text()
    with Client(daemon.address) as client:
        text = client.request("GET", "/metrics").body.decode()
    asked = set(re.findall(r"\blikd_[a-z_]+(?=[\[{) ,])", rules))
    assert len(asked) >= 10
    assert asked <= set(re.findall(r"^(likd_[a-z_]+)", text, re.MULTILINE))


def test_the_doctor_finds_nothing_wrong_and_says_what_is(daemon: Daemon, tmp_path: Path) -> None:
    def doctor(*flags: str) -> subprocess.CompletedProcess[str]:
        return command("doctor", *flags)

    bind = f"127.0.0.1:{daemon.address[1]}"
    well = doctor("--data-dir", str(daemon.data_dir), "--bind", bind)
    assert well.returncode == 0, well.stdout
    assert f"likd is already listening on {bind}" in well.stdout
    (tmp_path / "sick").mkdir()
    (tmp_path / "sick" / "likd.db").write_bytes(b"no database" * 100)
    ill = doctor("--data-dir", str(tmp_path / "sick"), "--bind", "0.0.0.0:1")
    assert ill.returncode == 1
    assert [line.split()[1].rstrip(":") for line in ill.stdout.splitlines() if line.startswith("fail")][:2] == [
        "access",
        "store",
    ]
