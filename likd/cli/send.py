"""`likd send`: count events from files, access logs or standard input."""

from __future__ import annotations

import stat
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import attrs
import click
import httpx
import trio

from likd.cli.client import ClientError, Daemon, daemon_options, until_signal
from likd.cli.sending.accesslog import ORIGIN
from likd.cli.sending.delivery import Delivery
from likd.cli.sending.formats import AccessLog, Format, Ndjson
from likd.cli.sending.ledger import Ledger, NoLedger
from likd.cli.sending.records import Options
from likd.cli.sending.report import Report
from likd.cli.sending.resume import Gap, StateFile
from likd.cli.sending.sources import read_file, read_stream
from likd.cli.sending.spans import Extent, Source, Span

TIMEOUT = httpx.Timeout(60.0, connect=5.0)
KEYS_SECONDS = 86_400
"""How long a daemon remembers keys by default: after that, a batch can't be sent again and be counted once."""


@attrs.frozen
class _Input:
    """One input, and what is left to do of it. Without a `path` it is standard input."""

    path: Path | None
    source: Source
    seekable: bool
    size: int | None = None
    done_bytes: int = 0
    resend: Sequence[Extent] = ()
    gaps: Sequence[Gap] = (Gap(0, None, 1),)

    async def read(self, spans: trio.MemorySendChannel[Span], lines_max: int) -> None:
        """Send what is left to `spans`. Raises OSError."""
        if self.seekable and self.path is not None:
            await read_file(self.path, self.source, spans, lines_max=lines_max, resend=self.resend, gaps=self.gaps)
        else:
            await read_stream(self.path, self.source, spans, lines_max=lines_max)


def _check_site(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value is not None and not ORIGIN.fullmatch(value):
        raise click.BadParameter(f"{value!r} is not an origin like https://example.com")
    return value


@click.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path), metavar="[FILE...|-]")
@daemon_options
@click.option(
    "--format",
    "format_name",
    type=click.Choice(["ndjson", "access-log"]),
    default="ndjson",
    help="ndjson: an event a line. access-log: common or combined format; each delivered GET is an impression.",
    show_default=True,
)
@click.option(
    "--site", metavar="ORIGIN", callback=_check_site, help="Whose access log it is, for example https://example.com"
)
@click.option(
    "--batch", metavar="LINES", type=click.IntRange(1, 100_000), default=10_000, show_default=True, help="Of a request."
)
@click.option(
    "--connections",
    metavar="N",
    type=click.IntRange(1, 64),
    default=4,
    show_default=True,
    help="Requests in flight at most.",
)
@click.option("--gzip", "compress", is_flag=True, help="Compress the requests.")
@click.option(
    "--resume",
    "state",
    metavar="STATE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Remember in this file what was sent, and go on where an earlier run with it ended, however it ended.",
)
@click.option(
    "--give-up",
    metavar="SECONDS",
    type=click.FloatRange(0.0),
    default=300.0,
    show_default=True,
    help="Stop when the daemon took nothing for so long.",
)
@click.option(
    "--max-refused",
    metavar="LINES",
    type=click.IntRange(0),
    default=100,
    show_default=True,
    help="Stop when more lines were refused.",
)
@click.option("-q", "--quiet", is_flag=True, help="Neither progress nor troubles, only refused lines and the report.")
def send(
    files: tuple[Path, ...],
    url: str,
    token: str | None,
    format_name: str,
    site: str | None,
    batch: int,
    connections: int,
    compress: bool,
    state: Path | None,
    give_up: float,
    max_refused: int,
    quiet: bool,
) -> None:
    """Send events from FILEs, or from standard input, and report exactly what was accepted.

    A request that fails is tried again under the same Idempotency-Key, so that each line is counted once. A line
    that is refused is reported with its number, and the others are sent without it.

    With --resume, each line is counted once even if likd send is killed and run again: what was sent without an
    answer goes out again under its old key. The files must be regular ones and may only have grown.

    \b
    likd send events.ndjson
    likd send --format access-log --site https://example.com access.log
    tail -F access.log | likd send --format access-log --site https://example.com
    likd send --resume events.state events.ndjson

    \b
    Exit status: 0 if all was accepted, 1 if lines were refused or something is left to send,
    2 if an argument is wrong, 128 + n if ended by signal n.
    """
    if (format_name == "access-log") != (site is not None):
        raise click.UsageError("--format access-log and --site go together")
    format: Format = Ndjson() if site is None else AccessLog(site.rstrip("/").encode())
    with ExitStack() as stack:
        try:
            ledger: Ledger
            if state is None:
                ledger = NoLedger()
                inputs = [_open(number, path) for number, path in enumerate(files or (Path("-"),))]
            else:
                ledger = stack.enter_context(closing(StateFile(state, Options(format_name, site, batch, compress))))
                inputs = [_resume(ledger, path, format) for path in files]
                if not inputs:
                    raise click.UsageError("--resume needs files")
        except ClientError as error:
            raise click.UsageError(str(error)) from None
        sizes = [one.size for one in inputs]
        total = None if None in sizes else sum(filter(None, sizes))
        report = stack.enter_context(
            Report(quiet=quiet, total_bytes=total, done_bytes=sum(one.done_bytes for one in inputs))
        )

        daemon = Daemon(url, token)
        client = httpx.AsyncClient(timeout=TIMEOUT, headers=daemon.headers)
        delivery = Delivery(
            client=client,
            url=daemon.events_url,
            format=format,
            ledger=ledger,
            observer=report,
            compress=compress,
            give_up_seconds=give_up,
            bad_lines_max=max_refused,
        )

        async def work() -> int:
            async with client:
                await _deliver(delivery, inputs, batch, connections)
            return 0

        status = trio.run(until_signal, work)
    sys.exit(_tell(delivery, status, resumable=state is not None))


