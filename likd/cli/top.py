"""`likd top`: the hottest URLs and the daemon's health, live."""

from __future__ import annotations

import sys
from typing import Any

import click
import trio
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from likd.cli.client import ClientError, Daemon, daemon_options, until_signal
from likd.cli.live import Message, ask, follow
from likd.cli.watch import Row, counts_table


@click.command()
@daemon_options
@click.option("--by", metavar="COUNT", default="likes", show_default=True, help="likes, unlikes, net, impressions …")
@click.option(
    "--limit", metavar="N", type=click.IntRange(1, 1000), default=20, show_default=True, help="How many URLs to show."
)
@click.option("--once", is_flag=True, help="Show the current state and exit; this is the default without a terminal.")
def top(*, url: str, token: str | None, by: str, limit: int, once: bool) -> None:
    """Show the hottest URLs and the daemon's health, live, until interrupted.

    \b
    Exit status: 1 if the first connection fails, or if the daemon has no such count.
    """
    daemon = Daemon(url, token)
    console = Console()
    try:
        if once or not console.is_terminal:
            trio.run(_show_once, daemon, by, limit, console)
            status = 0
        else:
            status = trio.run(until_signal, _Top(daemon, by, limit, console).run)
    except* ClientError as errors:
        click.echo(f"likd top: {errors.exceptions[0]}", err=True)
        status = 1
    sys.exit(status)


async def _show_once(daemon: Daemon, by: str, limit: int, console: Console) -> None:
    answer = await ask(daemon, "/v1/top", [("by", by), ("limit", str(limit))])
    console.print(_page(await ask(daemon, "/v1/status"), answer["top"]))


class _Top:
    def __init__(self, daemon: Daemon, by: str, limit: int, console: Console) -> None:
        self._daemon = daemon
        self._wishes: list[Message] = [{"op": "watch_top", "by": by, "limit": limit}, {"op": "watch_status"}]
        self._live = Live(console=console, auto_refresh=False, screen=True)
        self._rows: list[Row] = []
        self._status: dict[str, Any] | None = None

    async def run(self) -> int:
        with self._live:
            await follow(self._daemon, self._wishes, show=self._show, trouble=self._trouble)
        return 0

    def _show(self, message: Message) -> None:
        self._rows = message.get("top", self._rows)
        self._status = message.get("status", self._status)
        self._live.update(_page(self._status, self._rows), refresh=True)

    def _trouble(self, fault: str) -> None:
        trouble = Text(f"{fault}; reconnecting", style="yellow")
        self._live.update(Group(trouble, "", _page(self._status, self._rows)), refresh=True)


def _page(status: dict[str, Any] | None, rows: list[Row]) -> RenderableType:
    lines = [] if status is None else [*_health(status), ""]
    return Group(*lines, counts_table(rows) if rows else Text("nothing counted yet", style="dim"))


def _health(status: dict[str, Any]) -> list[RenderableType]:
    rates, tables, pool, store = status["rates"], status["tables"], status["pool"], status["store"]
    refused = sum(status["totals"]["requests_refused"].values())
    totals = status["totals"]
    events = f"{totals['events_accepted']:,} events, {rates['events_per_second']:,.0f}/s"
    requests = f"{rates['requests_per_second']:,.0f} requests/s, {refused:,} refused"
    table = f"table {tables['open']} open with {tables['open_urls']:,} URLs"
    waiting = f"{tables['draining']} draining, {tables['waiting']} waiting ({tables['rows_waiting']:,} rows)"
    pace = f"{rates['rows_per_second']:,.0f} of {store['write_tolerance']:,.0f} rows/s"
    counters = f"{pool['leased']:,} of {pool['counters']:,} counters leased"
    lines: list[RenderableType] = [
        f"likd {status['version']}, up {_span(status['uptime_seconds'])}: {events} in {requests}",
        f"{table}, {waiting}",
        f"store {store['kind']} {store['state']}: {store['lag_seconds']:.1f} s behind, {pace}",
        f"{counters}, {pool['busy']} busy, {pool['hung']} hung, {pool['crashed']} crashed, {pool['worn']} worn",
        # Earlier daemons do not tell.
        *map(_process, status.get("processes", [])),
    ]
    if len(nodes := [node for node in status.get("nodes", ()) if not node["retired"]]) > 1:
        lines += [_node(node) for node in nodes]
    faults = {"journal": status["journal"]["fault"], "batcher": status["batcher"]["fault"], "store": store["fault"]}
    lines += [Text(f"{part}: {fault}", style="red") for part, fault in faults.items() if fault]
    return lines


def _node(node: dict[str, Any]) -> RenderableType:
    this = ", this one" if node["this"] else ""
    seen = "" if node["alive"] else f", last seen {_span(node['seen_seconds'])} ago"
    line = f"node {node['node']} {node['name']}: epoch {node['epoch']}, {node['lag_seconds']:.1f} s behind{seen}{this}"
    return Text(line, style="" if node["alive"] else "red")


def _process(process: dict[str, Any]) -> str:
    used = f"{process['cpu_seconds']:,.1f} s of processor time, {process['memory_bytes'] / (1 << 20):,.0f} MiB"
    return f"{process['name']} (process {process['pid']}): {used}"


def _span(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
