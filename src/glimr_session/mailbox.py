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
from contextlib import suppress
from threading import get_ident
from types import TracebackType
from typing import Any, Self, TypeVar

from pykka import Actor, ActorDeadError, ActorRef, ActorRegistry, Future, ThreadingFuture
from pykka._envelope import Envelope
from pykka.messages import _ActorStop  # pyright: ignore[reportPrivateUsage]

__all__ = ["ActorDeadError", "CallingThreadActor", "CallingThreadRef"]

logger = logging.getLogger("pykka")

A = TypeVar("A", bound="CallingThreadActor")


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

    actor_inbox: Mailbox  # pyright: ignore[reportIncompatibleVariableOverride]

    # What follows does what pykka.Actor does, in its cheapest form: a URN is made when it
    # is asked for, an Event when it is waited for, and nothing is said to the debug log.
    # A start and a stop take a third of the time so (docs/decisions).

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        self.actor_inbox = self._create_actor_inbox()  # pyright: ignore[reportIncompatibleVariableOverride]
        self.actor_stopped = _StopFlag()
        self._actor_ref = CallingThreadRef(self)

    @property
    def actor_urn(self) -> str:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        """See ``pykka.Actor.actor_urn``."""
        return self._actor_ref.actor_urn

    @classmethod
    def start(cls, *args: Any, **kwargs: Any) -> ActorRef[Self]:  # pyright: ignore[reportIncompatibleMethodOverride]  # Self, as there
        """Start an actor and run its ``on_start`` in this thread.

        Arguments go to the constructor. Returns the ref to talk to it with.
        """
        actor = cls(*args, **kwargs)
        with ActorRegistry._actor_refs_lock:
            ActorRegistry._actor_refs.append(actor._actor_ref)
        actor._start_actor_loop()
        return actor._actor_ref

    def _stop(self) -> None:
        with ActorRegistry._actor_refs_lock:
            try:  # noqa: SIM105  # a context manager takes longer than this
                ActorRegistry._actor_refs.remove(self._actor_ref)
            except ValueError:
                pass
        self.actor_inbox.end()
        self.actor_stopped.set()
        try:
            self.on_stop()
        except Exception:  # noqa: BLE001  # it is logged there
            self._handle_failure(*sys.exc_info())

    @staticmethod
    def _create_actor_inbox() -> Mailbox:
        return Mailbox()

    @staticmethod
    def _create_future() -> Future[Any]:
        return ThreadingFuture()

    def _start_actor_loop(self) -> None:
        self.actor_inbox.begin(self)

    def _handle_failure(
        self,
        exception_type: type[BaseException] | None,
        exception_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.actor_inbox.end()
        super()._handle_failure(exception_type, exception_value, traceback)

    def _interrupted(self) -> None:
        if not self.actor_stopped.is_set():  # else it was on_stop that was interrupted
            self._stop()

    def _answer(self, message: Any) -> Any:
        """Handle a message whose sender is waiting for the answer in this thread."""
        try:
            return self._handle_receive(message)
        except Exception:
            logger.info("Exception returned from %s to caller:", self, exc_info=True)
            raise
        except BaseException:
            self._interrupted()
            raise

    def _handle(self, message: Any, reply_to: Future[Any] | None) -> None:
        """Handle a message whose sender is not waiting in this thread."""
        try:
            response = self._handle_receive(message)
        except Exception:
            if reply_to is not None:
                logger.info("Exception returned from %s to caller:", self, exc_info=True)
                reply_to.set_exception()
                return
            self._handle_failure(*sys.exc_info())
            try:
                self.on_failure(*sys.exc_info())
            except Exception:  # noqa: BLE001  # it is logged there
                self._handle_failure(*sys.exc_info())
        except BaseException:
            self._interrupted()
            if reply_to is not None:
                _fail(reply_to, f"{self} was interrupted in the message")
            raise
        else:
            if reply_to is not None:
                reply_to.set(response)


class CallingThreadRef(ActorRef[A]):
    """The address of a :class:`CallingThreadActor`.

    As ``pykka.ActorRef``, but a blocking ``ask`` or ``stop`` that finds the mailbox
    idle is a call of the handler, and so is ``tell``: no envelope, no future.
    """

    actor_inbox: Mailbox  # pyright: ignore[reportIncompatibleVariableOverride]

    def __init__(self, actor: A) -> None:
        self._actor_weakref = weakref.ref(actor)
        self.actor_class = type(actor)
        self.actor_inbox = actor.actor_inbox  # pyright: ignore[reportIncompatibleVariableOverride]
        self.actor_stopped = actor.actor_stopped

    @property
    def actor_urn(self) -> str:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        """See ``pykka.Actor.actor_urn``."""
        urn: str = self.__dict__.get("_urn") or self.__dict__.setdefault("_urn", _new_urn())
        return urn

    def tell(self, message: Any) -> None:
        """Send a message and do not wait; raises ``pykka.ActorDeadError``."""
        self.actor_inbox.tell(message, self)

    def ask(self, message: Any, *, block: bool = True, timeout: float | None = None) -> Any:
        """Send a message and wait for the reply; see ``pykka.ActorRef.ask``.

        ``timeout``: seconds to wait for a handler that runs in another thread.

        Raises ``pykka.ActorDeadError``, ``pykka.Timeout``, what the handler raised,
        or ``RuntimeError`` when this thread is handling a message of that actor.
        """
        if block:
            return self.actor_inbox.ask(message, self, timeout)
        return super().ask(message, block=False)

    def stop(self, *, block: bool = True, timeout: float | None = None) -> Any:
        """Stop the actor after the messages it already has; see ``pykka.ActorRef.stop``.

        Returns whether it was alive, or a future of that if ``block`` is False.
        """
        if not block:
            return super().stop(block=False)
        try:
            self.actor_inbox.ask(_ActorStop(), self, timeout)
        except ActorDeadError:
            return False
        return True


class Mailbox:
    """The messages waiting for one actor, and the right to handle them.

    Whoever takes ``_turn`` handles. The queue is looked at again after every release:
    a message that was appended while the turn was taken is seen by its holder, or
    by its sender, or by both, and only one of them gets the next turn.
    """

    __slots__ = ("_actor", "_handler", "_turn", "_waiting")

    def __init__(self) -> None:
        self._waiting: deque[Envelope[Any]] = deque()
        self._turn = threading.Lock()
        self._turn.acquire()  # until the actor has begun
        self._handler = get_ident()
        self._actor: CallingThreadActor | None = None

    def begin(self, actor: CallingThreadActor) -> None:
        """Run the actor's ``on_start``, then what was sent to it meanwhile."""
        self._actor = actor
        try:
            actor._actor_loop_setup()
        except BaseException:
            actor._stop()
            raise
        finally:
            self._end_turn()

    def end(self) -> None:
        """Let go of the actor: what waits, and what comes, is refused."""
        self._actor = None

    def put(self, envelope: Envelope[Any]) -> None:
        """Add a message; handle it unless another thread is handling."""
        self._waiting.append(envelope)
        self._take_turns()

    def get(self) -> Envelope[Any]:
        """Take the oldest message; IndexError when there is none."""
        return self._waiting.popleft()

    def empty(self) -> bool:
        """Tell whether nothing is waiting."""
        return not self._waiting

    def ask(self, message: Any, ref: ActorRef[Any], timeout: float | None) -> Any:
        """Handle a message now if the mailbox is idle, else queue it and wait."""
        if self._turn.acquire(False):
            self._handler = get_ident()
            try:
                if self._waiting:
                    self._handle_waiting()
                actor = self._actor
                if actor is None:
                    raise _dead(ref)
                return actor._answer(message)
            finally:  # _end_turn(), and without the call
                self._handler = 0
                self._turn.release()
                if self._waiting:
                    self._take_turns()
        if self._handler == get_ident():
            raise RuntimeError(
                f"{ref} is asked from within its own message and would wait for itself. "
                "Use tell() or ask(block=False), or return the value from the handler."
            )
        future: Future[Any] = ThreadingFuture()
        self.put(Envelope(message, reply_to=future))
        return future.get(timeout=timeout)

    def tell(self, message: Any, ref: ActorRef[Any]) -> None:
        """Handle a message now if the mailbox is idle, else queue it."""
        if not self._turn.acquire(False):
            if ref.actor_stopped.is_set():
                raise _dead(ref)
            self.put(Envelope(message))
            return
        self._handler = get_ident()
        try:
            if self._waiting:
                self._handle_waiting()
            actor = self._actor
            if actor is None:
                raise _dead(ref)
            actor._handle(message, None)
        finally:
            self._end_turn()

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


class _StopFlag(threading.Event):
    """``actor_stopped``: an Event that costs one attribute until somebody waits for it."""

    # One for all actors: a wait is rare and looks at its own flag when it is woken.
    _changed = threading.Condition()
    _waiters = 0

    def __init__(self) -> None:
        self._is_set = False

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True
        if _StopFlag._waiters:  # looked at after the flag is up, as a waiter does the reverse
            with self._changed:
                self._changed.notify_all()

    def clear(self) -> None:
        self._is_set = False

    def wait(self, timeout: float | None = None) -> bool:
        with self._changed:
            _StopFlag._waiters += 1
            try:
                return self._changed.wait_for(self.is_set, timeout)
            finally:
                _StopFlag._waiters -= 1


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
    _StopFlag._changed = threading.Condition()
    _StopFlag._waiters = 0  # they were threads of the parent
    with suppress(RuntimeError):  # uWSGI can be told to call this alone
        ActorRegistry._actor_refs_lock.release()


# A lock that another thread holds at a fork would be locked in the child for ever, and
# every actor that is started or stopped there would hang.
os.register_at_fork(
    before=ActorRegistry._actor_refs_lock.acquire,
    after_in_parent=ActorRegistry._actor_refs_lock.release,
    after_in_child=_after_fork_in_child,
)
