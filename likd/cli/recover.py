"""`likd recover`: puts a data directory in order as a start does, or says what a start would do."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import click
import trio

from likd.cli.options import with_config
from likd.config.settings import ConfigError, load
from likd.errors import LikdError
from likd.runtime.logs import configure_logs


@click.command()
@click.option("--data-dir", metavar="DIR", help="The data directory.  [env: LIKD_DATA_DIR; default: data]")
@with_config
@click.option("--dry-run", is_flag=True, help="Change nothing; only say what a start would do.")
def recover(*, data_dir: str | None, file: Path | None, dry_run: bool) -> None:
    """Turn the journal segments that a crash left into batch files, and set damaged files aside.

    `likd serve` does this at every start, so it is rarely needed. No daemon may be running in the directory.

    \b
    Exit status: 0 on success, 1 on failure or if damage was found, 2 if a setting is invalid.
    """
    from likd import daemon
    from likd.durability.lock import locked_data_dir, unused_data_dir

    try:
        config = load({"data_dir": data_dir}, file=file)
    except ConfigError as error:
        raise click.UsageError(str(error)) from None
    if not config.data_dir.is_dir():
        raise click.UsageError(f"there is no directory {config.data_dir}")
    configure_logs("auto", quiet=True)
    try:
        with (unused_data_dir if dry_run else locked_data_dir)(config.data_dir):
            found = trio.run(partial(daemon.recover, config, dry_run=dry_run))
    except (LikdError, OSError) as error:
        click.echo(f"likd recover: {error}", err=True)
        sys.exit(1)
    for step in found.steps:
        click.echo(step)
    rows = sum(len(batch.rows) for batch in found.batches)
    click.echo(
        f"{len(found.batches)} tables with {rows} rows are waiting for the store; the next table is {found.next_table}"
    )
    if found.damage:
        click.echo(f"likd recover: damage was found in {len(found.damage)} places, see above", err=True)
        sys.exit(1)
