"""`likd aliases`: the URLs that were merged into others."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlencode

import click
import trio

from likd.cli.ask import ask
from likd.cli.client import ClientError, Daemon, daemon_options, printable


@click.command()
@click.argument("of", metavar="[URL]", required=False, default="")
@click.option("--remove", metavar="OLD", help="Stop OLD from counting for another URL.")
@daemon_options
def aliases(of: str, remove: str | None, url: str, token: str | None) -> None:
    """Show which URLs count for others (or for URL) because they were merged, or remove one.

    Events that came for an alias stay where they were counted. Needs the admin token if there is one.

    \b
    Exit status: 1 on failure, 2 if an argument is invalid.
    """
    daemon = Daemon(url, token)
    try:
        if remove is not None:
            done = trio.run(ask, daemon, "DELETE", f"/v1/aliases?{urlencode({'old': remove})}")
            click.echo(f"{printable(done['old'])} counts for itself from now on")
            return
        for old, new in _all(daemon, of):
            click.echo(f"{printable(old)} counts for {printable(new)}")
    except ClientError as error:
        raise click.ClickException(str(error)) from None


def _all(daemon: Daemon, of: str) -> Iterator[tuple[str, str]]:
    after: str | None = ""
    while after is not None:
        query = urlencode({"limit": 1000, "after": after, **({"url": of} if of else {})})
        part = trio.run(ask, daemon, "GET", f"/v1/aliases?{query}")
        yield from ((row["old"], row["new"]) for row in part["aliases"])
        after = part["next"]
