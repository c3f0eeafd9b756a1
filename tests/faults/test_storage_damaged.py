"""A database that is damaged: what the user never sees is a silent empty session.

For each session that was stored, the store returns exactly its data, or raises, or its loss
is in the log.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest

from glimr_session import StoreUnavailable
from glimr_session.testing.contract import begin, content

from . import storage_process
from .storage import (
    SESSIONS,
    TIMEOUT,
    cut_in_half,
    cut_within_a_page,
    fresh,
    move_all_away,
    move_away,
    overwrite_with_noise,
    soon,
    stored_number,
    truncate,
    warnings,
)
from .storage_process import Processes, StoreProcess, save_all, seen, some_sessions

# A database that is damaged.


DAMAGES: Final = [truncate, cut_in_half, cut_within_a_page, overwrite_with_noise]


def leave_in_memory(store: StoreProcess) -> None:
    """Have all sessions read by connections that are open."""
    store.close()
    assert store.run(seen, SESSIONS).keys() == {"exact"}


def leave_on_disk(store: StoreProcess) -> None:
    """Have all but a little in the file, and connections open that have read hardly any of it."""
    store.run(storage_process.connect, 2)
    begin(store)


def leave_in_log(store: StoreProcess) -> None:
    """Have everything in the write-ahead log still, as it was written."""


@pytest.mark.parametrize("leave", [leave_in_log, leave_in_memory, leave_on_disk])
@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_while_it_runs_is_never_a_silent_empty_session(
    processes: Processes,
    directory: Path,
    damage: Callable[[Path], None],
    leave: Callable[[StoreProcess], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A damaged store returns exact data or raises, in this process and in one that starts now."""
    sessions = dict(SESSIONS)
    with processes.store(directory, timeout=TIMEOUT) as store:
        save_all(store, sessions)
        leave(store)
        damage(directory)
        for number in range(3):
            new = some_sessions(1)
            with suppress(StoreUnavailable):
                save_all(store, new)
                sessions |= new
            assert not store.run(seen, sessions).keys() & {"silent", "wrong"}
            if number == 1:
                store.run(storage_process.look_now)
        caplog.clear()
        for closed in (False, True):
            if closed:
                store.close()
            counted = fresh(processes, directory, sessions)
            assert not counted["wrong"]
            assert not counted["silent"] or warnings(caplog)


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_before_the_start_is_told_at_the_start(
    processes: Processes,
    directory: Path,
    damage: Callable[[Path], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A start logs an error with advice, or that the file is empty, and goes on."""
    with processes.store(directory) as store:
        save_all(store, SESSIONS)
        store.close()
    damage(directory)
    with processes.store() as store:
        if damage is truncate:
            store.make(directory)
            assert any("cache.db is empty" in warning for warning in warnings(caplog))
            cookie_value = begin(store)
            assert content(store, cookie_value) == ({"a": 1}, {})
        else:
            store.make(directory)
            assert any("move it away" in warning for warning in warnings(caplog))
            with pytest.raises(StoreUnavailable, match="move it away"):
                begin(store)
            assert store.run(seen, SESSIONS) == Counter(unavailable=len(SESSIONS))


@pytest.mark.parametrize("running", [False, True], ids=["fresh", "running"])
@pytest.mark.parametrize("kind", ["zeros", "noise", "another"])
def test_no_page_can_be_overwritten_unseen(
    processes: Processes, tmp_path: Path, kind: str, running: bool
) -> None:
    """A store notices each page that was overwritten with zeros, noise, or another page."""
    with processes.store() as process:
        overwrite = storage_process.overwrite_pages
        assert process.run(overwrite, tmp_path, kind, running=running) == []


@pytest.mark.parametrize("leave", [leave_in_log, leave_on_disk])
@pytest.mark.parametrize("move", [move_away, move_all_away])
@pytest.mark.parametrize("damage", [truncate, cut_in_half, overwrite_with_noise])
def test_a_damaged_database_that_is_moved_away_is_made_anew(
    processes: Processes,
    directory: Path,
    damage: Callable[[Path], None],
    move: Callable[[Path], None],
    leave: Callable[[StoreProcess], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A process makes a new database within about a second, without a restart, and logs it."""
    with processes.store(directory, timeout=TIMEOUT) as store:
        save_all(store, SESSIONS)
        leave(store)
        damage(directory)
        store.run(seen, SESSIONS)
        move(directory)

        def is_new() -> str:
            cookie_value = begin(store)
            assert (directory / "cache.db").exists()
            assert stored_number(directory) == 1
            return cookie_value

        cookie_value = soon(is_new)
        assert content(store, cookie_value) == ({"a": 1}, {})
        assert any("deleted or replaced" in warning for warning in warnings(caplog))
        assert store.run(storage_process.integrity) == "ok"


def restore_all(directory: Path, good: Path) -> None:
    """Move all files out, and those of the copy in."""
    move_all_away(directory)
    for file in good.iterdir():
        file.rename(directory / file.name)


def restore_over(directory: Path, good: Path) -> None:
    """Rename the copy over the file; its log stays, which belongs to the damaged one."""
    (good / "cache.db").rename(directory / "cache.db")


@pytest.mark.parametrize("leave", [leave_in_log, leave_on_disk])
@pytest.mark.parametrize("restore", [restore_all, restore_over])
@pytest.mark.parametrize("damage", [truncate, cut_in_half, overwrite_with_noise])
def test_a_good_copy_that_is_put_in_its_place_is_used(
    processes: Processes,
    directory: Path,
    damage: Callable[[Path], None],
    restore: Callable[[Path, Path], None],
    leave: Callable[[StoreProcess], None],
) -> None:
    """A process reads and writes the copy within about a second, without a restart."""
    good = directory.parent / "good"
    with processes.store(directory, timeout=TIMEOUT) as store:
        save_all(store, SESSIONS)
        store.close()
        shutil.copytree(directory, good)
        lost = begin(store)
        leave(store)
        damage(directory)
        store.run(seen, SESSIONS)
        restore(directory, good)

        def is_back() -> None:
            assert store.run(seen, SESSIONS) == Counter(exact=len(SESSIONS))
            assert store.open(lost) is None

        soon(is_back)
        sessions = some_sessions(20)
        save_all(store, sessions)
        assert store.run(seen, {**SESSIONS, **sessions}).keys() == {"exact"}
        assert store.run(storage_process.integrity) == "ok"
        store.close()
        assert fresh(processes, directory, {**SESSIONS, **sessions}).keys() == {"exact"}
