"""The pool of connections, and that no connection is open at a fork.

What is opened before os.fork() works after it, in the parent and in every child.
"""

from __future__ import annotations

import ctypes
import gc
import json
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import pytest

from glimr_session import (
    DiskStore,
    Json,
    SessionConfig,
    SessionMiddleware,
    StoreUnavailable,
    _forks,
)
from glimr_session.stores.disk import pool as pool_module
from glimr_session.stores.disk.files import log_identity
from glimr_session.testing.contract import begin, run_all
from tests.support.disk import open_files
from tests.support.forks import PATIENCE, Flag, fork, reap, run, run_child
from tests.support.server_apps import site
from tests.support.wsgi_client import Browser

CONFIG: Final = SessionConfig(secret_keys=["a key for tests that is long enough"], gc="never")


# Connections that come and go.


def test_a_store_holds_no_connection_when_it_has_been_made(directory: Path) -> None:
    """A store opens its first file with its first operation, and none when it is made."""
    gc.collect()  # what tests before this one have left open
    before = open_files()
    store = DiskStore(directory)
    assert open_files() == before
    begin(store)
    assert open_files() > before
    store.close()
    assert open_files() == before


def test_a_store_that_is_freed_closes_its_connections(directory: Path) -> None:
    """A store that nobody has closed closes its files when it is freed, without a warning."""
    gc.collect()
    before = open_files()
    store = DiskStore(directory)
    begin(store)
    assert open_files() > before
    del store
    gc.collect()
    assert open_files() == before


def test_threads_that_come_and_go_leave_no_connection(directory: Path) -> None:
    """A thread that uses the store and closes it takes nothing from the next one."""
    store = DiskStore(directory)
    cookie_value = begin(store)
    before = open_files()
    found: list[Any] = []

    def use() -> None:
        found.append(store.open(cookie_value))
        store.close()

    for _ in range(20):
        run_all([use])
    assert None not in found
    # SQLite keeps one file of a closed connection to give it to the next.
    assert open_files() <= before + 1
    assert store.open(cookie_value) is not None
    store.close()


@pytest.mark.usefixtures("nothing_open")
def test_a_crowd_leaves_few_connections(directory: Path) -> None:
    """The pool keeps twelve connections of thirty that were in use at the same time."""
    store = DiskStore(directory)
    pool = store._database._pool
    assert not _forks._holds
    acquired = [pool.acquire() for _ in range(30)]
    while acquired:
        pool.release(acquired.pop())
    assert len(pool._idle) == 12
    assert len(_forks._holds) == 12  # one for each that is open
    store.close()
    assert not _forks._holds


# Forks. Each of these tests is a script in a process of its own.


class Site:
    """An application on a disk store, and a browser with a session in it."""

    def __init__(self, directory: Path) -> None:
        self.store = DiskStore(directory / "sessions")
        self.app = SessionMiddleware(site, CONFIG, store=self.store)
        self.cookie = ""

    def begin(self) -> None:
        """Begin the session, and with it use the store."""
        browser = Browser()
        self._get(browser, "/count")
        self.cookie = browser.cookies.header()
        assert self.cookie

    def count(self, times: int) -> None:
        """Add to the counter in the session, one request after another."""
        for _ in range(times):
            self._get(Browser(self.cookie), "/count")

    def counted(self) -> Json:
        """Return what the counter has come to since the session began."""
        session = self._get(Browser(self.cookie), "/session")
        assert isinstance(session, dict)
        count = session["count"]
        assert isinstance(count, int)
        return count - 1

    def _get(self, browser: Browser, path: str) -> Json:
        response = browser.request(self.app, extra={"PATH_INFO": path}).begin().finish()
        found: Json = json.loads(response.body)["found"]
        return found


