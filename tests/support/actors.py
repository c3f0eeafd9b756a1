"""Finding and stopping the actors that Pykka's registry does not know."""

from __future__ import annotations

import gc
import threading

from glimr_session._request import cleanup
from glimr_session._session.actor import SessionActor

__all__ = ["cleanup_threads", "living_session_actors", "stop_cleanup_worker"]


def living_session_actors() -> list[SessionActor]:
    """Return the session actors that nobody has stopped.

    Garbage that waits for Python's collector counts too: it was left running.
    """
    return [
        found
        for found in gc.get_objects()
        if type(found) is SessionActor and found.actor_ref.is_alive()
    ]


def cleanup_threads() -> list[threading.Thread]:
    """Return the threads of all cleanup workers of this process."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("CleanupWorker")]


def stop_cleanup_worker(timeout: float = 10.0) -> None:
    """Wait for the cleanup worker, if there is one, to have done what it has been told."""
    for thread in list(cleanup._slot._threads):
        thread.join(timeout)
        assert not thread.is_alive()
