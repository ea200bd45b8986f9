"""`likd merge`: one URL becomes part of another."""

from __future__ import annotations

import click
import msgspec
import trio

from likd.cli.ask import post
from likd.cli.client import ClientError, Daemon, daemon_options


@click.command()
@click.argument("old")
@click.argument("new")
@daemon_options
def merge(old: str, new: str, url: str, token: str | None) -> None:
    """Fold counts, history and actors of OLD into NEW, for a page that moved.

    OLD is an alias of NEW from then on: it shows NEW's counts, and what comes for it is counted for NEW. Whoever
    liked both likes once. It can't be undone. Needs the admin token where there is one.

    \b
    Exit status: 1 if it was not done, 2 if an argument is wrong.
    """
    body = msgspec.json.encode({"old": old, "new": new})
    try:
        row = trio.run(post, Daemon(url, token), "/v1/merge", body, {"Content-Type": "application/json"})
    except ClientError as error:
        raise click.ClickException(str(error)) from None
    if row["pending"]:
        click.echo(f"{row['merged']} counts for {row['url']} from now on; the store is away, and will follow")
        return
    click.echo(f"{row['merged']} is part of {row['url']} now: {row['likes']:,} likes, {row['unlikes']:,} unlikes")
