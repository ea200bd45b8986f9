"""Hypothesis profiles, and the data directory that tests of files share."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import settings

from likd.durability.disk import RealDisk

settings.register_profile("quick", deadline=None, max_examples=50, print_blob=True)
settings.register_profile("ci", settings.get_profile("quick"), derandomize=True)
settings.register_profile("thorough", settings.get_profile("quick"), max_examples=2000)
settings.load_profile(os.environ.get("LIKD_TEST_EXAMPLES") or ("ci" if os.environ.get("CI") else "quick"))


SLOW = ("tests/e2e/", "tests/sim/", "tests/test_recovery_crashes.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what takes seconds by itself, and let it be first, so that no process is left with it in the end."""
    for item in items:
        if item.nodeid.startswith(SLOW):
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: not item.nodeid.startswith(SLOW))


@pytest.fixture(autouse=True)
def _connections_are_closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A test may leave its store as a crash does: without closing it."""
    connections: list[sqlite3.Connection] = []
    connect = sqlite3.connect

    def connect_and_note(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        connections.append(connect(*args, **kwargs))
        return connections[-1]

    monkeypatch.setattr(sqlite3, "connect", connect_and_note)
    yield
    for connection in connections:
        # One that is bound to its thread was closed there.
        with suppress(sqlite3.ProgrammingError):
            connection.close()


@pytest.fixture(autouse=True)
def _logs_are_configured_anew(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A command that runs in this process configures logs: loggers that keep that say nothing to later tests."""
    configure = structlog.configure

    def configure_and_keep_nothing(**settings: Any) -> None:
        configure(**{**settings, "cache_logger_on_first_use": False})

    monkeypatch.setattr(structlog, "configure", configure_and_keep_nothing)
    yield
    structlog.reset_defaults()


@pytest.fixture
def disk(tmp_path: Path) -> RealDisk:
    """An empty data directory."""
    path = tmp_path / "data"
    path.mkdir()
    return RealDisk(path)
