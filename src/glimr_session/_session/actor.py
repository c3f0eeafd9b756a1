"""SessionActor: the session of one request, as a Pykka actor."""

from __future__ import annotations

from typing import Any, ClassVar

from ..mailbox import CallingThreadActor
from .messages import Finish, Message
from .state import SessionState

__all__ = ["SessionActor"]


class SessionActor(CallingThreadActor):
    """Holds the session of one request, from its first use to the end of the response.

    It does no I/O and runs no code but the transitions of its messages, so an ``ask`` takes
    microseconds. It is not entered in Pykka's registry: it belongs to its request, and
    ``pykka.ActorRegistry.stop_all()`` must not end a request in flight.
    """

    in_registry: ClassVar[bool] = False

    def __init__(self, initial: SessionState) -> None:
        super().__init__()
        self._state = initial

    def on_receive(self, message: Message) -> Any:
        """Apply the message to the state, and reply."""
        self._state, reply = message.apply(self._state)
        if type(message) is Finish:
            self._stop()
        return reply
