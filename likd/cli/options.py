"""The daemon's settings as options of commands, in their groups, with completion."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from likd.config.setting import Setting
from likd.config.settings import GROUPS, settings

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


class Grouped(click.Command):
    """A command whose help lists the settings in their groups, below its own options."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The command's own options first, then the groups of settings."""
        records = {parameter.name: parameter.get_help_record(ctx) for parameter in self.get_params(ctx)}
        grouped = {name for names in GROUPS.values() for name in names}
        sections = {"Options": [name for name in records if name not in grouped], **GROUPS}
        for title, names in sections.items():
            with formatter.section(title):
                formatter.write_dl([record for name in names if (record := records.get(name)) is not None])


def with_settings(command: Any) -> Any:
    """Add options for all settings, and for the configuration file."""
    for setting in reversed(settings()):
        command = click.option(
            setting.flag,
            setting.name,
            metavar=setting.unit or "|".join(setting.choices),
            shell_complete=_completion(setting),
            help=f"{setting.help}  [env: {setting.variable}; default: {setting.default or 'none'}]",
        )(command)
    return with_config(command)


def with_config(command: Any) -> Any:
    """Add the option for the configuration file."""
    return click.option(
        "--config",
        "file",
        metavar="FILE",
        type=click.Path(path_type=Path),
        envvar="LIKD_CONFIG",
        help="TOML file with settings, named as the flags, _ for -.  [env: LIKD_CONFIG; default: likd.toml if there]",
    )(command)


def _completion(setting: Setting) -> Complete:
    def complete(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
        if setting.unit in ("DIR", "FILE"):
            return [CompletionItem(incomplete, type=setting.unit.lower())]
        choices = setting.choices or (("true", "false") if setting.unit == "true|false" else ())
        return [CompletionItem(choice) for choice in choices if choice.startswith(incomplete)]

    return complete
