"""The store of this process, and functions that use it, under the names that they have in glimr.

Set it at boot, before the server forks or starts its threads. Where glimr keeps it in Erlang's
``persistent_term``, a global variable of this module does.
"""

from __future__ import annotations

import os
from typing import Any

from .stores.base import Data, SessionStore
from .stores.cookie import cookie_store

__all__ = [
    "configured_store",
    "cookie_value",
    "destroy",
    "gc",
    "load",
    "reset",
    "save",
    "setup",
    "start_cookie",
    "start_disk",
    "start_redis",
    "start_sql",
]

_configured: SessionStore | None = None


def setup(store: SessionStore) -> None:
    """Make this the store of every request of the process, from now on.

    Raises:
        TypeError: it is no SessionStore.

    Example:
        >>> setup(cookie_store(lifetime=600))
        >>> configured_store().lifetime
        600.0
        >>> reset()
    """
    if not isinstance(store, SessionStore):
        raise TypeError(
            f"setup() takes a SessionStore, not {store!r}; new() makes one from five functions"
        )
    global _configured
    _configured = store


def configured_store() -> SessionStore | None:
    """Return the store that ``setup`` was called with, or None."""
    return _configured


def reset() -> None:
    """Forget the configured store, as between two tests."""
    global _configured
    _configured = None


def load(session_id: str) -> tuple[Data, Data]:
    """Return data and flash of a stored session; both are empty without one, or a store.

    Args:
        session_id: an id or a cookie value.
    """
    return ({}, {}) if _configured is None else _configured.load(session_id)


def save(session_id: str, data: Data, flash: Data) -> None:
    """Keep a session under this id; nothing happens without a store."""
    if _configured is not None:
        _configured.save(session_id, data, flash)


def destroy(session_id: str) -> None:
    """Remove a stored session at once; nothing happens without a store.

    Args:
        session_id: an id or a cookie value.
    """
    if _configured is not None:
        _configured.destroy(session_id)


def gc() -> int:
    """Remove the expired sessions of the configured store; return how many there were.

    In a process without one, such as a cron job's, nothing happens: make the store there, and
    call its ``gc``, as in ``SessionConfig.from_toml("session.toml").make_store().gc()``.
    """
    return 0 if _configured is None else _configured.gc()


def cookie_value(session_id: str, data: Data, flash: Data) -> str:
    """Return what goes over the wire, unsigned: the id without a store."""
    if _configured is None:
        return session_id
    return _configured.cookie_value(session_id, data, flash)


def start_cookie(**options: Any) -> None:
    """Set up a :class:`CookieStore`; the options are the same."""
    setup(cookie_store(**options))


def start_disk(directory: str | os.PathLike[str], **options: Any) -> None:
    """Set up a :class:`DiskStore`; the options are the same."""
    from .stores.disk import disk_store  # diskcache loads Django where there is one

    setup(disk_store(directory, **options))


def start_redis(url: str, **options: Any) -> None:
    """Set up a :class:`RedisStore`; the options are the same."""
    from .stores.redis import redis_store  # an extra

    setup(redis_store(url, **options))


def start_sql(url: str, **options: Any) -> None:
    """Set up a :class:`SqlStore`; the options are the same."""
    from .stores.sql import sql_store  # an extra

    setup(sql_store(url, **options))
