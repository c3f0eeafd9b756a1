"""The database: its engine, its settings, and what is looked at when a store is made."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import event, exc

from ...errors import ConfigError, StoreUnavailable
from .._places import PerLoop
from .._server import missing_extra
from .connections import Connection, EngineConnections, OwnConnections
from .errors import advice, cause, outage
from .loops import AsyncConnections
from .statements import COMMIT, Plan
from .table import DRIVERS, EXAMPLES

__all__ = ["Database"]

_EXTRAS: Final = {"postgresql": "postgresql", "mysql": "mysql", "mariadb": "mysql"}

# The server gives up waiting for a lock a little before this process gives up on the server.
_SERVER_SHARE: Final = 0.9


class Database:
    """The engine, and what is different from one database to another.

    Args:
        place: where it is, or an engine of the user's.
        timeout: seconds that anything waits.
        max_connections: at most.
        prepare_threshold: psycopg's; None is never.

    Attributes:
        connections: those for threads.
    """

    connections: OwnConnections | EngineConnections

    def __init__(
        self,
        place: sa.URL | sa.Engine,
        timeout: float,
        max_connections: int,
        prepare_threshold: int | None,
    ) -> None:
        self._timeout = timeout
        self._max_connections = max_connections
        self._prepares = prepare_threshold is not None
        self._connect_async: Callable[[], Any] | None = None
        self.is_own = isinstance(place, sa.URL)
        if isinstance(place, sa.URL):
            self.engine = self._own_engine(place, prepare_threshold)
        else:
            self.engine = place
        self.dialect = dialect = self.engine.dialect
        if (
            dialect.name not in DRIVERS
            or dialect.is_async
            or dialect.paramstyle not in ("qmark", "format", "pyformat")
        ):
            raise ConfigError(
                f"engine: the store cannot use {dialect.name}+{dialect.driver}; psycopg, PyMySQL "
                "and sqlite3 are tested"
            )
        self.is_sqlite = dialect.name == "sqlite"
        self._errors: tuple[type[Exception], ...] = (dialect.loaded_dbapi.Error,)
        self._all_errors: tuple[type[Exception], ...] = (exc.SQLAlchemyError, *self._errors)
        self._cursor_options = {"binary": True} if dialect.driver == "psycopg" else {}
        if self.is_own:
            self.connections = OwnConnections(
                self._connect, max_connections, timeout, across_forks=not self.is_sqlite
            )
        else:
            self.connections = EngineConnections(self.engine, self._cursor_options, self.give_up)
        self._loops = self._new_loops()
        self._pid = os.getpid()
        self._inherited: list[object] = []

    def _own_engine(self, url: sa.URL, prepare_threshold: int | None) -> sa.Engine:
        backend = url.get_backend_name()
        timeout = self._timeout
        arguments: dict[str, Any] = {}
        if backend == "postgresql":
            # psycopg would make less of it two.
            arguments["connect_timeout"] = math.ceil(max(timeout, 2.0))
            arguments["prepare_threshold"] = prepare_threshold
        elif backend == "sqlite":
            arguments["timeout"] = timeout
            arguments["check_same_thread"] = False
        else:
            arguments = dict.fromkeys(("connect_timeout", "read_timeout", "write_timeout"), timeout)
        try:
            engine = sa.create_engine(
                url,
                connect_args=arguments,
                isolation_level="AUTOCOMMIT",
                poolclass=sa.NullPool,
                # Nothing is left to be rolled back, and that would be a round trip.
                pool_reset_on_return=None,
                hide_parameters=True,
            )
            if backend == "postgresql":
                self._use_patient_connections(engine, arguments)
        except ImportError as error:
            named = error if error.name else ImportError(name="libpq")
            raise missing_extra(_EXTRAS[backend], named) from error
        except (exc.ArgumentError, TypeError, ValueError):
            raise ConfigError(f"[sql] url: it has a wrong part; {EXAMPLES}") from None
        return engine

    def _use_patient_connections(self, engine: sa.Engine, arguments: dict[str, Any]) -> None:
        """Have psycopg's connections wait for a server as long as the store does."""
        import psycopg

        patience = self._timeout

        class PatientConnection(psycopg.Connection[Any]):
            def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
                return super().wait(gen, interval, patience if timeout is None else timeout)

        class PatientAsyncConnection(psycopg.AsyncConnection[Any]):
            async def wait(
                self, gen: Any, interval: float = 0.1, timeout: float | None = None
            ) -> Any:
                return await super().wait(gen, interval, patience if timeout is None else timeout)

        @event.listens_for(engine, "do_connect")
        def connect(_dialect: Any, _record: Any, words: list[Any], named: dict[str, Any]) -> Any:
            return PatientConnection.connect(*words, **named)

        async def connect_async() -> Any:
            words, named = engine.dialect.create_connect_args(engine.url)
            named = {**named, **arguments, "autocommit": True}
            connection = await PatientAsyncConnection.connect(*words, **named)
            try:
                for statement in self._settings():
                    await connection.execute(statement.encode())
            except BaseException:
                await connection.close()
                raise
            return connection

        self._connect_async = connect_async

    def _connect(self) -> Connection:
        """Return a new connection of the store's own."""
        try:
            pooled = self.engine.raw_connection()
            cursor = pooled.cursor()
            for statement in self._settings():
                cursor.execute(statement)
            cursor.close()
        except self._all_errors as error:
            raise outage(error) from cause(error)
        except TypeError as error:  # PyMySQL takes options as arguments
            raise ConfigError(
                f"[sql] url: the driver does not know an option in it ({cause(error)})"
            ) from None
        driver = pooled.dbapi_connection
        pooled.detach()
        return Connection(driver, self._cursor_options, {})

    def _settings(self) -> Sequence[str]:
        """Return statements that bound the wait for a lock, and more.

        Not as parameters of the connection, which PgBouncer refuses. And where PgBouncer lends
        a connection for a transaction, a setting would be another client's next.
        """
        seconds = self._timeout * _SERVER_SHARE
        name = self.engine.dialect.name
        if name == "sqlite":
            return ("PRAGMA synchronous = NORMAL",)
        if name != "postgresql":
            return (f"SET SESSION innodb_lock_wait_timeout = {max(1, int(seconds))}",)
        if not self._prepares:
            return ()
        limit = max(1, int(seconds * 1000))
        return (
            (
                f"SELECT set_config('lock_timeout', '{limit}', false), "
                f"set_config('statement_timeout', '{limit}', false), "
                # A stricter one, which a role may have, refuses what a swap is to find out.
                "set_config('default_transaction_isolation', 'read committed', false)"
            ),
        )

    # Connections.

    def give_up(self, connection: Connection, error: BaseException) -> None:
        """Close a connection whose state is unknown; raise StoreUnavailable for a driver's error.

        Any other error is left to the caller.
        """
        lost = self.is_lost(error, connection.driver)
        self.connections.discard(connection, lost=lost)
        if isinstance(error, self._errors):
            raise outage(error, lost=lost) from cause(error)

    def is_lost(self, error: BaseException, driver: Any) -> bool:
        """Whether a connection had ended, not counting those that did not answer in time."""
        return (
            isinstance(error, self._errors)
            and bool(self.dialect.is_disconnect(error, driver, None))  # type: ignore[arg-type]
            and not isinstance(error.__context__, TimeoutError)
        )

    @contextmanager
    def lent(self) -> Iterator[Connection]:
        """Lend a connection."""
        connection = self.connections.take()
        try:
            yield connection
        except BaseException as error:
            self.give_up(connection, error)
            raise
        self.connections.give_back(connection)

    def loops(self) -> PerLoop[AsyncConnections] | None:
        """Return the connections of event loops, if there are any."""
        if self._pid != os.getpid():  # those of the parent are left alone, as in Places
            self._inherited.append(self._loops)
            self._loops, self._pid = self._new_loops(), os.getpid()
        return self._loops

    def _new_loops(self) -> PerLoop[AsyncConnections] | None:
        connect = self._connect_async
        if connect is None:
            return None
        limit, timeout = self._max_connections, self._timeout
        return PerLoop(
            lambda: AsyncConnections(connect, self._errors, self.is_lost, limit, timeout),
            AsyncConnections.close,
        )

    # What is done seldom.

    def transact(self, begin: Plan, work: Callable[[Any], Any]) -> Any:
        """Return what a function of a cursor returns, in one transaction."""
        with self.lent() as connection:
            connection.run(begin)
            cursor = connection.driver.cursor()
            result = work(cursor)
            cursor.close()
            connection.run(COMMIT)
        return result

    def check(self, trials: Sequence[str]) -> None:
        """Connect, and try what the store is going to do; an error says what mends it."""
        self._make_private()
        try:
            with self.lent() as connection:
                cursor = connection.driver.cursor()
                if self.is_own and self.is_sqlite:
                    cursor.execute("PRAGMA journal_mode = WAL")
                for statement in trials:
                    cursor.execute(statement)
                    if statement.startswith("SELECT"):
                        cursor.fetchall()
                cursor.close()
        except StoreUnavailable as error:
            found = error.__cause__
            if found is not None and advice(found) is not None:
                raise ConfigError(str(error)) from found
            url = self.engine.url
            place = f"{url.host}:{url.port}" if url.host and url.port else url.host or url.database
            raise StoreUnavailable(
                f"{place} cannot be used: {error}. Start the server, or correct [sql] url"
            ) from found

    def create(self, table: sa.Table) -> None:
        """Make the table, unless it exists."""
        self._make_private()
        for last in (False, False, True):
            try:
                table.metadata.create_all(self.engine)
            except exc.SQLAlchemyError as error:
                if last:
                    advised = advice(error)
                    failure = outage(error) if advised is None else ConfigError(advised)
                    raise failure from cause(error)
                time.sleep(0.1)  # another process may be making it
            else:
                break

    def _make_private(self) -> None:
        """Make SQLite's file, if it is missing, so that its owner alone can read it."""
        path = self.engine.url.database
        if self.is_own and self.is_sqlite and path and not path.startswith("file:"):
            with suppress(OSError):
                os.close(os.open(Path(path), os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
