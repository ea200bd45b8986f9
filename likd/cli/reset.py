"""`likd reset`: a URL or a site begins anew."""

from __future__ import annotations

import click

from likd.cli.client import Daemon, daemon_options
from likd.cli.delete import confirm, erase, field_of


@click.command()
@click.argument("target", metavar="URL-OR-SITE")
@click.option("--yes", is_flag=True, help="Do not ask.")
@daemon_options
def reset(*, target: str, yes: bool, url: str, token: str | None) -> None:
    """Let counts, history and actors of URL-OR-SITE begin anew: its pages stay in lists, with zeros.

    URL-OR-SITE is an address with https://, or a host for all of its pages. It can't be undone. Needs the admin token
    where there is one.

    \b
    Exit status: 1 if it was not done, 2 if an argument is wrong.
    """
    confirm(f"Set all counts of {target} to zero?", yes=yes)
    erase(Daemon(url, token), "POST", "/v1/reset", {field_of(target): target})
