"""`likd serve`: run the daemon."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
import trio

from likd.config.settings import Config, ConfigError, load, settings
from likd.runtime.logs import configure_logs


def _options(command: Any) -> Any:
    for setting in reversed(settings()):
        unit = setting.unit or "|".join(setting.choices)
        command = click.option(
            setting.flag,
            setting.name,
            metavar=unit,
            help=f"{setting.help}  [env: {setting.variable}; default: {setting.default}]",
        )(command)
    return command


@click.command()
@click.option(
    "--config",
    "file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    envvar="LIKD_CONFIG",
    help="Settings in TOML, named as the flags with _ for -.  [env: LIKD_CONFIG; default: likd.toml if there]",
)
@_options
def serve(file: Path | None, **flags: str | None) -> None:
    """Run the like engine until SIGTERM or SIGINT.

    Takes events over HTTP, counts them, and brings the counts into the store. Each setting comes from its flag,
    else its environment variable, else the configuration file, else its default.

    \b
    Exit status: 0 after a clean shutdown, 1 if the daemon gave up or could not start,
    2 if a setting is wrong.
    """
    try:
        config = load(flags, file=file)
    except ConfigError as error:
        raise click.UsageError(str(error)) from None
    configure_logs(config.log_format)
    sys.exit(trio.run(_serve, config))


async def _serve(config: Config) -> int:
    """Run the daemon; the exit status."""
    from likd import daemon
    from likd.plugins.handlers import HandlerError
    from likd.runtime.supervisor import RestartIntensityExceeded
    from likd.stores.protocol import StoreError
    from likd.web.listeners import BindError

    return_code = 0
    try:
        await daemon.serve(config, ready=_announce)
    except* ConfigError as errors:
        click.echo(f"likd: {errors.exceptions[0]}", err=True)
        return_code = 2
    except* (
        daemon.StartError,
        BindError,
        HandlerError,
        StoreError,
        RestartIntensityExceeded,
        OSError,
    ) as errors:
        for error in errors.exceptions:
            click.echo(f"likd: {error}", err=True)
        return_code = 1
    return return_code


def _announce(daemon: Any) -> None:
    for address in daemon.web.addresses:
        click.echo(f"likd is listening on {address}")
