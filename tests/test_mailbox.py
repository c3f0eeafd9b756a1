"""CallingThreadActor: what Pykka promises of its actors, and what having no thread adds."""

from __future__ import annotations

import asyncio
import copy
import gc
import logging
import sys
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, NoReturn, TypeAlias

import pykka
import pytest
from pykka import ActorDeadError, ActorRegistry

from glimr_session.mailbox import CallingThreadActor

Runtime: TypeAlias = type[pykka.Actor]


@pytest.fixture(params=[pykka.ThreadingActor, CallingThreadActor], ids=lambda kind: kind.__name__)
def runtime(request: pytest.FixtureRequest) -> Runtime:
    """Each kind of actor: what is asked of one is asked of the other."""
    kind: Runtime = request.param
    return kind


class Log:
    """What an actor has done, to be read by a test."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.failed = threading.Event()


def recorder(runtime: Runtime) -> type[pykka.Actor]:
    """Make an actor that notes everything that happens to it, and does as it is told."""

    class Recorder(runtime):  # type: ignore[misc, valid-type]
        greeting = "hello"

        def __init__(self, log: Log, **fails: Exception) -> None:
            super().__init__()
            self.log = log
            self.fails = fails

        def on_start(self) -> None:
            self.log.events.append("started")
            self._fail("on_start")

        def on_stop(self) -> None:
            self.log.events.append("stopped")
            self._fail("on_stop")

        def on_failure(self, exception_type: Any, exception_value: Any, traceback: Any) -> None:
            self.log.events.append(("failed", exception_type, exception_value))
            self.log.failed.set()
            self._fail("on_failure")

        def _fail(self, where: str) -> None:
            if where in self.fails:
                raise self.fails[where]

        def on_receive(self, message: Any) -> Any:
            if callable(message):
                return message(self)
            self.log.events.append(message)
            return f"got {message}"

        def method(self, number: int, *, factor: int = 1) -> int:
            return number * factor

        def trouble(self) -> NoReturn:
            raise ValueError("trouble")

    return Recorder


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def ref(runtime: Runtime, log: Log) -> Iterator[pykka.ActorRef[Any]]:
    """A running actor of each kind."""
    ref = recorder(runtime).start(log)
    yield ref
    ref.stop(timeout=5)


def fail(_: Any) -> NoReturn:
    raise ZeroDivisionError("as the test wants")


# What Pykka documents, of both kinds.


def test_messages_are_handled_in_the_order_they_were_sent(ref: Any, log: Log) -> None:
    """Tells and asks of one sender share one queue."""
    for number in range(100):
        ref.tell(number)
    assert ref.ask("last", timeout=5) == "got last"
    assert log.events == ["started", *range(100), "last"]


def test_ask_raises_in_the_caller_and_the_actor_goes_on(ref: Any) -> None:
    """A failed question is the asker's trouble, not the actor's."""
    with pytest.raises(ZeroDivisionError):
        ref.ask(fail, timeout=5)
    assert ref.is_alive()
    assert ref.ask("next", timeout=5) == "got next"


def test_ask_without_blocking_gives_a_future(ref: Any) -> None:
    """The future has the value, can be asked again, and can be mapped."""
    future = ref.ask("later", block=False)
    assert future.get(timeout=5) == "got later"
    assert future.get(timeout=5) == "got later"
    assert future.map(len).get(timeout=5) == 9


def test_a_future_carries_the_exception(ref: Any) -> None:
    """What the handler raised is raised by get(), each time."""
    future = ref.ask(fail, block=False)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            future.get(timeout=5)


def test_a_future_can_be_awaited(ref: Any) -> None:
    """Pykka's futures are awaitable."""

    async def main() -> Any:
        return await ref.ask("awaited", block=False)

    assert asyncio.run(main()) == "got awaited"


