"""`likd import`: starting counts from elsewhere."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec
import trio

from likd.cli.ask import post
from likd.cli.client import ClientError, Daemon, daemon_options
from likd.ingest.schema import COUNT_MAX, short

LINES_AT_ONCE = 5000
HASH_BYTES = 1 << 20


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--format", "form", type=click.Choice(["auto", "ndjson", "csv"]), default="auto", help="[default: auto]")
@daemon_options
def import_(file: Path, form: str, url: str, token: str | None) -> None:
    """Add the counts in FILE to those of the daemon: for a site that has likes already.

    CSV has a header with url and names of counts (likes, unlikes, impressions); NDJSON has an object with these
    fields a line. A file is known by its content: importing it again, at any time, adds only what is missing, so
    an import that was interrupted is simply run again. Needs the admin token where there is one.

    \b
    Exit status: 1 if something is not loaded, 2 if an argument or the file is wrong.
    """
    if form == "auto":
        form = "csv" if file.suffix.lower() == ".csv" else "ndjson"
    name = _digest(file)
    loaded = known = begin = 0
    for number, lines in enumerate(_chunks(_csv_lines(file) if form == "csv" else _lines(file))):
        key = {"Idempotency-Key": f"import-{name}-{number}", "Content-Type": "application/x-ndjson"}
        try:
            answer = trio.run(post, Daemon(url, token), "/v1/import", b"".join(lines), key)
        except ClientError as error:
            after = f" (after line {begin})" if begin else ""
            raise click.ClickException(f"{error}{after}") from None
        begin += len(lines)
        loaded += answer["loaded"]
        known += len(lines) if answer["already"] else 0
    click.echo(f"{loaded:,} URLs loaded" + (f"; {known:,} lines were loaded before" if known else ""))


def _digest(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as data:
        while piece := data.read(HASH_BYTES):
            digest.update(piece)
    return digest.hexdigest()[:32]


def _lines(file: Path) -> Iterator[bytes]:
    with file.open("rb") as lines:
        for line in lines:
            if line.strip():
                yield line.rstrip(b"\r\n") + b"\n"


def _csv_lines(file: Path) -> Iterator[bytes]:
    with file.open(encoding="utf-8-sig", newline="") as text:
        rows = csv.DictReader(text, strict=True)
        if not rows.fieldnames or "url" not in rows.fieldnames:
            raise click.UsageError(f"{file}: line 1: the header has no column url")
        try:
            for row in rows:
                counts = {name: _number(file, rows.line_num, name, n) for name, n in row.items() if name != "url" and n}
                yield msgspec.json.encode({"url": row["url"], **counts}) + b"\n"
        except (csv.Error, UnicodeDecodeError) as error:
            raise click.UsageError(f"{file}: line {rows.line_num}: {error}") from None


def _number(file: Path, line: int, name: str | None, text: object) -> int:
    if name is None or not isinstance(text, str) or not text.strip().isdecimal():
        raise click.UsageError(f"{file}: line {line}: {name or 'a column without a name'} is {text!r}, not a number")
    if len(text.strip()) > len(str(COUNT_MAX)) or int(text) > COUNT_MAX:
        raise click.UsageError(f"{file}: line {line}: {name} is {short(text)}, more than 2^53")
    return int(text)


def _chunks(lines: Iterator[bytes]) -> Iterator[list[bytes]]:
    chunk: list[bytes] = []
    for line in lines:
        chunk.append(line)
        if len(chunk) == LINES_AT_ONCE:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
