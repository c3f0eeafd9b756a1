"""Connections to the database, for threads."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc

from ..._forks import before_forks, fork_is_near
from ...errors import StoreUnavailable
from .._commands import MADE
from .._places import Place, Places
from .errors import cause, outage
from .statements import Found, Plan, found_in

__all__ = ["Connection", "EngineConnections", "OwnConnections", "exhausted"]


class Connection:
    """A connection in autocommit mode, with a cursor for each statement.

    psycopg's cursors remember how to convert the values of their last statement.

    Attributes:
        driver: the driver's connection.
        home: where it came from, while it is in use.
    """

    __slots__ = ("_cursors", "_options", "driver", "home")

    def __init__(
        self, driver: Any, options: Mapping[str, Any], cursors: dict[str, Any], home: Any = None
    ) -> None:
        self.driver = driver
        self.home = home
        self._options = options
        self._cursors = cursors

    def run(self, plan: Plan) -> Found:
        """Return what a plan comes to."""
        for text, parameters, reads in plan:
            cursor = self._cursors.get(text)
            if cursor is None:
                cursor = self._cursors[text] = self.driver.cursor(**self._options)
            cursor.execute(text, parameters)
            if reads:
                rows = cursor.fetchall()  # all: an unfinished statement of SQLite's holds a lock
                if rows:
                    return found_in(rows)
            elif cursor.rowcount == 1:
                return MADE
        return None


class OwnConnections:
    """Connections of the store's own, for all threads of a process.

    Not in SQLAlchemy's pool, which took 30 us of a request's 270.

    Args:
        connect: makes one.
        limit: how many there are at most.
        timeout: seconds to wait for one that is free.
        across_forks: whether idle ones may be open while the process forks.
    """

    def __init__(
        self,
        connect: Callable[[], Connection],
        limit: int,
        timeout: float,
        *,
        across_forks: bool,
    ) -> None:
        self._connect = connect
        self._across_forks = across_forks
        self._places = Places[Connection](limit, timeout, lambda: exhausted(limit, timeout))
        if not across_forks:
            before_forks(self)

    def take(self) -> Connection:
        """Return a connection; StoreUnavailable if there is none."""
        place = self._places.take()
        # In use, a connection references its place and not the other way round: an exception that
        # loses the connection frees the place.
        connection, place.connection = place.connection, None
        if connection is None:
            try:
                connection = self._connect()
            except BaseException:
                self._places.put(place)
                raise
        connection.home = place
        return connection

    def give_back(self, connection: Connection) -> None:
        """Take back a connection that is as it was."""
        place: Place[Connection] = connection.home
        connection.home = None
        place.connection = connection
        self._places.put(place)
        if not self._across_forks and fork_is_near():
            self.close()

    def discard(self, connection: Connection, *, lost: bool) -> None:
        """Close a connection whose state is unknown; if it was lost, the idle ones are too."""
        place: Place[Connection] = connection.home
        try:
            _close(connection)
        finally:
            self._places.put(place)
        if lost:
            self.close()

    def close(self) -> None:
        """Close the idle ones."""
        for connection in self._places.empty():
            _close(connection)

    before_fork = close


class EngineConnections:
    """Connections of an engine's pool, which belong to somebody else.

    Args:
        engine: the engine.
        options: for the driver's cursors.
        give_up: closes a connection, and tells of an error.
    """

    def __init__(
        self,
        engine: sa.Engine,
        options: Mapping[str, Any],
        give_up: Callable[[Connection, BaseException], None],
    ) -> None:
        self._engine = engine
        self._options = options
        self._give_up = give_up
        self._errors = exc.SQLAlchemyError, engine.dialect.loaded_dbapi.Error
        self._inherited: list[object] = []
        self._pid = os.getpid()

    def take(self) -> Connection:
        """As for ``OwnConnections``."""
        if self._pid != os.getpid():
            self._inherited.append(self._engine.pool)  # to be freed would be to be closed
            self._engine.dispose(close=False)
            self._pid = os.getpid()
        try:
            handle = self._engine.connect()
        except exc.TimeoutError as error:
            message = "all connections of the engine's pool were in use"
            raise StoreUnavailable(message) from error.with_traceback(None)
        except self._errors as error:
            raise outage(error) from cause(error)
        cursors = handle.info.setdefault("glimr_session", {})  # gone with the connection
        driver = handle.connection.dbapi_connection
        connection = Connection(driver, self._options, cursors, handle)
        try:
            handle.execution_options(isolation_level="AUTOCOMMIT")  # may ask the server
        except BaseException as error:
            self._give_up(connection, error)
            raise
        return connection

    def give_back(self, connection: Connection) -> None:
        """Give it back to the pool."""
        connection.home.close()

    def discard(self, connection: Connection, *, lost: bool) -> None:
        """As for ``OwnConnections``."""
        with suppress(*self._errors):
            connection.home.invalidate()
            connection.home.close()
        if lost:
            self._engine.dispose()

    def close(self) -> None:
        """Do nothing: that is up to their owner."""


def exhausted(limit: int, timeout: float) -> StoreUnavailable:
    """Return the error for a process whose connections are all in use."""
    return StoreUnavailable(
        f"all connections to the database ({limit} at most) were in use for {timeout:g} s; see "
        "[sql] max_connections"
    )


def _close(connection: Connection) -> None:
    with suppress(Exception):  # it is gone in any case
        connection.driver.close()
