"""Everything internal to glimr_session that the benchmarks use, in one place."""

import sqlite3
from collections.abc import Mapping
from typing import Any

import pykka

from glimr_session import DiskStore, StoredSession, generate_id
from glimr_session._ids import storage_key
from glimr_session._session.actor import SessionActor
from glimr_session._session.changes import Changes
from glimr_session._session.messages import Get, GetState, Put, TakeChanges
from glimr_session._session.state import SessionState

__all__ = ["Get", "GetState", "Put", "SessionActor", "TakeChanges", "storage_key"]


class ThreadedSessionActor(pykka.ThreadingActor):
    """A session on Pykka's own kind of actor, which has a thread and a queue."""

    def __init__(self, initial: SessionState) -> None:
        super().__init__()
        self._state = initial

    def on_receive(self, message: Any) -> Any:
        """Return the reply to one message."""
        return message.apply(self._state)


def opened(data: Mapping[str, Any]) -> SessionState:
    """Return the state of a stored session that was just opened."""
    return SessionState.opened(StoredSession(id=generate_id(), data=dict(data)))


def begun(session_id: str, data: Mapping[str, Any]) -> Changes:
    """Return the changes of a request that begins a session."""
    return Changes(None, session_id, edits={**data})


def edited(base: StoredSession, edits: Mapping[str, Any]) -> Changes:
    """Return the changes of a request that sets some keys of a stored session."""
    return Changes(base, base.id, edits={**edits})


def connection_of(store: DiskStore) -> sqlite3.Connection:
    """Return the connection that the next operation of the store will use."""
    pool = store._database._pool
    pooled = pool.acquire()
    pool.release(pooled)
    return pooled.connection
