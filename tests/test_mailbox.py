"""CallingThreadActor keeps what Pykka promises of its actors.

Pykka's own tests are run on it too, by ``test_pykka_suite.py``.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any, NamedTuple

import pykka
import pytest
from pykka import ActorDeadError, ActorRegistry

from glimr_session.mailbox import CallingThreadActor
from tests.support.recorder import Log, Runtime, fail, recorder


@pytest.fixture(params=[pykka.ThreadingActor, CallingThreadActor], ids=lambda kind: kind.__name__)
def runtime(request: pytest.FixtureRequest) -> Runtime:
    """Both kinds of actors, which have to pass the same tests."""
    kind: Runtime = request.param
    return kind


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def ref(runtime: Runtime, log: Log) -> Iterator[pykka.ActorRef[Any]]:
    """A running actor of each kind."""
    ref = recorder(runtime).start(log)
    yield ref
    ref.stop(timeout=5)


# What Pykka documents, of both kinds.


def test_messages_are_handled_in_the_order_they_were_sent(ref: Any, log: Log) -> None:
    """Tells and asks of one sender share one queue."""
    for number in range(100):
        ref.tell(number)
    assert ref.ask("last", timeout=5) == "got last"
    assert log.events == ["started", *range(100), "last"]


def test_ask_raises_in_the_caller_and_the_actor_goes_on(ref: Any) -> None:
    """A failed ask raises in the caller and leaves the actor running."""
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
    """A future raises what the handler raised, each time it is asked."""
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
    """A failed tell is logged and calls on_failure, and not on_stop."""
    ref.tell(fail)
    assert log.failed.wait(5)
    assert ref.actor_stopped.wait(5)
    assert [event[:2] for event in log.events[1:]] == [("failed", ZeroDivisionError)]
    assert "Unhandled exception in Recorder" in caplog.text
    assert ActorRegistry.get_by_urn(ref.actor_urn) is None


def test_a_failing_on_failure_is_logged(
    runtime: Runtime, log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has the failure and the failure to handle it."""
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
    """start() returns a ref of a dead actor, and the failure is logged."""
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
    """stop() returns True the first time and False from then on, and on_stop runs once."""
    assert ref.stop(timeout=5) is True
    assert ref.stop(timeout=5) is False
    assert ref.stop(block=False).get(timeout=5) is False
    assert log.events == ["started", "stopped"]


def test_stop_without_blocking_gives_a_future(ref: Any) -> None:
    """The future says whether the actor was alive."""
    assert ref.stop(block=False).get(timeout=5) is True
    assert not ref.is_alive()


def test_a_dead_actor_refuses_messages(ref: Any) -> None:
    """tell and ask raise ActorDeadError, and a future carries it."""
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
    """An actor handles the messages before a stop and refuses those after it, but for stops."""

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
    """The registry finds a running actor by URN, class and class name, and no stopped one."""
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
    """The event times out while the actor lives, and is set when it stops."""
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
    assert ref.actor_stopped.is_set()


def test_actor_stopped_is_an_event(ref: Any) -> None:
    """It has the methods of a threading.Event, and it is the same one each time."""
    stopped = ref.actor_stopped
    assert type(stopped) is threading.Event
    assert ref.actor_stopped is stopped
    stopped.set()
    stopped.clear()
    assert not stopped.is_set()


def test_many_threads_at_once(runtime: Runtime) -> None:
    """Each sender's messages are handled in order, one at a time, and none is lost."""
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
