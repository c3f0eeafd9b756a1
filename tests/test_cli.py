"""The command ``glimr-session``, run as users run it."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from glimr_session import SqlStore


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("glimr-session")
    return subprocess.run(
        [program, *arguments], capture_output=True, text=True, check=False, timeout=60
    )


def test_the_schema_makes_a_table_that_the_store_can_use(tmp_path: Path) -> None:
    """What is printed is what ``create_table`` makes."""
    printed = run("sql-schema", "sqlite", "--table", "shop_sessions")
    assert printed.returncode == 0
    file = tmp_path / "sessions.sqlite"
    with closing(sqlite3.connect(file)) as database:
        database.executescript(printed.stdout)
    store = SqlStore(f"sqlite:///{file}", table="shop_sessions")
    store.save("an id", {"a": 1}, {})
    assert store.load("an id") == ({"a": 1}, {})
    store.close()


@pytest.mark.parametrize("dialect", ["postgresql", "mysql", "mariadb"])
def test_each_server_has_its_own_schema(dialect: str) -> None:
    """Without a server: for those who run migrations."""
    printed = run("sql-schema", dialect)
    assert printed.returncode == 0
    assert "CREATE TABLE" in printed.stdout
    assert "glimr_sessions" in printed.stdout


def test_a_wrong_table_is_told_in_a_line() -> None:
    """No traceback, and an exit status of 1."""
    told = run("sql-schema", "sqlite", "--table", "a; b")
    assert told.returncode == 1
    assert told.stdout == ""
    assert len(told.stderr.splitlines()) == 1
    assert "table" in told.stderr


def test_a_command_that_is_none_lists_those_there_are() -> None:
    """argparse's exit status is 2."""
    told = run("frobnicate")
    assert told.returncode == 2
    assert "sql-schema" in told.stderr
