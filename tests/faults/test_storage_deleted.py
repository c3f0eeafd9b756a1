"""A database that is deleted, and a store that stays broken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from glimr_session import generate_id
from glimr_session.testing.contract import begin, content

from . import storage_process
from .storage import (
    MARGIN,
    SESSIONS,
    TIMEOUT,
    cut_in_half,
    delete_directory,
    delete_file,
    delete_files,
    fresh,
    move_all_away,
    overwrite_with_noise,
    soon,
    stored_number,
    truncate,
    warnings,
)
from .storage_process import Processes, save_all, seen, some_sessions

# A database that is deleted.


@pytest.mark.parametrize("delete", [delete_file, delete_files, delete_directory])
def test_processes_whose_database_is_deleted_go_on_with_one_new_one(
    processes: Processes,
    directory: Path,
    delete: Callable[[Path], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Processes share a new database within about a second, and lose nothing from then on.

    Threads whose connections were open before use the new one, too.
    """
    with (
        processes.store(directory, timeout=TIMEOUT) as one,
        processes.store(directory, timeout=TIMEOUT) as other,
    ):
        save_all(one, SESSIONS)
        assert other.run(seen, SESSIONS).keys() == {"exact"}
        for store in (one, other):
            store.run(storage_process.connect, 4)
        delete(directory)

        def is_shared() -> None:
            assert content(other, begin(one)) == content(one, begin(other)) == ({"a": 1}, {})
            assert (directory / "cache.db").exists()

        soon(is_shared)
        sessions: dict[str, Any] = {}
        for store in (one, other):
            acknowledged, _ = store.run(storage_process.save_from_threads, 4, 20)
            assert len(acknowledged) == 80
            sessions |= acknowledged
        for store in (one, other):
            assert store.run(seen, sessions) == Counter(exact=160)
            assert store.open(next(iter(SESSIONS))) is None
            assert store.run(storage_process.integrity) == "ok"
        told = [warning for warning in warnings(caplog) if "deleted or replaced" in warning]
        assert len(told) == 2  # one for each process
        assert directory.stat().st_mode & 0o777 == 0o700
        one.close()
        save_all(other, new := some_sessions(5))  # the close of one has deleted nothing of it
        other.close()
        assert fresh(processes, directory, {**sessions, **new}).keys() == {"exact"}


def test_a_new_file_that_is_empty_yet_is_no_damage(
    processes: Processes, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A process that finds an empty file in place of its database makes a new one."""
    with processes.store(directory, timeout=TIMEOUT) as store:
        begin(store)
        delete_files(directory)
        (directory / "cache.db").touch()
        store.run(storage_process.look_now)
        cookie_value = begin(store)
        assert content(store, cookie_value) == ({"a": 1}, {})
        assert any("deleted or replaced" in warning for warning in warnings(caplog))
        assert stored_number(directory) == 1


# A store that stays broken.


def put_a_file_in_the_way(directory: Path) -> None:
    move_all_away(directory)
    directory.rmdir()
    directory.write_text("")


def open_to_others(directory: Path) -> None:
    directory.chmod(0o755)


@pytest.mark.parametrize(
    "break_it", [truncate, cut_in_half, overwrite_with_noise, open_to_others, put_a_file_in_the_way]
)
def test_a_store_that_stays_broken_leaves_no_files_open(
    processes: Processes, directory: Path, break_it: Callable[[Path], None]
) -> None:
    """A hundred operations that fail close what they used, without the garbage collector."""
    with processes.store() as store:
        before = store.run(storage_process.open_files, collect=True)
        store.make(directory, timeout=TIMEOUT)
        save_all(store, SESSIONS)
        store.run(storage_process.connect, 20)
        begin(store)
        break_it(directory)
        store.run(storage_process.look_now)
        assert store.run(storage_process.fail_for_long, 200) > 100
        assert store.run(storage_process.open_files, collect=False) <= before


def test_threads_wait_for_a_new_database_together(processes: Processes, directory: Path) -> None:
    """Twenty threads that wait for one database get their errors after one timeout."""
    with (
        processes.store(directory, timeout=TIMEOUT) as store,
        processes.store(directory, timeout=TIMEOUT) as stopped,
    ):
        begin(store)
        delete_files(directory)
        stopped.run(storage_process.look_now)
        stopped.run(storage_process.stop_while_it_makes_a_database)
        stopped.begin("open", generate_id())
        stopped.wait_until_stopped()
        store.run(storage_process.look_now)
        acknowledged, longest = store.run(storage_process.save_from_threads, 20, 1)
        assert longest < TIMEOUT + MARGIN
        stopped.go_on()
        assert stopped.answer() is None
        cookie_value = soon(lambda: begin(store))
        assert content(stopped, cookie_value) == ({"a": 1}, {})
        assert stopped.run(seen, acknowledged).keys() <= {"exact"}
