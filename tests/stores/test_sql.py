"""SqlStore on SQLite, and what needs no server: settings and the SQL that makes the table."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from glimr_session import SessionStore
from glimr_session.stores.sql import SqlStore, schema
from glimr_session.testing.contract import ABSOLUTE, LIFETIME, StoreContract


class TestSqlite(StoreContract):
    """The contract on SQLite."""

    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        return tmp_path / "sessions.db"

    @pytest.fixture
    def store(self, file: Path) -> Iterator[SessionStore]:
        url = f"sqlite:///{file}"
        SqlStore.create_table(url)
        store = SqlStore(url, lifetime=LIFETIME, absolute_lifetime=ABSOLUTE)
        yield store
        store.close()

    @pytest.fixture
    def broken(self, store: SessionStore, file: Path) -> SessionStore:
        store.close()
        with sqlite3.connect(file) as connection:
            connection.execute("DROP TABLE glimr_sessions")
        connection.close()
        return store
