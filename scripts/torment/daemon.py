"""A daemon that is tormented, across all its lives, and a very plain way to send it requests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import trio

from tests.warm import Process

KINDS = {"like": "likes", "unlike": "unlikes", "impression": "impressions"}
FLAGS = [
    *("--table-limit", "50", "--flush-interval", "0.2", "--hung-timeout", "0.5", "--max-leases", "20"),
    *("--disk-free-min", str(1 << 20), "--blocked-seconds", "0.5", "--write-tolerance", "3000"),
]
PATIENCE_SECONDS = 60.0

Counted = Counter[tuple[str, str]]


class Wrong(Exception):
    """A promise is broken."""


async def ask(port: int, method: str, target: str, body: bytes = b"", key: str = "") -> tuple[int, Any]:
    """One request on its own connection. Raises OSError if the answer is not complete."""
    head = f"{method} {target} HTTP/1.1\r\nHost: chaos\r\nConnection: close\r\nContent-Length: {len(body)}\r\n"
    if key:
        head += f"Idempotency-Key: {key}\r\n"
    try:
        with trio.fail_after(10):
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                await stream.send_all(head.encode() + b"\r\n" + body)
                answer = b"".join([data async for data in stream])
    except (trio.BrokenResourceError, trio.TooSlowError) as error:
        raise OSError(str(error)) from error
    first, _, content = answer.partition(b"\r\n\r\n")
    if not content:
        raise OSError("no answer")
    return int(first.split()[1]), json.loads(content)


class Daemon:
    """The daemon, across all its lives."""

    def __init__(self, data: Path, port: int, log: Path, *flags: str) -> None:
        self._data = data
        self._flags = flags
        self._log = log
        self.port = port
        self.lives = 0
        self.process: subprocess.Popen[bytes] | Process | None = None

    async def start(self, *, faults: bool = True) -> None:
        """Start it, again and again until it serves."""
        command = ["serve", "--data-dir", str(self._data)]
        command += ["--bind", f"127.0.0.1:{self.port}", *FLAGS, *self._flags]
        environment = {**os.environ, "LIKD_TEST_FAULTS": "1" if faults else "0"}
        with trio.fail_after(PATIENCE_SECONDS):
            while True:
                self._spawn(command, environment)
                self.lives += 1
                while self.process is not None and self.process.poll() is None:
                    with suppress(OSError):
                        if (await ask(self.port, "GET", "/healthz"))[0] == 200:
                            return
                    await trio.sleep(0.05)
                # It could not start, on a full disk for example: whatever supervises it tries again.
                await trio.sleep(0.3)

    def _spawn(self, command: list[str], environment: dict[str, str]) -> None:
        with self._log.open("ab") as log:
            whole = [sys.executable, "-m", "likd", *command]
            self.process = subprocess.Popen(whole, stdout=log, stderr=log, env=environment)

    def signal(self, number: int) -> None:
        """Signal it, if it is running."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def fronts(self) -> list[int]:
        """Its current front processes."""
        if self.process is None:
            return []
        found: list[int] = []
        for task in Path(f"/proc/{self.process.pid}/task").glob("*/children"):
            with suppress(OSError):
                found += map(int, task.read_text().split())
        return found

    @property
    def lives_now(self) -> bool:
        """Whether its process is running."""
        return self.process is not None and self.process.poll() is None

    async def wait(self) -> int:
        """Wait for its end."""
        assert self.process is not None
        with trio.fail_after(PATIENCE_SECONDS):
            return await trio.to_thread.run_sync(self.process.wait, abandon_on_cancel=True)


class WarmDaemon(Daemon):
    """One whose lives are forked from a process that has imported likd: several start in the time of one."""

    def _spawn(self, command: list[str], environment: dict[str, str]) -> None:
        if isinstance(self.process, Process):
            self.process.stdout.close()
        self.process = Process(command, self._log, environment)
