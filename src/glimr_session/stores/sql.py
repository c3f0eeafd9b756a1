"""SqlStore: sessions as rows of a table in PostgreSQL, MySQL, MariaDB or SQLite.

SQLAlchemy makes the table, knows the dialects and keeps the pool of connections. The statements
are run by the driver's own cursor, in autocommit mode: each is one round trip.
"""

# ruff: noqa: S608 -- the names in the statements are checked and quoted

from __future__ import annotations

import asyncio
import math
import os
import re
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

from .._forks import before_forks, fork_is_near
from .._validation import Duration, safe_repr
from ..errors import ConfigError, StoreUnavailable
from ._server import (
    MADE,
    Command,
    Entry,
    Extend,
    Find,
    Insert,
    Lock,
    PerLoop,
    Read,
    ServerStore,
    Steps,
    Swap,
    missing_extra,
)
from ._versions import CLOCK_GRACE
from .base import DEFAULT_LIFETIME, time_left

try:
    import sqlalchemy as sa
    from sqlalchemy import event, exc
    from sqlalchemy.dialects import mysql
except ImportError as missing:
    raise missing_extra("sql", missing) from missing

__all__ = ["SqlStore", "schema", "sql_store"]

_DEFAULT_TABLE: Final = "glimr_sessions"

# Room for what is made of it: PostgreSQL's names have 63 bytes, and an index adds 11.
_NAME: Final = r"[A-Za-z_][A-Za-z0-9_]{0,47}"

_EXAMPLES: Final = (
    'write it as "postgresql://user:password@host/database", '
    '"mysql://user:password@host/database" or "sqlite:////path/to/file"'
)
_DRIVERS: Final = {
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
    "sqlite": "sqlite+pysqlite",
}
_EXTRAS: Final = {"postgresql": "postgresql", "mysql": "mysql", "mariadb": "mysql"}

_LOWEST: Final = -1e300  # in place of -inf, which MySQL does not have
_HIGHEST: Final = 1e300

# The server gives up waiting for a lock a little before this process gives up on the server.
_SERVER_SHARE: Final = 0.9

_BATCH_SIZE: Final = 200  # rows that gc removes in a transaction
_SQLITE_PAUSE: Final = 0.01  # seconds between two of them, where there is one lock for all

_Row: TypeAlias = "tuple[Any, ...] | None"

_Statement: TypeAlias = "tuple[str, tuple[Any, ...], bool]"
"""A text, its parameters, and whether it returns a row."""

_Answer: TypeAlias = "tuple[int, _Row]"
"""The number of rows that were found or changed, and the row."""

_Run: TypeAlias = Generator[_Statement, _Answer, Any]
"""Yields statements, is sent their answers, and returns the result of a command."""


