"""`likd reset`: sets a URL or a site back to zero."""

from __future__ import annotations

import click

from likd.cli.client import Daemon, daemon_options
from likd.cli.delete import confirm, erase, field_of


@click.command()
@click.argument("target", metavar="URL-OR-SITE")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@daemon_options
def reset(*, target: str, yes: bool, url: str, token: str | None) -> None:
    """Reset counts, history and actors of URL-OR-SITE to nothing; its pages stay in lists, with zeros.

    URL-OR-SITE is a URL with https://, or a host for all its pages. This can't be undone. Needs the admin token if
    there is one.

    \b
    Exit status: 1 on failure, 2 if an argument is invalid.
    """
    confirm(f"Set all counts of {target} to zero?", yes=yes)
    erase(Daemon(url, token), "POST", "/v1/reset", {field_of(target): target})
