"""Everything internal to glimr_session that the benchmarks use, in one place."""

import sqlite3
from collections.abc import Mapping
from typing import Any

import pykka

from glimr_session import DiskStore, StoredSession, generate_id
from glimr_session._ids import key_and_number, split_cookie_value, storage_key
from glimr_session._session.actor import SessionActor
from glimr_session._session.changes import Changes, Incremented
from glimr_session._session.messages import Get, GetState, Put, TakeChanges
from glimr_session._session.state import SessionState
from glimr_session.stores._commands import MADE, Command, Executor, Read, Swap
from glimr_session.stores._server import ServerStore
from glimr_session.stores.redis import RedisStore

__all__ = ["Changes", "Get", "GetState", "Put", "SessionActor", "TakeChanges", "storage_key"]


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


def incremented(base: StoredSession, key: str) -> Changes:
    """Return the changes of a request that increments a number of a stored session."""
    start: Any = base.data[key]
    return Changes(base, base.id, edits={key: Incremented(1, start, start + 1)})


def count_conflicts(store: ServerStore, conflicts: list[object]) -> None:
    """Have a store add to a list each time that a commit finds that another was faster."""
    original = store._executor
    store._executor = lambda: _Counting(original(), conflicts)  # type: ignore[method-assign]


def redis_commands(
    store: RedisStore, cookie_value: str, lasts_until: float
) -> tuple[Command, Command]:
    """Return what an open and a commit send to Redis; the same commit can be sent again."""
    session_id, number = split_cookie_value(cookie_value)
    read = Read(number or key_and_number(session_id)[1])
    entry = store._executor().execute(read)
    return read, Swap(read.number, entry.revision, entry._replace(purge_after=lasts_until))


def redis_words(store: RedisStore, command: Command) -> tuple[Any, ...]:
    """Return a command in the words of Redis."""
    return store._codec.words(command)


def redis_connections(store: RedisStore, number: int) -> list[Any]:
    """Return so many connections of redis-py's, as those that the store uses."""
    connections: Any = store._connections
    made = [connections._connect() for _ in range(number)]
    for connection in made:
        connection.connect()
    return made


class _Counting:
    """Runs commands, and counts the swaps that were not made."""

    def __init__(self, executor: Executor, conflicts: list[object]) -> None:
        self._executor = executor
        self._conflicts = conflicts
        self.close = executor.close

    def execute(self, command: Command) -> Any:
        """Return the result of a command."""
        result = self._executor.execute(command)
        if isinstance(command, Swap) and result is not MADE:
            self._conflicts.append(None)
        return result
