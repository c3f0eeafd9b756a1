"""Collecting: when a policy says so, and that no request ever waits for it."""

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
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    new,
)
from glimr_session.janitor import Interval, Janitor, Lottery, collect, consider, never

from .conftest import Clock
from .wsgi_client import Browser

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

KEY = "the key of the tests of the janitor"

PATIENCE = 10.0
"""Seconds to wait for another thread before a test has failed."""


class Rubbish(CookieStore):
    """A store whose collecting the test watches, holds up and lets fail."""

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
def _no_janitor_left(_nothing_left: None, store: Rubbish) -> Iterator[None]:
    """The janitor goes home with its test, the thread too."""
    yield
    store.go_on.set()
    ActorRegistry.stop_all(timeout=PATIENCE)
    for thread in janitor_threads():
        thread.join(PATIENCE)
        assert not thread.is_alive()


def janitor_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("Janitor")]


def until(happened: Callable[[], bool]) -> None:
    """Wait for what another thread is about to do."""
    deadline = time.perf_counter() + PATIENCE
    while not happened():
        assert time.perf_counter() < deadline, "it did not happen"
        time.sleep(0.001)


def collect_now(store: SessionStore) -> None:
    """Collect, as soon as the janitor has put the last job away."""
    until(lambda: collect(store))


# When: the policies.


@pytest.mark.parametrize("chance", [0.02, 0.5])
def test_the_lottery_wins_as_often_as_it_says(chance: float) -> None:
    """Over 20,000 draws the wins are within six standard deviations of the chance."""
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
    """The chance of a lottery that is told nothing."""
    monkeypatch.setattr(random, "random", lambda: 0.0199)
    assert Lottery()()
    monkeypatch.setattr(random, "random", lambda: 0.02)
    assert not Lottery()()


def test_a_chance_of_1_always_wins_and_a_tiny_one_hardly_ever() -> None:
    """The ends of the scale."""
    assert all(Lottery(1)() for _ in range(1_000))
    assert not any(Lottery(1e-300)() for _ in range(1_000))


@pytest.mark.parametrize(
    "chance", [0, 0.0, -0.1, 1.001, 2, float("nan"), float("inf"), True, "0.5", None, 1j]
)
def test_a_chance_that_is_none_is_refused(chance: Any) -> None:
    """The error names the setting, the value and what is allowed."""
    with pytest.raises(ConfigError) as caught:
        Lottery(chance)
    assert "gc_chance" in str(caught.value)
    assert repr(chance) in str(caught.value)
    assert "above 0 and at most 1" in str(caught.value)


