"""Sessions for Python web applications on threaded, multi-process servers.

    from glimr_session import SessionConfig, SessionMiddleware

    application = SessionMiddleware(app, SessionConfig.from_toml("session.toml"))

A handler finds its session in ``environ["glimr.session"]``: a mapping that any thread of
the request may use. It is opened when it is first used, and committed before the headers
leave. :class:`Session` has its methods.
"""

from typing import TYPE_CHECKING, Any

from ._ids import generate_id
from ._session.changes import Changes
from ._session.serialization import StoredSession, decode_payload, encode_payload
from ._session.values import Json
from .config import SessionConfig
from .errors import ConfigError, SessionClosed, SessionError, SessionTooLarge, StoreUnavailable
from .forms import flash_errors, flash_old
from .registry import (
    configured_store,
    cookie_value,
    destroy,
    load,
    reset,
    save,
    setup,
    start_cookie,
    start_disk,
    start_redis,
    start_sql,
)
from .registry import (
    gc as gc,
)
from .session import Session, empty
from .stores.base import CommitResult, SessionInfo, SessionStore, new
from .stores.cookie import CookieStore, cookie_store
from .wsgi import SessionMiddleware

if TYPE_CHECKING:
    from .stores.disk import DiskStore, disk_store
    from .stores.redis import RedisStore as RedisStore
    from .stores.redis import redis_store as redis_store
    from .stores.sql import SqlStore as SqlStore
    from .stores.sql import sql_store as sql_store

__all__ = [
    "Changes",
    "CommitResult",
    "ConfigError",
    "CookieStore",
    "DiskStore",
    "Json",
    "Session",
    "SessionClosed",
    "SessionConfig",
    "SessionError",
    "SessionInfo",
    "SessionMiddleware",
    "SessionStore",
    "SessionTooLarge",
    "StoreUnavailable",
    "StoredSession",
    "configured_store",
    "cookie_store",
    "cookie_value",
    "decode_payload",
    "destroy",
    "disk_store",
    "empty",
    "encode_payload",
    "flash_errors",
    "flash_old",
    "generate_id",
    "load",
    "new",
    "reset",
    "save",
    "setup",
    "start_cookie",
    "start_disk",
    "start_redis",
    "start_sql",
]

__version__ = "0.1.0"


# By name; those that need an extra are not in __all__, or a star import would need it too.
_STORES = {
    "DiskStore": "disk",
    "disk_store": "disk",
    "RedisStore": "redis",
    "redis_store": "redis",
    "SqlStore": "sql",
    "sql_store": "sql",
}


def __getattr__(name: str) -> Any:
    """Import a store when it is used: two are extras, and diskcache imports Django if it can."""
    if name in _STORES:
        import importlib

        return getattr(importlib.import_module(f".stores.{_STORES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
