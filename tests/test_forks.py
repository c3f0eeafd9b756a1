"""What is made before os.fork() works after it: the cleanup worker, and actors.

For the connections of the disk store see stores/disk/test_pool.py.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path
from typing import ClassVar

import pykka

from glimr_session import new
from glimr_session._request import cleanup
from glimr_session._session.actor import SessionActor
from glimr_session.mailbox import CallingThreadActor
from tests.support.forks import PATIENCE, fork, reap, run


def a_busy_cleanup_worker(directory: Path) -> None:
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
        assert cleanup.collect(store)
        assert collected.wait(PATIENCE)
        assert threads[-1] is not threads[0]
        assert threads[-1] is not threading.main_thread()
        assert threads[-1].daemon

    assert cleanup.collect(store)
    assert started.wait(PATIENCE)
    reap([fork(collect), fork(collect)])
    assert not cleanup.collect(store)  # the parent's own is busy still
    released.set()
    assert collected.wait(PATIENCE)
    deadline = time.monotonic() + PATIENCE
    while not cleanup.collect(store):
        assert time.monotonic() < deadline
    assert len(threads) <= 2


def test_a_child_has_a_cleanup_worker_of_its_own(tmp_path: Path) -> None:
    """A child collects in a thread of its own while that of its parent is at work."""
    run(a_busy_cleanup_worker, tmp_path)


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
    """Each process goes on with a copy of an actor, and may stop it."""
    run(actors_on_both_sides, tmp_path)


class Unregistered(Counter):
    """An actor that Pykka's registry does not know, as that of a session."""

    in_registry: ClassVar[bool] = False


def actors_in_busy_threads(directory: Path) -> None:
    assert SessionActor.in_registry is Unregistered.in_registry
    sys.setswitchinterval(1e-5)  # so that a fork finds threads anywhere
    done = threading.Event()

    def use(times: int) -> None:
        for _ in range(times):
            actor = Unregistered.start()
            actor.ask(1)
            actor.stop()

    def use_on_and_on() -> None:
        while not done.is_set():
            use(1)

    def wait_on_and_on() -> None:
        while not done.is_set():
            actor = Unregistered.start()
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
    """An actor as sessions have works in a child, whatever other threads did at the fork."""
    run(actors_in_busy_threads, tmp_path)
