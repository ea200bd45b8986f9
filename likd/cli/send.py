"""`likd send`: count events from files, access logs or standard input."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import click
import httpx
import trio
from click.shell_completion import CompletionItem

from likd.cli.client import ClientError, Daemon, daemon_options, open_client, until_signal
from likd.cli.sending import textlogs
from likd.cli.sending.accesslog import ORIGIN, Impressions
from likd.cli.sending.delivery import EVENTS_REFUSED_MAX, Delivery
from likd.cli.sending.delivery_log import NoDeliveryLog
from likd.cli.sending.formats import NAMES, make
from likd.cli.sending.inputs import Input, MakeFormat, open_input, resume_inputs
from likd.cli.sending.line_ranges import LineRange
from likd.cli.sending.lines import Format
from likd.cli.sending.past import Past
from likd.cli.sending.records import Options
from likd.cli.sending.report import Report
from likd.cli.sending.resume import StateFile
from likd.cli.sending.sources import Reader

TIMEOUT = httpx.Timeout(60.0, connect=5.0)


class FormatName(click.ParamType[str]):
    """The name of a format, or a format string of nginx or Apache."""

    name = "format"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """`value`, if it is valid."""
        if value in NAMES:
            return value
        if not {"$", "%"} & set(value):
            self.fail(
                f"{value!r} is neither one of {', '.join(NAMES)} nor a format string such as '$host $request $status'",
                param,
                ctx,
            )
        try:
            textlogs.from_string(value)
        except textlogs.FormatError as error:
            self.fail(f"{value!r}: {error}", param, ctx)
        return value

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The names."""
        return [CompletionItem(name) for name in NAMES if name.startswith(incomplete)]


def _check_site(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value is not None and not ORIGIN.fullmatch(value):
        raise click.BadParameter(f"{value!r} is not an origin, for example https://example.com")
    return value


@click.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path), metavar="[FILE...|-]")
@daemon_options
@click.option(
    "--format",
    "format_name",
    metavar="FORMAT",
    type=FormatName(),
    default="auto",
    help="What the lines are, if the first ones do not show it: ndjson (one event per line), a log (common,"
    " combined, vhost, json, w3c, iis, cloudfront, alb), or a format string of nginx or Apache.  [default: auto]",
)
@click.option(
    "--site",
    metavar="ORIGIN",
    callback=_check_site,
    help="The site of the log, for example https://example.com. If lines name their hosts, only this one counts.",
)
@click.option(
    "--count-all",
    is_flag=True,
    help="In a log, count every delivered GET, including static files, parts (206), bots, robots.txt and prefetches.",
)
@click.option(
    "--follow", is_flag=True, help="At the end of a file, wait for more, even when it is rotated, as tail -F does."
)
@click.option(
    "--past",
    is_flag=True,
    help="Put finished logs into the history at their own times, each once. Needs the admin token if there is one.",
)
@click.option(
    "--batch",
    metavar="LINES",
    type=click.IntRange(1, 100_000),
    default=10_000,
    show_default=True,
    help="How many lines a request has at most.",
)
@click.option(
    "--connections",
    metavar="N",
    type=click.IntRange(1, 64),
    default=4,
    show_default=True,
    help="The most requests in flight.",
)
@click.option("--gzip", "compress", is_flag=True, help="Compress the requests.")
@click.option(
    "--resume",
    "state",
    metavar="STATE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Record in this file what was sent, and continue where an earlier run with it ended, however it ended.",
)
@click.option(
    "--give-up",
    metavar="SECONDS",
    type=click.FloatRange(0.0),
    default=300.0,
    show_default=True,
    help="Stop if the daemon accepts nothing for this long.",
)
@click.option(
    "--max-refused",
    metavar="LINES",
    type=click.IntRange(0),
    help=f"Stop when more lines than this are refused.  [default: {EVENTS_REFUSED_MAX} for events, no limit for a log]",
)
@click.option("-q", "--quiet", is_flag=True, help="Show only refused lines and the report, no progress and no retries.")
def send(
    *,
    files: tuple[Path, ...],
    url: str,
    token: str | None,
    format_name: str,
    site: str | None,
    count_all: bool,
    follow: bool,
    past: bool,
    batch: int,
    connections: int,
    compress: bool,
    state: Path | None,
    give_up: float,
    max_refused: int | None,
    quiet: bool,
) -> None:
    """Send events from FILEs, or from standard input, and report exactly what was accepted.

    A FILE holds events, or is a web server's log: each page that it delivered to a person is an impression. It may be
    compressed (.gz, .bz2, .xz, .zst). A failed request is retried with the same Idempotency-Key, so that each line is
    counted once. A refused line is reported with its number, and the others are sent without it.

    With --resume, each line is counted once even if likd send is killed and run again: whatever was sent without an
    answer is sent again with its old key. An incomplete last line is left for the next run, and a log that was rotated
    in the meantime is finished where it is now.

    \b
    likd send events.ndjson
    likd send --site https://example.com access.log
    likd send --follow --resume access.state --site https://example.com /var/log/nginx/access.log
    likd send --past --site https://example.com access.log.*.gz
    likd send --format '$host $status "$request" "$http_user_agent"' my.log
    tail -F access.log | likd send --site https://example.com

    \b
    Exit status: 0 if everything was accepted, 1 if lines were refused or something is left to send,
    2 if an argument is invalid, 128 + n if ended by signal n.
    """
    if format_name == "access-log" and site is None:
        raise click.UsageError("--format access-log needs --site")
    if format_name == "ndjson" and site is not None:
        raise click.UsageError("--site is for logs, not for --format ndjson")
    if past and (state is not None or follow or format_name == "ndjson"):
        raise click.UsageError(
            "--past is for finished logs: it can't be combined with --resume, --follow or --format ndjson"
        )
    origin = None if site is None else site.rstrip("/").encode()
    with ExitStack() as stack:
        try:
            delivery_log: NoDeliveryLog | StateFile = NoDeliveryLog()
            if state is not None:
                options = Options(format_name, site, batch, compress, count_all)
                delivery_log = stack.enter_context(closing(StateFile(state, options)))
                # A delivery that began before there was a choice continues as it was.
                format_name, count_all = delivery_log.options.format, delivery_log.options.count_all is not False
            make_format = partial(
                _make_format, format_name, Impressions(origin, count_all, time.time() if past else None)
            )
            inputs = _inputs(files, delivery_log, make_format)
            daemon = Daemon(url, token)
            client = open_client(daemon, TIMEOUT)
        except ClientError as error:
            raise click.UsageError(str(error)) from None
        if past:
            sys.exit(_load_past(daemon, inputs, quiet=quiet))
        sizes = [None if one.content is None else one.content.size for one in inputs]
        total = None if follow or None in sizes else sum(filter(None, sizes))
        report = stack.enter_context(
            Report(quiet=quiet, total_bytes=total, done_bytes=sum(one.done_bytes for one in inputs))
        )

        delivery = Delivery(
            client=client,
            url=daemon.events_url,
            delivery_log=delivery_log,
            observer=report,
            compress=compress,
            give_up_seconds=give_up,
            refused_max=max_refused,
        )

        async def work() -> int:
            async with delivery.client:
                await _deliver(delivery, inputs, batch, connections, make_format if follow else None)
            return 0

        status = trio.run(until_signal, work)
    sys.exit(_tell(delivery, status, resumable=state is not None))


