"""Cleanup: when a policy asks for it, and that no request ever waits for it."""

from __future__ import annotations

import logging
import random
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import diskcache
import pykka
import pytest
from pykka import ActorRegistry

from glimr_session import (
    ConfigError,
    CookieStore,
    DiskStore,
    Session,
    SessionConfig,
    SessionMiddleware,
    SessionStore,
    StoreUnavailable,
    new,
)
from glimr_session._request import cleanup
from glimr_session._request.cleanup import Interval, Lottery, collect, maybe_collect, never
from glimr_session.stores import base
from tests.conftest import Clock
from tests.faults.test_store_interrupted import interrupt
from tests.support.actors import cleanup_threads, stop_cleanup_worker
from tests.support.disk import query
from tests.support.wsgi_client import Browser

if TYPE_CHECKING:
    from multiprocessing.queues import Queue
    from multiprocessing.synchronize import Barrier

    from _typeshed.wsgi import StartResponse, WSGIEnvironment


pytestmark = pytest.mark.usefixtures("no_session_left")

KEY = "the key of the tests of the cleanup"


PATIENCE = 10.0
"""Seconds to wait for another thread before a test has failed."""


class Rubbish(CookieStore):
    """A store whose gc() the test watches, holds up and lets fail."""

    expires_by_itself = False

    def __init__(self) -> None:
        super().__init__()
        self.begun = threading.Semaphore(0)
        self.go_on = threading.Event()
        self.go_on.set()
        self.threads: list[threading.Thread] = []
        self.failure: Exception | None = None

    def gc(self) -> int:
        self.threads.append(threading.current_thread())
        self.begun.release()
        assert self.go_on.wait(PATIENCE)
        if self.failure is not None:
            raise self.failure
        return 3

    def wait_until_begun(self) -> None:
        assert self.begun.acquire(timeout=PATIENCE)


@pytest.fixture
def store() -> Iterator[Rubbish]:
    store = Rubbish()
    yield store
    store.go_on.set()


@pytest.fixture(autouse=True)
def _no_worker_left(_nothing_left: None, store: Rubbish) -> Iterator[None]:
    """Have the worker end with its test, and wait for its thread."""
    yield
    store.go_on.set()
    stop_cleanup_worker(PATIENCE)
    for thread in cleanup_threads():
        thread.join(PATIENCE)
        assert not thread.is_alive()


def until(happened: Callable[[], bool]) -> None:
    """Wait for what another thread is about to do."""
    deadline = time.perf_counter() + PATIENCE
    while not happened():
        assert time.perf_counter() < deadline, "it did not happen"
        time.sleep(0.001)


def collect_now(store: SessionStore) -> None:
    """Collect as soon as the worker has finished its last job."""
    until(lambda: collect(store))


@pytest.mark.parametrize("chance", [0.02, 0.5])
def test_the_lottery_wins_as_often_as_it_says(chance: float) -> None:
    """The lottery wins 20,000 draws as often as its chance says, within six deviations."""
    before = random.getstate()
    random.seed(20_000)
    try:
        policy = Lottery(chance)
        wins = sum(policy() for _ in range(20_000))
    finally:
        random.setstate(before)
    deviation = (20_000 * chance * (1 - chance)) ** 0.5
    assert abs(wins - 20_000 * chance) < 6 * deviation