class SqlStore(ServerStore):
    """Keeps sessions in a table, for any number of machines.

    PostgreSQL 12 or later, MySQL 8, MariaDB 10.6 or SQLite 3.24. The table must exist: see
    ``create_table`` and ``schema``. A request that reads and writes takes two round trips, one
    that reads takes one. The machines' clocks say what has expired.

    Args:
        url: ``postgresql://user:password@host/database``, or ``mysql://``, ``mariadb://``,
            ``sqlite:////path/to/file``, with SQLAlchemy's parameters behind a "?".
        engine: an engine of SQLAlchemy's of your own instead, whose pool, timeouts and
            credentials hold. Event loops use it in threads.
        table: the name of the table; that of a schema may come first: ``app.sessions``.
        lifetime: the idle timeout, in seconds or as a ``timedelta``.
        absolute_lifetime: the absolute timeout, likewise; 0 is none.
        timeout: how long to wait for the server, for a lock and for a free connection, likewise.
            A connection to PostgreSQL may take two seconds, whatever it says.
        max_connections: of this process, at most (and of each event loop); each thread uses one
            at a time.
        prepare_threshold: how often a connection to PostgreSQL runs a statement before the
            server is to prepare it. None or 0: never, as PgBouncer needs it where it pools
            transactions. Then statements also wait for locks until ``timeout``, and not until
            shortly before, for there is no connection that could keep such a setting.

    Raises:
        ConfigError: the URL, the table or the server's settings are wrong, or a driver is missing.
        StoreUnavailable: the server cannot be reached.

    Example:
        >>> import tempfile
        >>> url = f"sqlite:///{tempfile.mkdtemp()}/sessions.db"
        >>> SqlStore.create_table(url)
        >>> store = SqlStore(url, lifetime=600)
        >>> store.save("0" * 64, {"n": 1}, {})
        >>> store.load("0" * 64)
        ({'n': 1}, {})
    """

    kind = "sql"

    def __init__(
        self,
        url: str | sa.URL = "",
        *,
        engine: sa.Engine | None = None,
        table: str = _DEFAULT_TABLE,
        lifetime: Duration = DEFAULT_LIFETIME,
        absolute_lifetime: Duration = timedelta(0),
        timeout: Duration = 5.0,
        max_connections: int = 20,
        prepare_threshold: int | None = 5,
    ) -> None:
        super().__init__(lifetime, absolute_lifetime, timeout)
        _check_number("max_connections", max_connections, 1)
        if prepare_threshold is not None:
            _check_number("prepare_threshold", prepare_threshold, 0)
        place = _place(url, engine)
        del url  # it may have a password, and some loggers print locals with tracebacks
        made = _table(table)
        self._database = _Database(place, self._timeout, max_connections, prepare_threshold or None)
        self._statements = _Statements(self._database.dialect, made)
        self._pickled = partial(
            type(self),
            place if isinstance(place, sa.URL) else "",
            table=table,
            lifetime=lifetime,
            absolute_lifetime=absolute_lifetime,
            timeout=timeout,
            max_connections=max_connections,
            prepare_threshold=prepare_threshold,
        )
        self._stops_gc = False
        try:
            self._database.check(self._statements)
        finally:
            self.close()  # a server may fork next

    def __reduce__(self) -> tuple[Callable[[], SqlStore], tuple[()]]:
        if not self._database.is_own:
            raise TypeError("a store with an engine of your own cannot be pickled; give it a URL")
        return self._pickled, ()

    @classmethod
    def create_table(
        cls, url: str | sa.URL = "", *, engine: sa.Engine | None = None, table: str = _DEFAULT_TABLE
    ) -> None:
        """Make the table and its indexes; do nothing if it exists.

        Several processes may do it at once.

        Raises:
            ConfigError: as for the store.
            StoreUnavailable: likewise.
        """
        database = _Database(_place(url, engine), 60.0, 1, None)
        del url
        try:
            database.create(_table(table))
        finally:
            database.close()

    def gc(self) -> int:
        """Remove expired sessions in batches; see SessionStore.gc.

        A batch is a transaction. It passes over rows that are locked, so that collectors and
        requests do not wait for each other; on SQLite they wait for a batch.
        """
        removed, found = 0, _BATCH_SIZE
        while found == _BATCH_SIZE and not self._stops_gc:
            if removed and self._database.is_sqlite:
                time.sleep(_SQLITE_PAUSE)
            found, gone = self._database.transact(self._statements.begin, self._collect_batch)
            removed += gone
        self._stops_gc = False
        return removed

    def claim_gc(self, interval: float) -> float:
        """Return 0.0 to one caller of all processes per interval; see SessionStore.claim_gc."""
        return self._run(self._claim_gc(interval))

    def stop_gc(self) -> None:
        """Have a ``gc`` at work stop after its batch."""
        self._stops_gc = True

    def close(self) -> None:
        self._database.close()

    def _executor(self) -> _Commands:
        return _Commands(self._database, self._statements)

    def _async_executor(self) -> _AsyncCommands | None:
        loops = self._database.loops()
        return None if loops is None else _AsyncCommands(loops, self._database, self._statements)

    def _claim_gc(self, interval: float) -> Steps[float]:
        # In a row that is no session: no id has this key, and its number is no session's.
        found: Entry | None = yield Read(0)
        now = time.time()
        if found is None:
            claim = Entry(0, bytes(32), now, now, 0, _HIGHEST, b"", b"")
            made = yield Insert(claim)
        else:
            wait = time_left(found.last_used_at, interval, now)
            if wait > 0:
                return wait
            claim = found._replace(last_used_at=now, revision=found.revision + 1)
            made = yield Swap(0, found.revision, claim)
        return 0.0 if made is MADE else interval

    def _collect_batch(self, cursor: Any) -> tuple[int, int]:
        """Return how many rows were past their expiry, and how many of them were removed."""
        now = time.time()
        cursor.execute(self._statements.expired, (now, _BATCH_SIZE))
        # A row's expiry was computed with the lifetimes of its day; today's have a say too.
        idle = self.lifetime + CLOCK_GRACE
        absolute = (self.absolute_lifetime or math.inf) + CLOCK_GRACE
        ends = {
            number: min(last_used + idle, created + absolute)
            for number, created, last_used in cursor.fetchall()
        }
        gone = [(number,) for number, end in ends.items() if end < now]
        alive = [(end, number) for number, end in ends.items() if not end < now]
        # One by one: for a list, MariaDB may read the whole table, and wait for locked rows.
        if gone:
            cursor.executemany(self._statements.remove, gone)
        if alive:
            cursor.executemany(self._statements.correct, alive)
        return len(ends), len(gone)


