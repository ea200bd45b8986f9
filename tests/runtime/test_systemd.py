"""systemd's protocol, at its edges."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from likd.runtime.systemd import Notifier


def test_without_a_manager_nothing_happens() -> None:
    notifier = Notifier({})

    notifier.ready("x")
    notifier.stopping()

    assert notifier.watchdog_seconds is None


def test_a_manager_that_went_away_is_no_reason_to_fail(tmp_path: Path) -> None:
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready("x")


def test_abstract_addresses_are_understood() -> None:
    name = f"likd-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name)
        manager.settimeout(5)
        Notifier({"NOTIFY_SOCKET": "@" + name}).stopping()
        assert manager.recv(4096) == b"STOPPING=1\nSTATUS=shutting down"


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({"WATCHDOG_USEC": "3000000"}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_fed_if_it_is_ours(environment: dict[str, str], seconds: float | None) -> None:
    assert Notifier({"NOTIFY_SOCKET": "@likd-nobody", **environment}).watchdog_seconds == seconds
