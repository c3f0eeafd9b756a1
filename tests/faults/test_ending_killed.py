"""Processes that are killed while they end all sessions of an owner."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any, Final

from glimr_session import DiskStore, SessionStore, SqlStore
from glimr_session.stores import _server
from glimr_session.stores.disk import database
from glimr_session.testing.contract import begin, content, put
from glimr_session.testing.requests import belong_to
from tests.support.forks import fork, run

SOURCES: Final = (str(Path(database.__file__).parent), _server.__file__)
SESSIONS: Final = 3


def end_until(store: SessionStore, line: int) -> None:
    """End all sessions, and be killed at this line of the store."""
    lines = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal lines
        if not frame.f_code.co_filename.startswith(SOURCES):
            return None
        lines += event == "line"
        if lines == line:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)
    store.destroy_all(7)


def kill_everywhere(store: SessionStore, stride: int) -> set[int]:
    """Kill a process at every so many lines; return how many sessions were left each time."""
    seen, line, code = set(), 1, -signal.SIGKILL
    while code == -signal.SIGKILL:
        cookies = [begin(store, put("a", 1), belong_to(7)) for _ in range(SESSIONS)]
        store.close()
        child = fork(lambda line=line: end_until(store, line))  # type: ignore[misc]
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        left = [found for cookie in cookies if (found := content(store, cookie)) is not None]
        assert left == [({"a": 1}, {})] * len(left)
        assert len(store.sessions(7)) == len(left)
        assert store.destroy_all(7) == len(left)
        assert [content(store, cookie) for cookie in cookies] == [None] * SESSIONS
        seen.add(len(left))
        line += stride
    assert code == 0
    assert line > 50
    return seen


def on_disk(directory: Path) -> None:
    assert kill_everywhere(DiskStore(directory), 14) == {0, SESSIONS}  # one transaction


def in_sql(directory: Path) -> None:
    directory.mkdir()
    url = f"sqlite:///{directory}/sessions.sqlite"
    SqlStore.create_table(url)
    assert kill_everywhere(SqlStore(url), 7) == {*range(SESSIONS + 1)}  # one after the other


def test_a_process_that_is_killed_leaves_each_session_whole_or_ended(tmp_path: Path) -> None:
    """At any line; the disk store all or none, and a second call ends what is left."""
    run(on_disk, tmp_path / "disk", patience=60)


def test_a_killed_process_has_ended_some_sessions_on_a_server(tmp_path: Path) -> None:
    """At any line each session is whole or ended, and a second call ends the others."""
    run(in_sql, tmp_path / "sql", patience=60)