sql_store = SqlStore


def schema(dialect: str, *, table: str = _DEFAULT_TABLE) -> str:
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
    if name not in _DRIVERS:
        raise ConfigError(f"[sql] url: {safe_repr(name)} is none of {', '.join(_DRIVERS)}")
    statements: list[str] = []

    def note(statement: Any, *_: Any, **__: Any) -> None:
        statements.append(str(statement.compile(dialect=engine.dialect)).strip() + ";\n")

    engine = sa.create_mock_engine(f"{_DRIVERS[name]}://", note)
    _table(table).metadata.create_all(engine, checkfirst=False)
    return re.sub(r"[ \t]+\n", "\n", "\n".join(statements))


def _table(name: str) -> sa.Table:
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


def _check_number(setting: str, value: object, least: int) -> None:
    if type(value) is not int or value < least:
        raise ConfigError(f"[sql] {setting}: {safe_repr(value)} is no whole number from {least} on")


def _place(url: str | sa.URL, engine: sa.Engine | None) -> sa.URL | sa.Engine:
    """Return where the database is: a URL with our driver, or the engine."""
    if (engine is None) == (not url):
        raise ConfigError(f"[sql] url: name one, or pass an engine; {_EXAMPLES}")
    if engine is not None:
        return engine
    try:
        parsed = sa.make_url(url)
    except (exc.ArgumentError, ValueError, TypeError):
        raise ConfigError(f"[sql] url: this is no URL of a database; {_EXAMPLES}") from None
    name = parsed.drivername
    driver = _DRIVERS.get(name, name)
    if driver not in _DRIVERS.values():
        raise ConfigError(
            f"[sql] url: {safe_repr(name)} is none of {', '.join(_DRIVERS)}; with another driver, "
            "pass an engine"
        )
    if driver == "sqlite+pysqlite" and parsed.database in (None, "", ":memory:"):
        raise ConfigError(f"[sql] url: SQLite needs a file that all threads share; {_EXAMPLES}")
    if driver != "sqlite+pysqlite" and not parsed.database:
        raise ConfigError(f"[sql] url: it names no database; {_EXAMPLES}")
    return parsed.set(drivername=driver)


