"""SessionActor: a message in, a transition out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from . import messages, state
from .mailbox import CallingThreadActor
from .state import SessionState

__all__ = ["SessionActor", "step"]

_TRANSITIONS: Final[dict[type, Callable[..., state.Step]]] = {
    messages.Clear: state.clear,
    messages.Flash: state.flash,
    messages.Forget: state.forget,
    messages.Get: state.get,
    messages.GetAll: state.get_all,
    messages.GetFlash: state.get_flash,
    messages.GetId: state.get_id,
    messages.GetState: state.get_state,
    messages.Has: state.has,
    messages.HasFlash: state.has_flash,
    messages.Increment: state.increment,
    messages.Invalidate: state.invalidate,
    messages.Keep: state.keep,
    messages.Now: state.now,
    messages.Pull: state.pull,
    messages.Put: state.put,
    messages.Reflash: state.reflash,
    messages.Regenerate: state.regenerate,
    messages.SetDefault: state.set_default,
    messages.TakeChanges: state.take_changes,
    messages.Update: state.update,
}


def step(current: SessionState, message: Any) -> state.Step:
    """Give the state after a message, and the reply."""
    return _TRANSITIONS[type(message)](current, *message)


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
        transition = _TRANSITIONS.get(type(message))
        if transition is not None:
            self._state, reply = transition(self._state, *message)
            return reply
        if type(message) is messages.Finish:
            self._stop()
            return self._state
        return super()._handle_receive(message)
