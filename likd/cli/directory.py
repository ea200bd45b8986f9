"""What commands for a data directory without a daemon have in common."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import trio

from likd.cli.options import with_config
from likd.config.settings import Config, ConfigError, load
from likd.errors import LikdError
from likd.model import Counts
from likd.runtime.logs import configure_logs

T = TypeVar("T")


def with_store(command: Any) -> Any:
    """The options that say which store."""
    command = click.option(
        "--store", metavar="URL", help="Where totals live.  [env: LIKD_STORE; default: sqlite:///likd.db]"
    )(command)
    return with_config(command)


def with_directory(command: Any) -> Any:
    """The options that say which data directory, and which store."""
    return click.option("--data-dir", metavar="DIR", help="The data directory.  [env: LIKD_DATA_DIR; default: data]")(
        with_store(command)
    )


def configured(file: Path | None, **flags: str | None) -> Config:
    """The settings, as of a daemon with these flags. Raises click.UsageError."""
    try:
        return load(flags, file=file)
    except ConfigError as error:
        raise click.UsageError(str(error)) from None


def in_directory(command: str, config: Config, work: Callable[[Config], Awaitable[T]]) -> T:
    """What `work` makes of the data directory, in which no daemon runs meanwhile; ends the command if it fails."""
    from likd.durability.lock import locked_data_dir

    if not config.data_dir.is_dir():
        raise click.UsageError(f"there is no directory {config.data_dir}")
    configure_logs("auto", quiet=True)
    faults: list[Exception] = []
    try:
        with locked_data_dir(config.data_dir):
            return trio.run(work, config)
    except* (LikdError, OSError) as errors:
        while errors.exceptions:
            each = errors.exceptions[0]
            if not isinstance(each, BaseExceptionGroup):
                faults.append(each)
                break
            errors = each
    click.echo(f"likd {command}: {faults[0]}", err=True)
    sys.exit(1)


def in_words(counts: Counts) -> str:
    """Sums, for people."""
    return ", ".join(f"{n:,} {name}" for name, n in counts.items()) or "nothing"