class _Statements:
    """The SQL of the commands, for a dialect and a table; and what each command runs."""

    def __init__(self, dialect: sa.Dialect, table: sa.Table) -> None:
        preparer = dialect.identifier_preparer
        mark = "?" if dialect.paramstyle == "qmark" else "%s"
        name = preparer.format_table(table)
        number, key, created, last_used, revision, expires, commits, _, value = (
            preparer.quote(column.name) for column in table.columns
        )
        columns = (number, key, created, last_used, revision, expires, commits, value)
        listed, changed = ", ".join(columns), f" = {mark}, ".join(columns[1:])
        self.read = f"SELECT {listed} FROM {name} WHERE {number} = {mark}"
        self.find = f"SELECT {listed} FROM {name} WHERE {key} = {mark}"
        at_revision = f"WHERE {number} = {mark} AND {revision} = {mark} AND {last_used} > {mark}"
        self.update = f"UPDATE {name} SET {changed} = {mark} {at_revision}"
        self.delete = f"DELETE FROM {name} {at_revision}"
        self.extend = (
            f"UPDATE {name} SET {last_used} = {mark}, {expires} = {mark} "
            f"WHERE {number} = {mark} AND {key} = {mark}"
        )
        # Not by an error of the driver: in a transaction of PostgreSQL that would end it.
        ignore = " IGNORE" if dialect.name in ("mysql", "mariadb") else ""
        nothing = "" if ignore else " ON CONFLICT DO NOTHING"
        marks = ", ".join([mark] * len(columns))
        self.insert = f"INSERT{ignore} INTO {name} ({listed}) VALUES ({marks}){nothing}"
        # A committed row is to be seen, and gaps between rows are not to be locked, whatever
        # the isolation of the connection is.
        self.begin: Sequence[str] = ("BEGIN IMMEDIATE",)
        for_update = skip_locked = ""
        if dialect.name != "sqlite":
            for_update, skip_locked = " FOR UPDATE", " FOR UPDATE SKIP LOCKED"
            self.begin = ("SET TRANSACTION ISOLATION LEVEL READ COMMITTED", "BEGIN")
        if dialect.name == "postgresql":
            self.begin = ("BEGIN ISOLATION LEVEL READ COMMITTED",)
        self.lock = self.read + for_update
        self.expired = (
            f"SELECT {number}, {created}, {last_used} FROM {name} WHERE {expires} < {mark} "
            f"ORDER BY {expires} LIMIT {mark}{skip_locked}"
        )
        self.correct = f"UPDATE {name} SET {expires} = {mark} WHERE {number} = {mark}"
        self.remove = f"DELETE FROM {name} WHERE {number} = {mark}"
        # They change nothing, and fail where the store would.
        self.trials: Sequence[str] = (
            f"SELECT {listed} FROM {name} WHERE {number} = -1",
            f"UPDATE {name} SET {expires} = 0 WHERE {number} = -1",
            f"INSERT INTO {name} ({listed}) SELECT {listed} FROM {name} WHERE {number} = -1",
            f"DELETE FROM {name} WHERE {number} = -1",
            f"SELECT {number} FROM {name} WHERE {number} = -1{skip_locked}",
        )

    def run(self, command: Command, held: bool, again: bool) -> _Run:
        """Run a command.

        Args:
            command: what is to be done.
            held: whether it is done in a transaction that an earlier ``Lock`` has begun.
            again: whether the answer to an earlier attempt was lost.
        """
        if isinstance(command, Read):
            return (yield from self._read(self.read, command.number))
        if isinstance(command, Swap):
            return (yield from self._swap(command, held, again))
        if isinstance(command, Insert):
            return (yield from self._insert(command.entry))
        if isinstance(command, Extend):
            parameters = (
                command.last_used_at, command.purge_after, command.number, command.key,
            )  # fmt: skip
            return (yield self.extend, parameters, False)[0] == 1
        if isinstance(command, Find):
            return (yield from self._read(self.find, command.key))
        for statement in () if held else self.begin:
            yield statement, (), False
        return (yield from self._read(self.lock, command.number))

    def _read(self, text: str, parameter: Any) -> _Run:
        _, row = yield text, (parameter,), True
        if row is None:
            return None
        number, key, created, last_used, revision, expires, commits, value = row
        # Some drivers return a memoryview.
        return Entry(
            number, bytes(key), created, last_used, revision, expires, bytes(commits), bytes(value)
        )

    def _swap(self, swap: Swap, held: bool, again: bool) -> _Run:
        after = swap.after
        unchanged = (swap.number, swap.revision, max(swap.used_after, _LOWEST))
        if after is None:
            changed, _ = yield self.delete, unchanged, False
        else:
            changed, _ = yield (
                self.update,
                (
                    after.key,
                    after.created_at,
                    after.last_used_at,
                    after.revision,
                    after.purge_after,
                    after.commits,
                    after.value,
                    *unchanged,
                ),
                False,
            )
        result = MADE if changed == 1 else (yield from self._read(self.read, swap.number))
        if held:
            yield "COMMIT", (), False
        return MADE if result is None and after is None and again else result

    def _insert(self, entry: Entry) -> _Run:
        changed, _ = yield (
            self.insert,
            (
                entry.number,
                entry.key,
                entry.created_at,
                entry.last_used_at,
                entry.revision,
                entry.purge_after,
                entry.commits,
                entry.value,
            ),
            False,
        )
        if changed == 1:
            return MADE
        present = yield from self._read(self.read, entry.number)
        if present is None:
            present = yield from self._read(self.find, entry.key)
        return present