def test_a_failed_tell_stops_the_actor(
    ref: Any, log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, on_failure is told of it, on_stop is not called."""
    ref.tell(fail)
    assert log.failed.wait(5)
    assert ref.actor_stopped.wait(5)
    assert [event[:2] for event in log.events[1:]] == [("failed", ZeroDivisionError)]
    assert "Unhandled exception in Recorder" in caplog.text
    assert ActorRegistry.get_by_urn(ref.actor_urn) is None


def test_a_failing_on_failure_is_logged(
    runtime: Runtime, log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    """Both the failure and the failure to handle it are logged."""
    ref = recorder(runtime).start(log, on_failure=KeyError("worse"))
    ref.tell(fail)
    assert log.failed.wait(5)
    deadline = time.monotonic() + 5
    while "worse" not in caplog.text and time.monotonic() < deadline:
        time.sleep(0.001)
    assert "as the test wants" in caplog.text
    assert "worse" in caplog.text


def test_an_actor_whose_on_start_fails_is_dead(
    runtime: Runtime, log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    """start() gives a ref all the same, and the failure is logged."""
    ref = recorder(runtime).start(log, on_start=OSError("no disk"))
    assert ref.actor_stopped.wait(5)
    with pytest.raises(ActorDeadError):
        ref.ask("anybody?", timeout=5)
    assert "no disk" in caplog.text


def test_an_actor_whose_on_stop_fails_is_stopped(
    runtime: Runtime, log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    """The failure is logged and the actor is gone."""
    ref = recorder(runtime).start(log, on_stop=OSError("no disk"))
    assert ref.stop(timeout=5) is True
    assert not ref.is_alive()
    assert "no disk" in caplog.text


def test_stop_tells_whether_the_actor_was_alive(ref: Any, log: Log) -> None:
    """True the first time, False from then on; on_stop runs once."""
    assert ref.stop(timeout=5) is True
    assert ref.stop(timeout=5) is False
    assert ref.stop(block=False).get(timeout=5) is False
    assert log.events == ["started", "stopped"]


def test_stop_without_blocking_gives_a_future(ref: Any) -> None:
    """The future says whether the actor was alive."""
    assert ref.stop(block=False).get(timeout=5) is True
    assert not ref.is_alive()


def test_a_dead_actor_refuses_messages(ref: Any) -> None:
    """tell and ask raise ActorDeadError, a future carries it."""
    ref.stop(timeout=5)
    with pytest.raises(ActorDeadError):
        ref.tell("anybody?")
    with pytest.raises(ActorDeadError):
        ref.ask("anybody?", timeout=5)
    with pytest.raises(ActorDeadError):
        ref.ask("anybody?", block=False).get(timeout=5)
    with pytest.raises(ActorDeadError):
        ref.proxy()


def test_what_waits_behind_a_stop_is_refused(ref: Any, log: Log) -> None:
    """Messages before a stop are handled; of those after it asks fail, stops succeed."""

    def script(actor: Any) -> tuple[Any, ...]:
        before = actor.actor_ref.ask("before", block=False)
        actor.stop()
        actor.actor_ref.tell("told after")
        after = actor.actor_ref.ask("asked after", block=False)
        return before, after, actor.actor_ref.stop(block=False)

    before, after, stop = ref.ask(script, timeout=5)
    assert before.get(timeout=5) == "got before"
    with pytest.raises(ActorDeadError):
        after.get(timeout=5)
    assert stop.get(timeout=5) is True
    assert log.events == ["started", "before", "stopped"]


def test_an_actor_can_tell_itself(ref: Any, log: Log) -> None:
    """What it tells itself comes after the message it is handling."""

    def script(actor: Any) -> None:
        actor.actor_ref.tell("second")
        actor.log.events.append("first")

    ref.ask(script, timeout=5)
    ref.ask("third", timeout=5)
    assert log.events == ["started", "first", "second", "third"]


def test_an_actor_can_ask_another(runtime: Runtime, ref: Any) -> None:
    """A handler may wait for another actor's answer."""
    other = recorder(runtime).start(Log())
    assert ref.ask(lambda _: other.ask("from the first", timeout=5), timeout=5) == (
        "got from the first"
    )
    other.stop(timeout=5)


def test_the_registry_knows_running_actors(ref: Any) -> None:
    """Found by URN, class and class name; gone after a stop."""
    assert ActorRegistry.get_by_urn(ref.actor_urn) == ref
    assert ActorRegistry.get_by_class(ref.actor_class) == [ref]
    assert ActorRegistry.get_by_class_name("Recorder") == [ref]
    ref.stop(timeout=5)
    assert ActorRegistry.get_all() == []


def test_the_registry_can_broadcast(ref: Any, log: Log) -> None:
    """A broadcast reaches each actor of the class."""
    ActorRegistry.broadcast("to all", target_class="Recorder")
    ref.ask("done", timeout=5)
    assert log.events == ["started", "to all", "done"]


def test_stop_all_stops_the_youngest_first(runtime: Runtime) -> None:
    """The registry stops every actor, in reverse order of their start."""
    log = Log()

    class Named(runtime):  # type: ignore[misc, valid-type]
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def on_stop(self) -> None:
            log.events.append(self.name)

    for name in "abc":
        Named.start(name)
    assert ActorRegistry.stop_all(timeout=5) == [True, True, True]
    assert log.events == ["c", "b", "a"]


def test_a_proxy_calls_methods_and_reads_and_sets_attributes(ref: Any) -> None:
    """The proxy's futures carry results and exceptions alike."""
    proxy = ref.proxy()
    assert proxy.method(6, factor=7).get(timeout=5) == 42
    assert proxy.greeting.get(timeout=5) == "hello"
    setattr(proxy, "greeting", "good evening")  # noqa: B010  # as an assignment, it has the type of a str
    assert proxy.greeting.get(timeout=5) == "good evening"
    with pytest.raises(ValueError, match="trouble"):
        proxy.trouble().get(timeout=5)
    proxy.method.defer(1)
    assert proxy.actor_ref is ref
    assert proxy.stop().get(timeout=5) is None
    assert ref.actor_stopped.wait(5)


def test_an_unexpected_message_is_logged(
    runtime: Runtime, caplog: pytest.LogCaptureFixture
) -> None:
    """An actor without on_receive warns and goes on."""

    class Deaf(runtime):  # type: ignore[misc, valid-type]
        pass

    ref = Deaf.start()
    assert ref.ask("hm?", timeout=5) is None
    assert "Unexpected message received by Deaf" in caplog.text
    ref.stop(timeout=5)


def test_the_urn_is_a_random_uuid(ref: Any, runtime: Runtime) -> None:
    """Each actor has a version 4 UUID of its own."""
    other = recorder(runtime).start(Log())
    assert uuid.UUID(ref.actor_urn).version == 4
    assert uuid.UUID(ref.actor_urn).variant == uuid.RFC_4122
    assert uuid.UUID(ref.actor_urn).urn == ref.actor_urn
    assert ref.actor_urn != other.actor_urn
    other.stop(timeout=5)


def test_actor_stopped_can_be_waited_for(ref: Any) -> None:
    """The event times out while the actor lives, and wakes who waits when it stops."""
    assert ref.actor_stopped.wait(0.01) is False
    woken = threading.Event()

    def wait() -> None:
        ref.actor_stopped.wait(5)
        woken.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    ref.stop(timeout=5)
    assert woken.wait(5)
    waiting.join()
    ref.actor_stopped.clear()
    assert not ref.actor_stopped.is_set()
    ref.actor_stopped.set()


def test_many_threads_at_once(runtime: Runtime) -> None:
    """Order per sender, one handler at a time, no message lost: whoever does the work."""
    senders, messages = 16, 300
    interval = sys.getswitchinterval()
    ref = Counting.of(runtime).start()
    sys.setswitchinterval(1e-6)  # as many switches between threads as there can be
    try:
        answers: list[list[Any]] = [[] for _ in range(senders)]
        start = threading.Barrier(senders)

        def send(sender: int) -> None:
            start.wait()
            for number in range(messages):
                message = Numbered(sender, number)
                match number % 3:
                    case 0:
                        ref.tell(message)
                    case 1:
                        answers[sender].append(ref.ask(message, timeout=30))
                    case _:
                        answers[sender].append(ref.ask(message, block=False))

        threads = [threading.Thread(target=send, args=(sender,)) for sender in range(senders)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        report: tuple[list[Numbered], int] = ref.ask("report", block=True, timeout=30)
        handled, overlaps = report
        asked = [number for number in range(messages) if number % 3]
        for sender in range(senders):
            assert [one.number for one in handled if one.sender == sender] == list(range(messages))
            got = [
                answer.get(timeout=30) if isinstance(answer, pykka.Future) else answer
                for answer in answers[sender]
            ]
            assert got == asked
        assert overlaps == 0
    finally:
        sys.setswitchinterval(interval)
        ref.stop(timeout=5)


class Numbered(NamedTuple):
    """The message of a sender."""

    sender: int
    number: int


class Counting:
    """An actor that notices when it is entered twice at the same time."""

    @staticmethod
    def of(runtime: Runtime) -> type[pykka.Actor]:
        class Counter(runtime):  # type: ignore[misc, valid-type]
            def __init__(self) -> None:
                super().__init__()
                self.inside = 0
                self.overlaps = 0
                self.handled: list[Numbered] = []

            def on_receive(self, message: Any) -> Any:
                if message == "report":
                    return self.handled, self.overlaps
                self.inside += 1
                self.handled.append(message)
                time.sleep(0)  # let the others try
                if self.inside != 1:
                    self.overlaps += 1
                self.inside -= 1
                return message.number

        return Counter


# What having no thread adds.


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
    """tell and ask run the handler then and there."""
    seen: list[int] = []
    calling.tell(lambda _: seen.append(threading.get_ident()))
    assert seen == [threading.get_ident()]
    assert calling.ask(lambda _: threading.get_ident()) == threading.get_ident()


def test_a_busy_mailbox_is_handled_by_whoever_is_inside(calling: Any) -> None:
    """tell comes back at once, and the thread inside takes the message too."""
    seen: list[int] = []
    held = Held(calling)
    calling.tell(lambda _: seen.append(threading.get_ident()))
    assert seen == []
    held.let_go()
    assert seen == [held.thread.ident]


def test_ask_times_out_while_another_thread_is_inside(calling: Any, log: Log) -> None:
    """The timeout bounds the wait for the other thread; the message is handled anyway."""
    held = Held(calling)
    with pytest.raises(pykka.Timeout):
        calling.ask("too slow", timeout=0.01)
    held.let_go()
    assert log.events == ["started", "too slow"]


@pytest.mark.parametrize("block", [True, False])
def test_an_actor_that_asks_itself_is_told_so(calling: Any, block: bool) -> None:
    """It would wait for ever: a RuntimeError at once, and the actor goes on."""

    def script(actor: Any) -> Any:
        return actor.actor_ref.ask("me") if block else actor.actor_ref.ask("me", block=False)

    if block:
        with pytest.raises(RuntimeError, match="would wait for itself"):
            calling.ask(script)
    else:
        assert calling.ask(script).get(timeout=5) == "got me"
    assert calling.ask("still there") == "got still there"


def test_actors_that_ask_each_other_in_a_circle_are_told_so(calling: Any) -> None:
    """The circle is found across actors, for the thread is the same."""
    other = recorder(CallingThreadActor).start(Log())
    with pytest.raises(RuntimeError, match="would wait for itself"):
        calling.ask(lambda _: other.ask(lambda _: calling.ask("me")))
    other.stop()


def test_who_was_inside_before_is_not_taken_for_who_is_inside_now(calling: Any) -> None:
    """Another thread may have taken the turn and not yet said that it has."""
    calling.ask("once")
    turn = calling.actor_inbox._turn
    assert turn.acquire(blocking=False)
    with pytest.raises(pykka.Timeout):
        calling.ask("twice", timeout=0.01)
    turn.release()
    assert calling.ask("thrice") == "got thrice"


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_interruption_stops_this_actor_and_goes_on_in_the_caller(
    calling: Any, log: Log, interruption: type[BaseException]
) -> None:
    """Other actors live on, unlike with Pykka's threads."""
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
    """Asks that wait behind it, or are interrupted themselves, get ActorDeadError."""

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
    """What passes the check for life a moment too early does not hang its sender."""
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
    """Found through the registry, it is already a mailbox, but handles nothing yet."""
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
    """The cycle of actor and mailbox ends with the actor: nothing waits for gc."""
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
    """Two threads that tell one message each, again and again, never leave one lying."""
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
    """At INFO, with the traceback: whether the mailbox was idle or not."""
    caplog.set_level(logging.INFO, "pykka")
    with pytest.raises(ZeroDivisionError):
        calling.ask(fail)
    with pytest.raises(ZeroDivisionError):
        calling.ask(fail, block=False).get()
    logged = [one for one in caplog.records if "Exception returned from" in one.getMessage()]
    assert len(logged) == 2
    assert all(one.exc_info for one in logged)


def test_a_copy_of_an_address_is_the_address(calling: Any) -> None:
    """It dies with its actor, and its messages wait in the one queue."""
    for same in (copy.copy(calling), copy.deepcopy(calling)):
        assert same is calling
