"""The `likd` command. Sub-commands are imported only when they are run, so that none pays for another's imports."""

from __future__ import annotations

import sys
from contextlib import suppress
from difflib import get_close_matches
from importlib import import_module
from io import TextIOWrapper
from keyword import iskeyword
from typing import Any

import click

from likd import __version__

COMMANDS = {
    "serve": "Run the like engine.",
    "send": "Send events from files, access logs or standard input.",
    "watch": "Show the counts of URLs as they change.",
    "top": "Show the hottest URLs and the daemon's health.",
    "export": "Write all counts as NDJSON or CSV.",
    "import": "Load starting counts from elsewhere, each file once.",
    "merge": "Merge one URL's counts into another's.",
    "aliases": "Show or remove the aliases that merges left.",
    "delete": "Delete the counts of a URL or a site.",
    "reset": "Set the counts of a URL or a site back to zero.",
    "doctor": "Check disk, clock, limits, store and port, before likd starts or while it runs.",
    "inspect": "Show the contents of a data directory.",
    "recover": "Put a data directory's journal and batch files in order.",
    "drain": "Empty a data directory into its store, once.",
    "adopt": "Turn a fenced data directory into a node of its own.",
    "retire": "Remove a node of a shared store for good; its counts stay.",
    "completion": "Print the completion script for a shell.",
}


class LazyGroup(click.Group):
    """The sub-commands in COMMANDS; each is a command in a module of the same name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, imported now."""
        if cmd_name not in COMMANDS:
            return None
        name = f"{cmd_name}_" if iskeyword(cmd_name) else cmd_name
        command = getattr(import_module(f"likd.cli.{name}"), name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that was asked for. Raises click.UsageError, which suggests the closest spelling."""
        close = get_close_matches(args[0], COMMANDS, n=1)
        if close and args[0] not in COMMANDS and not args[0].startswith("-"):
            ctx.fail(f"No such command {args[0]!r}. Did you mean {close[0]!r}?")
        return super().resolve_command(ctx, args)

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run and exit. An error is one line on standard error; an invalid argument is exit status 2."""
        for stream in (sys.stdout, sys.stderr):
            # A character that the terminal's encoding lacks must not end the command.
            if isinstance(stream, TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        try:
            status = super().main(*args, **{**kwargs, "standalone_mode": False})
        except click.ClickException as error:
            context = getattr(error, "ctx", None)
            _say(f"{context.command_path if context else 'likd'}: {error.format_message()}")
            sys.exit(error.exit_code)
        except click.Abort:
            sys.exit(130)
        except OSError as error:
            # A directory that is gone, a disk that is full: the environment's fault, not the program's.
            about = f"{error.filename}: " if error.filename else ""
            _say(f"likd: {about}{error.strerror or error}")
            sys.exit(1)
        sys.exit(status if isinstance(status, int) else 0)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands from the table, so that `likd --help` imports none of them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _say(text: str) -> None:
    with suppress(OSError):
        click.echo(text, err=True)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="likd", message="%(prog)s %(version)s")
def main() -> None:
    """Count likes, unlikes and impressions of URLs, and lose none that were acknowledged.

    \b
    likd serve                             run the daemon
    likd send events.ndjson                count events from a file
    likd watch https://example.com/        see one URL's counts live
    likd top                               see the hottest URLs live

    `likd COMMAND --help` is the manual page of each command.
    """
