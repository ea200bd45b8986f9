"""`likd completion`: completion for shells."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script of SHELL.

    \b
    bash:  eval "$(likd completion bash)"                              in ~/.bashrc
    zsh:   eval "$(likd completion zsh)"                               in ~/.zshrc
    fish:  likd completion fish > ~/.config/fish/completions/likd.fish
    """
    complete = get_completion_class(shell)
    assert complete is not None
    click.echo(complete(context.find_root().command, {}, "likd", "_LIKD_COMPLETE").source())
