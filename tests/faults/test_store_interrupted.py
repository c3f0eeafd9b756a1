"""A signal handler that raises, at each instruction of an operation: nothing stays locked.

Each test is a script in a process of its own, which forks. It raises at the first instruction
of the disk store that an operation runs, at the second in the next operation, and so on; after
each of them the store works at once, in this thread, in another one and in a child.
"""

from __future__ import annotations

import dis
import logging
import sqlite3
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from types import FrameType
from typing import Any, Final

import pytest

from glimr_session import CommitResult, DiskStore, _forks
from glimr_session.stores.disk import database, files, pool
from glimr_session.stores.disk import store as store_module
from glimr_session.stores.disk.queries import SessionConnection
from glimr_session.testing.contract import Request, begin, put, regenerate
from tests.support.disk import open_files, query
from tests.support.forks import Script, fork, reap, run

SOURCES: Final = (_forks.__file__, str(Path(database.__file__).parent))
"""The modules that are interrupted."""

TIMEOUT: Final = 60.0
"""Seconds that a store waits for a lock: longer than a script may take."""

AT_ONCE: Final = 5.0
"""Seconds within which an operation has not waited for a lock, however slow the machine."""


OPENING: Final[Any] = {"files_per_place": 3, "stride": 3}
"""What is opened to make or check a database may stay open until Python's collector runs; and
that takes so long that every third place has to do."""

PATIENCE: Final = 150
"""Seconds that a script may take."""


FORKS: Final = 50
"""A fork takes longer than all the rest: one comes after so many interruptions."""


class Interrupted(Exception):
    """What the signal handler raises."""


def is_bookkeeping(frame: FrameType, event: str) -> bool:
    """Whether the next instruction is one that no signal handler can run before.

    An exception there leaves the interpreter believing that it handles the one before.
    """
    instruction = frame.f_code.co_code[frame.f_lasti]
    if instruction == dis.opmap["POP_EXCEPT"]:  # also where a line begins with it
        return True
    return event == "opcode" and instruction == dis.opmap["PUSH_EXC_INFO"]


def interrupt(work: Callable[[], object], at: int, sources: str | tuple[str, ...] = SOURCES) -> str:
    """Do some work and raise at its instruction with a number; return where, or "" if it has less.

    A line counts too: an exception at its beginning comes before its first instruction.
    """
    number = 0
    place = ""

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal number, place
        if not frame.f_code.co_filename.startswith(sources):
            return None
        frame.f_trace_opcodes = True
        if event in ("line", "opcode"):
            number += not is_bookkeeping(frame, event)
            if number == at:
                place = f"{frame.f_code.co_qualname}, line {frame.f_lineno}, {frame.f_lasti}"
                raise Interrupted
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    except Interrupted:
        pass  # and with it go the frames in its traceback
    finally:
        sys.settrace(before)
    return place


def use(store: DiskStore) -> None:
    """Write and read."""
    assert store.open(begin(store)) is not None


def interrupt_everywhere(
    directory: Path,
    operation: Callable[[DiskStore, str], object],
    *,
    prepare: str = "",
    files_per_place: int = 0,
    stride: int = 1,
    sources: tuple[str, ...] = SOURCES,
) -> None:
    """Interrupt an operation at each instruction, and use the store after each.

    ``prepare`` is a statement for the database.
    """
    pool._SYNCHRONOUS["process"] = "OFF"  # no test of the disk
    store = DiskStore(directory, timeout=TIMEOUT)
    cookie_value = begin(store)
    number = 0
    # The exceptions of finalizers and hooks are printed; that they were raised is no failure.
    sys.unraisablehook = lambda _: None
    with ThreadPoolExecutor(1) as another_thread:
        another_thread.submit(use, store).result()
        store.close()
        opened = open_files()  # SQLite may keep one more for its next connection
        place = "the beginning"
        while place:
            number += stride
            if prepare:
                query(directory, prepare)
            started = time.monotonic()
            before = place
            place = interrupt(lambda: operation(store, cookie_value), number, sources)
            use(store)
            another_thread.submit(use, store).result()
            assert not _forks._is_held_off(0), place
            if number // stride % FORKS == 0:
                reap([fork(lambda: use(store))])
            assert time.monotonic() - started < AT_ONCE, (before, place)
            assert open_files() <= opened + 1 + files_per_place * number, place
    assert number > 100


