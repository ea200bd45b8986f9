"""`likd drain`: empty a data directory into its store, once."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from likd.cli.directory import configured, in_directory, with_directory


@click.command()
@with_directory
def drain(*, data_dir: str | None, store: str | None, file: Path | None) -> None:
    """Bring what waits in a data directory into its store, and end.

    For a node that is to be removed, before `likd retire`. `likd serve` does it all the time. No daemon may run in
    the directory meanwhile.

    \b
    Exit status: 0 if the store has everything, 1 if something is left, 2 if a setting is wrong.
    """
    from likd.upkeep import drain as do

    done = in_directory("drain", configured(file, data_dir=data_dir, store=store), do)
    click.echo(f"{done.rows:,} rows were written")
    if done.tables_left:
        why = f": {done.fault}" if done.fault else ""
        click.echo(f"likd drain: {done.tables_left} tables with {done.rows_left:,} rows are left{why}", err=True)
        sys.exit(1)
