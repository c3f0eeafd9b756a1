"""SessionActor: the session of one request, as a Pykka actor."""

from __future__ import annotations

from contextvars import Context
from typing import Any, ClassVar, Final

from ..mailbox import CallingThreadActor, CallingThreadRef
from .messages import Finish, Message
from .state import SessionState

__all__ = ["ASK_TIMEOUT", "SessionActor"]

ASK_TIMEOUT: Final = 5.0
"""Seconds an ``ask`` waits for another thread of the request, as in the reference."""


class _SessionRef(CallingThreadRef["SessionActor"]):
    """The ref of a session's actor."""

    def tell(self, message: Message) -> None:
        """Send a message; return when it has been handled.

        A message that another thread handles could come after the last commit. Its sender
        must know that it was refused.

        Raises:
            pykka.ActorDeadError: the last commit was made.
        """
        self.ask(message, timeout=ASK_TIMEOUT)

    def _open(self, actor: SessionActor) -> None:
        """Begin at once: a session has no ``on_start`` that could fail."""
        self._context = Context()

    def _interrupt(self) -> None:
        """Go on: a change is made or not made, and the request may still respond."""


class SessionActor(CallingThreadActor):
    """Holds the session of one request, from its first use to the last commit.

    It does no I/O and runs no code but its messages' own, so an ``ask`` takes microseconds.

    It is not entered in Pykka's registry: it belongs to its request, and
    ``pykka.ActorRegistry.stop_all()`` must not end a request in flight.
    """

    in_registry: ClassVar[bool] = False

    def __init__(self, initial: SessionState) -> None:
        self._ref = _SessionRef(self)
        self._state = initial

    def on_receive(self, message: Message) -> Any:
        """Apply the message to the state, and reply."""
        reply = message.apply(self._state)
        if type(message) is Finish:
            self._stop()
        return reply
