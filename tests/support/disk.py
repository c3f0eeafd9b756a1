"""What tests do to the disk store's files behind its back."""

from __future__ import annotations

import multiprocessing
import re
import sqlite3
from pathlib import Path
from typing import Any, Self

import pytest

from glimr_session import DiskStore, StoreUnavailable
from glimr_session.stores.disk.queries import SessionConnection
from glimr_session.testing.contract import begin
from tests.conftest import Clock

__all__ = [
    "LockHolder",
    "begin_and_expire",
    "open_files",
    "query",
    "record_statements",
    "start_in_outage",
]

PATIENCE = 30.0
"""Seconds that another process may take."""


def open_files() -> int:
    """Return the number of files that this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def query(directory: Path, statement: str, *arguments: Any) -> list[Any]:
    """Run a statement on the database of a store, on a connection of our own."""
    connection = sqlite3.connect(directory / "cache.db", isolation_level=None)
    try:
        return connection.execute(statement, arguments).fetchall()
    finally:
        connection.close()


def record_statements(store: DiskStore) -> tuple[SessionConnection, list[str]]:
    """Return the connection that the store uses next, and the statements it is given from now on.

    ``connection.set_trace_callback(None)`` ends the recording.
    """
    pool = store._database._pool
    pooled = pool.acquire()
    statements: list[str] = []
    pooled.connection.set_trace_callback(statements.append)
    pool.release(pooled)
    return pooled.connection, statements


def start_in_outage(
    directory: Path, match: str, caplog: pytest.LogCaptureFixture, timeout: float = 0.2
) -> DiskStore:
    """Return a store that could not open its database, has logged why, and says it at each use."""
    store = DiskStore(directory, timeout=timeout)
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert re.search(match, record.getMessage())
    for operation in (store.open, store.destroy):
        with pytest.raises(StoreUnavailable, match=match):
            operation("0" * 64)
    assert caplog.records == [record]
    return store


def begin_and_expire(store: DiskStore, clock: Clock, number: int) -> None:
    """Begin so many sessions that gc removes, and one that it leaves."""
    for _ in range(number):
        begin(store)
    clock.advance(store.lifetime + 6 * 3600)
    begin(store)


class LockHolder:
    """Another process that holds the write lock until it is released."""

    def __init__(self, directory: Path) -> None:
        context = multiprocessing.get_context("spawn")
        self._held, self._go = context.Event(), context.Event()
        self._process = context.Process(
            target=_hold_the_lock, args=(str(directory / "cache.db"), self._held, self._go)
        )
        self._process.start()
        assert self._held.wait(PATIENCE)

    def release(self) -> None:
        """Release the lock and end the process; twice is fine."""
        if self._go.is_set():
            return
        self._go.set()
        self._process.join(10)
        assert self._process.exitcode == 0
        self._process.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()


def _hold_the_lock(path: str, held: Any, go: Any) -> None:
    connection = sqlite3.connect(path, isolation_level=None, timeout=PATIENCE)
    connection.execute("BEGIN IMMEDIATE")
    held.set()
    go.wait(PATIENCE)
    connection.execute("ROLLBACK")
    connection.close()
