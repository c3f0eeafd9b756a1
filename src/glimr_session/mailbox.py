"""CallingThreadActor: a Pykka actor without a thread of its own.

Akka calls this way of running an actor the *calling-thread dispatcher*
(https://doc.akka.io/libraries/akka-core/current/testing.html#callingthreaddispatcher).
Why this project needs it is told in ``docs/decisions/calling-thread-actor.md``.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from threading import get_ident
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from pykka import Actor, ActorDeadError, ActorRef, ActorRegistry, Future, ThreadingFuture
from pykka._envelope import Envelope
from pykka.messages import _ActorStop  # pyright: ignore[reportPrivateUsage]

__all__ = ["ActorDeadError", "CallingThreadActor", "CallingThreadRef"]

logger = logging.getLogger("pykka")

A = TypeVar("A", bound="CallingThreadActor")

_NOBODY: Final[deque[Envelope[Any]]] = deque()


class CallingThreadActor(Actor):
    """An actor whose messages are handled by the threads that send them.

    It is used as ``pykka.ThreadingActor`` is: subclass it, ``start()`` it, talk to
    the ref or a proxy. A message put into an idle mailbox is handled then and there
    by the thread that put it. A message put while another thread is handling is
    taken by that thread, after the ones before it. So there is one message at a
    time, in order, and none is left lying; ``tell`` never waits for another thread;
    there is no thread to start, to leak, to lose in a fork or to wait for at exit.

    What having no thread excludes:

    - ``ask(timeout=...)`` bounds the wait for *another* thread. A handler that the
      asking thread runs itself is not interrupted.
    - ``tell`` and ``ask(block=False)`` come back after the handler if the mailbox
      was idle, and a thread may be kept handling the messages of others.
    - ``on_start`` runs inside ``start()``, ``on_stop`` and ``on_failure`` in
      whichever thread handled the last message; thread-local data of a handler
      belongs to that thread.
    - An actor that asks itself and waits would wait for ever. Where one thread does it
      all, directly or through other actors, it gets a ``RuntimeError`` at once.
    - Pykka's lines for the debug log about actors that start and stop are left out.
    - KeyboardInterrupt, SystemExit and other exceptions that are no ``Exception``
      stop this actor and go on in the thread that was handling. Pykka's threads
      stop every actor of the process instead, for want of a caller to tell.
    """

    actor_inbox: CallingThreadRef[Any]  # pyright: ignore[reportIncompatibleVariableOverride]

    # What follows does what pykka.Actor does, in its cheapest form: a URN and an Event are
    # made when they are asked for, and nothing is said to the debug log. A start and a stop
    # take a fifth of the time so (docs/decisions).

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        self.actor_inbox = self._actor_ref = CallingThreadRef(self)  # pyright: ignore[reportIncompatibleVariableOverride]

    @property
    def actor_urn(self) -> str:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        """See ``pykka.Actor.actor_urn``."""
        return self.actor_inbox.actor_urn

    @property
    def actor_stopped(self) -> threading.Event:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        """See ``pykka.Actor.actor_stopped``."""
        return self.actor_inbox.actor_stopped

    @classmethod
    def start(cls, *args: Any, **kwargs: Any) -> CallingThreadRef[Self]:  # pyright: ignore[reportIncompatibleMethodOverride]  # Self, as there
        """Start an actor and run its ``on_start`` in this thread.

        Arguments go to the constructor. Returns the ref to talk to it with.
        """
        actor = cls(*args, **kwargs)
        ref = actor.actor_inbox
        _refs[ref] = None
        ref._begin(actor)
        return ref

    def _stop(self) -> None:
        ref = self.actor_inbox
        _refs.pop(ref, None)
        ref._end()
        try:
            self.on_stop()
        except Exception:  # noqa: BLE001  # it is logged there
            self._handle_failure(*sys.exc_info())

    # Pykka's own start() and __init__() would call these.

    @staticmethod
    def _create_actor_inbox() -> Any:
        raise TypeError("the inbox of a CallingThreadActor is its ref")

    @staticmethod
    def _create_future() -> Future[Any]:
        return ThreadingFuture()

    def _start_actor_loop(self) -> None:
        self.actor_inbox._begin(self)

    def _handle_failure(
        self,
        exception_type: type[BaseException] | None,
        exception_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.actor_inbox._end()
        super()._handle_failure(exception_type, exception_value, traceback)

    def _failed(self) -> None:
        """End after an exception that nobody is waiting for."""
        self._handle_failure(*sys.exc_info())
        try:
            self.on_failure(*sys.exc_info())
        except Exception:  # noqa: BLE001  # it is logged there
            self._handle_failure(*sys.exc_info())

    def _interrupted(self) -> None:
        if self.actor_inbox._actor is not None:  # else it was on_stop that was interrupted
            self._stop()

    def _handle(self, message: Any, reply_to: Future[Any] | None) -> None:
        """Handle a message that has waited for its turn."""
        try:
            response = self._handle_receive(message)
        except Exception:
            if reply_to is None:
                self._failed()
            else:
                logger.info("Exception returned from %s to caller:", self, exc_info=True)
                reply_to.set_exception()
        except BaseException:
            self._interrupted()
            if reply_to is not None:
                _fail(reply_to, f"{self} was interrupted in the message")
            raise
        else:
            if reply_to is not None:
                reply_to.set(response)


class CallingThreadRef(ActorRef[A]):
    """The address of a :class:`CallingThreadActor`, and the mailbox there.

    As ``pykka.ActorRef``, but a blocking ``ask`` or ``stop`` that finds the mailbox
    idle is a call of the handler, and so is ``tell``: no envelope, no future. Both in
    one object, for every session has one.

    Whoever takes ``_turn`` handles. The queue is looked at again after every release:
    a message that was appended while the turn was taken is seen by its holder, or
    by its sender, or by both, and only one of them gets the next turn.
    """

    _stopped = False
    _waiting = _NOBODY  # its own is made when somebody has to wait

    def __init__(self, actor: A) -> None:
        self.actor_class = type(actor)
        self._actor: A | None = actor  # None once it has stopped
        self._turn = threading.Lock()
        self._turn.acquire()  # until the actor has begun
        self._handler = get_ident()

    @property
    def actor_urn(self) -> str:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        """See ``pykka.Actor.actor_urn``."""
        urn: str = self.__dict__.get("_urn") or self.__dict__.setdefault("_urn", _new_urn())
        return urn

    @property
    def actor_inbox(self) -> CallingThreadRef[A]:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        """See ``pykka.ActorRef.actor_inbox``: it is the ref itself."""
        return self

    @property
    def actor_stopped(self) -> threading.Event:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        """See ``pykka.Actor.actor_stopped``."""
        return _StopFlag(self)

    @property
    def _actor_weakref(self) -> Callable[[], A | None]:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        """What Pykka's proxies look at the actor through."""
        actor = self._actor
        return (lambda: None) if actor is None else weakref.ref(actor)

    def __copy__(self) -> Self:
        """Give itself: an address that is copied is the same address."""
        return self

    def __deepcopy__(self, _memo: object) -> Self:
        return self

    def is_alive(self) -> bool:
        """See ``pykka.ActorRef.is_alive``."""
        return not self._stopped

    def tell(self, message: Any) -> None:
        """Send a message and do not wait; raises ``pykka.ActorDeadError``."""
        if not self._turn.acquire(False):
            if self._stopped:
                raise _dead(self)
            self.put(Envelope(message))
            return
        self._handler = get_ident()
        try:
            if self._waiting:
                self._handle_waiting()
            actor = self._actor
            if actor is None:
                raise _dead(self)
            try:
                actor._handle_receive(message)
            except Exception:  # noqa: BLE001  # it is logged there
                actor._failed()
            except BaseException:
                actor._interrupted()
                raise
        finally:  # _end_turn(), and without the call
            self._handler = 0
            self._turn.release()
            if self._waiting:
                self._take_turns()

    def ask(self, message: Any, *, block: bool = True, timeout: float | None = None) -> Any:
        """Send a message and wait for the reply; see ``pykka.ActorRef.ask``.

        ``timeout``: seconds to wait for a handler that runs in another thread.

        Raises ``pykka.ActorDeadError``, ``pykka.Timeout``, what the handler raised,
        or ``RuntimeError`` when this thread is handling a message of that actor.
        """
        if not block:
            return super().ask(message, block=False)
        if not self._turn.acquire(False):
            return self._ask_another_thread(message, timeout)
        self._handler = get_ident()
        try:
            if self._waiting:
                self._handle_waiting()
            actor = self._actor
            if actor is None:
                raise _dead(self)
            try:
                return actor._handle_receive(message)
            except Exception:
                logger.info("Exception returned from %s to caller:", actor, exc_info=True)
                raise
            except BaseException:
                actor._interrupted()
                raise
        finally:  # _end_turn(), and without the call
            self._handler = 0
            self._turn.release()
            if self._waiting:
                self._take_turns()

    def stop(self, *, block: bool = True, timeout: float | None = None) -> Any:
        """Stop the actor after the messages it already has; see ``pykka.ActorRef.stop``.

        Returns whether it was alive, or a future of that if ``block`` is False.
        """
        if not block:
            return super().stop(block=False)
        try:
            self.ask(_ActorStop(), timeout=timeout)
        except ActorDeadError:
            return False
        return True

    # The mailbox, as Pykka knows it.

    def put(self, envelope: Envelope[Any]) -> None:
        """Add a message; handle it unless another thread is handling."""
        self.__dict__.setdefault("_waiting", deque()).append(envelope)
        self._take_turns()

    def get(self) -> Envelope[Any]:
        """Take the oldest message; IndexError when there is none."""
        return self._waiting.popleft()

    def empty(self) -> bool:
        """Tell whether nothing is waiting."""
        return not self._waiting

    def _begin(self, actor: A) -> None:
        """Run the actor's ``on_start``, then what was sent to it meanwhile."""
        try:
            try:
                actor.on_start()
            except Exception:  # noqa: BLE001  # it is logged there
                actor._handle_failure(*sys.exc_info())
            except BaseException:
                actor._stop()
                raise
        finally:
            self._end_turn()

    def _end(self) -> None:
        """Let go of the actor: what waits, and what comes, is refused."""
        self._actor = None
        self._stopped = True
        if _StopFlag.waiters:  # looked at after it is set, as a waiter does the reverse
            _StopFlag.wake()

    def _ask_another_thread(self, message: Any, timeout: float | None) -> Any:
        if self._handler == get_ident():
            raise RuntimeError(
                f"{self} is asked from within its own message and would wait for itself. "
                "Use tell() or ask(block=False), or return the value from the handler."
            )
        future: Future[Any] = ThreadingFuture()
        self.put(Envelope(message, reply_to=future))
        return future.get(timeout=timeout)

    def _take_turns(self) -> None:
        while self._waiting and self._turn.acquire(False):
            self._handler = get_ident()
            try:
                self._handle_waiting()
            except BaseException:
                self._end_turn()
                raise
            self._handler = 0
            self._turn.release()

    def _handle_waiting(self) -> None:
        waiting = self._waiting
        while waiting:
            envelope = waiting.popleft()
            if self._actor is None:
                _refuse(envelope)
            else:
                self._actor._handle(envelope.message, envelope.reply_to)

    def _end_turn(self) -> None:
        self._handler = 0  # before the release, or the next holder would be mistaken for us
        self._turn.release()
        if self._waiting:
            self._take_turns()


