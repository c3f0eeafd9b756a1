"""CallingThreadActor: a Pykka actor without a thread of its own.

Akka calls this way of running an actor the *calling-thread dispatcher*
(https://doc.akka.io/libraries/akka-core/current/testing.html#callingthreaddispatcher).
``docs/decisions/calling-thread-actor.md`` tells why this project needs it.
"""

from __future__ import annotations

import logging
import sys
import threading
import uuid
from collections import deque
from collections.abc import Callable
from contextvars import Context
from threading import get_ident
from typing import Any, ClassVar, Final, Self, TypeVar

from pykka import Actor, ActorDeadError, ActorRef, ActorRegistry, Future, ThreadingFuture, Timeout
from pykka.messages import (
    ProxyCall,
    ProxyGetAttr,
    ProxySetAttr,
    _ActorStop,  # pyright: ignore[reportPrivateUsage]
)

__all__ = ["ActorDeadError", "CallingThreadActor", "CallingThreadRef"]

logger = logging.getLogger("pykka")

A = TypeVar("A", bound="CallingThreadActor")

# Pykka handles these by itself; every other message is for ``on_receive``.
_PYKKA_MESSAGES: Final = frozenset({ProxyCall, ProxyGetAttr, ProxySetAttr, _ActorStop})


class CallingThreadActor(Actor):
    """A Pykka actor whose messages are handled by the threads that send them.

    Use it as ``pykka.ThreadingActor``: subclass it, ``start()`` it, and talk to the ref or a
    proxy. A message that finds the actor idle is handled at once by the thread that sends
    it. A message that finds another thread in the actor is handled by that thread, after the
    messages before it. So messages are handled one at a time and in order, and none is left
    behind. There is no thread to start, to leak, to lose in a fork or to wait for at exit.

    Example:
        >>> class Counter(CallingThreadActor):
        ...     count = 0
        ...     def on_receive(self, message):
        ...         self.count += message
        ...         return self.count
        >>> counter = Counter.start()
        >>> counter.tell(2)
        >>> counter.ask(3)
        5
        >>> counter.stop()
        True

    **A tell may run the handler, and block, in the caller.** ``tell`` and
    ``ask(block=False)`` return after the handler if the actor was idle. If other threads go on
    sending meanwhile, the caller handles their messages too. A chain of actors that tell each
    other runs on one stack: a thousand of them in a row meet Python's recursion limit.

    What having no thread excludes:

    - ``ask(timeout=...)`` bounds the wait for *another* thread. A handler that the asking
      thread runs itself is not interrupted.
    - An actor that asks itself and waits would wait for ever. If one thread does so, directly
      or through other actors, it gets a ``RuntimeError`` at once.
    - ``on_start`` runs inside ``start()``; ``on_stop`` and ``on_failure`` run in the thread
      that handled the last message. Thread-local data of a handler belongs to its thread.
    - Handlers run in a ``contextvars`` context of the actor's own, which is empty at first, as
      that of Pykka's threads is.
    - KeyboardInterrupt, SystemExit and other exceptions that are no ``Exception`` stop this
      actor and are raised in the thread that was handling. Pykka's threads have no caller to
      raise it in and stop every actor of the process instead.
    - Pykka's debug messages about starting and stopping an actor are not logged.

    Pykka's own test-suite passes, but for five tests; ``tests/test_pykka_suite.py`` runs it:

    - ``test_messages_left_in_queue_after_actor_stops_receive_an_error`` and
      ``test_stop_requests_left_in_queue_after_actor_stops_are_handled`` go on while a handler
      waits for them. Here ``tell`` waits in the handler.
    - ``test_ask_can_timeout_if_blocked_too_long`` asks an idle actor with ``timeout=0``. Here
      it gets the reply.
    - ``test_all_actors_are_stopped_on_base_exception`` and ``test_base_exception_is_logged``
      want every actor stopped, and a log line, where this one stops and raises.
    """

    in_registry: ClassVar[bool] = True
    """Whether actors of this class are entered in ``pykka.ActorRegistry``.

    One that is not is unknown to ``stop_all()`` and ``broadcast()``, and is collected by
    Python when nobody holds its ref any more."""

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        # Not Actor.__init__: it makes a UUID and an Event, and a session needs neither.
        # Hot path; see docs/decisions/calling-thread-actor.md.
        self._ref: CallingThreadRef[Any] = CallingThreadRef(self)

    @property
    def actor_ref(self) -> CallingThreadRef[Self]:  # pyright: ignore[reportIncompatibleMethodOverride]  # Self, as there
        """See ``pykka.Actor.actor_ref``."""
        return self._ref

    @property
    def actor_urn(self) -> str:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        """See ``pykka.Actor.actor_urn``."""
        return self._ref.actor_urn

    @property
    def actor_inbox(self) -> CallingThreadRef[Self]:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        """See ``pykka.Actor.actor_inbox``: it is the ref."""
        return self._ref

    @property
    def actor_stopped(self) -> threading.Event:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        """See ``pykka.Actor.actor_stopped``."""
        return self._ref.actor_stopped

    @classmethod
    def start(cls, *args: Any, **kwargs: Any) -> CallingThreadRef[Self]:  # pyright: ignore[reportIncompatibleMethodOverride]  # Self, as there
        """Start an actor and run its ``on_start`` in this thread.

        Arguments go to the constructor.

        Returns:
            The ref to talk to the actor with.
        """
        actor = cls(*args, **kwargs)
        ref = actor._ref
        if cls.in_registry:
            ActorRegistry.register(ref)
        ref._open(actor)
        return ref

    # Pykka's hooks for new kinds of actors.

    @staticmethod
    def _create_actor_inbox() -> Any:
        raise TypeError("the inbox of a CallingThreadActor is its ref")

    @staticmethod
    def _create_future() -> Future[Any]:
        return ThreadingFuture()

    def _start_actor_loop(self) -> None:
        self._ref._open(self)

    def _stop(self) -> None:
        """Stop now; what waits in the inbox is refused."""
        self._ref._end()
        try:
            self.on_stop()
        except Exception:  # noqa: BLE001  # it is logged there
            self._handle_failure(*sys.exc_info())