def test_the_reference_collects_on_2_percent(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lottery without arguments has a chance of 2 percent."""
    monkeypatch.setattr(random, "random", lambda: 0.0199)
    assert Lottery()()
    monkeypatch.setattr(random, "random", lambda: 0.02)
    assert not Lottery()()


def test_a_chance_of_1_always_wins_and_a_tiny_one_hardly_ever() -> None:
    """A chance of 1 always wins, and a tiny one hardly ever."""
    assert all(Lottery(1)() for _ in range(1_000))
    assert not any(Lottery(1e-300)() for _ in range(1_000))


@pytest.mark.parametrize(
    "chance", [0, 0.0, -0.1, 1.001, 2, float("nan"), float("inf"), True, "0.5", None, 1j]
)
def test_a_chance_that_is_none_is_refused(chance: Any) -> None:
    """A chance outside of its range raises ConfigError with the setting, value and range."""
    with pytest.raises(ConfigError) as caught:
        Lottery(chance)
    assert "gc_chance" in str(caught.value)
    assert repr(chance) in str(caught.value)
    assert "above 0 and at most 1" in str(caught.value)


@pytest.fixture
def monotonic(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock in place of time.monotonic; the time of day goes on with it."""
    stopped = Clock(5_000.0, lambda now: setattr(clock, "now", start + now))
    start = clock.now - stopped.now
    monkeypatch.setattr(time, "monotonic", stopped)
    return stopped


class Asked(CookieStore):
    """A store that notes how often it is asked whether to collect."""

    expires_by_itself = False

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.failure: Exception | None = None

    def claim_gc(self, interval: float) -> float:
        self.asked += 1
        if self.failure is not None:
            raise self.failure
        return super().claim_gc(interval)


@pytest.mark.parametrize("every", [60, 60.0, timedelta(minutes=1)])
def test_an_interval_is_due_at_first_and_once_each_time_it_has_passed(
    monotonic: Clock, every: timedelta | float
) -> None:
    """An interval is due at the first request and once each time it has passed."""
    policy = Interval(every, CookieStore())
    assert policy()
    assert not policy()
    monotonic.advance(59)
    assert not policy()
    monotonic.advance(1)
    assert policy()
    assert not policy()
    monotonic.advance(59)
    assert not policy()
    monotonic.advance(1_000)
    assert policy()
    assert not policy()


def test_an_interval_goes_on_where_another_process_began_it(monotonic: Clock) -> None:
    """A policy that is made anew does not begin an interval, and asks the store once for each."""
    store = Asked()
    first = Interval(60, store)
    assert first()
    monotonic.advance(40)
    second = Interval(60, store)
    assert [second() for _ in range(10)] == [False] * 10
    assert store.asked == 2
    monotonic.advance(20)
    assert [second(), first()] == [True, False]
    assert store.asked == 4
    assert [second(), first()] == [False, False]
    assert store.asked == 4


def test_a_store_that_cannot_be_asked_is_asked_again_later(
    monotonic: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """An outage is logged and fails no request, and the store is asked again a minute later."""
    store = Asked()
    store.failure = StoreUnavailable("the disk is gone")
    policy = Interval(300, store)
    for _ in range(10):
        maybe_collect(policy, store)
        monotonic.advance(1)
    assert store.asked == len(caplog.records) == 1
    assert "the disk is gone" in caplog.text
    store.failure = None
    monotonic.advance(50)
    assert policy()


def test_a_process_that_may_not_collect_claims_nothing(
    monotonic: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A master of uWSGI leaves the interval to its workers."""
    store = Asked()
    monkeypatch.setitem(sys.modules, "uwsgi", SimpleNamespace(worker_id=lambda: 0))
    maybe_collect(Interval(60, store), store)
    assert store.asked == 0


def test_a_thread_that_was_overtaken_does_not_collect_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A thread that another one has overtaken does not collect again."""
    answers: list[bool] = []

    class Overtaken(float):
        def __lt__(self, other: float) -> bool:
            if not answers:
                answers.append(policy())  # as if by another thread, at this very moment
            return float(self) < other

    readings = iter([0.0, Overtaken(60), 60.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(readings))
    policy = Interval(60, CookieStore())
    answers.append(policy())
    assert answers == [True, False]


def test_a_caller_that_was_overtaken_does_not_collect_again(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two callers that find a store due, the second is told to wait."""
    store = CookieStore()
    answers: list[float] = []
    finding_out = base.time_left

    def overtaken(*args: Any) -> float:
        monkeypatch.setattr(base, "time_left", finding_out)
        wait = finding_out(*args)
        answers.append(store.claim_gc(300))  # as if by another thread, at this very moment
        return wait

    monkeypatch.setattr(base, "time_left", overtaken)
    answers.append(store.claim_gc(300))
    assert answers == [0, 300]


def test_an_interval_that_is_due_is_due_for_one_thread(monotonic: Clock) -> None:
    """One thread of many that ask at the same moment collects."""
    policy = Interval(60, CookieStore())
    start = threading.Barrier(8)
    answers: list[bool] = []

    def ask() -> None:
        for _ in range(20):
            if start.wait(PATIENCE) == 0:
                monotonic.advance(60)
            start.wait(PATIENCE)
            answers.append(policy())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(answers) == 160
    assert answers.count(True) == 20


@pytest.mark.parametrize("every", [0, -1, float("nan"), float("inf"), True, "60", None])
def test_an_interval_that_is_none_is_refused(every: Any) -> None:
    """An impossible interval raises ConfigError with the setting and the value."""
    with pytest.raises(ConfigError, match="gc_interval") as caught:
        Interval(every, CookieStore())
    assert repr(every) in str(caught.value)


def test_never_is_never() -> None:
    """never() returns False."""
    assert never() is False


def test_collecting_is_done_by_a_daemon_thread(store: Rubbish) -> None:
    """A daemon thread collects, and not the thread that asked."""
    assert collect(store)
    store.wait_until_begun()
    (thread,) = store.threads
    assert thread is not threading.current_thread()
    assert thread.daemon


def test_who_asks_for_collecting_does_not_wait_for_it(store: Rubbish) -> None:
    """collect() returns while the store is still being collected."""
    store.go_on.clear()
    assert collect(store)
    store.wait_until_begun()
    assert not store.go_on.is_set()


def test_a_request_to_collect_while_collecting_is_dropped(store: Rubbish) -> None:
    """A request to collect is dropped while the worker is collecting."""
    store.go_on.clear()
    assert collect(store)
    store.wait_until_begun()
    assert [collect(store) for _ in range(10)] == [False] * 10
    store.go_on.set()
    stop_cleanup_worker(PATIENCE)  # after all that it has been told
    assert len(store.threads) == 1


def test_a_process_collects_one_store_at_a_time(store: Rubbish) -> None:
    """A store is not collected while another one of the process is."""
    other = Rubbish()
    store.go_on.clear()
    assert collect(store)
    store.wait_until_begun()
    assert not collect(other)
    store.go_on.set()
    collect_now(other)
    other.wait_until_begun()
    assert (len(store.threads), len(other.threads)) == (1, 1)


def test_a_process_that_collects_nothing_has_no_thread_for_it(store: Rubbish) -> None:
    """The thread of a collection ends with it, whether it failed or not."""
    for failure in (None, OSError("the disk is gone")):
        store.failure = failure
        assert collect(store)
        until(lambda: cleanup_threads() == [])
        store.threads.pop().join(PATIENCE)


def test_the_end_of_the_interpreter_waits_for_a_collection_that_it_stops() -> None:
    """At the end a store is told to stop collecting, once, and its thread is waited for."""
    lines = printed(ENDED, "stoppable")
    assert lines == ["stopped", "collected here"]


def test_the_end_of_the_interpreter_waits_a_second_at_most() -> None:
    """A collection that cannot be stopped holds the end up for a second, and is cut off."""
    started = time.monotonic()
    assert printed(ENDED, "unstoppable") == ["stopped"]
    assert time.monotonic() - started < PATIENCE


def test_many_threads_that_ask_at_once_start_one_worker(store: Rubbish) -> None:
    """Many threads that ask at the same moment start one worker."""
    store.go_on.clear()
    start = threading.Barrier(16)
    answers: list[bool] = []

    def ask() -> None:
        start.wait(PATIENCE)
        answers.append(collect(store))

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert sorted(answers) == [False] * 15 + [True]
    assert len(cleanup_threads()) == 1


def test_nothing_is_started_before_it_is_needed(store: Rubbish) -> None:
    """A policy that says no starts no thread."""
    maybe_collect(never, store)
    assert cleanup_threads() == []


def test_what_was_collected_is_told_to_the_log(
    store: Rubbish, caplog: pytest.LogCaptureFixture
) -> None:
    """The worker logs one line at INFO with the number of removed sessions."""
    with caplog.at_level(logging.INFO, logger="glimr_session"):
        assert collect(store)
        stop_cleanup_worker(PATIENCE)
    records = [record for record in caplog.records if record.name == "glimr_session"]
    assert [record.levelno for record in records] == [logging.INFO]
    assert "3 expired sessions" in records[0].getMessage()


def test_a_failure_is_logged_and_collecting_goes_on(
    store: Rubbish, caplog: pytest.LogCaptureFixture
) -> None:
    """A store that fails once is logged and collected the next time."""
    store.failure = OSError("the disk is gone")
    assert collect(store)
    store.wait_until_begun()
    store.failure = None
    collect_now(store)
    store.wait_until_begun()
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    assert "the disk is gone" in str(record.exc_info[1])


def test_stopping_all_actors_leaves_the_worker_alone(store: Rubbish) -> None:
    """stop_all() neither waits for a worker that collects nor ends it."""
    store.go_on.clear()
    assert collect(store)
    store.wait_until_begun()
    assert ActorRegistry.get_all() == []
    ActorRegistry.stop_all(timeout=PATIENCE)
    assert not collect(store)
    store.go_on.set()
    collect_now(store)


# What goes wrong for good in a process, and what forks, happens in one of its own.
STORE = """
import os, sys, threading, time
import pykka
from glimr_session import CookieStore
from glimr_session._request import cleanup
from glimr_session._request.cleanup import CleanupWorker, collect

class Store(CookieStore):
    begun = threading.Semaphore(0)
    go_on = threading.Event()
    where = "here"
    def gc(self):
        self.begun.release()
        self.go_on.wait(10)
        say("collected " + self.where)
        return 0

def say(line):  # in one piece, whatever other threads and processes say
    os.write(1, line.encode() + b"\\n")

store = Store()
"""

ENDED = """
if "stoppable" in sys.argv:
    Store.stop_gc = lambda self: (say("stopped"), self.go_on.set())
else:
    Store.stop_gc = lambda self: say("stopped")
assert collect(store)
store.begun.acquire()
"""

FORKED = """
def workers():
    return [thread for thread in threading.enumerate() if thread.name.startswith("CleanupWorker")]

assert collect(store)
store.begun.acquire()
assert len(workers()) == 1
if "idle" in sys.argv:
    store.go_on.set()
    workers()[0].join(10)
pid = os.fork()
if pid == 0:
    store.where = "in the child"
    store.go_on = threading.Event()
    pykka.ActorRegistry.stop_all(timeout=10)  # does not wait for the parent's worker
    deadline = time.monotonic() + 10
    while not collect(store) and time.monotonic() < deadline:
        time.sleep(0.001)
    say(f"workers in the child: {len(workers())}")
    os._exit(0 if store.begun.acquire(timeout=10) else 1)
store.go_on.set()
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def printed(script: str, *arguments: str) -> list[str]:
    """Run a script in a process of its own and return the lines that it prints."""
    ran = subprocess.run(
        [sys.executable, "-c", STORE + script, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


@pytest.mark.parametrize("before", ["working", "idle"])
def test_a_forked_child_gets_a_worker_of_its_own(before: str) -> None:
    """A forked child starts a worker of its own."""
    lines = printed(FORKED, before)
    assert "collected here" in lines
    assert "workers in the child: 1" in lines


@pytest.mark.parametrize("worker", ["new", "old"])
def test_nothing_stays_busy_whatever_instruction_is_interrupted(
    store: Rubbish, worker: str, caplog: pytest.LogCaptureFixture
) -> None:
    """After an exception at any instruction, of which the traceback is kept, collecting goes on."""
    number, place = 0, "the beginning"
    while place:
        number += 1
        place = interrupt(lambda: maybe_collect(lambda: True, store), number, (cleanup.__file__,))
        collect_now(store)
        if worker == "new":
            stop_cleanup_worker(PATIENCE)
    assert number > 50
    assert caplog.records  # and with them tracebacks


def test_an_interval_goes_on_whatever_instruction_is_interrupted(monotonic: Clock) -> None:
    """After an exception at any instruction an interval is due again, a turn later at most."""
    policy = Interval(60, CookieStore())
    number, place = 0, "the beginning"
    while place:
        number += 1
        monotonic.advance(60)
        place = interrupt(policy, number, (cleanup.__file__, base.__file__))
        monotonic.advance(60)
        answers = [policy(), policy(), policy()]
        assert answers.count(True) == 1, place
    assert number > 10


def test_any_callable_can_be_a_policy(store: Rubbish) -> None:
    """maybe_collect() asks any callable and does as it says."""
    answers = [False, True, False]
    for _ in range(3):
        maybe_collect(lambda: answers.pop(0), store)
    stop_cleanup_worker(PATIENCE)
    assert answers == []
    assert len(store.threads) == 1


def test_a_policy_that_fails_is_logged_and_fails_nobody(
    store: Rubbish, caplog: pytest.LogCaptureFixture
) -> None:
    """A policy that raises is logged and fails no request."""

    def failing() -> bool:
        raise ZeroDivisionError("a policy of one's own")

    maybe_collect(failing, store)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "a policy of one's own" in caplog.text
    assert store.threads == []


def test_a_store_that_expires_by_itself_is_never_collected() -> None:
    """maybe_collect() asks no policy for a store that removes expired sessions by itself."""

    class Expiring(Rubbish):
        expires_by_itself = True

    asked: list[bool] = []

    def policy() -> bool:
        asked.append(True)
        return True

    maybe_collect(policy, Expiring())
    assert asked == []
    assert cleanup_threads() == []


def test_a_cookie_store_has_nothing_to_collect() -> None:
    """A cookie store is not collected: its sessions expire with their cookies."""
    asked: list[bool] = []

    def policy() -> bool:
        asked.append(True)
        return True

    maybe_collect(policy, CookieStore())
    assert asked == []


def test_a_process_that_forks_without_hooks_starts_no_worker(
    store: Rubbish, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A master of uWSGI, whose forks run no hooks, never collects."""
    monkeypatch.setitem(sys.modules, "uwsgi", SimpleNamespace(worker_id=lambda: 0))
    maybe_collect(lambda: True, store)
    assert cleanup_threads() == []
    monkeypatch.setitem(sys.modules, "uwsgi", SimpleNamespace(worker_id=lambda: 1))
    maybe_collect(lambda: True, store)
    store.wait_until_begun()


def writing(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    """Count visits in the session, unless the path asks to read only."""
    session: Session = environ["glimr.session"]
    if environ["PATH_INFO"] == "/read":
        session.get("visits")
    elif environ["PATH_INFO"] != "/untouched":
        session.increment("visits")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"seen"]


def rows(directory: Path) -> int:
    """Count the rows of the database, expired ones too."""
    with closing(sqlite3.connect(directory / "cache.db")) as database:
        number: int = database.execute("SELECT COUNT(*) FROM Cache").fetchone()[0]
        return number


def serve(store: SessionStore, policy: str | Callable[[], bool]) -> SessionMiddleware:
    return SessionMiddleware(writing, SessionConfig(secret_keys=[KEY], gc=policy), store=store)


def test_a_request_removes_what_has_expired_and_nothing_else(tmp_path: Path, clock: Clock) -> None:
    """A committed request with a policy that says yes removes exactly the expired rows."""
    store = DiskStore(tmp_path / "sessions", lifetime=600)
    for _ in range(25):
        Browser().get(serve(store, "never"))
    clock.advance(2 * 600 + 5 * 3600)  # long expired, and five hours for clocks that step
    app = serve(store, lambda: True)
    alive = Browser()
    assert rows(store.directory) == 25
    alive.get(app)
    until(lambda: rows(store.directory) == 1)
    stop_cleanup_worker(PATIENCE)
    alive.get(serve(store, "never"))
    assert rows(store.directory) == 1
    store.close()


def test_a_stopped_collection_is_left_to_another_process(tmp_path: Path, clock: Clock) -> None:
    """A collection that is stopped is due again at once, and one that had finished is not."""
    store = DiskStore(tmp_path / "sessions", lifetime=600)
    for _ in range(25):
        Browser().get(serve(store, "never"))
    clock.advance(2 * 600 + 5 * 3600)
    assert store.claim_gc(300) == 0
    store.stop_gc()
    assert store.gc() == 0
    assert store.claim_gc(300) == 0
    assert store.gc() == 25
    assert store.claim_gc(300) == 300
    store.close()


def claim_often(barrier: Barrier, directories: list[Path], answers: Queue[list[float]]) -> None:
    """Claim the collection of each store at the same moment as other processes do."""
    found: list[float] = []
    for directory in directories:
        store = DiskStore(directory)
        barrier.wait(PATIENCE)
        found.append(store.claim_gc(300))
        store.close()
    answers.put(found)


def test_one_of_many_processes_collects_in_an_interval(tmp_path: Path) -> None:
    """Of four processes that claim a collection at the same moment, one has it."""
    context = get_context("spawn")
    barrier, answers = context.Barrier(4), context.Queue()
    directories = [tmp_path / str(number) for number in range(25)]
    processes = [
        context.Process(target=claim_often, args=(barrier, directories, answers)) for _ in range(4)
    ]
    for process in processes:
        process.start()
    found = [answers.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(PATIENCE)
        assert process.exitcode == 0
    for of_one_store in zip(*found, strict=True):
        assert of_one_store.count(0.0) == 1
        assert all(299 < wait <= 300 for wait in of_one_store if wait)


def test_a_plain_diskcache_keeps_when_it_was_collected(tmp_path: Path) -> None:
    """diskcache opens a collected store, finds nothing wrong with it, and keeps the interval."""
    store = DiskStore(tmp_path / "sessions")
    Browser().get(serve(store, "never"))
    assert store.claim_gc(300) == 0
    with closing(diskcache.Cache(str(store.directory))) as cache:
        assert cache.check() == []
        assert len(list(cache.iterkeys())) == 1
    store.close()
    other = DiskStore(tmp_path / "sessions")
    assert 290 < other.claim_gc(300) <= 300
    other.close()


@pytest.mark.parametrize(
    "planted", ["''", "'1'", "x'31'", "CAST(x'ff' AS TEXT)", "NULL", "9e999", "-9e999"]
)
def test_a_store_that_was_collected_at_no_time_is_due(tmp_path: Path, planted: str) -> None:
    """Whatever stands in the place of the time, a store is collected, and then not again."""
    store = DiskStore(tmp_path / "sessions")
    assert store.claim_gc(300) == 0
    query(
        store.directory,
        f"UPDATE Settings SET value = {planted} WHERE key = 'glimr_session_collected_at'",
    )
    assert store.claim_gc(300) == 0
    assert store.claim_gc(300) > 0
    store.close()


@pytest.mark.parametrize("kind", ["disk", "other"])
def test_a_store_that_was_collected_in_the_future_is_due(
    tmp_path: Path, clock: Clock, kind: str
) -> None:
    """A clock that was set back does not hold up collecting."""
    store = DiskStore(tmp_path / "sessions") if kind == "disk" else CookieStore()
    assert store.claim_gc(300) == 0
    clock.advance(-3600)
    assert store.claim_gc(300) == 0
    assert store.claim_gc(300) == 300
    store.close()


def test_a_store_that_is_not_due_is_not_written(tmp_path: Path) -> None:
    """To ask a store whether to collect waits for no writer, unless it is due."""
    store = DiskStore(tmp_path / "sessions", timeout=0.1)
    assert store.claim_gc(300) == 0
    with closing(sqlite3.connect(store.directory / "cache.db")) as writer:
        writer.execute("BEGIN IMMEDIATE")
        assert store.claim_gc(300) > 0
        with pytest.raises(StoreUnavailable):
            store.claim_gc(1e-9)
        writer.rollback()
    store.close()


def test_a_request_is_answered_while_its_collecting_is_still_going_on(store: Rubbish) -> None:
    """Requests are answered while the worker hangs."""
    store.go_on.clear()
    app = serve(store, lambda: True)
    first = Browser().get(app)
    store.wait_until_begun()
    second = Browser().get(app)
    for response in (first, second):
        assert response.body == b"seen"
        assert response.set_cookie is not None
    assert len(store.threads) == 1


def test_a_request_whose_policy_fails_is_answered(
    store: Rubbish, caplog: pytest.LogCaptureFixture
) -> None:
    """A request whose policy raises is answered and saved, and the error is logged."""

    def failing() -> bool:
        raise RuntimeError("a policy of one's own")

    browser = Browser()
    response = browser.get(serve(store, failing))
    assert (response.status, response.body) == ("200 OK", b"seen")
    assert response.set_cookie is not None
    assert "a policy of one's own" in caplog.text


def test_only_committed_requests_ask_the_policy(store: Rubbish) -> None:
    """Requests that commit nothing do not ask the policy."""
    asked: list[str] = []
    path = ""

    def policy() -> bool:
        asked.append(path)
        return False

    app = serve(store, policy)
    browser = Browser()
    for path in ("/write", "/read", "/untouched", "/write"):
        browser.request(app, extra={"PATH_INFO": path}).begin().finish()
    assert asked == ["/write", "/write"]


class Bystander(pykka.ThreadingActor):
    """An actor of the application."""

    def on_receive(self, message: str) -> str:
        return message


def test_a_store_that_exits_stops_no_other_actor(caplog: pytest.LogCaptureFixture) -> None:
    """A store that raises SystemExit stops no other actor of the process."""

    def leave() -> int:
        raise SystemExit

    session = Session.start("0" * 64, {"a": 1})
    store = new(
        load=lambda session_id: ({}, {}),
        save=lambda session_id, data, flash: None,
        destroy=lambda session_id: None,
        gc=leave,
        cookie_value=lambda session_id, data, flash: session_id,
    )
    bystander = Bystander.start()
    assert collect(store)
    stop_cleanup_worker(PATIENCE)
    assert "Collecting expired sessions failed" in caplog.text
    assert session.get("a") == 1
    assert bystander.ask("hello", timeout=PATIENCE) == "hello"
    session.stop()
    bystander.stop(timeout=PATIENCE)
