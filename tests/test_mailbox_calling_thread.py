"""CallingThreadActor: what having no thread adds to Pykka's actors."""

from __future__ import annotations

import copy
import gc
import logging
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import pykka
import pytest
from pykka import ActorDeadError, ActorRegistry

from glimr_session.mailbox import CallingThreadActor
from tests.support.recorder import Log, fail, recorder


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def calling(log: Log) -> Iterator[pykka.ActorRef[Any]]:
    """A running CallingThreadActor."""
    ref = recorder(CallingThreadActor).start(log)
    yield ref
    ref.stop(timeout=5)


class Held:
    """A thread that is inside a message of an actor until it is let go."""

    def __init__(self, ref: Any, then: Callable[[], object] = lambda: None) -> None:
        self._inside = threading.Event()
        self._go = threading.Event()
        self.raised: BaseException | None = None

        def hold(_: Any) -> None:
            self._inside.set()
            assert self._go.wait(10)
            then()

        def run() -> None:
            try:
                ref.tell(hold)
            except BaseException as raised:  # noqa: BLE001  # the test looks at it
                self.raised = raised

        self.thread = threading.Thread(target=run)
        self.thread.start()
        assert self._inside.wait(5)

    def let_go(self) -> None:
        self._go.set()
        self.thread.join(5)
        assert not self.thread.is_alive()


def test_it_owns_no_thread(calling: Any) -> None:
    """Any number of running actors adds no thread."""
    before = threading.active_count()
    refs = [recorder(CallingThreadActor).start(Log()) for _ in range(100)]
    assert [ref.ask(1) for ref in refs] == ["got 1"] * 100
    assert threading.active_count() == before
    for ref in refs:
        ref.stop()


def test_an_idle_mailbox_is_handled_by_the_sender(calling: Any) -> None:
    """tell and ask run the handler in the thread that calls them."""
    seen: list[int] = []
    calling.tell(lambda _: seen.append(threading.get_ident()))
    assert seen == [threading.get_ident()]
    assert calling.ask(lambda _: threading.get_ident()) == threading.get_ident()


def test_a_busy_mailbox_is_handled_by_whoever_is_inside(calling: Any) -> None:
    """tell returns at once, and the thread in the actor handles the message too."""
    seen: list[int] = []
    held = Held(calling)
    calling.tell(lambda _: seen.append(threading.get_ident()))
    assert seen == []
    held.let_go()
    assert seen == [held.thread.ident]


def test_ask_times_out_while_another_thread_is_inside(calling: Any, log: Log) -> None:
    """An ask that has timed out is handled all the same."""
    held = Held(calling)
    with pytest.raises(pykka.Timeout):
        calling.ask("too slow", timeout=0.01)
    held.let_go()
    assert log.events == ["started", "too slow"]


@pytest.mark.parametrize("block", [True, False])
def test_an_actor_that_asks_itself_is_told_so(calling: Any, block: bool) -> None:
    """An actor that waits for itself gets a RuntimeError at once, and goes on."""

    def script(actor: Any) -> Any:
        return actor.actor_ref.ask("me") if block else actor.actor_ref.ask("me", block=False)

    if block:
        with pytest.raises(RuntimeError, match="would wait for itself"):
            calling.ask(script)
    else:
        assert calling.ask(script).get(timeout=5) == "got me"
    assert calling.ask("still there") == "got still there"


def test_actors_that_ask_each_other_in_a_circle_are_told_so(calling: Any) -> None:
    """A circle of actors that ask each other gets a RuntimeError at once."""
    other = recorder(CallingThreadActor).start(Log())
    with pytest.raises(RuntimeError, match="would wait for itself"):
        calling.ask(lambda _: other.ask(lambda _: calling.ask("me")))
    other.stop()


def test_who_was_inside_before_is_not_taken_for_who_is_inside_now(calling: Any) -> None:
    """A thread that was in the actor before waits like any other while another one is inside."""
    calling.ask("once")
    held = Held(calling)
    with pytest.raises(pykka.Timeout):
        calling.ask("twice", timeout=0.01)
    held.let_go()
    assert calling.ask("thrice") == "got thrice"


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_interruption_stops_this_actor_and_goes_on_in_the_caller(
    calling: Any, log: Log, interruption: type[BaseException]
) -> None:
    """An interruption stops this actor and no other one, and is raised in the caller."""
    other = recorder(CallingThreadActor).start(Log())

    def interrupt(_: Any) -> NoReturn:
        raise interruption

    with pytest.raises(interruption):
        calling.ask(interrupt)
    assert not calling.is_alive()
    assert log.events == ["started", "stopped"]
    assert other.ask("fine?") == "got fine?"
    with pytest.raises(interruption):
        other.tell(interrupt)
    assert not other.is_alive()


