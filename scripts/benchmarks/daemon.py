"""A separate likd process of any version, on its own data directory."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import processes
from benchmarks.contest import Version, Wrong

Status = dict[str, Any]

DEADLINE_SECONDS = 900.0
POLL_SECONDS = 0.05
"""A look at the status costs the daemon a millisecond or two of measured processor time."""

UNBOUND = ("--rows-waiting-max", "20000000", "--tables-waiting-max", "10000", "--counters-max", "10000000")
FULL_SPEED = ("--write-tolerance", "1e9", "--flush-interval", "0.2", *UNBOUND)
"""Settings under which only its own speed limits the daemon."""


class Daemon:
    """A likd that runs, and how long its start took."""

    def __init__(self, version: Version, directory: Path, flags: tuple[str, ...]) -> None:
        self.store = directory / "likd.db"
        command = [sys.executable, "-m", "likd", "serve", "--data-dir", str(directory), "--bind", "127.0.0.1:0"]
        command += ["--shutdown-timeout", "120", "--log-format", "json", "--durability", "fsync", *flags]
        environment = {**os.environ, "PYTHONPATH": str(version.tree)}
        began = time.perf_counter()
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=version.tree, env=environment
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline().decode()
        self.start_seconds = time.perf_counter() - began
        found = re.search(r"http://([\d.]+):(\d+)", line)
        if found is None:
            self.process.kill()
            raise Wrong(f"{version.name} did not start: {line!r}")
        self.address = (found[1], int(found[2]))
        self.url = f"http://{found[1]}:{found[2]}"

    def get(self, target: str) -> Any:
        """Its answer, decoded."""
        with urllib.request.urlopen(self.url + target, timeout=DEADLINE_SECONDS) as answer:
            return json.load(answer)

    def status(self) -> Status:
        status: Status = self.get("/v1/status")
        return status

    def wait(self, condition: Callable[[Status], bool]) -> None:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not condition(self.status()):
            if time.monotonic() > deadline:
                raise Wrong("the daemon did not get there in time")
            time.sleep(POLL_SECONDS)

    def processor(self) -> processes.Processor:
        return processes.processor(self.process.pid)

    def memory_mib(self, kind: str = "VmRSS") -> float:
        return processes.memory_mib(self.process.pid, kind)

    def stop(self) -> tuple[int, dict[str, int]]:
        """End it. Returns how many events it accepted, and each URL's likes in its store then."""
        accepted = self.finish()
        with contextlib.closing(sqlite3.connect(self.store)) as db:
            return accepted, dict(db.execute("SELECT url, likes FROM counts WHERE likes > 0"))

    def finish(self) -> int:
        """End it once nothing more is on its way. Returns how many events it accepted."""
        accepted, before = self.accepted(), -1
        while accepted != before:
            # Requests that a client hung up on are still on their way.
            time.sleep(0.2)
            before, accepted = accepted, self.accepted()
        self.end()
        return accepted

    def accepted(self) -> int:
        """How many events it has accepted since its start."""
        return int(self.status()["totals"]["events_accepted"])

    def end(self) -> None:
        """End it in good order."""
        self.process.terminate()
        if self.process.wait(DEADLINE_SECONDS) != 0:
            raise Wrong("likd did not end cleanly")

    def kill(self) -> None:
        """End it, whatever it is doing, and release what it holds."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@contextlib.contextmanager
def likd(version: Version, *flags: str, directory: Path | None = None) -> Iterator[Daemon]:
    """A likd of `version` that ends with the block, on a new data directory unless one is given."""
    with tempfile.TemporaryDirectory(prefix="likd-bench-") as own:
        daemon = Daemon(version, directory or Path(own), flags)
        try:
            yield daemon
        finally:
            daemon.kill()


def drained(status: Status) -> bool:
    """Whether every count is in a batch file at least."""
    return not status["tables"]["open_urls"] and not status["tables"]["draining"]


def applied(status: Status) -> bool:
    """Whether every count is in the store."""
    return drained(status) and not status["tables"]["waiting"]


def check(who: str, expected: Counter[str] | dict[str, int], counted: dict[str, int]) -> None:
    """Raise Wrong unless every sum is right."""
    if counted != expected:
        raise Wrong(f"WRONG, {who}: {sum(counted.values())} counted, {sum(expected.values())} acknowledged")