async def _deliver(delivery: Delivery, inputs: list[_Input], lines_max: int, connections: int) -> None:
    spans_in, spans_out = trio.open_memory_channel[Span](connections)

    async def read_all() -> None:
        async with spans_in:
            for one in inputs:
                try:
                    await one.read(spans_in, lines_max)
                except OSError as error:
                    delivery.stop(f"{one.source.name}: {error.strerror}")
                    return

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read_all)
        await delivery.run(spans_out, connections)
        nursery.cancel_scope.cancel()


def _open(number: int, path: Path) -> _Input:
    """The input at `path`. Raises ClientError."""
    if str(path) == "-":
        return _Input(None, Source(number, "standard input"), seekable=False)
    try:
        status = path.stat()
        if not stat.S_ISDIR(status.st_mode):
            with path.open("rb"):
                pass
    except OSError as error:
        raise ClientError(f"{path}: {error.strerror}") from None
    if stat.S_ISDIR(status.st_mode):
        raise ClientError(f"{path}: is a directory")
    regular = stat.S_ISREG(status.st_mode)
    return _Input(path, Source(number, str(path)), seekable=regular, size=status.st_size if regular else None)


def _resume(state: StateFile, path: Path, format: Format) -> _Input:
    """What is left to do of the file at `path`. Raises ClientError."""
    opened = _open(0, path)
    if not opened.seekable:
        raise ClientError(f"{path}: --resume needs regular files")
    left = state.enter(path, format)
    if left.oldest_unanswered is not None and time.time() - left.oldest_unanswered > KEYS_SECONDS:
        raise ClientError(f"{path}: what was sent more than a day ago without an answer may be counted twice now")
    return attrs.evolve(opened, source=left.source, done_bytes=left.earlier_bytes, resend=left.resend, gaps=left.gaps)


def _tell(delivery: Delivery, status: int, *, resumable: bool) -> int:
    """Print the report; the exit status."""
    click.echo(str(delivery.tally))
    if delivery.doubtful:
        click.echo(f"{delivery.doubtful} more events were sent without an answer: they may be counted or not", err=True)
    if delivery.fault is not None:
        click.echo(f"likd send: {delivery.fault}", err=True)
    if resumable and (status or delivery.fault):
        click.echo("likd send: run the same command again to go on", err=True)
    return status or (1 if delivery.fault is not None or not delivery.tally.clean else 0)
