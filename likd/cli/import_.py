"""`likd import`: starting counts from elsewhere."""

from __future__ import annotations

import hashlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import attrs
import click
import trio

from likd.cli.ask import post
from likd.cli.client import ClientError, Daemon, daemon_options
from likd.cli.live import ask
from likd.cli.startingcounts import BadFile, CountsFile, Row, is_csv

LINES_AT_ONCE = 5000
HASH_BYTES = 1 << 20


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
@click.option("--format", "form", type=click.Choice(["auto", "ndjson", "csv"]), default="auto", help="[default: auto]")
@click.option("--dry-run", is_flag=True, help="Check the whole file, and load nothing.")
@daemon_options
def import_(file: Path, form: str, dry_run: bool, url: str, token: str | None) -> None:
    """Add the counts in FILE to those of the daemon: for a site that has likes already.

    CSV has a header with url and names of counts (likes, unlikes, impressions); NDJSON has an object with these
    fields a line. What likd export writes can be imported. The whole file is checked before anything is loaded. A
    file is known by its content: importing it again, at any time, adds only what is missing, so an import that was
    interrupted is simply run again. Needs the admin token where there is one.

    \b
    Exit status: 1 if something is not loaded, 2 if an argument or the file is wrong.
    """
    daemon = Daemon(url, token)
    name = "standard input" if str(file) == "-" else str(file)
    with ExitStack() as stack:
        try:
            data = _open(file, stack)
            as_csv = is_csv(data, name) if form == "auto" else form == "csv"
            counts = CountsFile(data, name, trio.run(_names, daemon))
            for _ in counts.rows(as_csv=as_csv):
                pass
            loading = _Loading(daemon, counts, as_csv)
            loading.check(_digest(data))
            if dry_run:
                click.echo(f"{loading.lines:,} lines could be loaded")
            else:
                loading.load()
                click.echo(f"{loading.loaded:,} URLs loaded{loading.before}")
        except BadFile as error:
            raise click.UsageError(str(error)) from None
        except ClientError as error:
            raise click.ClickException(str(error)) from None
        except OSError as error:
            raise click.ClickException(f"{name}: {error.strerror}") from None


@attrs.define
class _Loading:
    """A file whose rows were found good on their way to the daemon, so many at once.

    Each portion is known by all rows up to its last one: a file that was corrected after a part of it was loaded
    has the same rows under the same names, as far as they are the same.
    """

    daemon: Daemon
    counts: CountsFile
    as_csv: bool
    lines: int = 0
    loaded: int = 0
    known: int = 0
    """Lines that were loaded by an earlier run."""
    _done: set[int] = attrs.field(factory=set)

    @property
    def before(self) -> str:
        """What is told of earlier runs."""
        return f"; {self.known:,} lines were loaded before" if self.known else ""

    def check(self, digest: str) -> None:
        """Let the daemon check all portions before it loads one. Raises ClientError."""
        for number, _, rows in self._portions():
            # Under this name the portion was loaded if that was long ago.
            answer = self._post(f"import-{digest}-{number}", rows, "?dry_run=true")
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
            where = f"{self.counts.name}: lines {rows[0].line} to {rows[-1].line}"
            loaded = f" ({self.loaded:,} URLs are loaded)" if self.loaded else ""
            raise ClientError(f"{where}: {error}{loaded}") from None

    def _portions(self) -> Iterator[tuple[int, str, list[Row]]]:
        """Numbers, names and rows."""
        digest = hashlib.sha256()
        for number, rows in enumerate(_chunks(self.counts.rows(as_csv=self.as_csv))):
            for row in rows:
                digest.update(row.data)
            yield number, digest.hexdigest()[:32], rows


async def _names(daemon: Daemon) -> frozenset[str]:
    """The names of the counts that the daemon keeps. Raises ClientError."""
    answer = await ask(daemon, "/v1/counts", [("url", "https://example.com/")])
    try:
        return frozenset(answer["counts"][0]) - {"url", "net"}
    except (KeyError, IndexError, TypeError):
        raise ClientError(f"{daemon.url} does not answer as likd does") from None


def _open(file: Path, stack: ExitStack) -> BinaryIO:
    """The file, which can be read several times: what comes on standard input is kept meanwhile."""
    if str(file) != "-":
        return stack.enter_context(file.open("rb"))
    kept = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
    shutil.copyfileobj(sys.stdin.buffer, kept)
    return kept


def _digest(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    file.seek(0)
    while piece := file.read(HASH_BYTES):
        digest.update(piece)
    return digest.hexdigest()[:32]


def _chunks(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while chunk := list(islice(rows, LINES_AT_ONCE)):
        yield chunk
