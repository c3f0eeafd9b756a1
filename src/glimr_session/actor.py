"""SessionActor: a message in, a transition out."""

from __future__ import annotations

from typing import Any

from .mailbox import CallingThreadActor
from .messages import Finish, Message
from .state import SessionState

__all__ = ["SessionActor"]


class SessionActor(CallingThreadActor):
    """Holds the session of one request, from its first use to the end of the response.

    It does no I/O and runs no code but the transitions, so an ``ask`` takes
    microseconds, and its timeout is only ever reached on a machine that has stopped.
    """

    def __init__(self, initial: SessionState) -> None:
        super().__init__()
        self._state = initial

    # Before Pykka's own messages are looked for, which come once in a request.
    def _handle_receive(self, message: Any) -> Any:
        if isinstance(message, Message):
            self._state, reply = message.step(self._state)
            return reply
        if isinstance(message, Finish):
            self._stop()
            return self._state
        return super()._handle_receive(message)
