"""The man page, made from the help of the commands."""

from __future__ import annotations

import inspect
import re
from importlib.metadata import version
from typing import Final

import click

from ..config import CONFIG_VARIABLE

__all__ = ["manual"]

_PURPOSE: Final = "look after the sessions of a site"

_ENVIRONMENT: Final = (
    (CONFIG_VARIABLE, "The file of settings."),
    ("GLIMR_SESSION_...", "Settings, as GLIMR_SESSION_SECRET_KEYS. They beat those of the file."),
    ("NO_COLOR", "If it is set, nothing is coloured."),
)
_STATUSES: Final = (
    ("0", "It is done."),
    ("1", "It could not be done; standard error says why."),
    ("2", "The command was used wrongly."),
    ("130", "It was stopped by ^C."),
)


@click.command("man")
@click.pass_context
def manual(context: click.Context) -> None:
    """Print the man page of this command.

    glimr-session man > ~/.local/share/man/man1/glimr-session.1
    """
    root = context.find_root()
    group = root.command
    assert isinstance(group, click.Group)  # noqa: S101  # for type checkers
    name = _text("glimr-session")
    lines = [
        f'.TH GLIMR\\-SESSION 1 "" "glimr_session {version("glimr-session")}"',
        ".SH NAME",
        f"{name} \\- {_text(_PURPOSE)}",
        ".SH SYNOPSIS",
        f".B {name}",
        ".I command",
        "[option ...] [argument ...]",
        ".SH DESCRIPTION",
        *_paragraphs(group.help or ""),
        ".SH COMMANDS",
    ]
    for command in group.commands.values():
        inner = click.Context(command, parent=root, info_name=command.name)
        usage = " ".join(command.collect_usage_pieces(inner)).replace("[OPTIONS]", "").strip()
        lines += [f".SS {_text(f'{command.name} {usage}')}", *_paragraphs(command.help or "")]
        for parameter in command.get_params(inner):
            record = parameter.get_help_record(inner)
            if record is not None and "--help" not in parameter.opts:
                lines += _entry(*record)
    lines.append(".SH ENVIRONMENT")
    for record in _ENVIRONMENT:
        lines += _entry(*record)
    lines.append(".SH EXIT STATUS")
    for record in _STATUSES:
        lines += _entry(*record)
    click.echo("\n".join(lines))


def _entry(term: str, text: str) -> list[str]:
    return [".TP", f".B {_text(term)}", _text(text)]


def _paragraphs(text: str) -> list[str]:
    found = re.split(r"\n\s*\n", inspect.cleandoc(text))
    return [line for paragraph in found for line in (".PP", _text(paragraph))]


def _text(text: str) -> str:
    """Return text as roff takes it: on one line, and nothing in it is a request."""
    plain = " ".join(text.split()).replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{plain}" if plain.startswith((".", "'")) else plain
