"""The actor of a session on Pykka's own kind: with a thread, and a queue before it."""

from __future__ import annotations

from typing import Any

import pykka

from glimr_session.state import SessionState

__all__ = ["ThreadedSessionActor"]


class ThreadedSessionActor(pykka.ThreadingActor):
    """The same state and the same transitions, and nothing else that is ours."""

    def __init__(self, initial: SessionState) -> None:
        super().__init__()
        self._state = initial

    def on_receive(self, message: Any) -> Any:
        """Take a step."""
        self._state, reply = message.step(self._state)
        return reply
