"""`likd import`: loads starting counts from elsewhere."""

from __future__ import annotations

import hashlib
import shutil
import sys
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import BinaryIO

import click
import trio

from likd.cli.client import ClientError, Daemon, daemon_options
from likd.cli.live import ask
from likd.cli.loading import Loading
from likd.cli.startingcounts import BadFile, CountsFile, is_csv

HASH_BYTES = 1 << 20


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
@click.option("--format", "form", type=click.Choice(["auto", "ndjson", "csv"]), default="auto", help="[default: auto]")
@click.option("--dry-run", is_flag=True, help="Check the whole file but load nothing.")
@daemon_options
def import_(*, file: Path, form: str, dry_run: bool, url: str, token: str | None) -> None:
    """Add the counts in FILE to the daemon's, for a site that already has likes.

    CSV has a header with url and names of counts (likes, unlikes, impressions); NDJSON has one object with these
    fields per line. Whatever likd export writes can be imported. The whole file is checked before anything is loaded. A
    file is recognised by its content: importing it again, at any time, adds only what is missing, so you can simply
    repeat an import that was interrupted. Needs the admin token if there is one.

    \b
    Exit status: 1 if something was not loaded, 2 if an argument or the file is invalid.
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
            loading = Loading(daemon, name, partial(counts.rows, as_csv=as_csv))
            loading.check(_digest(data))
            if dry_run:
                click.echo(f"{loading.lines:,} lines can be loaded")
            else:
                loading.load()
                click.echo(f"{loading.loaded:,} URLs loaded{loading.before}")
        except BadFile as error:
            raise click.UsageError(str(error)) from None
        except ClientError as error:
            raise click.ClickException(str(error)) from None
        except OSError as error:
            raise click.ClickException(f"{name}: {error.strerror}") from None


async def _names(daemon: Daemon) -> frozenset[str]:
    """The names of the counts that the daemon keeps. Raises ClientError."""
    answer = await ask(daemon, "/v1/counts", [("url", "https://example.com/")])
    try:
        return frozenset(answer["counts"][0]) - {"url", "net"}
    except (KeyError, IndexError, TypeError):
        raise ClientError(f"{daemon.url} does not answer like likd") from None


def _open(file: Path, stack: ExitStack) -> BinaryIO:
    """The file, which can be read several times: standard input is copied to a temporary file."""
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
