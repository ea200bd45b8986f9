"""An operator at the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import warm
from tests.daemon import PATIENCE_SECONDS, Client, Daemon, wait_until

LOG_LINE = '10.0.0.1 - - [17/May/2015:10:05:03 +0000] "%s HTTP/1.1" %d 203 "-" "Mozilla/5.0"\n'


def likd(*arguments: str | Path, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    done = warm.command(*map(str, arguments), stdin=stdin or b"", timeout=PATIENCE_SECONDS)
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.encode(), done.stderr.encode())


def events(n: int, urls: int = 50) -> bytes:
    return b"".join(b'{"kind":"like","url":"https://example.com/%d"}\n' % (k % urls) for k in range(n))


def likes(daemon: Daemon) -> int:
    return sum(row["likes"] for row in daemon.stored().values())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["serve", "--table-limit", "0"], "--table-limit"),
        (["serve", "--bind", "nowhere"], "--bind"),
        (["serve", "--config", "/nowhere/likd.toml"], "no such file"),
        (["serve", "--no-such-flag"], "--no-such-flag"),
        (["send", "/nowhere/events"], "/nowhere/events"),
        (["send", "--format", "access-log", "log"], "--site"),
        (["watch", "example.com"], "example.com"),
        (["inspect", "/nowhere"], "/nowhere"),
        (["recover", "--data-dir", "/nowhere"], "/nowhere"),
        (["no-such-command"], "no-such-command"),
    ],
)
def test_what_is_wrong_is_one_line_and_status_2(arguments: list[str], said: str) -> None:
    done = likd(*arguments)

    assert done.returncode == 2
    assert done.stdout == b""
    assert len(done.stderr.splitlines()) == 1
    assert said in done.stderr.decode()


@pytest.mark.parametrize("command", ["serve", "send", "watch", "top", "inspect", "recover"])
def test_every_command_explains_itself(command: str) -> None:
    done = likd(command, "--help")

    assert done.returncode == 0
    assert b"Exit status" in done.stdout


def test_serve_names_each_setting_with_unit_and_default() -> None:
    text = likd("serve", "--help").stdout.decode()

    for flag in ("--bind HOST:PORT", "--data-dir DIR", "--table-limit URLS", "--flush-interval SECONDS"):
        assert flag in text
    assert "--write-tolerance ROWS_PER_SECOND" in text
    assert "LIKD_TABLE_LIMIT" in text


def test_a_second_daemon_on_a_directory_says_so_and_ends(tmp_path: Path) -> None:
    with Daemon(tmp_path / "data") as daemon:
        done = likd("serve", "--data-dir", daemon.data_dir, "--bind", "127.0.0.1:0")

        assert done.returncode == 1
        assert f"in use by process {daemon.process.pid}" in done.stderr.decode()


def test_an_address_in_use_is_said(tmp_path: Path) -> None:
    with Daemon(tmp_path / "one") as daemon:
        done = likd("serve", "--data-dir", tmp_path / "two", "--bind", f"127.0.0.1:{daemon.address[1]}")

        assert done.returncode == 1
        assert "the address is in use" in done.stderr.decode()


def test_send_counts_each_line_and_reports_the_wrong_ones(tmp_path: Path) -> None:
    lines = events(5000).splitlines()
    lines[1234] = b'{"kind":"hate","url":"https://example.com/"}'
    lines[4321] = b"junk"
    with Daemon(tmp_path / "data") as daemon:
        done = likd("send", "--url", daemon.url, "--batch", "1000", "-", stdin=b"\n".join(lines))

        assert done.returncode == 1
        assert done.stdout == b"5000 lines read: 4998 events accepted, 2 lines refused\n"
        assert b"standard input:1235: kind is 'hate'" in done.stderr
        assert b"standard input:4322: " in done.stderr
        daemon.stop()
        assert likes(daemon) == 4998


def test_send_makes_impressions_of_an_access_log(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    requests = [("GET /a?b=c", 200), ("GET /a?b=c", 304), ("GET /x", 404), ("POST /a", 200), ("HEAD /a", 200)]
    log.write_text("".join(LOG_LINE % request for request in requests) + "no log line\n")
    with Daemon(tmp_path / "data") as daemon:
        done = likd("send", "--url", daemon.url, "--format", "access-log", "--site", "https://example.com", log)

        assert done.stdout.startswith(b"6 lines read: 2 events accepted, 0 lines refused, 1 unparsable, 3 skipped")
        daemon.stop()
        assert {url: row["impressions"] for url, row in daemon.stored().items()} == {"https://example.com/a?b=c": 2}


def test_send_killed_and_resumed_counts_each_line_once(tmp_path: Path) -> None:
    n = 40_000
    source, state = tmp_path / "events.ndjson", tmp_path / "state"
    source.write_bytes(events(n))
    with Daemon(tmp_path / "data") as daemon:
        arguments = ["send", "--url", daemon.url, "--batch", "200", "--resume", str(state), str(source)]
        for _ in range(3):
            with warm.Process(arguments, tmp_path / "log", os.environ) as process:
                while process.poll() is None and (not state.exists() or state.stat().st_size % 20_000 < 10_000):
                    pass

        done = likd(*arguments)

        assert done.returncode == 0, done.stderr
        daemon.stop()
        assert likes(daemon) == n


def test_send_waits_for_a_daemon_that_is_away(tmp_path: Path) -> None:
    with Daemon(tmp_path / "data") as daemon:
        port = daemon.address[1]
        daemon.stop()
    source = tmp_path / "events.ndjson"
    source.write_bytes(events(100))
    told = tmp_path / "told"
    with warm.Process(["send", "--url", f"http://127.0.0.1:{port}", str(source)], told, os.environ) as sender:
        wait_until(lambda: told.exists() and "can't connect" in told.read_text())
        with Daemon(tmp_path / "data", "--bind", f"127.0.0.1:{port}") as daemon:
            assert sender.stdout.readline() == b"100 lines read: 100 events accepted, 0 lines refused\n"
            assert sender.wait(PATIENCE_SECONDS) == 0
            daemon.stop()
            assert likes(daemon) == 100


def test_watch_writes_each_change_as_a_line_when_there_is_no_terminal(tmp_path: Path) -> None:
    url = "https://example.com/0"
    with Daemon(tmp_path / "data", "--live-interval", "0.05") as daemon:
        with warm.Process(["watch", "--url", daemon.url, url], tmp_path / "log", os.environ) as watcher:
            assert json.loads(watcher.stdout.readline())["likes"] == 0
            with Client(daemon.address) as client:
                client.request("POST", "/v1/events", events(3, urls=1))
            assert json.loads(watcher.stdout.readline())["likes"] == 3
            watcher.send_signal(signal.SIGINT)
            assert watcher.wait(PATIENCE_SECONDS) == 128 + signal.SIGINT
        assert json.loads(likd("watch", "--url", daemon.url, "--once", url).stdout)["likes"] == 3


def test_top_shows_the_hottest_urls_and_the_daemons_health(tmp_path: Path) -> None:
    with Daemon(tmp_path / "data") as daemon:
        with Client(daemon.address) as client:
            client.request("POST", "/v1/events", events(30, urls=2))

        text = likd("top", "--url", daemon.url, "--once").stdout.decode()

        assert "30 events" in text
        assert "store sqlite ok" in text
        assert "https://example.com/0" in text


@pytest.mark.parametrize("command", [["watch", "https://example.com/"], ["top"]])
def test_clients_say_that_they_reach_no_daemon(command: list[str]) -> None:
    done = likd(*command, "--url", "http://127.0.0.1:1")

    assert done.returncode == 1
    assert b"can't connect to http://127.0.0.1:1" in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_full_disk_behind_standard_output_is_one_line() -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "likd", "--help"], stdout=full, stderr=subprocess.PIPE, check=False
        )

    assert done.returncode == 1
    assert done.stderr == b"likd: No space left on device\n"


def test_letters_that_the_terminal_lacks_end_nothing(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    with Daemon(tmp_path / "data") as daemon:
        with Client(daemon.address) as client:
            client.request("POST", "/v1/events", events(3))
        command = [sys.executable, "-m", "likd", "top", "--once", "--url", daemon.url]
        done = subprocess.run(command, env=environment, capture_output=True, check=False)

    assert (done.returncode, done.stderr) == (0, b"")


def test_recover_and_inspect_tell_what_a_crash_left_behind(tmp_path: Path) -> None:
    with Daemon(tmp_path / "data", "--flush-interval", "60") as daemon:
        with Client(daemon.address) as client:
            client.request("POST", "/v1/events", events(30, urls=3))
        in_use = likd("recover", "--data-dir", daemon.data_dir)
        daemon.stop(signal.SIGKILL)
    data = tmp_path / "data"
    before = sorted(data.iterdir())

    inspected = likd("inspect", data)
    dry = likd("recover", "--dry-run", "--data-dir", data)
    assert sorted(data.iterdir()) == before
    done = likd("recover", "--data-dir", data)
    batch = likd("inspect", data)
    torn = (data / "tab_000000000001").read_bytes()
    (data / "tab_000000000001").write_bytes(torn.replace(b"\t", b" ", 1))
    damaged = likd("inspect", data)

    assert (in_use.returncode, in_use.stdout) == (1, b"")
    assert b"sound: 1 frames" in inspected.stdout
    assert b"30 likes" in inspected.stdout
    assert dry.stdout == done.stdout
    assert b"journal_000000000001: replayed, 3 URLs" in done.stdout
    assert b"table 1, sound: 3 URLs, 30 likes" in batch.stdout
    assert (damaged.returncode, b"DAMAGED" in damaged.stdout) == (1, True)