class _Lent(NamedTuple):
    """A connection that was taken out of the pool."""

    handle: Any  # of SQLAlchemy's: close() gives it back, invalidate() ends it
    driver: Any
    pool: Any


class _Lost(StoreUnavailable):
    """The connection had ended before it was used, most likely; another one may do."""


class _Database:
    """The engine, and what is different from one database to another.

    Args:
        place: where it is, or an engine of the user's.
        timeout: seconds that anything waits.
        max_connections: at most.
        prepare_threshold: psycopg's; None is never.
    """

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
        self.is_own = isinstance(place, sa.URL)
        self._connect_async: Callable[[], Any] | None = None
        self._inherited: list[object] = []
        self._pid = os.getpid()
        if isinstance(place, sa.URL):
            self.engine = self._own_engine(place, prepare_threshold)
        else:
            self.engine = place
        self.dialect = dialect = self.engine.dialect
        if (
            f"{dialect.name}" not in _DRIVERS
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
        self.keeps_cursors = dialect.driver == "psycopg"
        self._loops = self._new_loops()
        if self.is_own and self.is_sqlite:
            before_forks(self)

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
                poolclass=sa.QueuePool,
                pool_size=self._max_connections,
                max_overflow=0,
                pool_timeout=timeout,
                pool_use_lifo=True,
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
            raise ConfigError(f"[sql] url: it has a wrong part; {_EXAMPLES}") from None
        event.listen(engine, "connect", self._set_up)
        return engine

    def _use_patient_connections(self, engine: sa.Engine, arguments: dict[str, Any]) -> None:
        """Have psycopg's connections wait for a server as long as the store does."""
        import psycopg

        patience = self._timeout

        class Connection(psycopg.Connection[Any]):
            def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
                return super().wait(gen, interval, patience if timeout is None else timeout)

        class AsyncConnection(psycopg.AsyncConnection[Any]):
            async def wait(
                self, gen: Any, interval: float = 0.1, timeout: float | None = None
            ) -> Any:
                return await super().wait(gen, interval, patience if timeout is None else timeout)

        @event.listens_for(engine, "do_connect")
        def connect(_dialect: Any, _record: Any, words: list[Any], named: dict[str, Any]) -> Any:
            return Connection.connect(*words, **named)

        async def connect_async() -> Any:
            words, named = engine.dialect.create_connect_args(engine.url)
            named = {**named, **arguments, "autocommit": True}
            connection = await AsyncConnection.connect(*words, **named)
            try:
                cursor = connection.cursor(binary=True)
                for statement in self._settings():
                    await cursor.execute(statement.encode())
            except BaseException:
                await connection.close()
                raise
            return cursor

        self._connect_async = connect_async

    def _set_up(self, connection: Any, _record: Any) -> None:
        """Set up a new connection of our own engine."""
        cursor = connection.cursor()
        for statement in self._settings():
            cursor.execute(statement)
        cursor.close()

    def _settings(self) -> Sequence[str]:
        """Return statements that bound the wait for a lock, and more for SQLite.

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
                f"set_config('statement_timeout', '{limit}', false)"
            ),
        )

    # Connections.

    def acquire(self) -> _Lent:
        """Return a connection in autocommit mode."""
        if self._pid != os.getpid():
            self._leave_to_parent()
        pool = self.engine.pool
        try:
            if self.is_own:
                own = pool.connect()
                return _Lent(own, own.dbapi_connection, pool)
            handle = self.engine.connect()
            lent = _Lent(handle, handle.connection.dbapi_connection, pool)
        except exc.TimeoutError as error:
            raise StoreUnavailable(
                f"all connections to the database ({self._max_connections} at most) were in use "
                f"for {self._timeout:g} s; see [sql] max_connections"
                if self.is_own
                else "all connections of the engine's pool were in use"
            ) from error.with_traceback(None)
        except self._all_errors as error:
            raise self.failure(error) from _cause(error)
        try:
            handle.execution_options(isolation_level="AUTOCOMMIT")  # may ask the server
        except BaseException as error:
            failure = self.discard(lent, error)
            if failure is None:
                raise
            raise failure from _cause(error)
        return lent

    def cursor(self, lent: _Lent) -> Any:
        """Return a cursor for one command.

        psycopg's remembers how to convert values, so each connection keeps its own. An open
        cursor of SQLite's may hold a lock.
        """
        if not self.keeps_cursors:
            return lent.driver.cursor()
        kept = lent.handle.info  # of the driver's connection, and gone with it
        cursor = kept.get("glimr_session")
        if cursor is None:
            cursor = kept["glimr_session"] = lent.driver.cursor(binary=True)
        return cursor

    def release(self, lent: _Lent) -> None:
        """Give back a connection that is as it was."""
        lent.handle.close()
        if lent.pool is not self.engine.pool:  # see _close_idle
            lent.pool.dispose()
        if self.is_own and self.is_sqlite and fork_is_near():
            self._close_idle()

    def discard(self, lent: _Lent, error: BaseException) -> StoreUnavailable | None:
        """Close a connection whose state is unknown; return what to raise for a driver's error."""
        lost = isinstance(error, self._errors) and self.is_lost(error, lent.driver)
        with suppress(*self._all_errors):
            lent.handle.invalidate(error)
            lent.handle.close()
        if lost and self.engine.pool is lent.pool:
            self._close_idle()  # they were lost with it; SQLAlchemy does the same
        if isinstance(error, self._errors):
            return _Lost(str(self.failure(error))) if lost else self.failure(error)
        return None

    def is_lost(self, error: Exception, driver: Any) -> bool:
        """Whether a connection had ended, not counting those that did not answer in time."""
        return bool(
            self.dialect.is_disconnect(error, driver, None)  # type: ignore[arg-type]
        ) and not isinstance(error.__context__, TimeoutError)

    def async_failure(self, error: BaseException, cursor: Any) -> StoreUnavailable | None:
        """Return what to raise for an error of psycopg's, or for a connection that took too long.

        Without a cursor, no connection could be made.
        """
        if isinstance(error, TimeoutError):
            return StoreUnavailable(f"the database did not answer within {self._timeout:g} s")
        if not isinstance(error, self._errors):
            return None
        lost = cursor is not None and self.is_lost(error, cursor.connection)
        return _Lost(str(self.failure(error))) if lost else self.failure(error)

    def failure(self, error: BaseException) -> StoreUnavailable:
        """Return the error for one of the driver's, or SQLAlchemy's."""
        return StoreUnavailable(_advice(error) or f"the database failed: {_text(error)}")

    def close(self) -> None:
        """Close idle connections."""
        if self.is_own:
            self._close_idle()

    def _close_idle(self) -> None:
        """Close idle connections; those in use are closed when they are released.

        The pool is another one after that. Nobody but this may leave a connection in the old
        one: a thread that gives one back looks afterwards which pool it is.
        """
        pool = self.engine.pool
        self.engine.dispose()
        pool.dispose()

    def before_fork(self) -> None:
        """Close idle connections: SQLite's must not be open in a child."""
        self.close()

    def _leave_to_parent(self) -> None:
        """Leave the connections of the process that has forked this one alone.

        By the process id, for uWSGI forks without Python's hooks.
        """
        self._inherited.append(self.engine.pool)  # to be freed would be to be closed
        self.engine.dispose(close=False)
        self._loops = self._new_loops()
        self._pid = os.getpid()

    def loops(self) -> PerLoop[_AsyncConnections] | None:
        """Return the connections of event loops, if there are any."""
        if self._pid != os.getpid():
            self._leave_to_parent()
        return None if self._connect_async is None else self._loops

    def _new_loops(self) -> PerLoop[_AsyncConnections]:
        return PerLoop(
            lambda: _AsyncConnections(self._connect_async, self._max_connections, self._timeout),
            _AsyncConnections.close,
        )

    # What is done seldom.

    def transact(self, begin: Sequence[str], work: Callable[[Any], Any]) -> Any:
        """Return what a function of a cursor returns, in one transaction."""
        lent = self.acquire()
        try:
            cursor = lent.driver.cursor()
            for statement in begin:
                cursor.execute(statement)
            result = work(cursor)
            cursor.execute("COMMIT")
            cursor.close()
        except BaseException as error:
            failure = self.discard(lent, error)
            if failure is None:
                raise
            raise failure from _cause(error)
        self.release(lent)
        return result

    def check(self, statements: _Statements) -> None:
        """Connect, and try what the store is going to do; an error says what mends it."""

        def work(lent: _Lent) -> None:
            cursor = lent.driver.cursor()
            if self.is_own and self.is_sqlite:
                cursor.execute("PRAGMA journal_mode = WAL")
            for statement in statements.trials:
                cursor.execute(statement)
                if statement.startswith("SELECT"):
                    cursor.fetchall()
            cursor.close()

        self._at_start(work)

    def create(self, table: sa.Table) -> None:
        """Make the table, unless it exists."""
        self._make_private()
        for last in (False, False, True):
            try:
                table.metadata.create_all(self.engine)
            except exc.SQLAlchemyError as error:
                if last or isinstance(error, exc.TimeoutError):
                    raise self._start_error(error) from _cause(error)
                time.sleep(0.1)  # another process may be making it
            else:
                break

    def _at_start(self, work: Callable[[_Lent], None]) -> None:
        self._make_private()
        try:
            lent = self.acquire()
        except StoreUnavailable as error:
            cause = error.__cause__
            raise (error if cause is None else self._start_error(cause)) from cause
        try:
            work(lent)
        except self._errors as error:
            self.discard(lent, error)
            raise self._start_error(error) from _cause(error)
        self.release(lent)

    def _start_error(self, error: BaseException) -> ConfigError | StoreUnavailable:
        advice = _advice(error)
        return self.failure(error) if advice is None else ConfigError(advice)

    def _make_private(self) -> None:
        """Make SQLite's file, if it is missing, so that its owner alone can read it."""
        path = self.engine.url.database
        if self.is_own and self.is_sqlite and path and not path.startswith("file:"):
            with suppress(OSError):
                os.close(os.open(Path(path), os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


class _Commands:
    """Runs the commands of one operation, each on a connection of the pool.

    After ``Lock`` it is one connection, in a transaction, until a ``Swap`` has ended that.
    """

    __slots__ = ("_database", "_held", "_statements")

    def __init__(self, database: _Database, statements: _Statements) -> None:
        self._database = database
        self._statements = statements
        self._held: _Lent | None = None

    def execute(self, command: Command) -> Any:
        held = self._held is not None
        try:
            return self._attempt(command, again=False)
        except _Lost:
            if held:  # with all that was done in the transaction
                raise
        return self._attempt(command, again=True)

    def _attempt(self, command: Command, *, again: bool) -> Any:
        database = self._database
        held, self._held = self._held, None
        lent = database.acquire() if held is None else held
        try:
            cursor = database.cursor(lent)
            steps = self._statements.run(command, held is not None, again)
            try:
                text, parameters, returns_row = next(steps)
                while True:
                    cursor.execute(text, parameters)
                    row = cursor.fetchone() if returns_row else None
                    text, parameters, returns_row = steps.send((cursor.rowcount, row))
            except StopIteration as done:
                result = done.value
            if not database.keeps_cursors:
                cursor.close()
        except BaseException as error:
            failure = database.discard(lent, error)
            if failure is None:
                raise
            raise failure from _cause(error)
        if _stays_locked(command, held is not None):
            self._held = lent
        else:
            database.release(lent)
        return result

    def close(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            try:
                held.driver.cursor().execute("ROLLBACK")
            except BaseException as error:
                if self._database.discard(held, error) is None:
                    raise
            else:
                self._database.release(held)


class _AsyncConnections:
    """The connections of an event loop, each with the cursor that is used.

    Args:
        connect: makes a cursor on a connection of its own.
        size: how many there are at most.
        timeout: seconds to wait for a new one, and for one that is free.
    """

    def __init__(self, connect: Any, size: int, timeout: float) -> None:
        self._connect = connect
        self._timeout = timeout
        self._size = size
        self._free = asyncio.Semaphore(size)
        self._idle: list[Any] = []

    async def acquire(self) -> Any:
        try:
            async with asyncio.timeout(self._timeout):
                await self._free.acquire()
        except TimeoutError as error:
            raise StoreUnavailable(
                f"all connections to the database ({self._size} at most) were in use for "
                f"{self._timeout:g} s; see [sql] max_connections"
            ) from error.with_traceback(None)
        try:
            if self._idle:
                return self._idle.pop()
            async with asyncio.timeout(self._timeout):
                return await self._connect()
        except BaseException:
            self._free.release()
            raise

    def release(self, cursor: Any) -> None:
        self._idle.append(cursor)
        self._free.release()

    async def discard(self, cursor: Any) -> None:
        self._free.release()
        await cursor.connection.close()

    async def close(self) -> None:
        """Close idle connections."""
        while self._idle:
            await self._idle.pop().connection.close()


class _AsyncCommands:
    """As ``_Commands``, for an event loop."""

    def __init__(
        self, loops: PerLoop[_AsyncConnections], database: _Database, statements: _Statements
    ) -> None:
        self._loops = loops
        self._database = database
        self._statements = statements
        self._held: Any = None

    async def execute(self, command: Command) -> Any:
        held = self._held is not None
        try:
            return await self._attempt(command, again=False)
        except _Lost:
            if held:  # with all that was done in the transaction
                raise
        return await self._attempt(command, again=True)

    async def _attempt(self, command: Command, *, again: bool) -> Any:
        connections = await self._loops.get()
        held, self._held = self._held, None
        cursor = held
        try:
            if held is None:
                cursor = await connections.acquire()
            steps = self._statements.run(command, held is not None, again)
            try:
                text, parameters, returns_row = next(steps)
                while True:
                    await cursor.execute(text, parameters)
                    row = await cursor.fetchone() if returns_row else None
                    text, parameters, returns_row = steps.send((cursor.rowcount, row))
            except StopIteration as done:
                result = done.value
        except BaseException as error:
            failure = self._database.async_failure(error, cursor)
            if cursor is not None:
                await connections.discard(cursor)
                if isinstance(failure, _Lost):
                    await connections.close()  # the idle ones were lost with it
            if failure is None:
                raise
            raise failure from _cause(error)
        if _stays_locked(command, held is not None):
            self._held = cursor
        else:
            connections.release(cursor)
        return result

    async def close(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            connections = await self._loops.get()
            try:
                await held.execute("ROLLBACK")
            except BaseException as error:
                await connections.discard(held)
                if self._database.async_failure(error, held) is None:
                    raise
            else:
                connections.release(held)


def _stays_locked(command: Command, held: bool) -> bool:
    """Whether a transaction goes on after a command."""
    return type(command) is Lock or (held and type(command) is not Swap)


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
        "[sql] url: SQLite cannot use this file; its directory must exist, and be writable",
    ),
)
_MISSING_DATABASE: Final = re.compile(r'database "[^"]*" does not exist')


def _advice(error: BaseException) -> str | None:
    """Return what mends the cause of an error, if a setting or an administrator does."""
    error = _cause(error)
    codes = [getattr(error, "sqlstate", None), *error.args[:1]]
    text = str(error)
    if _MISSING_DATABASE.search(text):
        codes = ["3D000"]
    for known, phrases, advice in _ADVICE:
        if any(type(code) in (str, int) and code in known for code in codes) or any(
            phrase in text for phrase in phrases
        ):
            return f"{advice} ({_text(error)})"
    return None


def _cause(error: BaseException) -> BaseException:
    """Return the driver's error, without a traceback: some loggers print its variables."""
    driver_error = getattr(error, "orig", None) or error
    cause: BaseException = driver_error.with_traceback(None)
    return cause


def _text(error: BaseException) -> str:
    """Return the first line of a message, without SQL and parameters."""
    text = str(_cause(error)).strip()
    return text.splitlines()[0] if text else type(error).__name__
