"""`likd export`: writes all counts for other programs."""

from __future__ import annotations

import csv
from functools import partial
from typing import Any, TextIO

import click
import httpx
import msgspec
import trio

from likd.cli.ask import reason
from likd.cli.client import ClientError, Daemon, daemon_options, open_client


@click.command()
@click.option("--format", "form", type=click.Choice(["ndjson", "csv"]), default="ndjson", help="[default: ndjson]")
@click.option(
    "--output", metavar="FILE", type=click.File("w", encoding="utf-8", atomic=True), default="-", help="[default: -]"
)
@daemon_options
def export(form: str, output: TextIO, url: str, token: str | None) -> None:
    """Write the counts of all URLs, one URL per line, sorted by URL.

    Each line is exact as of the moment at which it is written. A file is written completely or not at all.

    \b
    Exit status: 1 if the daemon can't be reached or its answer is cut short, 2 if an argument is invalid.
    """
    try:
        trio.run(partial(_export, Daemon(url, token), output, as_csv=form == "csv"))
    except* ClientError as errors:
        raise click.ClickException(str(errors.exceptions[0])) from None


async def _export(daemon: Daemon, output: TextIO, *, as_csv: bool) -> None:
    writer: Any = None
    async with open_client(daemon, 60) as client:
        try:
            async with client.stream("GET", f"{daemon.root}/v1/export") as response:
                if response.is_error:
                    await response.aread()
                    raise ClientError(reason(response))
                async for line in response.aiter_lines():
                    if not as_csv:
                        output.write(line + "\n")
                        continue
                    row = msgspec.json.decode(line, type=dict[str, str | int])
                    if writer is None:
                        writer = csv.DictWriter(output, list(row), lineterminator="\n")
                        writer.writeheader()
                    writer.writerow(row)
        except httpx.HTTPError as error:
            raise ClientError(f"the answer of {daemon.url} was cut short: {error or type(error).__name__}") from None
    output.flush()
