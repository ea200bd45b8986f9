"""A real likd process for tests, and the plainest of HTTP clients."""

from __future__ import annotations

import json
import os
import re
import select
import socket
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import attrs

from tests.warm import Process

PATIENCE_SECONDS = 20.0
PROCESSES = "LIKD_TEST_PROCESSES"
"""Environment variable: how many processes daemons have that are not told so, to try any tests on fronts."""


class Daemon:
    """`likd serve` on `data_dir` and a port of its own."""

    def __init__(
        self, data_dir: Path, *flags: str, environment: dict[str, str] | None = None, descriptors: int | None = None
    ) -> None:
        self.data_dir = data_dir
        self.log = data_dir.parent / f"{data_dir.name}.log"
        fronts = ["--processes", os.environ[PROCESSES]] if PROCESSES in os.environ else []
        arguments = ["serve", "--data-dir", str(data_dir), "--bind", "127.0.0.1:0", *fronts, *flags]
        given = dict(os.environ if environment is None else environment)
        given.pop(PROCESSES, None)
        self.process = Process(arguments, self.log, given, descriptors)
        select.select([self.process.stdout], [], [], PATIENCE_SECONDS)
        line = self.process.stdout.readline().decode()
        found = re.fullmatch(r"likd is listening on (https?)://([\d.]+):(\d+)(/\S+)?\n", line)
        assert found, f"{line!r}\n{self.log.read_text()}"
        self.address = found[2], int(found[3])
        self.url = f"{found[1]}://{found[2]}:{found[3]}{found[4] or ''}"

    def stop(self, signal: int = 15) -> int:
        """Signal it and wait for its exit status."""
        self.process.send_signal(signal)
        return self.process.wait(PATIENCE_SECONDS)

    def __enter__(self) -> Daemon:
        return self

    def __exit__(self, *_: object) -> None:
        with self.process:
            pass

    def stored(self) -> dict[str, dict[str, int]]:
        """What the SQLite file says, by URL."""
        with closing(sqlite3.connect(self.data_dir / "likd.db")) as db:
            db.row_factory = sqlite3.Row
            rows = [dict(row) for row in db.execute("SELECT * FROM counts")]
        return {row.pop("url"): row for row in rows}


@attrs.frozen
class Response:
    """An HTTP response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """One connection, with no opinion on what is sent over it."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, timeout=PATIENCE_SECONDS)
        self._data = b""

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def request(self, method: str, target: str, body: bytes = b"", /, **headers: str) -> Response:
        fields = {"Host": "test", **{name.replace("_", "-"): value for name, value in headers.items()}}
        if body or method == "POST":
            fields["Content-Length"] = str(len(body))
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
        self.send("\r\n".join(lines).encode() + body)
        return self.response()

    def response(self) -> Response:
        """The next response; its body ends by Content-Length or with the connection."""
        while b"\r\n\r\n" not in self._data:
            assert self._more(), f"the connection ended after {self._data!r}"
        head, _, self._data = self._data.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        status = int(first.split()[1])
        length = int(headers.get("content-length", "-1")) if status >= 200 and status not in (204, 304) else 0
        while len(self._data) < length or length < 0:
            if not self._more():
                assert length < 0, "the body is cut short"
                break
        end = len(self._data) if length < 0 else length
        body, self._data = self._data[:end], self._data[end:]
        return Response(status, headers, body)

    def closed(self) -> bool:
        """Wait until the server has closed the connection; whether it does with nothing more to say."""
        return not self._more() and not self._data

    def _more(self) -> bool:
        try:
            data = self.socket.recv(65536)
        except ConnectionResetError:
            return False
        self._data += data
        return bool(data)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()


def wait_until(condition: Any) -> None:
    """Poll `condition` until it holds, for as long as there is patience."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.02)
