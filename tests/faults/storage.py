"""What the tests of storage faults share: faults of files, and what others see of them."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import pytest

from glimr_session import ConfigError, StoreUnavailable

from .storage_process import Processes, Sessions, seen, some_sessions

T = TypeVar("T")

TIMEOUT: Final = 0.3
"""Seconds that a store waits for another writer."""

PROMPT: Final = 1.0
"""Seconds in which a store notices that its files have changed."""

MARGIN: Final = 5.0
"""Seconds that everything may take longer on a machine that is busy with something else."""

PRIVATE_MOUNTS: Final = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
"""Starts a process that may mount, and whose mounts nobody else sees."""

SESSIONS: Final = some_sessions()


def able(*command: str) -> None:
    """Skip the test, or fail it in CI, if a command does not work here."""
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        reason = f"{error} {getattr(error, 'stderr', b'').decode()}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)


def soon(attempt: Callable[[], T]) -> T:
    """Try until the store is available and no assertion fails: about a second."""
    started = time.monotonic()
    while True:
        try:
            return attempt()
        except (StoreUnavailable, AssertionError):
            if time.monotonic() - started > PROMPT + MARGIN:
                raise
            time.sleep(0.02)


def refusal(operation: Callable[[], Any]) -> str:
    """Return the message with which an operation says that the store is unavailable."""
    try:
        operation()
    except StoreUnavailable as error:
        return str(error)
    raise AssertionError("the store is available")


def fresh(processes: Processes, directory: Path, sessions: Sessions) -> Counter[str]:
    """Count how another process finds sessions that opens the database only now."""
    with processes.store() as store:
        started = time.monotonic()
        try:
            store.make(directory, timeout=TIMEOUT)
        except (StoreUnavailable, ConfigError):
            return Counter(unavailable=len(sessions))
        finally:
            assert time.monotonic() - started < TIMEOUT + MARGIN
        return seen(store, sessions)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def stored_number(directory: Path) -> int:
    """Count the sessions in the database, with a connection of our own."""
    connection = sqlite3.connect(f"{(directory / 'cache.db').as_uri()}?mode=ro", uri=True)
    try:
        return int(connection.execute("SELECT count(*) FROM Cache").fetchone()[0])
    except sqlite3.Error as error:
        raise AssertionError(error) from error
    finally:
        connection.close()


# Faults of files.


def truncate(directory: Path) -> None:
    os.truncate(directory / "cache.db", 0)


def cut_in_half(directory: Path) -> None:
    size = (directory / "cache.db").stat().st_size
    os.truncate(directory / "cache.db", size // 8192 * 4096)


def cut_within_a_page(directory: Path) -> None:
    size = (directory / "cache.db").stat().st_size
    os.truncate(directory / "cache.db", size // 8192 * 4096 + 1234)


def overwrite_with_noise(directory: Path) -> None:
    file = directory / "cache.db"
    file.write_bytes(os.urandom(file.stat().st_size))


def move_away(directory: Path) -> None:
    (directory / "cache.db").rename(directory.parent / "damaged")


def move_all_away(directory: Path) -> None:
    away = directory.parent / "away"
    away.mkdir()
    for file in directory.iterdir():
        file.rename(away / file.name)


def delete_file(directory: Path) -> None:
    """Delete cache.db, and leave its log and the index of that, which others have open."""
    (directory / "cache.db").unlink()


def delete_files(directory: Path) -> None:
    for file in directory.iterdir():
        file.unlink()


def delete_directory(directory: Path) -> None:
    shutil.rmtree(directory)
