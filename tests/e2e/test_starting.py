"""Starts: what is damaged is told, what can't be used is refused, and a long one obeys signals."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from likd import __version__
from likd.durability.filenames import BATCH
from tests import warm
from tests.daemon import PATIENCE_SECONDS, Client, Daemon, wait_until

EVENT = b'{"kind":"like","url":"https://example.com/"}'


def likd(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return warm.command(*map(str, arguments), timeout=PATIENCE_SECONDS)


def damage_a_batch(data: Path) -> None:
    data.mkdir()
    (data / BATCH.name(3)).write_bytes(b"damaged")


def test_recover_tells_of_damage_by_its_exit_status_once(tmp_path: Path) -> None:
    data = tmp_path / "data"
    damage_a_batch(data)

    dry = likd("recover", "--data-dir", data, "--dry-run")
    done = likd("recover", "--data-dir", data)
    again = likd("recover", "--data-dir", data)

    assert (dry.returncode, done.returncode, again.returncode) == (1, 1, 0)
    assert "damage was found in 1 places" in done.stderr
    assert "the next table is 4" in again.stdout


def test_doctor_fails_while_damaged_files_are_there(tmp_path: Path) -> None:
    data = tmp_path / "data"
    damage_a_batch(data)
    likd("recover", "--data-dir", data)

    done = likd("doctor", "--data-dir", data, "--bind", "127.0.0.1:0")
    (data / "damaged" / BATCH.name(3)).unlink()
    later = likd("doctor", "--data-dir", data, "--bind", "127.0.0.1:0")

    assert done.returncode == 1
    assert f"fail  damage: 1 files in {data}/damaged" in done.stdout
    assert later.returncode == 0


def test_a_start_that_finds_damage_says_so_and_it_is_seen_until_somebody_removes_the_files(tmp_path: Path) -> None:
    data = tmp_path / "data"
    damage_a_batch(data)
    with Daemon(data, "--log-format", "json") as daemon, Client(daemon.address) as client:
        errors = [line for line in map(json.loads, daemon.log.read_text().splitlines()) if line["level"] == "error"]
        assert [line["event"] for line in errors] == ["damage found at the start"]
        assert client.request("GET", "/v1/status").json["damaged_files"] == 1
        assert b"likd_damaged_files 1.0" in client.request("GET", "/metrics").body
        (data / "damaged" / BATCH.name(3)).unlink()
        wait_until(lambda: client.request("GET", "/v1/status").json["damaged_files"] == 0)


@pytest.mark.parametrize("name", ["secret", "source"])
def test_an_empty_secret_or_source_is_one_line_and_stays(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()

    done = likd("serve", "--data-dir", tmp_path, "--bind", "127.0.0.1:0")

    assert done.returncode == 1
    assert f"{name} is empty" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert (tmp_path / name).read_text() == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_start_that_takes_long_obeys_a_signal(tmp_path: Path, number: int) -> None:
    """It waits for the database here, which somebody else holds."""
    with Daemon(tmp_path / "data") as daemon:
        daemon.stop()
    log = tmp_path / "long.log"
    with closing(sqlite3.connect(tmp_path / "data" / "likd.db", isolation_level=None)) as holder:
        holder.execute("PRAGMA journal_mode = DELETE")
        holder.execute("BEGIN EXCLUSIVE")
        arguments = ["serve", "--data-dir", str(tmp_path / "data"), "--bind", "127.0.0.1:0"]
        with warm.Process(arguments, log, os.environ) as process:
            lock = tmp_path / "data" / "lock"
            wait_until(lambda: lock.read_text() == f"{process.pid}\n")
            wait_until(lambda: len(list(Path(f"/proc/{process.pid}/task").iterdir())) > 1)
            process.send_signal(number)

            assert process.wait(2) == 0
    assert "Traceback" not in log.read_text()
    with Daemon(tmp_path / "data"):
        pass


def test_a_dry_run_leaves_nothing_behind(tmp_path: Path) -> None:
    empty, data = tmp_path / "empty", tmp_path / "data"
    empty.mkdir()
    assert likd("recover", "--dry-run", "--data-dir", empty).returncode == 0
    assert list(empty.iterdir()) == []
    with Daemon(data) as daemon, Client(daemon.address) as client:
        assert client.request("POST", "/v1/events", EVENT).status == 202
        assert "is in use by process" in likd("recover", "--dry-run", "--data-dir", data).stderr
        daemon.stop()
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in data.iterdir()}
    assert likd("recover", "--dry-run", "--data-dir", data).returncode == 0
    assert {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in data.iterdir()} == before


def test_an_address_in_use_leaves_no_directory_behind(tmp_path: Path) -> None:
    with Daemon(tmp_path / "data") as daemon:
        done = likd("serve", "--bind", f"127.0.0.1:{daemon.address[1]}", "--data-dir", tmp_path / "other")
    assert (done.returncode, done.stdout) == (1, "")
    assert "the address is in use" in done.stderr
    assert not (tmp_path / "other").exists()


def test_the_first_line_of_the_log_says_what_starts_where_and_for_whom(tmp_path: Path) -> None:
    with Daemon(tmp_path / "data", "--public-sites", "example.com", "--log-format", "json") as daemon:
        first = json.loads(daemon.log.read_text().splitlines()[0])
    assert first["version"] == __version__
    assert (first["data_dir"], first["access"]) == (str(tmp_path / "data"), "the public, for pages of example.com")


def test_a_database_of_a_later_version_is_one_line_and_stays_as_it_is(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "likd.db")) as database:
        database.execute("CREATE TABLE schema (version INTEGER NOT NULL, readable_from INTEGER NOT NULL)")
        database.execute("INSERT INTO schema VALUES (9, 9)")
        database.commit()

    done = likd("serve", "--data-dir", tmp_path, "--bind", "127.0.0.1:0")

    assert done.returncode == 1
    assert "likd.db has schema 9, and this likd knows 1" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_copied_directory_fences_the_older_daemon_which_ends_with_a_line_and_status_3(tmp_path: Path) -> None:
    data, copy = tmp_path / "data", tmp_path / "copy"
    store = f"sqlite:///{tmp_path}/shared.db"
    with Daemon(data, "--store", store, "--flush-interval", "50ms") as older:
        copy.mkdir()
        for name in ("source", "secret"):
            shutil.copy(data / name, copy)
        with Daemon(copy, "--store", store, "--flush-interval", "50ms") as newer:
            with Client(older.address) as client:
                assert client.request("POST", "/v1/events", EVENT, Content_Type="application/json").status == 202
            assert older.process.wait(PATIENCE_SECONDS) == 3
            said = older.log.read_text().splitlines()[-1]
            assert "another likd that started later writes to the store for this data directory" in said
            with Client(newer.address) as client:
                assert client.request("POST", "/v1/events", EVENT, Content_Type="application/json").status == 202
                wait_until(lambda: client.request("GET", "/v1/status").json["store"]["applied"])
            assert newer.stop() == 0
    with closing(sqlite3.connect(tmp_path / "shared.db")) as database:
        assert database.execute("SELECT likes FROM counts").fetchall() == [(1,)]
