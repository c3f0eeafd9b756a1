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
)
from .registry import (
    gc as gc,
)
from .session import Session, empty
from .stores.base import CommitResult, SessionStore, new
from .stores.cookie import CookieStore, cookie_store
from .wsgi import SessionMiddleware

if TYPE_CHECKING:
    from .stores.disk import DiskStore, disk_store

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
]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import the disk store when it is used: diskcache imports Django if it is installed."""
    if name in ("DiskStore", "disk_store"):
        from .stores import disk

        return getattr(disk, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
