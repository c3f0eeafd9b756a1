"""Connections and commands for event loops: PostgreSQL, by psycopg's asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from ...errors import StoreUnavailable
from .._commands import MADE, Command
from .._places import PerLoop
from .connections import exhausted
from .errors import Lost, cause, outage
from .statements import (
    COMMIT,
    ROLLBACK,
    Found,
    Plan,
    Statements,
    found_in,
    result_of,
    stays_locked,
)

__all__ = ["AsyncCommands", "AsyncConnections"]


class AsyncConnections:
    """The connections of an event loop.

    Args:
        connect: makes one, of psycopg's.
        errors: psycopg's.
        is_lost: whether an error says that a connection had ended.
        limit: how many there are at most.
        timeout: seconds to wait for a new one, and for one that is free.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Any]],
        errors: tuple[type[Exception], ...],
        is_lost: Callable[[BaseException, Any], bool],
        limit: int,
        timeout: float,
    ) -> None:
        self._connect = connect
        self._errors = errors
        self._is_lost = is_lost
        self._limit = limit
        self._timeout = timeout
        self._free = asyncio.Semaphore(limit)
        self._idle: list[AsyncConnection] = []

    async def take(self) -> AsyncConnection:
        """Return a connection; StoreUnavailable if there is none."""
        if self._free.locked():
            try:
                async with asyncio.timeout(self._timeout):
                    await self._free.acquire()
            except TimeoutError:
                raise exhausted(self._limit, self._timeout) from None
        else:
            await self._free.acquire()
        if self._idle:
            return self._idle.pop()
        try:
            async with asyncio.timeout(self._timeout):
                return AsyncConnection(await self._connect())
        except BaseException as error:
            self._free.release()
            if isinstance(error, TimeoutError):
                message = f"the database did not answer within {self._timeout:g} s"
                raise StoreUnavailable(message) from None
            if isinstance(error, self._errors):
                raise outage(error) from cause(error)
            raise

    def give_back(self, connection: AsyncConnection) -> None:
        """Take back a connection that is as it was."""
        self._idle.append(connection)
        self._free.release()

    async def run(self, connection: AsyncConnection, plan: Plan) -> Found:
        """Return what a plan comes to; close a connection that fails."""
        try:
            return await connection.run(plan)
        except BaseException as error:
            lost = self._is_lost(error, connection.driver)
            self._free.release()
            await connection.driver.close()
            if lost:
                await self.close()  # the idle ones were lost with it
            if isinstance(error, self._errors):
                raise outage(error, lost=lost) from cause(error)
            raise

    async def close(self) -> None:
        """Close idle connections."""
        while self._idle:
            await self._idle.pop().driver.close()


class AsyncConnection:
    """As ``Connection``."""

    __slots__ = ("_cursors", "driver")

    def __init__(self, driver: Any) -> None:
        self.driver = driver
        self._cursors: dict[str, Any] = {}

    async def run(self, plan: Plan) -> Found:
        """Return what a plan comes to."""
        for text, parameters, reads in plan:
            cursor = self._cursors.get(text)
            if cursor is None:
                cursor = self._cursors[text] = self.driver.cursor(binary=True)
            await cursor.execute(text, parameters)
            if reads:
                rows = await cursor.fetchall()
                if rows:
                    return found_in(rows)
            elif cursor.rowcount == 1:
                return MADE
        return None


class AsyncCommands:
    """As ``Commands``, for an event loop."""

    def __init__(self, loops: PerLoop[AsyncConnections], statements: Statements) -> None:
        self._loops = loops
        self._statements = statements
        self._held: AsyncConnection | None = None

    async def execute(self, command: Command) -> Any:
        held = self._held is not None
        try:
            return await self._attempt(command, again=False)
        except Lost:
            if held:  # with all that was done in the transaction
                raise
            self._statements.note("retry")
        return await self._attempt(command, again=True)

    async def _attempt(self, command: Command, *, again: bool) -> Any:
        connections = await self._loops.get()
        held, self._held = self._held, None
        connection = await connections.take() if held is None else held
        found = await connections.run(connection, self._statements.plan(command))
        if stays_locked(command, held is not None):
            self._held = connection
        else:
            if held is not None:
                await connections.run(connection, COMMIT)
            connections.give_back(connection)
        return result_of(command, found, again=again)

    async def close(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            connections = await self._loops.get()
            with suppress(StoreUnavailable):
                await connections.run(held, ROLLBACK)
                connections.give_back(held)