@pytest.fixture
def monotonic(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock in place of time.monotonic."""
    stopped = Clock(5_000.0)
    monkeypatch.setattr(time, "monotonic", stopped)
    return stopped


@pytest.mark.parametrize("every", [60, 60.0, timedelta(minutes=1)])
def test_an_interval_is_due_once_each_time_it_has_passed(
    monotonic: Clock, every: timedelta | float
) -> None:
    """Not before, at the very second, once, and then again only after as long."""
    policy = Interval(every)
    assert not policy()
    monotonic.advance(59.999)
    assert not policy()
    monotonic.advance(0.001)
    assert policy()
    assert not policy()
    monotonic.advance(59.999)
    assert not policy()
    monotonic.advance(1_000)
    assert policy()
    assert not policy()


def test_a_thread_that_was_overtaken_does_not_collect_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It saw that the time had come, and another thread was faster: that one's turn it is."""
    answers: list[bool] = []

    class Overtaken(float):
        def __sub__(self, other: float) -> float:
            if not answers:
                answers.append(policy())  # as if by another thread, at this very moment
            return float(self) - other

    readings = iter([0.0, Overtaken(60), 60.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(readings))
    policy = Interval(60)
    answers.append(policy())
    assert answers == [True, False]


def test_an_interval_that_is_due_is_due_for_one_thread(monotonic: Clock) -> None:
    """However many requests ask at that moment, one of them collects."""
    policy = Interval(60)
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
    """The error names the setting and the value."""
    with pytest.raises(ConfigError, match="gc_interval") as caught:
        Interval(every)
    assert repr(every) in str(caught.value)


def test_never_is_never() -> None:
    """A cron job collects."""
    assert never() is False


# How: the janitor.


def test_collecting_is_done_by_a_daemon_thread(store: Rubbish) -> None:
    """Not by the thread that asked, and no process waits for it at its end."""
    assert collect(store)
    store.wait_until_begun()
    (thread,) = store.threads
    assert thread is not threading.current_thread()
    assert thread.daemon


def test_who_asks_for_collecting_does_not_wait_for_it(store: Rubbish) -> None:
    """``collect`` is back while the store is still at it."""
    store.go_on.clear()
    assert collect(store)
    store.wait_until_begun()
    assert not store.go_on.is_set()


def test_a_request_to_collect_while_collecting_is_dropped(store: Rubbish) -> None:
    """It is not done later either."""
    store.go_on.clear()
    assert collect(store)
    store.wait_until_begun()
    assert [collect(store) for _ in range(10)] == [False] * 10
    store.go_on.set()
    ActorRegistry.stop_all(timeout=PATIENCE)  # after all that it has been told
    assert len(store.threads) == 1


def test_one_janitor_collects_every_time(store: Rubbish) -> None:
    """There is one thread in a process, however often it is asked and for which store."""
    other = Rubbish()
    for asked in (store, other, store):
        collect_now(asked)
        asked.wait_until_begun()
    assert len({*store.threads, *other.threads}) == 1
    assert len(janitor_threads()) == 1
    assert len(ActorRegistry.get_by_class(Janitor)) == 1


def test_many_threads_that_ask_at_once_start_one_janitor(store: Rubbish) -> None:
    """The first request of each thread of a server may be the same moment."""
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
    assert len(ActorRegistry.get_by_class(Janitor)) == 1


def test_nothing_is_started_before_it_is_needed(store: Rubbish) -> None:
    """A policy that says no costs no thread."""
    consider(never, store)
    assert janitor_threads() == []
    assert ActorRegistry.get_by_class(Janitor) == []


def test_what_was_collected_is_told_to_the_log(
    store: Rubbish, caplog: pytest.LogCaptureFixture
) -> None:
    """One line for those who wonder, below the level of a warning."""
    with caplog.at_level(logging.INFO, logger="glimr_session"):
        assert collect(store)
        ActorRegistry.stop_all(timeout=PATIENCE)
    records = [record for record in caplog.records if record.name == "glimr_session"]
    assert [record.levelno for record in records] == [logging.INFO]
    assert "3 expired sessions" in records[0].getMessage()


def test_a_failure_is_logged_and_collecting_goes_on(
    store: Rubbish, caplog: pytest.LogCaptureFixture
) -> None:
    """A store that was down for a moment is collected the next time."""
    store.failure = OSError("the disk is gone")
    assert collect(store)
    store.wait_until_begun()
    store.failure = None
    collect_now(store)
    store.wait_until_begun()
    assert len(set(store.threads)) == 1
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    assert "the disk is gone" in str(record.exc_info[1])


def test_collecting_works_again_after_all_actors_were_stopped(store: Rubbish) -> None:
    """``stop_all`` sends the janitor home, and the next request calls another one."""
    assert collect(store)
    store.wait_until_begun()
    ActorRegistry.stop_all(timeout=PATIENCE)
    assert ActorRegistry.get_by_class(Janitor) == []
    assert collect(store)
    store.wait_until_begun()
    assert len(set(store.threads)) == 2


# What goes wrong for good in a process, and what forks, happens in one of its own.
STORE = """
import os, sys, threading, time
import pykka
from glimr_session import CookieStore
from glimr_session.janitor import Janitor, collect

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

STOPPED_BEFORE_A_JOB = """
store.go_on.set()
assert collect(store)
store.begun.acquire()
(janitor,) = pykka.ActorRegistry.get_by_class(Janitor)
store.go_on.clear()
janitor.tell((store, lambda: None))
store.begun.acquire()
stopped = janitor.stop(block=False)
deadline = time.monotonic() + 10
while not collect(store) and time.monotonic() < deadline:  # put behind the stop, and lost
    time.sleep(0.001)
store.go_on.set()
stopped.get(timeout=10)
say(f"asked again: {collect(store)}")
pykka.ActorRegistry.stop_all(timeout=10)
"""

FORKED = """
store.go_on.set()
assert collect(store)
store.begun.acquire()
if "stopped" in sys.argv:
    pykka.ActorRegistry.stop_all(timeout=10)
pid = os.fork()
if pid == 0:
    store.where = "in the child"
    deadline = time.monotonic() + 10
    while not collect(store) and time.monotonic() < deadline:
        time.sleep(0.001)
    say(f"janitors in the child: {len(pykka.ActorRegistry.get_by_class(Janitor))}")
    os._exit(0 if store.begun.acquire(timeout=10) else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def printed(script: str, *arguments: str) -> list[str]:
    """Run a script in a process of its own; give the lines that it prints."""
    ran = subprocess.run(
        [sys.executable, "-c", STORE + script, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


def test_a_job_that_a_stopped_janitor_left_lying_does_not_end_collecting() -> None:
    """Asked for behind a stop that is still waiting, it may be lost; the next one is not."""
    lines = printed(STOPPED_BEFORE_A_JOB)
    assert "asked again: True" in lines
    assert lines.count("collected here") >= 3


@pytest.mark.parametrize("before", ["working", "stopped"])
def test_a_forked_child_gets_a_janitor_of_its_own(before: str) -> None:
    """The parent's is a thread that the child has not got, and nobody may wait for it."""
    lines = printed(FORKED, before)
    assert "collected here" in lines
    assert "janitors in the child: 1" in lines


# Whether: a request that committed something.


def test_any_callable_can_be_a_policy(store: Rubbish) -> None:
    """It is asked, and its answer counts."""
    answers = [False, True, False]
    for _ in range(3):
        consider(lambda: answers.pop(0), store)
    ActorRegistry.stop_all(timeout=PATIENCE)
    assert answers == []
    assert len(store.threads) == 1


def test_a_policy_that_fails_is_logged_and_fails_nobody(
    store: Rubbish, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever it raises, the request that asked it goes on."""

    def failing() -> bool:
        raise ZeroDivisionError("a policy of one's own")

    consider(failing, store)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "a policy of one's own" in caplog.text
    assert store.threads == []


def writing(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    """Count visits in the session, unless asked to read only."""
    session: Session = environ["glimr.session"]
    if environ["PATH_INFO"] == "/read":
        session.get("visits")
    elif environ["PATH_INFO"] != "/untouched":
        session.increment("visits")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"seen"]


def rows(directory: Path) -> int:
    """Count what is in the database, collectable or not."""
    with closing(sqlite3.connect(directory / "cache.db")) as database:
        number: int = database.execute("SELECT COUNT(*) FROM Cache").fetchone()[0]
        return number


def serve(store: SessionStore, policy: str | Callable[[], bool]) -> SessionMiddleware:
    return SessionMiddleware(writing, SessionConfig(secret_keys=[KEY], gc=policy), store=store)


def test_a_request_removes_what_has_expired_and_nothing_else(tmp_path: Path, clock: Clock) -> None:
    """End to end: a policy that says yes, a committed request, and the old rows are gone."""
    store = DiskStore(tmp_path / "sessions", lifetime=600)
    for _ in range(25):
        Browser().get(serve(store, "never"))
    clock.advance(2 * 600 + 5 * 3600)  # long expired, and five hours for clocks that step
    app = serve(store, lambda: True)
    alive = Browser()
    assert rows(store.directory) == 25
    alive.get(app)
    until(lambda: rows(store.directory) == 1)
    ActorRegistry.stop_all(timeout=PATIENCE)
    alive.get(serve(store, "never"))
    assert rows(store.directory) == 1
    store.close()


def test_a_request_is_answered_while_its_collecting_is_still_going_on(store: Rubbish) -> None:
    """The janitor hangs, and requests come back with their cookie all the same."""
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
    """The session is saved, and the log says what went wrong."""

    def failing() -> bool:
        raise RuntimeError("a policy of one's own")

    browser = Browser()
    response = browser.get(serve(store, failing))
    assert (response.status, response.body) == ("200 OK", b"seen")
    assert response.set_cookie is not None
    assert "a policy of one's own" in caplog.text


def test_only_committed_requests_ask_the_policy(store: Rubbish) -> None:
    """Reading, and not touching the session at all, draws no lot."""
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


def test_a_store_that_exits_stops_no_other_actor(caplog: pytest.LogCaptureFixture) -> None:
    """Pykka would stop every actor of the process, the sessions of running requests too."""

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
    assert collect(store)
    (ref,) = ActorRegistry.get_by_class(Janitor)
    ref.stop(timeout=5)
    assert "Collecting expired sessions failed" in caplog.text
    assert session.get("a") == 1
    session.stop()
