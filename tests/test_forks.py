"""What is made before os.fork() works after it, in the parent and in every child.

Each test is a script in a process of its own, for forking a process that has threads is
what is tested, and pytest's own should not be forked.

    python -m tests.test_forks SCRIPT DIRECTORY
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TypeAlias

import pykka
import pytest

from glimr_session import DiskStore, Json, SessionConfig, SessionMiddleware, janitor, new
from glimr_session.mailbox import CallingThreadActor

from .server_apps import site
from .wsgi_client import Browser

Script: TypeAlias = Callable[[Path], None]

PATIENCE = 30  # seconds: what a script may take before it counts as hanging
CONFIG = SessionConfig(secret_keys=["a key for tests that is long enough"], gc="never")


def run(script: Script, directory: Path) -> None:
    """Run a script in a new process, and end all it has started if it hangs."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.test_forks", script.__name__, str(directory)],
        cwd=Path(__file__).parent.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
            pytest.fail(f"hangs after {PATIENCE} s: {output.decode()}")
    assert process.returncode == 0, output.decode()


def fork(work: Callable[[], object]) -> int:
    """Do some work in a child; give its process id."""
    pid = os.fork()
    if pid:
        return pid
    signal.alarm(PATIENCE // 3)  # ends a child that hangs, and with it the wait of its parent
    failed = 1
    try:
        work()
        failed = 0
    except BaseException:  # noqa: BLE001  # the parent is told by the exit code
        traceback.print_exc()
    finally:
        os._exit(failed)


def reap(children: list[int]) -> None:
    """Wait for children, each of which must have done its work."""
    for pid in children:
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert code == 0, f"a child ended with {code}" + " (it hung)" * (code == -signal.SIGALRM)


class Flag:
    """Raised in one process and seen in another."""

    def __init__(self) -> None:
        self._ends = os.pipe()

    def raise_(self) -> None:
        os.write(self._ends[1], b"!")

    def wait(self) -> None:
        """Wait until it is raised, once for each call."""
        assert os.read(self._ends[0], 1) == b"!"


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
        """Give what the counter has come to since the session began."""
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
    """Parent and children serve one session at once, all with a store from before."""
    run(a_store_that_was_made, tmp_path)


def test_a_store_used_before_the_fork_serves_on_both_sides(tmp_path: Path) -> None:
    """Nothing is lost either when the parent had used the store already."""
    run(a_store_that_was_used, tmp_path)


def test_a_store_used_by_a_thread_before_the_fork_serves_on_both_sides(tmp_path: Path) -> None:
    """Nothing is lost either when it was another thread that had used the store."""
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
    """SQLite tidies up when the last connection closes; a child's counts as one."""
    run(the_parent_closes, tmp_path)


def test_a_thread_that_closes_its_store_takes_nothing_from_a_child(tmp_path: Path) -> None:
    """The same holds for the connection of another thread of the parent."""
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
        assert used.store._database._open.isdisjoint(of_the_parent)

    of_the_parent: set[object] = set()
    threads = [threading.Thread(target=write_on_and_on) for _ in range(3)]
    for thread in threads:
        thread.start()
    children: list[int] = []
    for _ in range(200):
        of_the_parent |= used.store._database._open
        children.append(fork(write))
        if len(children) == 8:
            reap([children.pop(0)])
    reap(children)
    done.set()
    for thread in threads:
        thread.join()
    assert of_the_parent
    assert len(counted) == 3
    assert min(counted) > 0
    assert used.counted() == sum(counted) + 2 * 200


def files_open_in(directory: Path) -> list[str]:
    """Give the files in a directory that this process has open."""
    found: list[str] = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the one that lists them is gone again
            found.append(str(descriptor.readlink()))
    return [file for file in found if file.startswith(f"{directory}/")]


def test_two_hundred_children_of_a_busy_process_write_too(tmp_path: Path) -> None:
    """No child hangs, or has anything open that its parent opened, and nothing is lost."""
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
        assert not used.store._database._open

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
    (inherited,) = used.store._database._idle
    pid = ctypes.CDLL(None).fork()  # as uWSGI does: no hook of Python's runs
    if pid == 0:
        signal.alarm(PATIENCE // 3)
        failed = 1
        try:
            used.count(3)
            assert inherited not in used.store._database._idle
            inherited.execute("SELECT 1")  # it is open still: to close it would be to use it
            failed = 0
        except BaseException:  # noqa: BLE001  # the parent is told by the exit code
            traceback.print_exc()
        finally:
            os._exit(failed)
    used.count(2)
    reap([pid])
    assert used.counted() == 5


def test_a_child_of_which_python_knows_nothing_opens_its_own(tmp_path: Path) -> None:
    """The process id tells; what was inherited is neither used nor closed."""
    run(a_fork_that_python_does_not_see, tmp_path)


def a_busy_janitor(directory: Path) -> None:
    parent = os.getpid()
    started, released, collected = threading.Event(), threading.Event(), threading.Event()
    threads: list[threading.Thread] = []

    def collect_slowly() -> int:
        threads.append(threading.current_thread())
        if os.getpid() == parent:
            started.set()
            released.wait(PATIENCE)
        collected.set()
        return 0

    store = new(
        load=lambda session_id: ({}, {}),
        save=lambda session_id, data, flash: None,
        destroy=lambda session_id: None,
        gc=collect_slowly,
        cookie_value=lambda session_id, data, flash: session_id,
    )

    def collect() -> None:
        assert janitor.collect(store)
        assert collected.wait(PATIENCE)
        assert threads[-1] is not threads[0]
        assert threads[-1] is not threading.main_thread()
        assert threads[-1].daemon
        assert threads[-1].is_alive()

    assert janitor.collect(store)
    assert started.wait(PATIENCE)
    reap([fork(collect), fork(collect)])
    assert not janitor.collect(store)  # the parent's own is busy still
    released.set()
    assert collected.wait(PATIENCE)
    deadline = time.monotonic() + PATIENCE
    while not janitor.collect(store):
        assert time.monotonic() < deadline
    assert len(threads) <= 2
    assert set(threads) == {threads[0]}


def test_a_child_has_a_janitor_of_its_own(tmp_path: Path) -> None:
    """A child collects in a thread of its own, though its parent's is at work."""
    run(a_busy_janitor, tmp_path)


class Counter(CallingThreadActor):
    """Adds up the numbers it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def on_receive(self, message: int) -> int:
        self.total += message
        return self.total


def actors_on_both_sides(directory: Path) -> None:
    before = Counter.start()
    before.tell(1)

    def use() -> None:
        assert before.ask(10) == 11
        after = Counter.start()
        assert after.ask(5) == 5
        assert after.stop()
        assert before.stop()
        assert not before.is_alive()
        assert pykka.ActorRegistry.get_all() == []

    reap([fork(use), fork(use)])
    assert before.is_alive()
    assert before.ask(100) == 101
    assert before.stop()


def test_an_actor_from_before_the_fork_goes_on_in_both(tmp_path: Path) -> None:
    """It has no thread to lose: each process goes on with a copy, and may stop it."""
    run(actors_on_both_sides, tmp_path)


def actors_in_busy_threads(directory: Path) -> None:
    sys.setswitchinterval(1e-5)  # so that a fork finds threads anywhere
    done = threading.Event()

    def use(times: int) -> None:
        for _ in range(times):
            actor = Counter.start()
            actor.ask(1)
            actor.stop()

    def use_on_and_on() -> None:
        while not done.is_set():
            use(1)

    def wait_on_and_on() -> None:
        while not done.is_set():
            actor = Counter.start()
            actor.actor_stopped.wait(1e-4)
            actor.stop()

    threads = [threading.Thread(target=use_on_and_on) for _ in range(2)]
    threads += [threading.Thread(target=wait_on_and_on) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(100):
            reap([fork(lambda: use(3))])
    finally:
        done.set()
        for thread in threads:
            thread.join()


def test_actors_work_in_a_child_whatever_threads_did_at_the_fork(tmp_path: Path) -> None:
    """No lock that another thread held at the fork stays locked in the child."""
    run(actors_in_busy_threads, tmp_path)


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
    """The fork waits until it is made, and has closed what it was made with."""
    run(stores_that_are_being_made, tmp_path)


def a_handler_that_forks(directory: Path) -> None:
    store = DiskStore(directory / "sessions", timeout=0.2)
    database = store._database
    with database._gate:  # as if the signal came while this thread opens a connection
        reap([fork(lambda: store.save("x", {"a": 1}, {}))])
        assert database._gate.locked()
    assert store.load("x") == ({"a": 1}, {})


def test_a_signal_handler_may_fork_while_its_thread_opens_a_connection(tmp_path: Path) -> None:
    """The lock that it would wait for is its own thread's: it goes on after a while."""
    run(a_handler_that_forks, tmp_path)


if __name__ == "__main__":
    globals()[sys.argv[1]](Path(sys.argv[2]))
