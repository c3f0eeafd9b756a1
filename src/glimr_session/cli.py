"""The command ``glimr-session``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from .config import SessionConfig
from .errors import SessionError

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status.

    Args:
        arguments: those of the command line, without its name.
    """
    parser = argparse.ArgumentParser(
        prog="glimr-session", description="Runs the sessions of glimr_session."
    )
    commands = parser.add_subparsers(required=True, metavar="command")
    schema = commands.add_parser(
        "sql-schema", help="print the SQL that makes the table of the SQL store"
    )
    schema.add_argument("dialect", choices=("postgresql", "mysql", "mariadb", "sqlite"))
    schema.add_argument("--table", default=SessionConfig.sql_table, help="default: %(default)s")
    schema.set_defaults(run=print_schema)
    chosen = parser.parse_args(arguments)
    try:
        chosen.run(chosen)
    except SessionError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def print_schema(chosen: argparse.Namespace) -> None:
    """Print the statements that make the table and its indexes."""
    from .stores.sql import schema  # an extra

    print(schema(chosen.dialect, table=chosen.table))