def test_an_interrupted_on_stop_runs_once() -> None:
    """The interruption goes on in the caller, and the actor is gone."""
    stops: list[int] = []

    class Interrupted(CallingThreadActor):
        def on_stop(self) -> None:
            stops.append(1)
            raise KeyboardInterrupt

    ref = Interrupted.start()
    with pytest.raises(KeyboardInterrupt):
        ref.stop()
    assert stops == [1]
    assert not ref.is_alive()


def test_an_interruption_leaves_nobody_waiting(calling: Any) -> None:
    """An interruption answers the ask it came from, and those behind it, with ActorDeadError."""

    def interrupt(_: Any = None) -> NoReturn:
        raise KeyboardInterrupt

    held = Held(calling)
    interrupted = calling.ask(interrupt, block=False)
    behind = calling.ask("behind", block=False)
    held.let_go()
    for future in (interrupted, behind):
        with pytest.raises(ActorDeadError):
            future.get(timeout=5)
    assert isinstance(held.raised, KeyboardInterrupt)


def test_death_while_messages_wait(calling: Any, log: Log) -> None:
    """When the message inside fails, those behind it are refused and none is handled."""
    held = Held(calling, then=lambda: fail(None))
    behind = [calling.ask(number, block=False) for number in range(3)]
    calling.tell("told")
    stop = calling.stop(block=False)
    held.let_go()
    for future in behind:
        with pytest.raises(ActorDeadError):
            future.get(timeout=5)
    assert stop.get(timeout=5) is True
    assert log.events[0] == "started"
    assert [event[0] for event in log.events[1:]] == ["failed"]


def test_a_message_that_arrives_while_the_actor_dies_is_refused(calling: Any) -> None:
    """A message that comes in while the actor dies is refused and leaves nobody waiting."""
    future = pykka.ThreadingFuture[Any]()
    inbox = calling.actor_inbox
    calling.stop()
    envelope = type("Envelope", (), {"message": "late", "reply_to": future})()
    inbox.put(envelope)
    with pytest.raises(ActorDeadError):
        future.get(timeout=5)
    assert inbox.empty()
    with pytest.raises(IndexError):
        inbox.get()


def test_messages_sent_before_on_start_is_done_wait_for_it() -> None:
    """An actor that the registry has handles messages only after its on_start."""
    log = Log()

    class Slow(CallingThreadActor):
        def on_start(self) -> None:
            (found,) = ActorRegistry.get_by_class(Slow)
            found.tell("early")
            log.events.append("started")

        def on_receive(self, message: Any) -> None:
            log.events.append(message)

    ref = Slow.start()
    assert log.events == ["started", "early"]
    ref.stop()


def test_an_interrupted_on_start_goes_on_in_start() -> None:
    """start() raises it, and no actor is left."""

    class Interrupted(CallingThreadActor):
        def on_start(self) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Interrupted.start()
    assert ActorRegistry.get_all() == []


def test_a_stopped_actor_is_freed_without_the_collector() -> None:
    """Stopping breaks the cycle of actor and ref, so that nothing waits for the collector."""
    gc.disable()
    try:
        ref = recorder(CallingThreadActor).start(Log())
        actor = weakref.ref(ref._actor_weakref())
        ref.ask("something")
        ref.stop()
        assert actor() is None
    finally:
        gc.enable()


def test_no_wake_up_is_lost() -> None:
    """Two threads that send at the same moment never leave a message behind."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(300):
            log = Log()
            ref = recorder(CallingThreadActor).start(log)
            start = threading.Barrier(2)

            def tell(ref: Any = ref, start: threading.Barrier = start) -> None:
                start.wait()
                ref.tell("x")

            threads = [threading.Thread(target=tell) for _ in range(2)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert log.events == ["started", "x", "x"]
            ref.stop()
    finally:
        sys.setswitchinterval(interval)


def test_what_an_ask_raised_is_logged_as_pykka_does(
    calling: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has what an ask raised, at INFO and with its traceback, idle actor or not."""
    caplog.set_level(logging.INFO, "pykka")
    with pytest.raises(ZeroDivisionError):
        calling.ask(fail)
    with pytest.raises(ZeroDivisionError):
        calling.ask(fail, block=False).get()
    logged = [one for one in caplog.records if "Exception returned from" in one.getMessage()]
    assert len(logged) == 2
    assert all(one.exc_info for one in logged)


def test_a_copy_of_an_address_is_the_address(calling: Any) -> None:
    """A copy of a ref is that ref, with the same inbox and the same end."""
    for same in (copy.copy(calling), copy.deepcopy(calling)):
        assert same is calling
