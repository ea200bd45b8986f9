"""`likd watch`: live counts of URLs."""

from __future__ import annotations

import sys
from typing import Any

import click
import msgspec
import trio
from rich.console import Console
from rich.live import Live
from rich.table import Table

from likd.cli.client import ClientError, Daemon, daemon_options, printable, until_signal
from likd.cli.live import Message, ask, follow
from likd.ingest.urls import EXPECTED, canonical

Row = dict[str, Any]


def counts_table(rows: list[Row]) -> Table:
    """`rows` of the API as a table with one column for each count."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    names = [name for name in (rows[0] if rows else {}) if name not in ("url", "rate")]
    for name in names:
        table.add_column(name, justify="right")
    if any("rate" in row for row in rows):
        table.add_column("per second", justify="right")
    table.add_column("url", overflow="fold")
    for row in rows:
        figures = [f"{row[name]:,}" for name in names]
        if "rate" in row:
            figures.append(f"{row['rate']:,.1f}" if row["rate"] else "")
        table.add_row(*figures, printable(row["url"]))
    return table


@click.command()
@click.argument("urls", nargs=-1, required=True, metavar="URL...")
@daemon_options
@click.option("--once", is_flag=True, help="Show the current counts and exit.")
def watch(*, urls: tuple[str, ...], url: str, token: str | None, once: bool) -> None:
    """Show the counts of URLs as they change, until interrupted.

    On a terminal they are a table. Otherwise each change is a line of JSON: the counts of one URL, exact at that
    moment.

    \b
    Exit status: 1 if the first connection fails, 2 if an argument is invalid.
    """
    for each in urls:
        try:
            canonical(each)
        except ValueError:
            raise click.UsageError(f"{printable(each)!r} is not {EXPECTED}") from None
    daemon = Daemon(url, token)
    console = Console()
    try:
        if once:
            answer = trio.run(ask, daemon, "/v1/counts", [("url", each) for each in urls])
            _print(console, answer["counts"])
            status = 0
        else:
            status = trio.run(until_signal, _Watch(daemon, urls, console).run)
    except* ClientError as errors:
        click.echo(f"likd watch: {errors.exceptions[0]}", err=True)
        status = 1
    sys.exit(status)


def _print(console: Console, rows: list[Row]) -> None:
    if console.is_terminal:
        console.print(counts_table(rows))
    else:
        for row in rows:
            click.echo(msgspec.json.encode(row))


class _Watch:
    def __init__(self, daemon: Daemon, urls: tuple[str, ...], console: Console) -> None:
        self._daemon = daemon
        self._urls = list(dict.fromkeys(urls))
        self._rows: dict[str, Row] = {}
        self._console = console
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None

    async def run(self) -> int:
        wish = {"op": "watch", "urls": self._urls}
        if self._live is None:
            await follow(self._daemon, [wish], show=self._show, trouble=self._trouble)
        else:
            with self._live:
                await follow(self._daemon, [wish], show=self._show, trouble=self._trouble)
        return 0

    def _show(self, message: Message) -> None:
        for row in message.get("counts", ()):
            self._rows[row["url"]] = row
            if self._live is None:
                click.echo(msgspec.json.encode(row))
        if self._live is not None:
            rows = [self._rows[each] for each in self._urls if each in self._rows]
            self._live.update(counts_table(rows), refresh=True)

    def _trouble(self, fault: str) -> None:
        if self._live is None:
            click.echo(f"likd watch: {fault}; reconnecting", err=True)
        else:
            self._console.print(f"{fault}; reconnecting", style="yellow", markup=False)
