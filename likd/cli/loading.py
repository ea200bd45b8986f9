"""Sends rows to `POST /v1/import`, each once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import attrs
import trio

from likd.cli.ask import post
from likd.cli.client import ClientError, Daemon
from likd.cli.startingcounts import Row

LINES_AT_ONCE = 5000


@attrs.define
class Loading:
    """Loads the checked `rows` of a file called `name` into the daemon, in portions.

    A portion is identified by all rows up to its last one, so a file that was corrected after a part of it was
    loaded has the same portions up to the correction.
    """

    daemon: Daemon
    name: str
    rows: Callable[[], Iterator[Row]]
    """All rows, the same each time."""
    origin: bytes = b""
    """Distinguishes these rows from equal rows of another source."""
    lines: int = 0
    loaded: int = 0
    known: int = 0
    """Lines that an earlier run loaded."""
    _done: set[int] = attrs.field(factory=set)

    @property
    def before(self) -> str:
        """What the report says about earlier runs."""
        return f"; {self.known:,} lines were loaded before" if self.known else ""

    def check(self, digest: str | None = None) -> None:
        """Let the daemon check all portions before any is loaded. Raises ClientError.

        Earlier versions identified portions by the `digest` of the whole file.
        """
        for number, name, rows in self._portions():
            key = f"import-{name}" if digest is None else f"import-{digest}-{number}"
            answer = self._post(key, rows, "?dry_run=true")
            self.lines += len(rows)
            if answer["already"] or not answer.get("dry_run"):
                self._done.add(number)
                self.loaded += answer["loaded"]
                self.known += len(rows) if answer["already"] else 0

    def load(self) -> None:
        """Load what is not loaded yet. Raises ClientError."""
        for number, name, rows in self._portions():
            if number not in self._done:
                answer = self._post(f"import-{name}", rows)
                self.loaded += answer["loaded"]
                self.known += len(rows) if answer["already"] else 0

    def _post(self, key: str, rows: list[Row], query: str = "") -> dict[str, Any]:
        headers = {"Idempotency-Key": key, "Content-Type": "application/x-ndjson"}
        body = b"".join(row.data for row in rows)
        try:
            return trio.run(post, self.daemon, f"/v1/import{query}", body, headers)
        except ClientError as error:
            where = f"{self.name}: lines {rows[0].line} to {rows[-1].line}"
            loaded = f" ({self.loaded:,} URLs have been loaded)" if self.loaded else ""
            raise ClientError(f"{where}: {error}{loaded}") from None

    def _portions(self) -> Iterator[tuple[int, str, list[Row]]]:
        """The number, name and rows of each portion."""
        digest = hashlib.sha256(self.origin)
        for number, rows in enumerate(_chunks(self.rows())):
            for row in rows:
                digest.update(row.data)
            yield number, digest.hexdigest()[:32], rows


def _chunks(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while chunk := list(islice(rows, LINES_AT_ONCE)):
        yield chunk