def a_first_read(directory: Path) -> None:
    def read(store: DiskStore, cookie_value: str) -> None:
        store.close()
        assert store.open(cookie_value) is not None

    interrupt_everywhere(directory, read)


def a_write(directory: Path) -> None:
    def write(store: DiskStore, cookie_value: str) -> None:
        assert Request(store, cookie_value).commit(put("n", 1)) == cookie_value

    interrupt_everywhere(directory, write)


def a_login(directory: Path) -> None:
    def log_in(store: DiskStore, cookie_value: str) -> None:
        other = begin(store)
        Request(store, other).commit(regenerate, put("user", "ada"))

    interrupt_everywhere(directory, log_in)


def a_first_write(directory: Path) -> None:
    interrupt_everywhere(directory, lambda store, _: begin(store))


def a_touch(directory: Path) -> None:
    interrupt_everywhere(directory, DiskStore.touch)


def a_destruction(directory: Path) -> None:
    interrupt_everywhere(directory, lambda store, _: store.destroy(begin(store)))


def a_gc(directory: Path) -> None:
    store_module._MIN_PAUSE = store_module._MAX_PAUSE = 0.0  # type: ignore[misc]
    expired = "INSERT OR REPLACE INTO Cache (key, raw, expire_time) VALUES (x'00', 1, 1.0)"
    interrupt_everywhere(directory, lambda store, _: store.gc(), prepare=expired)


def a_commit_that_does_not_wait(directory: Path) -> None:
    """Another connection writes all the time."""

    def commit(store: DiskStore, cookie_value: str) -> None:
        request = Request(store, cookie_value)
        put("b", 2)(request.state)
        with closing(sqlite3.connect(directory / "cache.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            assert request.answer(wait=False) is CommitResult.BUSY

    interrupt_everywhere(directory, commit)


def a_store_that_is_made(directory: Path) -> None:
    interrupt_everywhere(directory, lambda store, _: DiskStore(directory).close(), **OPENING)


def a_deleted_database(directory: Path) -> None:
    def look(store: DiskStore, _: str) -> None:
        for file in directory.glob("cache.db*"):
            file.unlink()
        store._database._next_check = 0.0
        store._database.read(SessionConnection.has_expired, 0.0)

    logging.getLogger("glimr_session").setLevel(logging.ERROR)
    sources = (str(database.__file__), str(files.__file__))  # the rest is in the other scripts
    interrupt_everywhere(directory, look, sources=sources, **OPENING)


def a_fork(directory: Path) -> None:
    """Neither may a hook that is interrupted let a connection through."""

    def look() -> None:
        opened = [file.readlink() for file in Path("/proc/self/fd").iterdir() if file.exists()]
        assert not [path for path in opened if path.name == "cache.db"]

    interrupt_everywhere(directory, lambda store, _: reap([fork(look)]))


SCRIPTS: Final[list[Script]] = [
    a_first_read,
    a_write,
    a_login,
    a_first_write,
    a_touch,
    a_destruction,
    a_gc,
    a_commit_that_does_not_wait,
    a_store_that_is_made,
    a_deleted_database,
    a_fork,
]


@pytest.mark.timeout(PATIENCE + 30)
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
def test_no_instruction_leaves_a_lock_when_it_is_interrupted(
    script: Script, tmp_path: Path
) -> None:
    """After an exception at any instruction, the next operation and a fork work at once."""
    run(script, tmp_path / "sessions", patience=PATIENCE)
