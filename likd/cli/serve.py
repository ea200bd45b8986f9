"""`likd serve`: run the daemon."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click
import structlog
import trio

from likd.config.settings import GROUPS, Config, ConfigError, load, settings, unknown_variables
from likd.errors import LikdError
from likd.runtime.logs import configure_logs

log = structlog.get_logger(__name__)


def _options(command: Any) -> Any:
    for setting in reversed(settings()):
        unit = setting.unit or "|".join(setting.choices)
        command = click.option(
            setting.flag,
            setting.name,
            metavar=unit,
            help=f"{setting.help}  [env: {setting.variable}; default: {setting.default or 'none'}]",
        )(command)
    return command


class _Grouped(click.Command):
    """A command whose help has the settings in their groups."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """What is no setting first."""
        records = {parameter.name: parameter.get_help_record(ctx) for parameter in self.get_params(ctx)}
        grouped = {name for names in GROUPS.values() for name in names}
        sections = {"Options": [name for name in records if name not in grouped], **GROUPS}
        for title, names in sections.items():
            with formatter.section(title):
                formatter.write_dl([record for name in names if (record := records.get(name)) is not None])


@click.command(cls=_Grouped)
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
    for fault in unknown_variables(os.environ):
        log.warning(fault)
    sys.exit(trio.run(_serve, config))


async def _serve(config: Config) -> int:
    """Run the daemon; the exit status."""
    from likd import daemon

    return_code = 0
    try:
        await daemon.serve(config, ready=_announce)
    except* ConfigError as errors:
        click.echo(f"likd: {errors.exceptions[0]}", err=True)
        return_code = 2
    except* (LikdError, OSError) as errors:
        for error in errors.exceptions:
            click.echo(f"likd: {error}", err=True)
        return_code = 1
    return return_code


def _announce(daemon: Any) -> None:
    for address in daemon.web.addresses:
        click.echo(f"likd is listening on {address}")
