"""SqlStore: sessions as rows of a table."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any, Final

import sqlalchemy as sa

from ..._validation import Duration, safe_repr
from ...errors import ConfigError, StoreUnavailable
from .._commands import MADE, Command, Entry, Insert, Read, Steps, Swap
from .._server import ServerStore, told_at_start
from .._versions import CLOCK_GRACE
from ..base import DEFAULT_LIFETIME, time_left
from .connections import Connection
from .database import Database
from .errors import Lost
from .loops import AsyncCommands
from .statements import (
    COMMIT,
    FAR_FUTURE,
    ROLLBACK,
    Found,
    Plan,
    Statements,
    entry_of,
    result_of,
    stays_locked,
)
from .table import DEFAULT_TABLE, place_of, table_named

__all__ = ["SqlStore", "sql_store"]

_BATCH_SIZE: Final = 200  # rows that gc removes in a transaction
_SQLITE_PAUSE: Final = 0.01  # seconds between two of them, where there is one lock for all


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
            transactions. Then statements wait for locks until ``timeout``, not until shortly
            before, and in the isolation that is the server's default, which must be READ
            COMMITTED: there is no connection that could keep such a setting.

    Raises:
        ConfigError: the URL, the table or the server's settings are wrong, or a driver is missing.

    A server that cannot be reached is no error here: it is logged, and each use tries again.

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
        table: str = DEFAULT_TABLE,
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
        place = place_of(url, engine)
        del url  # it may have a password, and some loggers print locals with tracebacks
        made = table_named(table)
        self._database = Database(place, self._timeout, max_connections, prepare_threshold or None)
        self._statements = Statements(self._database.dialect, made)
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
            with told_at_start():
                self._database.check(self._statements.trials)
        finally:
            self.close()  # a server may fork next

    def __reduce__(self) -> tuple[Callable[[], SqlStore], tuple[()]]:
        if not self._database.is_own:
            raise TypeError("a store with an engine of your own cannot be pickled; give it a URL")
        return self._pickled, ()

    @classmethod
    def create_table(
        cls, url: str | sa.URL = "", *, engine: sa.Engine | None = None, table: str = DEFAULT_TABLE
    ) -> None:
        """Make the table and its indexes; do nothing if it exists.

        Several processes may do it at once.

        Raises:
            ConfigError: as for the store.
            StoreUnavailable: likewise.
        """
        database = Database(place_of(url, engine), 60.0, 1, None)
        del url
        database.create(table_named(table))

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

    def _scan(self) -> Iterator[list[Entry]]:
        after = 0
        while entries := self._next(after):
            after = entries[-1].number
            yield entries

    def _next(self, after: int) -> list[Entry]:
        with self._database.lent() as connection:
            cursor = connection.driver.cursor()
            cursor.execute(self._statements.scan, (after, _BATCH_SIZE))
            rows = cursor.fetchall()
            cursor.close()
        return [entry_of(row) for row in rows]

    def claim_gc(self, interval: float) -> float:
        """Return 0.0 to one caller of all processes per interval; see SessionStore.claim_gc."""
        return self._run(self._claim_gc(interval))

    def stop_gc(self) -> None:
        """Have a ``gc`` at work stop after its batch."""
        self._stops_gc = True

    def close(self) -> None:
        self._database.connections.close()

    @property
    def note(self) -> Callable[[str], object]:
        return self._statements.note

    @note.setter
    def note(self, note: Callable[[str], object]) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        self._statements.note = note

    def _executor(self) -> Commands:
        return Commands(self._database, self._statements)

    def _async_executor(self) -> AsyncCommands | None:
        loops = self._database.loops()
        return None if loops is None else AsyncCommands(loops, self._statements)

    def _claim_gc(self, interval: float) -> Steps[float]:
        # In a row that is no session: no id has this key, and its number is no session's.
        found: Entry | None = yield Read(0)
        now = time.time()
        if found is None:
            claim = Entry(0, bytes(32), now, now, 0, FAR_FUTURE, b"", b"")
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


class Commands:
    """Runs the commands of one operation, each on a connection of its own.

    After ``Lock`` it is one connection, in a transaction, until a command that writes has ended
    that.
    """

    __slots__ = ("_database", "_held", "_statements")

    def __init__(self, database: Database, statements: Statements) -> None:
        self._database = database
        self._statements = statements
        self._held: Connection | None = None

    def execute(self, command: Command) -> Any:
        held = self._held is not None
        try:
            return self._attempt(command, again=False)
        except Lost:
            if held:  # with all that was done in the transaction
                raise
            self._statements.note("retry")
        return self._attempt(command, again=True)

    def _attempt(self, command: Command, *, again: bool) -> Any:
        connections = self._database.connections
        held, self._held = self._held, None
        connection = connections.take() if held is None else held
        found = self._run(connection, self._statements.plan(command))
        if stays_locked(command, held is not None):
            self._held = connection
        else:
            if held is not None:
                self._run(connection, COMMIT)
            connections.give_back(connection)
        return result_of(command, found, again=again)

    def _run(self, connection: Connection, plan: Plan) -> Found:
        try:
            return connection.run(plan)
        except BaseException as error:
            self._database.give_up(connection, error)
            raise

    def close(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            with suppress(StoreUnavailable):
                self._run(held, ROLLBACK)
                self._database.connections.give_back(held)


sql_store = SqlStore


def _check_number(setting: str, value: object, least: int) -> None:
    if type(value) is not int or value < least:
        raise ConfigError(f"[sql] {setting}: {safe_repr(value)} is no whole number from {least} on")
