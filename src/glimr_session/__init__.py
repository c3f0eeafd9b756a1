"""Sessions for Python web applications on threaded, multi-process servers.

    from glimr_session import SessionConfig, SessionMiddleware

    application = SessionMiddleware(app, SessionConfig.from_toml("session.toml"))

and in a handler ``session = environ["glimr.session"]``: a mapping that is safe to use
from any thread of the request, opened when it is first used and committed before the
headers leave. See :class:`Session` for what it can do.
"""

from typing import TYPE_CHECKING, Any

from .config import SessionConfig
from .errors import ConfigError, SessionClosed, SessionError, SessionTooLarge, StoreUnavailable
from .forms import flash_errors, flash_old
from .ids import generate_id
from .payload import Json, StoredSession, decode_payload, encode_payload
from .registry import (
    configured_store,
    cookie_value,
    destroy,
    gc,
    load,
    reset,
    save,
    setup,
    start_cookie,
    start_disk,
)
from .session import Session, empty
from .store import SessionStore, new
from .stores.cookie import CookieStore, cookie_store
from .wsgi import SessionMiddleware

if TYPE_CHECKING:
    from .stores.disk import DiskStore, disk_store

__all__ = [
    "ConfigError",
    "CookieStore",
    "DiskStore",
    "Json",
    "Session",
    "SessionClosed",
    "SessionConfig",
    "SessionError",
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
    "gc",
    "generate_id",
    "load",
    "new",
    "reset",
    "save",
    "setup",
    "start_cookie",
    "start_disk",
]


def __getattr__(name: str) -> Any:
    """Load the disk store when it is asked for: diskcache loads Django where there is one."""
    if name in ("DiskStore", "disk_store"):
        from .stores import disk

        return getattr(disk, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
