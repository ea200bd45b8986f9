"""`likd adopt`: a data directory that is fenced becomes a node of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from likd.cli.directory import configured, in_directory, in_words, with_directory


@click.command()
@with_directory
@click.option(
    "--waiting",
    metavar="count|drop",
    type=click.Choice(["count", "drop"]),
    help="What becomes of what waits here, where the store may have it from a copy of this directory.",
)
def adopt(*, data_dir: str | None, store: str | None, file: Path | None, waiting: Any) -> None:
    """Give a data directory a new identity, for one that was copied, or whose node was retired.

    What waits in it counts for the new node. No daemon may run in it meanwhile; its copy may.

    \b
    Exit status: 0 if it was done, 1 if not, 2 if a setting is wrong.
    """
    from likd.upkeep import adopt as do

    done = in_directory("adopt", configured(file, data_dir=data_dir, store=store), lambda config: do(config, waiting))
    click.echo(f"this is a directory of its own now; {in_words(done.counted)} in it are yet to be counted")
    if done.dropped:
        click.echo(f"{in_words(done.dropped)} are in damaged/, and are not counted")
