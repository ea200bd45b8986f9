"""`likd` in processes that are forked from one which has imported it: each starts in a fraction of the time."""

from __future__ import annotations

import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import IO

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    ["tests.warm", "likd.daemon", "likd.web.compose", "likd.cli.serve", "likd.cli.send", "likd.cli.import_"]
)


class Process:
    """A process, as subprocess.Popen has it."""

    def __init__(
        self, arguments: Sequence[str], log: Path, environment: Mapping[str, str], descriptors: int | None = None
    ) -> None:
        ours, theirs = os.pipe()
        with Connection(theirs, readable=False) as output:
            places = (Path(os.devnull), output, log)
            self._process = _start(arguments, *places, environment, descriptors)
        self.stdout: IO[bytes] = os.fdopen(ours, "rb")
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    def poll(self) -> int | None:
        """Its exit status, None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status. Raises subprocess.TimeoutExpired."""
        self._process.join(timeout)
        status = self._process.exitcode
        if status is None:
            assert timeout is not None
            raise subprocess.TimeoutExpired("likd", timeout)
        return status

    def send_signal(self, number: int) -> None:
        """Signal it, if it runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self._process.terminate()

    def kill(self) -> None:
        """End it."""
        self._process.kill()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        if self.poll() is None:
            self.kill()
        self._process.join()
        self.stdout.close()


def command(*arguments: str, stdin: bytes = b"", timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """What `likd` with these arguments says, and its exit status. Raises subprocess.TimeoutExpired."""
    with tempfile.TemporaryDirectory() as directory:
        said, heard, complained = (Path(directory) / name for name in ("in", "out", "err"))
        said.write_bytes(stdin)
        process = _start(arguments, said, heard, complained, os.environ)
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired("likd", timeout)
        return subprocess.CompletedProcess(arguments, process.exitcode, heard.read_text(), complained.read_text())


def _start(
    arguments: Sequence[str],
    said: Path,
    heard: Path | Connection,
    complained: Path,
    environment: Mapping[str, str],
    descriptors: int | None = None,
) -> ForkServerProcess:
    places = (said, heard, complained)
    process = _context.Process(target=_run, args=(arguments, *places, dict(environment), descriptors), daemon=True)
    process.start()
    return process


def _run(
    arguments: Sequence[str],
    said: Path,
    heard: Path | Connection,
    complained: Path,
    environment: dict[str, str],
    descriptors: int | None,
) -> None:
    from likd.cli import main

    os.environ.clear()
    os.environ.update(environment)
    os.dup2(os.open(said, os.O_RDONLY), 0)
    for number, place in ((1, heard), (2, complained)):
        fileno = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_APPEND) if isinstance(place, Path) else place.fileno()
        os.dup2(fileno, number)
        os.close(fileno)
    sys.stdin, sys.stdout = os.fdopen(0, closefd=False), os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
    if descriptors is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
    main(list(arguments), prog_name="likd")
