"""`likd delete`: deletes a URL or a site."""

from __future__ import annotations

import sys
from typing import Any
from urllib.parse import urlencode

import click
import msgspec
import trio

from likd.cli.ask import ask
from likd.cli.client import ClientError, Daemon, daemon_options


@click.command()
@click.argument("target", metavar="URL-OR-SITE")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@daemon_options
def delete(*, target: str, yes: bool, url: str, token: str | None) -> None:
    """Delete the counts, history and actors of URL-OR-SITE: a URL with https://, or a host for all its pages.

    Later events are counted from zero. This can't be undone. Needs the admin token if there is one.

    \b
    Exit status: 1 on failure, 2 if an argument is invalid.
    """
    field = field_of(target)
    confirm(f"Delete all counts of {target}?", yes=yes)
    erase(Daemon(url, token), "DELETE", f"/v1/counts?{urlencode({field: target})}", None)


def field_of(target: str) -> str:
    """The field of a request that names `target`: "url" or "site"."""
    return "url" if "://" in target else "site"


def confirm(question: str, *, yes: bool) -> None:
    """Ask the user, unless they have said yes already. Without a terminal it is an error."""
    if not yes and not sys.stdin.isatty():
        raise click.UsageError("there is no terminal to ask on: add --yes")
    if not yes:
        click.confirm(question, abort=True)


def erase(daemon: Daemon, method: str, path: str, body: dict[str, str] | None) -> None:
    """Send the request, and print what was done."""
    data = None if body is None else msgspec.json.encode(body)
    try:
        done: dict[str, Any] = trio.run(ask, daemon, method, path, data, {"Content-Type": "application/json"})
    except ClientError as error:
        raise click.ClickException(str(error)) from None
    what = "reset" if done.get("reset") else "deleted"
    later = "; the store is unavailable and will follow" if done["pending"] else ""
    click.echo(f"{done.get('url') or done['site']} is {what}{later}")
