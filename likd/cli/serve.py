"""`likd serve`: run the daemon."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import structlog
import trio

from likd.cli.options import Grouped, with_settings
from likd.config.settings import Config, ConfigError, load, unknown_variables
from likd.errors import Fenced, LikdError
from likd.runtime.logs import configure_logs

FENCED = 3
"""The exit status of a daemon whose data directory another daemon has taken over: a restart would only take it back."""

log = structlog.get_logger(__name__)


@click.command(cls=Grouped)
@with_settings
def serve(file: Path | None, **flags: str | None) -> None:
    """Run the like engine until SIGTERM or SIGINT.

    Takes events over HTTP, counts them and writes the counts to the store. Each setting comes from the first of these
    that has it: its flag, its environment variable, the configuration file, its default.

    \b
    Exit status: 0 after a clean shutdown, 1 if the daemon gave up or could not start,
    2 if a setting is invalid, 3 if another daemon writes to the store for a copy of this data directory.
    """
    try:
        config = load(flags, file=file)
    except ConfigError as error:
        raise click.UsageError(str(error)) from None
    configure_logs(config.log_format)
    for fault in unknown_variables(os.environ):
        log.warning(fault)
    sys.exit(trio.run(_serve, config))


async def _serve(config: Config) -> int:
    """Run the daemon. Returns the exit status."""
    from likd import daemon

    return_code = 0
    try:
        await daemon.serve(config, ready=_announce)
    except* ConfigError as errors:
        click.echo(f"likd serve: {errors.exceptions[0]}", err=True)
        return_code = 2
    except* (LikdError, OSError) as errors:
        for error in _each(errors):
            click.echo(f"likd serve: {error}", err=True)
            return_code = max(return_code, FENCED if isinstance(error, Fenced) else 1)
    return return_code


def _each(errors: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    """The exceptions in a group, however deep they are nested."""
    for error in errors.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _each(error)
        else:
            yield error


def _announce(daemon: Any) -> None:
    for address in daemon.web.addresses:
        click.echo(f"likd is listening on {address}")
