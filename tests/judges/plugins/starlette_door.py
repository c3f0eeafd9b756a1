"""Puts ours in the place of Starlette's SessionMiddleware, and of its dict of a session."""

from __future__ import annotations

import functools
import hashlib
import os
import re
from collections.abc import Coroutine, Generator, Mapping
from typing import Any, Final

from starlette.middleware import sessions

from glimr_session import CookieStore, DiskStore, SessionConfig, SessionStore
from glimr_session.asgi import (
    ASGIApp,
    AsgiSession,
    Message,
    Receive,
    Scope,
    Send,
    SessionMiddleware,
    session_of,
)
from glimr_session.testing import seed_session

_SECRET: Final = "a key for the tests of Starlette, of 32 characters and more"
_FORTNIGHT: Final = 14 * 24 * 3600


@functools.cache
def make_store() -> SessionStore | None:
    """Return the store of this run; None for the cookie, as the settings have it."""
    if os.environ["JUDGES_STORE"] == "cookie":
        return None
    return DiskStore(os.environ["JUDGES_DIRECTORY"], lifetime=_FORTNIGHT)


class Door(SessionMiddleware):
    """Ours, as the suite knows the word for it.

    Its keys are such as "example". In Set-Cookie it looks for Starlette's spelling of attributes,
    which are the same in capitals and in small letters (RFC 6265, section 5.2).
    """

    def __init__(self, app: ASGIApp, secret_key: str, **settings: Any) -> None:
        key = hashlib.sha256(secret_key.encode()).hexdigest()
        super().__init__(app, store=make_store(), secret_key=key, **settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_spelled(message: Message) -> None:
            headers = message.get("headers", ())
            await send({**message, "headers": [(name, _spelled(name, v)) for name, v in headers]})

        await super().__call__(scope, receive, send_spelled)


def _spelled(name: bytes, value: bytes) -> bytes:
    if name != b"set-cookie":
        return value
    return re.sub(rb"; (Domain|Partitioned|Path)\b", lambda found: found[0].lower(), value)


def make_session(data: Mapping[str, Any] | None = None) -> AsgiSession:
    """Return the session of a request that comes with this data, and goes on."""
    door = SessionMiddleware(_wait, SessionConfig(secret_keys=[_SECRET]), store=_STORE_OF_DICTS)
    cookie = "=".join(seed_session(door, data)) if data else ""
    scope = {"type": "http", "headers": [(b"cookie", cookie.encode())]}
    request = door(scope, _wait, _wait)
    request.send(None)
    _REQUESTS.append(request)
    return session_of(scope)


class _Never:
    def __await__(self) -> Generator[None, None, None]:
        yield


async def _wait(*_: object) -> Any:
    await _Never()


_STORE_OF_DICTS: Final = CookieStore()
_REQUESTS: Final[list[Coroutine[Any, Any, None]]] = []

module: Any = sessions
module.SessionMiddleware, module.Session = Door, make_session
