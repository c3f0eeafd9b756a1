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
from collections import deque
from threading import get_ident
from typing import Any, TypeVar

from pykka import Actor, ActorDeadError, ActorRef, ActorRegistry, Future, ThreadingFuture
from pykka._envelope import Envelope
from pykka.messages import _ActorStop  # pyright: ignore[reportPrivateUsage]

__all__ = ["ActorDeadError", "CallingThreadActor", "CallingThreadRef"]

logger = logging.getLogger("pykka")

A = TypeVar("A", bound="CallingThreadActor")

# A thread that forks while another one holds this lock of Pykka's would leave it
# locked in the child for ever, and every actor started there would hang.
os.register_at_fork(
    before=ActorRegistry._actor_refs_lock.acquire,
    after_in_parent=ActorRegistry._actor_refs_lock.release,
    after_in_child=ActorRegistry._actor_refs_lock.release,
)


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
    - An actor that asks itself, directly or through another actor, and waits would
      wait for ever. It gets a ``RuntimeError`` at once.
    - KeyboardInterrupt, SystemExit and other exceptions that are no ``Exception``
      stop this actor and go on in the thread that was handling. Pykka's threads
      stop every actor of the process instead, for want of a caller to tell.
    """

    actor_inbox: Mailbox  # pyright: ignore[reportIncompatibleVariableOverride]

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        # The fields of pykka.Actor.__init__, each in its cheapest form. With Pykka's
        # own a start and stop take 10 us instead of 6, most of it for uuid.UUID and Event.
        self.actor_urn = _new_urn()
        self.actor_inbox = Mailbox()  # pyright: ignore[reportIncompatibleVariableOverride]
        self.actor_stopped = _StopFlag()
        self._actor_ref = CallingThreadRef(self)

    @staticmethod
    def _create_actor_inbox() -> Mailbox:
        return Mailbox()

    @staticmethod
    def _create_future() -> Future[Any]:
        return ThreadingFuture()

    def _start_actor_loop(self) -> None:
        self.actor_inbox.begin(self)

    def _answer(self, message: Any) -> Any:
        """Handle a message whose sender is waiting for the answer in this thread."""
        try:
            return self._handle_receive(message)
        except Exception:
            logger.info("Exception returned from %s to caller:", self, exc_info=True)
            raise
        except BaseException:
            self._stop()
            raise

    def _handle(self, envelope: Envelope[Any]) -> None:
        """Handle a message from the mailbox and see to its reply."""
        reply_to = envelope.reply_to
        try:
            response = self._handle_receive(envelope.message)
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
            self._stop()
            if reply_to is not None:
                reply_to.set_exception(_dead(f"{self} was interrupted in the message"))
            raise
        else:
            if reply_to is not None:
                reply_to.set(response)


class CallingThreadRef(ActorRef[A]):
    """The address of a :class:`CallingThreadActor`.

    As ``pykka.ActorRef``, but a blocking ``ask`` or ``stop`` that finds the mailbox
    idle is a call of the handler: no envelope, no future.
    """

    actor_inbox: Mailbox  # pyright: ignore[reportIncompatibleVariableOverride]

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
        if self._turn.acquire(blocking=False):
            self._handler = get_ident()
            try:
                if self._waiting:
                    self._handle_waiting()
                actor = self._actor
                if actor is None or actor.actor_stopped.is_set():
                    raise ActorDeadError(f"{ref} not found")
                return actor._answer(message)
            finally:
                self._end_turn()
        if self._handler == get_ident():
            raise RuntimeError(
                f"{ref} is asked from within its own message and would wait for itself. "
                "Use tell() or ask(block=False), or return the value from the handler."
            )
        future: Future[Any] = ThreadingFuture()
        self.put(Envelope(message, reply_to=future))
        return future.get(timeout=timeout)

    def _take_turns(self) -> None:
        while self._waiting and self._turn.acquire(blocking=False):
            self._handler = get_ident()
            try:
                self._handle_waiting()
            except BaseException:
                self._end_turn()
                raise
            self._release()

    def _handle_waiting(self) -> None:
        waiting, actor = self._waiting, self._actor
        while waiting:
            envelope = waiting.popleft()
            if actor is None or actor.actor_stopped.is_set():
                _refuse(envelope)
            else:
                actor._handle(envelope)

    def _end_turn(self) -> None:
        self._release()
        if self._waiting:
            self._take_turns()

    def _release(self) -> None:
        actor = self._actor
        if actor is not None and actor.actor_stopped.is_set():
            self._actor = None  # nothing needs it any more: end the cycle with it
        self._handler = 0  # before the release, or the next holder would be mistaken for us
        self._turn.release()


class _StopFlag(threading.Event):
    """``actor_stopped``: an Event that costs one attribute until somebody waits for it."""

    # One for all actors: a wait is rare and looks at its own flag when it is woken.
    _changed = threading.Condition()

    def __init__(self) -> None:
        self._is_set = False

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True
        with self._changed:
            self._changed.notify_all()

    def clear(self) -> None:
        self._is_set = False

    def wait(self, timeout: float | None = None) -> bool:
        with self._changed:
            return self._changed.wait_for(self.is_set, timeout)


def _new_urn() -> str:
    """Give a random UUID (RFC 9562, version 4) as a URN."""
    digits = os.urandom(16).hex()
    variant = "89ab"[int(digits[16], 16) & 3]
    return (
        f"urn:uuid:{digits[:8]}-{digits[8:12]}-4{digits[13:16]}"
        f"-{variant}{digits[17:20]}-{digits[20:]}"
    )


def _dead(reason: str) -> Any:
    return (ActorDeadError, ActorDeadError(reason), None)


def _refuse(envelope: Envelope[Any]) -> None:
    """Answer a message that its actor did not live to handle."""
    if envelope.reply_to is None:
        return
    if isinstance(envelope.message, _ActorStop):
        envelope.reply_to.set(None)
    else:
        envelope.reply_to.set_exception(_dead("the actor stopped before handling the message"))
