"""`likd retire`: a node of a shared store is gone for good."""

from __future__ import annotations

from pathlib import Path

import click

from likd.cli.directory import configured, with_store
from likd.errors import LikdError


@click.command()
@click.argument("node", metavar="NODE")
@click.option("--force", is_flag=True, help="Even if it was seen a moment ago.")
@with_store
def retire(*, node: str, force: bool, store: str | None, file: Path | None) -> None:
    """Let NODE, by its number or name, be gone for good: what it had counted stays, and its rows become nobody's.

    Run `likd drain` in its data directory before, if that is there: what it had not brought into the store is not
    counted. A daemon of it ends.

    \b
    Exit status: 0 if it was done, 1 if not, 2 if a setting is wrong.
    """
    from likd.upkeep import retire as do

    try:
        gone = do(configured(file, store=store), node, force=force)
    except LikdError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"node {gone.node}{f' ({gone.name})' if gone.name else ''} is retired, as of its table {gone.mark}")