def serve_on_both_sides(site: Site) -> None:
    """Serve in the parent and in two children at the same time; nothing may be lost."""
    start = Flag()

    def serve() -> None:
        start.wait()
        threads = [threading.Thread(target=site.count, args=(20,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        site.count(20)
        for thread in threads:
            thread.join()

    children = [fork(serve) for _ in range(2)]
    for _ in range(3):
        start.raise_()
    serve()
    reap(children)
    assert site.counted() == 3 * 60


def a_store_that_was_made(directory: Path) -> None:
    # The session is begun through another store, so that this one stays unused.
    begun = Site(directory)
    begun.begin()
    begun.store.close()
    unused = Site(directory)
    unused.cookie = begun.cookie
    serve_on_both_sides(unused)


def a_store_that_was_used(directory: Path) -> None:
    used = Site(directory)
    used.begin()
    serve_on_both_sides(used)


def a_store_that_was_used_by_a_thread(directory: Path) -> None:
    used = Site(directory)
    with another_thread(used):
        serve_on_both_sides(used)


def test_a_store_made_before_the_fork_serves_on_both_sides(tmp_path: Path) -> None:
    """Parent and children serve one session with a store from before, and lose nothing."""
    run(a_store_that_was_made, tmp_path)


def test_a_store_used_before_the_fork_serves_on_both_sides(tmp_path: Path) -> None:
    """Parent and children lose nothing if the parent has used the store already."""
    run(a_store_that_was_used, tmp_path)


def test_a_store_used_by_a_thread_before_the_fork_serves_on_both_sides(tmp_path: Path) -> None:
    """Parent and children lose nothing if another thread has used the store."""
    run(a_store_that_was_used_by_a_thread, tmp_path)


@contextmanager
def another_thread(site: Site) -> Iterator[None]:
    """Begin the session in another thread, which closes its connection in the end."""
    begun, done = threading.Event(), threading.Event()

    def use() -> None:
        with closing(site.store):
            site.begin()
            begun.set()
            done.wait(PATIENCE)

    thread = threading.Thread(target=use)
    thread.start()
    begun.wait(PATIENCE)
    yield
    done.set()
    thread.join()


def close_while_a_child_serves(site: Site, close: Callable[[], object]) -> None:
    """Close what the parent has open while a child goes on; nothing may be lost."""
    half, closed = Flag(), Flag()

    def serve() -> None:
        site.count(10)
        half.raise_()
        closed.wait()
        site.count(10)

    # A collection in the child might close what it has inherited: a matter of luck.
    gc.collect()
    child = fork(serve)
    half.wait()
    close()
    closed.raise_()
    reap([child])
    assert site.counted() == 20


def the_parent_closes(directory: Path) -> None:
    used = Site(directory)
    used.begin()
    close_while_a_child_serves(used, used.store.close)


def a_thread_of_the_parent_closes(directory: Path) -> None:
    used = Site(directory)
    thread = another_thread(used)
    thread.__enter__()
    close_while_a_child_serves(used, lambda: thread.__exit__(None, None, None))


def test_a_parent_that_closes_its_store_takes_nothing_from_a_child(tmp_path: Path) -> None:
    """A parent that closes its connections removes no log that a child still writes."""
    run(the_parent_closes, tmp_path)


def test_a_thread_that_closes_its_store_takes_nothing_from_a_child(tmp_path: Path) -> None:
    """A thread of the parent that closes its connections removes no log of a child either."""
    run(a_thread_of_the_parent_closes, tmp_path)


def a_store_in_use(directory: Path) -> None:
    used = Site(directory)
    used.begin()
    busy, number = threading.Event(), 0

    def serve() -> None:
        nonlocal number
        with closing(used.store):
            while not busy.is_set():
                used.count(1)
                number += 1

    thread = threading.Thread(target=serve)
    thread.start()
    children = [fork(lambda: used.count(2)) for _ in range(20)]
    busy.set()
    thread.join()
    reap(children)
    assert used.counted() == number + 40


def test_a_store_in_use_at_the_fork_works_in_the_child(tmp_path: Path) -> None:
    """A transaction that another thread has open at the fork locks no child out for ever."""
    run(a_store_in_use, tmp_path)


def two_hundred_forks(directory: Path) -> None:
    used = Site(directory)
    used.begin()
    done = threading.Event()
    counted: list[int] = []

    def write_on_and_on() -> None:
        number = 0
        while not done.is_set():
            used.count(1)
            number += 1
        counted.append(number)

    def write() -> None:
        assert files_open_in(used.store.directory) == []
        used.count(2)
        assert files_open_in(used.store.directory) != []

    threads = [threading.Thread(target=write_on_and_on) for _ in range(3)]
    for thread in threads:
        thread.start()
    children: list[int] = []
    for _ in range(200):
        children.append(fork(write))
        if len(children) == 8:
            reap([children.pop(0)])
    reap(children)
    done.set()
    for thread in threads:
        thread.join()
    assert len(counted) == 3
    assert min(counted) > 0
    assert used.counted() == sum(counted) + 2 * 200


def files_open_in(directory: Path) -> list[str]:
    """Return the files in a directory that this process has open."""
    found: list[str] = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the one that lists them is gone again
            found.append(str(descriptor.readlink()))
    return [file for file in found if file.startswith(f"{directory}/")]


def test_two_hundred_children_of_a_busy_process_write_too(tmp_path: Path) -> None:
    """Two hundred children open connections of their own, hang nowhere, and lose nothing."""
    run(two_hundred_forks, tmp_path)


def threads_that_fork(directory: Path) -> None:
    used = Site(directory)
    used.begin()
    done = threading.Event()
    failed: list[BaseException] = []

    def use() -> None:
        while not done.is_set():
            used.count(1)

    def look() -> None:
        assert files_open_in(used.store.directory) == []

    def fork_often() -> None:
        try:
            for _ in range(25):
                reap([fork(look)])
        except BaseException as error:  # noqa: BLE001  # raised below
            failed.append(error)

    users = [threading.Thread(target=use) for _ in range(3)]
    forkers = [threading.Thread(target=fork_often) for _ in range(4)]
    for thread in users + forkers:
        thread.start()
    for thread in forkers:
        thread.join()
    done.set()
    for thread in users:
        thread.join()
    assert failed == []


def test_no_connection_is_open_at_a_fork_whoever_forks_beside_it(tmp_path: Path) -> None:
    """Threads that fork at the same time wait for each other."""
    run(threads_that_fork, tmp_path)


def a_fork_that_python_does_not_see(directory: Path) -> None:
    used = Site(directory)
    used.begin()
    (inherited,) = used.store._database._pool._idle
    pid = ctypes.CDLL(None).fork()  # as uWSGI does: no hook of Python's runs
    if pid == 0:

        def work() -> None:
            used.count(3)
            assert inherited not in used.store._database._pool._idle
            inherited.connection.execute("SELECT 1")  # still open

        run_child(work)
    used.count(2)
    reap([pid])
    assert used.counted() == 5


def test_a_child_that_was_forked_without_hooks_opens_connections_of_its_own(tmp_path: Path) -> None:
    """A child that was forked without hooks neither uses nor closes what it has inherited."""
    run(a_fork_that_python_does_not_see, tmp_path)


def stores_that_are_being_made(directory: Path) -> None:
    done = threading.Event()

    def make() -> None:
        while not done.is_set():
            DiskStore(directory / "sessions")

    def look() -> None:
        opened = [file.readlink() for file in Path("/proc/self/fd").iterdir() if file.exists()]
        assert not [path for path in opened if path.name == "cache.db"]

    maker = threading.Thread(target=make)
    maker.start()
    try:
        for _ in range(40):
            reap([fork(look)])
    finally:
        done.set()
        maker.join()


def test_a_store_that_is_being_made_takes_no_connection_into_a_child(tmp_path: Path) -> None:
    """A fork waits until a store has been made, and its connections are closed."""
    run(stores_that_are_being_made, tmp_path)


def a_handler_that_forks(directory: Path) -> None:
    store = DiskStore(directory / "sessions", timeout=0.2)
    pool = store._database._pool
    acquired = pool.acquire()  # as if the signal came while this thread uses a connection
    started = time.monotonic()
    reap([fork(lambda: store.save("x", {"a": 1}, {}))])
    assert 0.2 <= time.monotonic() - started < PATIENCE / 3
    pool.release(acquired)
    assert store.load("x") == ({"a": 1}, {})


def test_a_signal_handler_may_fork_while_its_thread_uses_a_connection(tmp_path: Path) -> None:
    """A fork in a signal handler waits no longer than the timeout for its own thread."""
    run(a_handler_that_forks, tmp_path)


def a_warning_at_a_fork(directory: Path) -> None:
    used = Site(directory)
    used.begin()
    store = DiskStore(directory / "sessions", timeout=0.1)
    seen: list[str] = []

    def use_the_session(record: logging.LogRecord) -> bool:
        used.count(1)
        seen.append(record.getMessage())
        return False

    logging.getLogger("glimr_session").addFilter(use_the_session)
    acquired = store._database._pool.acquire()
    started = time.monotonic()
    reap([fork(lambda: None)])
    assert time.monotonic() - started < PATIENCE / 10
    assert len(seen) == 1
    assert "while the session store is in use" in seen[0]
    store._database._pool.release(acquired)
    reap([fork(lambda: None)])
    assert len(seen) == 1
    assert used.counted() == 1


def test_a_log_filter_may_use_a_session_when_a_fork_warns(tmp_path: Path) -> None:
    """A fork that has waited in vain says so when connections can be opened again."""
    run(a_warning_at_a_fork, tmp_path)


# Connections that cannot be opened.


class Failure(OSError):
    """Stands for any that opening a connection may raise: files have run out, or a timeout."""


def failing_calls(monkeypatch: pytest.MonkeyPatch, fail_at: int) -> list[int]:
    """Let one of the calls between opening a connection and lending it fail; count them."""
    calls: list[int] = []

    def count() -> None:
        calls.append(len(calls))
        if len(calls) == fail_at:
            raise Failure("too many open files")

    class Failing(pool_module._OwnedConnection):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            count()
            super().__init__(*args, **kwargs)
            count()

        def execute(self, *args: Any) -> sqlite3.Cursor:
            count()
            return super().execute(*args)

    def note_log(log: Path) -> Any:
        count()
        return log_identity(log)

    monkeypatch.setattr(pool_module, "_OwnedConnection", Failing)
    monkeypatch.setattr(pool_module, "log_identity", note_log)
    return calls


@pytest.mark.usefixtures("nothing_open")
@pytest.mark.parametrize("fail_at", range(1, 10))
def test_a_connection_that_cannot_be_opened_leaves_nothing(
    directory: Path, fail_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever fails while a connection is opened: nothing stays open and no fork waits."""
    store = DiskStore(directory)
    cookie_value = begin(store)
    store.close()
    gc.collect()
    before = open_files()
    gc.disable()
    try:
        with monkeypatch.context() as patched:
            calls = failing_calls(patched, fail_at)
            with pytest.raises(StoreUnavailable, match="too many open files") as caught:
                store.touch(cookie_value)
            assert len(calls) == fail_at
        assert open_files() == before
        assert not _forks._holds  # which a fork would wait for
        assert caught.value is not None  # nor does an error that somebody keeps
        assert store.open(cookie_value) is not None
    finally:
        gc.enable()
    store.close()
    assert open_files() == before
