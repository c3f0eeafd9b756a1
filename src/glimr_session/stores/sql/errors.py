"""The errors of databases: what mends them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from ...errors import StoreUnavailable

__all__ = ["Lost", "advice", "cause", "outage"]


class Lost(StoreUnavailable):
    """The connection had ended before it was used, most likely; another one may do."""


def outage(error: BaseException, *, lost: bool = False) -> StoreUnavailable:
    """Return the error for one of the driver's, or of SQLAlchemy's."""
    kind = Lost if lost else StoreUnavailable
    return kind(advice(error) or f"the database failed: {_first_line(error)}")


# Codes of PostgreSQL and MySQL, and words where a driver gives no code; what mends it.
_ADVICE: Final[Sequence[tuple[frozenset[object], tuple[str, ...], str]]] = (
    (
        frozenset({"26000", "42P05"}),
        ('prepared statement "',),
        (
            "PgBouncer pools transactions and does not know prepared statements: set [sql] "
            "prepare_threshold = 0"
        ),
    ),
    (
        frozenset(),
        ("unsupported startup parameter",),
        (
            "PgBouncer does not take a parameter that [sql] url sets; leave it out (and where "
            "PgBouncer pools transactions, set [sql] prepare_threshold = 0)"
        ),
    ),
    (
        frozenset(),
        ("invalid connection option", "invalid URI query parameter"),
        "[sql] url: the driver does not know an option in it",
    ),
    (
        frozenset({"42P01", "3F000", 1146}),
        ("no such table",),
        (
            "[sql] table: there is no such table in the database. Make it with what "
            "`glimr-session sql-schema` prints, or with SqlStore.create_table(url)"
        ),
    ),
    (
        frozenset({"42703", "42804", 1054}),
        ("no such column",),
        (
            "[sql] table: it has other columns; compare it with what `glimr-session sql-schema` "
            "prints, or name another table"
        ),
    ),
    (
        frozenset({"42501", 1142, 1143}),
        ("permission denied for",),
        "[sql] table: the user must be allowed to SELECT, INSERT, UPDATE and DELETE",
    ),
    (
        frozenset({"25006", 1290, 1836}),
        ("readonly database", "read-only"),
        "[sql] url: this database takes no writes. A replica will not do: name the primary",
    ),
    (
        frozenset({"28P01", "28000", 1045, 1698}),
        (
            "authentication failed",
            "no password supplied",
            "no pg_hba.conf entry",
            "password was required",
        ),
        "[sql] url: the server refuses the user or the password",
    ),
    (
        frozenset({"3D000", 1044, 1049}),
        ("no such database",),
        "[sql] url: there is no such database, or the user may not use it",
    ),
    (
        frozenset({"42601", 1064}),
        (),
        "[sql] url: the server is too old; it must be PostgreSQL 12, MySQL 8 or MariaDB 10.6",
    ),
    (
        frozenset(),
        ("unable to open database file", "file is not a database"),
        (
            "[sql] url: SQLite cannot use this file; it must be a database or not exist yet, in a "
            "directory that exists and can be written"
        ),
    ),
)
_MISSING_DATABASE: Final = re.compile(r'database "[^"]*" does not exist')


def advice(error: BaseException) -> str | None:
    """Return what mends the cause of an error, if a setting or an administrator does."""
    error = cause(error)
    codes = [getattr(error, "sqlstate", None), *error.args[:1]]
    text = str(error)
    if _MISSING_DATABASE.search(text):
        codes = ["3D000"]
    for known, phrases, mended_by in _ADVICE:
        if any(type(code) in (str, int) and code in known for code in codes) or any(
            phrase in text for phrase in phrases
        ):
            return f"{mended_by} ({_first_line(error)})"
    return None


def cause(error: BaseException) -> BaseException:
    """Return the driver's error, without a traceback: some loggers print its variables."""
    driver_error = getattr(error, "orig", None) or error
    cause: BaseException = driver_error.with_traceback(None)
    return cause


def _first_line(error: BaseException) -> str:
    """Return the first line of a message, without SQL and parameters."""
    text = str(cause(error)).strip()
    return text.splitlines()[0] if text else type(error).__name__
