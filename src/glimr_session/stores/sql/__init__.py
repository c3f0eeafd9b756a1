"""Sessions as rows of a table in PostgreSQL, MySQL, MariaDB or SQLite.

SQLAlchemy makes the table, knows the dialects and opens the connections. The statements are run
by the driver's own cursors, in autocommit mode: each is one round trip.
"""

from .._server import missing_extra

try:
    import sqlalchemy  # noqa: F401
except ImportError as error:
    raise missing_extra("sql", error) from error

from .store import SqlStore, sql_store
from .table import schema

__all__ = ["SqlStore", "schema", "sql_store"]