class _Refs(dict[ActorRef[Any], None]):
    """Pykka's list of all live actors, from which one can be taken in constant time.

    A list is searched from its beginning: with ten thousand sessions open at once, that
    took ten times as long as the rest of the end of one. And it is walked through in a
    copy, so that to add one or to take one is a single step that needs no lock.
    """

    def append(self, ref: ActorRef[Any]) -> None:
        self[ref] = None

    def remove(self, ref: ActorRef[Any]) -> None:
        try:
            del self[ref]
        except KeyError:
            raise ValueError("no such actor") from None

    def __iter__(self) -> Iterator[ActorRef[Any]]:
        return iter([*self.keys()])

    def __getitem__(self, part: Any) -> Any:
        return [*self.keys()][part]


# In the order in which they were started, as before: stop_all() relies on that.
with ActorRegistry._actor_refs_lock:
    _refs: Final = _Refs.fromkeys(ActorRegistry._actor_refs)
    ActorRegistry._actor_refs = _refs  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]


class _StopFlag(threading.Event):
    """``actor_stopped``: an Event that is made for who looks at it."""

    # One for all actors: a wait is rare and looks at its own actor when it is woken.
    changed = threading.Condition()
    waiters = 0

    def __init__(self, ref: CallingThreadRef[Any]) -> None:
        self._ref = ref

    def is_set(self) -> bool:
        return self._ref._stopped

    _flag = property(is_set)  # for the repr

    def set(self) -> None:
        self._ref._end()

    def clear(self) -> None:
        self._ref._stopped = False

    def wait(self, timeout: float | None = None) -> bool:
        with self.changed:
            _StopFlag.waiters += 1
            try:
                return self.changed.wait_for(self.is_set, timeout)
            finally:
                _StopFlag.waiters -= 1

    @classmethod
    def wake(cls) -> None:
        """Have every waiter look again."""
        with cls.changed:
            cls.changed.notify_all()


