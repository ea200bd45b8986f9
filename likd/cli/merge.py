"""`likd merge`: makes one URL part of another."""

from __future__ import annotations

from urllib.parse import urlencode

import click
import msgspec
import trio

from likd.cli.ask import ask, post
from likd.cli.client import ClientError, Daemon, daemon_options


@click.command()
@click.argument("old")
@click.argument("new")
@click.option("--force", is_flag=True, help="Merge even if neither URL has any counts.")
@daemon_options
def merge(*, old: str, new: str, force: bool, url: str, token: str | None) -> None:
    """Merge the counts, history and actors of OLD into NEW, for a page that moved.

    From then on OLD is an alias of NEW: it shows NEW's counts, and events for it are counted for NEW. An actor who
    liked both counts once. This can't be undone. Needs the admin token if there is one.

    \b
    Exit status: 1 on failure, 2 if an argument is invalid.
    """
    daemon = Daemon(url, token)
    body = msgspec.json.encode({"old": old, "new": new})
    try:
        if not force and old != new and not trio.run(_is_known, daemon, old, new):
            raise click.UsageError("neither URL has any counts: if they are right all the same, add --force")
        row = trio.run(post, daemon, "/v1/merge", body, {"Content-Type": "application/json"})
    except ClientError as error:
        raise click.ClickException(str(error)) from None
    if row["pending"]:
        click.echo(f"{row['merged']} counts for {row['url']} from now on; the store is unavailable and will follow")
        return
    click.echo(f"{row['merged']} is part of {row['url']} now: {row['likes']:,} likes, {row['unlikes']:,} unlikes")


async def _is_known(daemon: Daemon, old: str, new: str) -> bool:
    """Whether either URL has any counts; also true for what is not a URL, which the daemon explains better."""
    query = urlencode([("url", old), ("url", new), ("partial", "true")])
    rows = (await ask(daemon, "GET", f"/v1/counts?{query}"))["counts"]
    return any("problem" in row or any(n for name, n in row.items() if name != "url") for row in rows)
