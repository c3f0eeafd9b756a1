"""Completion for shells."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

__all__ = ["completion"]


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a script that completes this command in a shell.

    For bash, into ~/.local/share/bash-completion/completions/glimr-session; for zsh, into a file
    _glimr-session on its fpath; for fish, into ~/.config/fish/completions/glimr-session.fish.
    """
    root = context.find_root()
    kind = get_completion_class(shell)
    if kind is not None:  # one of the choices
        name = "glimr-session"
        click.echo(kind(root.command, {}, name, "_GLIMR_SESSION_COMPLETE").source())