def _new_urn() -> str:
    """Give a random UUID (RFC 9562, version 4) as a URN."""
    digits = os.urandom(16).hex()
    variant = "89ab"[int(digits[16], 16) & 3]
    return (
        f"urn:uuid:{digits[:8]}-{digits[8:12]}-4{digits[13:16]}"
        f"-{variant}{digits[17:20]}-{digits[20:]}"
    )


def _dead(ref: ActorRef[Any]) -> ActorDeadError:
    return ActorDeadError(f"{ref} not found")


def _refuse(envelope: Envelope[Any]) -> None:
    """Answer a message that its actor did not live to handle."""
    if envelope.reply_to is None:
        return
    if isinstance(envelope.message, _ActorStop):
        envelope.reply_to.set(None)
    else:
        _fail(envelope.reply_to, "the actor stopped before handling the message")


def _fail(reply_to: Future[Any], reason: str) -> None:
    reply_to.set_exception((ActorDeadError, ActorDeadError(reason), None))


def _after_fork_in_child() -> None:
    _StopFlag.changed = threading.Condition()
    _StopFlag.waiters = 0  # they were threads of the parent
    with suppress(RuntimeError):  # uWSGI can be told to call this alone
        ActorRegistry._actor_refs_lock.release()


# A lock that another thread holds at a fork would be locked in the child for ever, and
# every actor that is started or stopped there would hang.
os.register_at_fork(
    before=ActorRegistry._actor_refs_lock.acquire,
    after_in_parent=ActorRegistry._actor_refs_lock.release,
    after_in_child=_after_fork_in_child,
)
