"""Processes that are killed or stopped: what they leave to others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from glimr_session import CommitResult, DiskStore, StoreUnavailable
from glimr_session.testing.contract import Request, begin, changed, content, invalidate, put
from tests.support.servers import Client, running

from . import storage_process
from .storage import MARGIN, TIMEOUT
from .storage_process import ROOT, Processes, StoreProcess

# Killed, stopped.


def run_writers(script: str, directory: Path) -> str:
    """Run a script of writers.py, and end everything that it has started; return its output."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.faults.writers", script, str(directory), os.urandom(4).hex()],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=60)
        finally:
            with suppress(ProcessLookupError):  # it has ended, and all its children
                os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, output
    return output


def test_what_was_acknowledged_outlives_writers_that_are_killed(directory: Path) -> None:
    """Four writers that SIGKILL ends, in twelve rounds, lose nothing and leave nothing twice.

    What was not acknowledged is there whole or not at all, the database passes SQLite's
    integrity check, and the next start works and goes on.
    """
    assert "commits were acknowledged" in run_writers("rounds", directory)


def test_a_start_that_was_killed_is_followed_by_one_that_works(tmp_path: Path) -> None:
    """A start works after another one was killed at any point, and removes what that left."""
    run_writers("starts", tmp_path)


def stop_in_a_commit(store: StoreProcess) -> str:
    """Stop the process while it holds the write lock; return the session that it commits to."""
    cookie_value = begin(store)
    request = Request(store, cookie_value)
    Request(store, cookie_value).commit(put("between", 1))  # so that the commit has to merge
    store.run(storage_process.stop_before_commit)
    store.begin("commit", changed(request.state, put("stopped", 1)))
    store.wait_until_stopped()
    return cookie_value


def test_a_process_stopped_in_its_transaction_keeps_nobody_waiting(
    processes: Processes, directory: Path
) -> None:
    """A stopped process costs writers their timeout, and readers nothing.

    It is stopped (SIGSTOP) while it holds the write lock, just before it commits; when it
    goes on, what it has in its transaction is there.
    """
    other = DiskStore(directory, timeout=TIMEOUT)
    with (
        processes.store(directory, timeout=TIMEOUT) as store,
        processes.store(directory, timeout=TIMEOUT) as crowd,
    ):
        cookie_value = begin(other)
        merged, logout = stop_in_a_commit(store), Request(other, cookie_value)
        request = Request(other, merged)
        writes: list[Callable[[], Any]] = [
            lambda: request.commit(put("b", 2)),
            lambda: logout.commit(invalidate),
            lambda: Request(other, None).commit(put("new", 1)),
            lambda: other.touch(cookie_value),
            lambda: other.destroy(cookie_value),
            lambda: other.save(cookie_value, {}, {}),
        ]
        for write in writes:
            started = time.monotonic()
            with pytest.raises(StoreUnavailable, match=r"another writer has held it for 0\.3 s"):
                write()
            assert time.monotonic() - started < TIMEOUT + MARGIN
            assert content(other, merged) == ({"a": 1, "between": 1}, {})
            assert content(other, cookie_value) == ({"a": 1}, {})
        acknowledged, longest = crowd.run(storage_process.save_from_threads, 20, 1)
        assert not acknowledged
        assert longest < TIMEOUT + MARGIN  # and not twenty times that
        store.go_on()
        assert store.answer() == CommitResult.stored(merged)
        assert request.commit() == merged
        assert content(other, merged) == ({"a": 1, "between": 1, "stopped": 1, "b": 2}, {})
        assert logout.commit() == ""
        assert other.open(cookie_value) is None
    other.close()


def impatient_store() -> DiskStore:
    """A store for the site, which does not wait five seconds."""
    return DiskStore(os.environ["GLIMR_SESSION_DISK_DIRECTORY"], timeout=TIMEOUT)


def test_a_site_goes_on_reading_while_a_stopped_process_holds_the_lock(
    processes: Processes, tmp_path: Path
) -> None:
    """The site answers a request that writes with an error in time, and one that reads as ever."""
    with (
        running("waitress", tmp_path, store=f"{__name__}:impatient_store") as server,
        processes.store(tmp_path / "sessions", timeout=TIMEOUT) as store,
    ):
        client = Client(server)
        assert client.get("/count")["found"] == 1
        cookies = client.cookies.header()
        merged = stop_in_a_commit(store)
        for path in ("/count", "/login", "/logout"):
            started = time.monotonic()
            with client.open(path) as response:
                assert response.status in (500, 503)
            assert time.monotonic() - started < TIMEOUT + MARGIN
            assert client.cookies.header() == cookies
            assert client.get("/session")["found"] == {"count": 1}
        store.go_on()
        assert store.answer() == CommitResult.stored(merged)
        assert client.get("/count")["found"] == 2
        assert server.log.read_text().count("StoreUnavailable") >= 3
        server.log.write_bytes(b"")  # the tracebacks in it are as they should be