def _load_past(daemon: Daemon, inputs: list[Input], *, quiet: bool) -> int:
    """Load `inputs` and print the report. Returns the exit status."""
    with Report(quiet=quiet, total_bytes=None) as report:
        past = Past(daemon, report.read)
        fault = None
        try:
            for one in inputs:
                past.load(one)
        except ClientError as error:
            fault = str(error)
        except OSError as error:
            fault = f"{error.filename}: {error.strerror}"
    click.echo(f"{past.line_stats}; {past.loaded:,} URLs loaded{', others were loaded before' if past.known else ''}")
    if fault is not None:
        _warn(fault)
    return 1 if fault is not None or not past.line_stats.clean else 0


def _make_format(name: str, impressions: Impressions, source: str) -> Format:
    return make(name, source, impressions)


def _inputs(files: tuple[Path, ...], delivery_log: NoDeliveryLog | StateFile, make_format: MakeFormat) -> list[Input]:
    """The inputs that are to be read. Raises ClientError."""
    try:
        if isinstance(delivery_log, NoDeliveryLog):
            return [open_input(path, delivery_log, make_format) for path in files or (Path("-"),)]
        if not files:
            raise ClientError("--resume needs files")
        places = [path.resolve() for path in files]
        for number, path in enumerate(files):
            if places[number] in places[:number]:
                raise ClientError(f"{path}: given twice")
        return [one for path in files for one in resume_inputs(path, delivery_log, make_format, _warn)]
    except OSError as error:
        raise ClientError(f"{error.filename or 'a file'}: {error.strerror}") from None


def _warn(text: str) -> None:
    click.echo(f"likd send: {text}", err=True)


async def _deliver(
    delivery: Delivery, inputs: list[Input], lines_max: int, connections: int, make_format: MakeFormat | None
) -> None:
    """Deliver `inputs`; with `make_format`, go on with whatever is added to the files."""
    spans_in, spans_out = trio.open_memory_channel[LineRange](connections)
    reader = Reader(spans_in, delivery.delivery_log, lines_max)

    async def read(one: Input) -> None:
        try:
            if make_format is not None and one.content is not None and not one.rotated and not one.content.compressed:
                await reader.follow(one, make_format)
            else:
                await reader.read(one)
        except (OSError, ClientError) as error:
            what = error.strerror if isinstance(error, OSError) else str(error)
            delivery.stop(f"{one.source.name}: {what}")

    async def read_all() -> None:
        async with spans_in, trio.open_nursery() as reading:
            for one in inputs:
                if make_format is None:
                    await read(one)
                    if delivery.stopped.is_set():
                        return
                else:
                    reading.start_soon(read, one)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read_all)
        await delivery.run(spans_out, connections)
        nursery.cancel_scope.cancel()


def _tell(delivery: Delivery, status: int, *, resumable: bool) -> int:
    """Print the report. Returns the exit status."""
    click.echo(str(delivery.line_stats))
    if delivery.doubtful:
        click.echo(
            f"{delivery.doubtful} more events were sent but not answered: they may or may not have been counted",
            err=True,
        )
    if delivery.fault is not None:
        click.echo(f"likd send: {delivery.fault}", err=True)
    if resumable and (status or delivery.fault):
        click.echo("likd send: run the same command again to continue", err=True)
    return status or (1 if delivery.fault is not None or not delivery.line_stats.clean else 0)
