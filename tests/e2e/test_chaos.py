"""A short run of scripts/chaos, and what the fault points and the watchdogs do."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests import postgres
from tests.daemon import Client, Daemon, wait_until

ROOT = Path(__file__).resolve().parents[2]
EVENT = b'{"kind":"like","url":"https://example.com/"}'


def test_acknowledged_is_counted_through_a_short_chaos(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "scripts/chaos.py",
        "--seconds",
        "10",
        "--seed",
        "4",
        "--json",
        str(tmp_path / "figures"),
    ]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)

    assert done.returncode == 0, done.stdout
    figures = json.loads((tmp_path / "figures").read_text())
    assert figures["events acknowledged"] > 0
    assert figures["faults"]


@pytest.mark.thorough
@pytest.mark.slow
def test_acknowledged_is_counted_by_nodes_whose_server_is_killed_and_loses_commits(tmp_path: Path) -> None:
    if postgres.why_not():
        pytest.skip(f"no PostgreSQL: {postgres.why_not()}")
    command = [sys.executable, "scripts/chaos.py", "--nodes", "3", "--store", "postgresql", "--seconds", "4"]
    command += ["--seed", "4", "--json", str(tmp_path / "figures")]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=150, check=False)

    assert done.returncode == 0, done.stdout
    figures = json.loads((tmp_path / "figures").read_text())
    assert figures["events acknowledged"] > 0
    assert figures["acts acknowledged"] > 0
    assert figures["faults"]


def test_there_are_no_fault_points_unless_asked_for(tmp_path: Path) -> None:
    with Daemon(tmp_path / "data") as daemon, Client(daemon.address) as client:
        assert client.request("POST", "/v1/fault", b'{"fault":"block","seconds":9}').status == 404


def test_a_crashed_child_is_restarted_and_nothing_is_lost(tmp_path: Path) -> None:
    with (
        Daemon(tmp_path / "data", "--table-limit", "2", environment={**os.environ, "LIKD_TEST_FAULTS": "1"}) as daemon,
        Client(daemon.address) as client,
    ):
        names = [child["name"] for child in client.request("GET", "/v1/tree").json["children"]]
        for n, name in enumerate(names):
            body = b"\n".join([EVENT, b'{"kind":"like","url":"https://example.com/%d"}' % n])
            with Client(daemon.address) as one:
                assert one.request("POST", "/v1/events", body).status == 202
                order = json.dumps({"fault": "crash", "child": name}).encode()
                # The web's own crash takes the answer with it.
                with contextlib.suppress(AssertionError):
                    one.request("POST", "/v1/fault", order)

        def restarted() -> bool:
            with Client(daemon.address) as one:
                tree = one.request("GET", "/v1/tree").json
            return all(child["restarts"] == 1 and child["state"] == "running" for child in tree["children"])

        wait_until(restarted)
        daemon.stop()
        assert sum(row["likes"] for row in daemon.stored().values()) == 2 * len(names)


def test_a_blocked_event_loop_is_reported_with_its_stack(tmp_path: Path) -> None:
    flags = ("--blocked-seconds", "0.1")
    environment = {**os.environ, "LIKD_TEST_FAULTS": "1"}
    with Daemon(tmp_path / "data", *flags, environment=environment) as daemon, Client(daemon.address) as client:
        client.request("POST", "/v1/fault", b'{"fault":"block","seconds":0.5}')

        wait_until(lambda: "event loop runs again" in daemon.log.read_text())
        assert "time.sleep(seconds)" in daemon.log.read_text()


def test_the_service_manager_is_told(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(10)
        environment = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"}
        with Daemon(tmp_path / "data", environment=environment) as daemon:
            assert manager.recv(4096).startswith(b"READY=1\nSTATUS=listening on http://127.0.0.1:")
            assert manager.recv(4096) == b"WATCHDOG=1"
            assert manager.recv(4096) == b"WATCHDOG=1"
            assert daemon.stop() == 0
            rest = b""
            while b"STOPPING=1" not in rest:
                rest = manager.recv(4096)
