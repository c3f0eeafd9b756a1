"""The table of sessions, and where the database is that has it."""

from __future__ import annotations

import re
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.dialects import mysql

from ..._validation import safe_repr
from ...errors import ConfigError

__all__ = ["DEFAULT_TABLE", "DRIVERS", "EXAMPLES", "place_of", "schema", "table_named"]

DEFAULT_TABLE: Final = "glimr_sessions"

# Room for what is made of it: PostgreSQL's names have 63 bytes, and an index adds 11.
_NAME: Final = r"[A-Za-z_][A-Za-z0-9_]{0,47}"

EXAMPLES: Final = (
    'write it as "postgresql://user:password@host/database", '
    '"mysql://user:password@host/database" or "sqlite:////path/to/file"'
)
DRIVERS: Final = {
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
    "sqlite": "sqlite+pysqlite",
}


def place_of(url: str | sa.URL, engine: sa.Engine | None) -> sa.URL | sa.Engine:
    """Return where the database is: a URL with our driver, or the engine."""
    if (engine is None) == (not url):
        raise ConfigError(f"[sql] url: name one, or pass an engine; {EXAMPLES}")
    if engine is not None:
        return engine
    try:
        parsed = sa.make_url(url)
    except (exc.ArgumentError, ValueError, TypeError):
        raise ConfigError(f"[sql] url: this is no URL of a database; {EXAMPLES}") from None
    name = parsed.drivername
    driver = DRIVERS.get(name, name)
    if driver not in DRIVERS.values():
        raise ConfigError(
            f"[sql] url: {safe_repr(name)} is none of {', '.join(DRIVERS)}; with another driver, "
            "pass an engine"
        )
    if driver == "sqlite+pysqlite" and parsed.database in (None, "", ":memory:"):
        raise ConfigError(f"[sql] url: SQLite needs a file that all threads share; {EXAMPLES}")
    if driver != "sqlite+pysqlite" and not parsed.database:
        raise ConfigError(f"[sql] url: it names no database; {EXAMPLES}")
    return parsed.set(drivername=driver)


def schema(dialect: str, *, table: str = DEFAULT_TABLE) -> str:
    """Return the SQL that makes the table and its indexes.

    Args:
        dialect: "postgresql", "mysql", "mariadb" or "sqlite", or a URL that begins so.
        table: as for the store.

    Raises:
        ConfigError: there is no such dialect, or the name is wrong.

    Example:
        >>> print(schema("sqlite").split(" (")[0])
        CREATE TABLE glimr_sessions
    """
    name = re.split(r"[+:]", dialect, maxsplit=1)[0]
    if name not in DRIVERS:
        raise ConfigError(f"[sql] url: {safe_repr(name)} is none of {', '.join(DRIVERS)}")
    statements: list[str] = []

    def note(statement: Any, *_: Any, **__: Any) -> None:
        statements.append(str(statement.compile(dialect=engine.dialect)).strip() + ";\n")

    engine = sa.create_mock_engine(f"{DRIVERS[name]}://", note)
    table_named(table).metadata.create_all(engine, checkfirst=False)
    return re.sub(r"[ \t]+\n", "\n", "\n".join(statements))


def table_named(name: str) -> sa.Table:
    """Return the description of the table."""
    if not isinstance(name, str) or not re.fullmatch(rf"({_NAME}\.)?{_NAME}", name, re.ASCII):
        raise ConfigError(
            f"[sql] table: {safe_repr(name)} is no name of a table; use letters, digits and _, 48 "
            'at most, as in "glimr_sessions" or, in a schema, "app.glimr_sessions"'
        )
    space, _, name = name.rpartition(".")

    def binary(kind: Any) -> Any:
        return sa.LargeBinary().with_variant(kind, "mysql", "mariadb")

    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")  # its rowid
    made = sa.Table(
        name,
        sa.MetaData(),
        sa.Column("number", number, primary_key=True, autoincrement=False),
        sa.Column("key", binary(mysql.BINARY(32)), nullable=False, unique=True),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("last_used", sa.Double(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("expires", sa.Double(), nullable=False, index=True),
        sa.Column("commits", binary(mysql.VARBINARY(64)), nullable=False),
        sa.Column("owner", binary(mysql.BINARY(32)), nullable=True, index=True),
        sa.Column("value", binary(mysql.LONGBLOB()), nullable=False),
        schema=space or None,
        mysql_engine="InnoDB",
        mariadb_engine="InnoDB",
    )
    # Space for the next version of a row beside it: then no index has to be written. (As a
    # parameter of the table SQLAlchemy has it since 2.1.)
    fill: sa.DDL = sa.DDL("ALTER TABLE %(fullname)s SET (fillfactor = 75)")  # type: ignore[no-untyped-call]
    event.listen(made, "after_create", fill.execute_if(dialect="postgresql"))
    return made
