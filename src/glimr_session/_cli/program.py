"""The command as a whole: its name, its errors and its exit statuses."""

from __future__ import annotations

import sys
from typing import Any, Final, NoReturn

import click

from ..errors import SessionError
from .backup import backup
from .check import check
from .init import init, key
from .manual import manual
from .move import move
from .sessions import destroy, list_, logout, show
from .shell import completion
from .store import gc, sql_schema, stats

__all__ = ["INTERRUPTED", "program"]

INTERRUPTED: Final = 130  # as shells have it: 128 and the number of SIGINT


class _Program(click.Group):
    """The command: errors are one sentence on standard error, and never a traceback."""

    def main(self, *args: Any, **extra: Any) -> NoReturn:
        """Run the command, and end with its exit status."""
        try:
            status: Any = super().main(*args, **{**extra, "standalone_mode": False})
        except click.ClickException as error:
            error.show()
            status = error.exit_code
        except SessionError as error:
            click.echo(f"Error: {error}", err=True)
            status = 1
        except click.Abort as error:
            interrupted = isinstance(error.__context__, KeyboardInterrupt)
            told = "Stopped." if interrupted else "Error: No answer, and so nothing was done."
            click.echo(told, err=True)
            status = INTERRUPTED if interrupted else 1
        sys.exit(status or 0)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order in which they are needed."""
        return list(self.commands)


program: Final[_Program] = click.version_option(package_name="glimr-session")(
    _Program(
        "glimr-session",
        help="Looks after the sessions of a site that uses glimr_session.",
        epilog="Exit status: 0 done, 1 could not, 2 wrong usage, 130 stopped by ^C.",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
)
for command in (
    init, key, check, stats, gc, list_, show, destroy, logout, move, backup,
    sql_schema, completion, manual,
):  # fmt: skip
    program.add_command(command)
