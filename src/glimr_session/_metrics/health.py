"""Whether a store works, for the readiness probe of an application."""

from __future__ import annotations

from collections.abc import Generator
from time import perf_counter
from typing import Any, Final, Literal, TypeAlias

from .._ids import generate_id, owner_key
from .._session.changes import Changes
from .._session.serialization import Owner, Record
from ..errors import StoreUnavailable
from ..stores.base import SessionStore
from .metered import MeteredStore

__all__ = ["Health", "acheck_health", "check_health"]

_LIFETIME: Final = 60.0  # seconds, for a session whose process is killed before it is destroyed

_Steps: TypeAlias = Generator[tuple[Literal["open", "commit", "destroy"], Any], Any, str]
"""Yields what to call of the store, and its argument; returns what is wrong."""


class Health(Record, frozen=True):
    """What a check has found; it is true if the store works.

    Attributes:
        ok: whether the store works.
        seconds: how long the check took.
        reason: what is wrong, for a log; it may name the store's server. "" if nothing is.
    """

    ok: bool
    seconds: float
    reason: str = ""

    def __bool__(self) -> bool:
        return self.ok


def check_health(store: SessionStore, *, write: bool = False) -> Health:
    """Return whether a store works: it looks for a session that nobody has.

    It takes as long as one request's read, and in an outage no longer than the store's own
    timeout for each operation. It is in no metric, and raises no error of the store.

    Args:
        store: the store of the application.
        write: whether to begin a session too, open it and destroy it.

    Example:
        >>> from glimr_session import CookieStore
        >>> bool(check_health(CookieStore()))
        True
    """
    store = store.inner if isinstance(store, MeteredStore) else store
    started, steps, result = perf_counter(), _checking(store, write=write), None
    try:
        while True:
            operation, argument = steps.send(result)
            result = getattr(store, operation)(argument)
    except StopIteration as done:
        reason: str = done.value
    except Exception as error:  # noqa: BLE001  # whatever it is, the probe fails
        reason = _reason(error)
    return Health(not reason, perf_counter() - started, reason)


async def acheck_health(store: SessionStore, *, write: bool = False) -> Health:
    """As ``check_health``, without blocking the event loop."""
    store = store.inner if isinstance(store, MeteredStore) else store
    started, steps, result = perf_counter(), _checking(store, write=write), None
    try:
        while True:
            operation, argument = steps.send(result)
            result = await getattr(store, f"a{operation}")(argument)
    except StopIteration as done:
        reason: str = done.value
    except Exception as error:  # noqa: BLE001  # whatever it is, the probe fails
        reason = _reason(error)
    return Health(not reason, perf_counter() - started, reason)


def _checking(store: SessionStore, *, write: bool) -> _Steps:
    session_id = generate_id()
    yield "open", session_id
    if store.server_side and not write:
        return ""
    # A commit to a cookie writes nothing. With an owner it reads the owner's revocations.
    owner = None if store.server_side else Owner(owner_key(session_id))
    begun = Changes(None, session_id, edits={"health": True}, lifetime=_LIFETIME, owner=owner)
    result = yield "commit", begun
    stored = yield "open", result.cookie_value
    if store.server_side:
        yield "destroy", result.cookie_value
    return "" if stored is not None else "a session that was just begun is not there"


def _reason(error: Exception) -> str:
    """Return what is wrong. The message of an error that is not ours may hold anything."""
    return str(error) if isinstance(error, StoreUnavailable) else type(error).__name__