class CallingThreadRef(ActorRef[A]):
    """The address of a :class:`CallingThreadActor`, and its inbox.

    As ``pykka.ActorRef``, but a ``tell``, or a blocking ``ask`` or ``stop``, that finds the
    actor idle is a call of the handler, without an envelope and a future. Ref and inbox are
    one object to save an allocation per session.

    The thread that is in the actor's context handles messages. ``Context.run`` refuses a second
    thread, and leaves in C code: no exception at any instruction, from a signal handler either,
    can leave the actor occupied, as it could a lock. After each turn the thread looks at the
    queue again, so that a message which another thread has queued meanwhile is seen by one of
    the two.
    """

    def __init__(self, actor: A) -> None:
        self.actor_class = type(actor)
        self._actor: A | None = actor  # None once it has stopped
        self._queue: deque[Any] = deque()  # of Pykka's envelopes
        self._context: Context | None = None  # until it has started
        self._holder = 0  # the thread that is in the context
        self._failures: list[Any] = []  # to be logged when nobody is in the context

    @property
    def actor_urn(self) -> str:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        """See ``pykka.ActorRef.actor_urn``; made when it is asked for."""
        urn: str = self.__dict__.get("_urn") or self.__dict__.setdefault("_urn", uuid.uuid4().urn)
        return urn

    @property
    def actor_inbox(self) -> Self:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        """See ``pykka.ActorRef.actor_inbox``: it is the ref itself."""
        return self

    @property
    def actor_stopped(self) -> threading.Event:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        """See ``pykka.ActorRef.actor_stopped``; made when it is asked for."""
        event: threading.Event = self.__dict__.setdefault("_stopped", threading.Event())
        if self._actor is None:  # _end() looks for the event after it has set this
            event.set()
        return event

    @property
    def _actor_weakref(self) -> Callable[[], A | None]:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        """How Pykka's proxies find the actor."""
        return lambda: self._actor

    def __copy__(self) -> Self:
        """Return the ref itself: a second inbox of the same actor would outlive it."""
        return self

    def __deepcopy__(self, _memo: object) -> Self:
        return self

    def is_alive(self) -> bool:
        """See ``pykka.ActorRef.is_alive``."""
        return self._actor is not None

    def tell(self, message: Any) -> None:
        """Send a message without waiting for a reply.

        If the actor is idle, the message is handled before this returns.

        Raises:
            pykka.ActorDeadError: the actor has stopped.
        """
        turn = [message]
        try:
            if self._context is not None:
                self._context.run(self._tell_turn, turn)
        except RuntimeError as error:
            if not _was_refused(error, turn):
                raise
        finally:
            if self._queue or self._failures:
                self._handle_queue()
        if turn:
            super().tell(message)  # which puts it into the inbox

    def ask(self, message: Any, *, block: bool = True, timeout: float | None = None) -> Any:
        """Send a message and return the reply; see ``pykka.ActorRef.ask``.

        Args:
            message: anything.
            block: False returns a future instead of waiting.
            timeout: seconds to wait for a handler that runs in another thread.

        Raises:
            pykka.ActorDeadError: the actor has stopped.
            pykka.Timeout: the other thread took too long.
            RuntimeError: this very thread is handling a message of the actor.
            Exception: the handler raised it.
        """
        if not block:
            return super().ask(message, block=False)
        turn = [message]
        reply = None
        try:
            try:
                if self._context is not None:
                    reply = self._context.run(self._ask_turn, turn)
            except RuntimeError as error:
                if not _was_refused(error, turn):
                    raise
            if turn:
                self._refuse_own_thread()
                return super().ask(message, timeout=timeout)  # by way of the inbox
        except (ActorDeadError, Timeout):
            raise
        except Exception:
            logger.info("Exception returned from %s to caller:", self, exc_info=True)
            raise
        finally:
            if self._queue or self._failures:
                self._handle_queue()
        return reply

    def stop(self, *, block: bool = True, timeout: float | None = None) -> Any:
        """Stop the actor after the messages it already has; see ``pykka.ActorRef.stop``.

        Returns:
            Whether it was alive, or a future of that if ``block`` is False.
        """
        if not block:
            return super().stop(block=False)
        try:
            self.ask(_ActorStop(), timeout=timeout)
        except ActorDeadError:
            return False
        return True

    # The inbox, as Pykka knows it.

    def put(self, envelope: Any) -> None:
        """Queue a message; handle it unless another thread is handling."""
        self._queue.append(envelope)
        self._handle_queue()

    def get(self) -> Any:
        """Remove and return the oldest message; raises IndexError if there is none."""
        return self._queue.popleft()

    def empty(self) -> bool:
        """Whether no message is waiting."""
        return not self._queue

    # The life of the actor.

    def _open(self, actor: A) -> None:
        """Run the actor's ``on_start``, then the messages sent to it meanwhile."""
        context = Context()
        context.run(self._start_turn, actor, context)
        self._handle_queue()

    def _end(self) -> None:
        """Let go of the actor: messages that wait and messages to come are refused."""
        self._actor = None
        event: threading.Event | None = self.__dict__.get("_stopped")
        if event is not None:
            event.set()
        if self.actor_class.in_registry:
            ActorRegistry.unregister(self)

    def _fail(self, actor: A) -> None:
        """End the actor after an exception that has no caller to go to."""
        self._end()
        actor._handle_failure(*sys.exc_info())

    def _interrupt(self) -> None:
        """Stop the actor after an exception that is no ``Exception``."""
        if self._actor is not None:  # else on_stop was interrupted
            self._actor._stop()

    # One thread at a time. Each of these runs in the actor's context.

    def _start_turn(self, actor: A, context: Context) -> None:
        self._holder = get_ident()
        self._context = context  # messages are queued until this turn ends
        try:
            actor.on_start()
        except Exception:  # noqa: BLE001  # it is logged there
            self._fail(actor)
        except BaseException:
            self._interrupt()
            raise
        finally:
            self._holder = 0

    def _tell_turn(self, turn: list[Any]) -> None:
        """Take the message out of ``turn``, and handle it after those that wait."""
        message = turn.pop()
        self._holder = get_ident()
        try:
            self._handle_waiting()
            if self._actor is None:
                raise self._dead()
            self._handle(message, None)
        finally:
            self._holder = 0

    def _ask_turn(self, turn: list[Any]) -> Any:
        """Take the message out of ``turn``, and return the reply."""
        message = turn.pop()
        self._holder = get_ident()
        try:
            self._handle_waiting()
            actor = self._actor
            if actor is None:
                raise self._dead()  # noqa: TRY301
            if type(message) in _PYKKA_MESSAGES:
                return actor._handle_receive(message)
            return actor.on_receive(message)
        except Exception:
            raise
        except BaseException:
            self._interrupt()
            raise
        finally:
            self._holder = 0

    def _queue_turn(self, turn: list[Any]) -> None:
        turn.pop()
        self._holder = get_ident()
        try:
            self._handle_waiting()
        finally:
            self._holder = 0

    def _handle_queue(self) -> None:
        """Handle what is queued, unless another thread does."""
        while self._queue and self._context is not None:
            turn: list[Any] = [None]
            try:
                self._context.run(self._queue_turn, turn)
            except RuntimeError as error:
                if not _was_refused(error, turn):
                    raise
                return  # the thread in the context looks at the queue when it leaves
            except BaseException:
                self._handle_queue()
                raise
        while self._failures:
            exc_info = self._failures.pop(0)
            logger.info("Exception returned from %s to caller:", self, exc_info=exc_info)

    def _handle_waiting(self) -> None:
        while self._queue:
            envelope = self._queue.popleft()
            self._handle(envelope.message, envelope.reply_to)

    def _handle(self, message: Any, reply_to: Future[Any] | None) -> None:
        """Handle a message, and reply if a reply is waited for."""
        actor = self._actor
        if actor is None:
            self._refuse(message, reply_to)
            return
        try:
            if type(message) in _PYKKA_MESSAGES:
                reply = actor._handle_receive(message)
            else:
                reply = actor.on_receive(message)
        except Exception:  # noqa: BLE001  # it is replied, or handled as Pykka does
            if reply_to is not None:
                self._failures.append(sys.exc_info())
                reply_to.set_exception()
                return
            self._fail(actor)
            try:
                actor.on_failure(*sys.exc_info())
            except Exception:  # noqa: BLE001  # it is logged there
                self._fail(actor)
        except BaseException:
            self._interrupt()
            if reply_to is not None:
                reply_to.set_exception(_as_exc_info(f"{actor} was interrupted in the message"))
            raise
        else:
            if reply_to is not None:
                reply_to.set(reply)

    def _refuse_own_thread(self) -> None:
        if self._holder == get_ident():
            raise RuntimeError(
                f"{self} is asked from within its own message and would wait for itself. "
                "Use tell() or ask(block=False), or return the value from the handler."
            )

    def _refuse(self, message: Any, reply_to: Future[Any] | None) -> None:
        if reply_to is None:
            return
        if isinstance(message, _ActorStop):
            reply_to.set(None)
        else:
            reply_to.set_exception(_as_exc_info(f"{self} stopped before handling the message"))

    def _dead(self) -> ActorDeadError:
        return ActorDeadError(f"{self} not found")


def _as_exc_info(reason: str) -> tuple[type[ActorDeadError], ActorDeadError, None]:
    return ActorDeadError, ActorDeadError(reason), None


def _was_refused(error: RuntimeError, turn: list[Any]) -> bool:
    """Whether ``Context.run`` has raised the error, for another thread is in the context."""
    return bool(turn) and type(error) is RuntimeError
