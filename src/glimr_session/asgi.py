"""SessionMiddleware: sessions for ASGI applications: Starlette, FastAPI, Litestar and others."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any, Final, TypeAlias, Unpack

from ._log import logger
from ._request.asgi_session import AsgiSession
from ._request.error_page import error_page
from ._request.manager import SessionManager
from ._request.origin import Origin
from .config import SessionConfig
from .errors import SessionTooLarge, StoreUnavailable
from .session import Session
from .starlette import StarletteSettings, config_of
from .stores.base import SessionStore

__all__ = ["AsgiSession", "SessionMiddleware", "session_of"]

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

_STARTS: Final = ("http.response.start", "websocket.accept", "websocket.http.response.start")
_BODIES: Final = ("http.response.body", "http.response.pathsend", "http.response.zerocopysend")
_SWITCHING_PROTOCOLS: Final = 101
_TRY_AGAIN_LATER: Final = 1013  # of IANA's registry of WebSocket close codes


def session_of(connection: Mapping[str, Any]) -> AsgiSession:
    """Return the session of a scope, or of a request or websocket of Starlette or FastAPI.

    It is ``connection["session"]``, with its verbs for type checkers.

    Raises:
        TypeError: there is no session of ours.

    Example:
        In a handler::

            visits = session_of(request).increment("visits")
    """
    session = connection.get("session")
    if isinstance(session, AsgiSession):
        return session
    raise TypeError(
        "there is no session of ours in this connection; wrap the application in "
        "glimr_session.asgi.SessionMiddleware, outside of any other middleware for sessions"
    )


class SessionMiddleware:
    """Gives each request and websocket of an ASGI application its session.

    ``scope["session"]`` is an :class:`AsgiSession`, which is Starlette's ``request.session``, and
    ``scope["glimr.session"]`` the :class:`~glimr_session.Session`. With another ``key`` the
    latter is ``scope[key]``. The store never blocks the event loop.

    Args:
        app: the application to wrap.
        config: the settings; a mapping has the shape of ``session.toml`` and is beaten by the
            environment; None reads the environment alone: ``GLIMR_SESSION_SECRET_KEYS``, ...
        store: beats the one of ``setup()``, which beats that of ``config``.
        settings: instead of ``config``, those of Starlette's SessionMiddleware: ``secret_key``
            and others. The session is then kept in the cookie, unless there is a store.

    Raises:
        ConfigError: the configuration cannot work.

    Example:
        >>> async def app(scope, receive, send):
        ...     visits = session_of(scope).increment("visits")
        ...     await send({"type": "http.response.start", "status": 200, "headers": []})
        ...     await send({"type": "http.response.body", "body": f"Visit {visits}".encode()})
        >>> config = SessionConfig(store="cookie", secret_keys=["oUv7 random, 32 characters of it"])
        >>> application = SessionMiddleware(app, config)
    """

    def __init__(
        self,
        app: ASGIApp,
        config: SessionConfig | Mapping[str, Any] | None = None,
        *,
        store: SessionStore | None = None,
        **settings: Unpack[StarletteSettings],
    ) -> None:
        self.app = app
        if settings:
            config = config_of(settings, config)
        elif config is not None and not isinstance(config, SessionConfig):
            config = SessionConfig.from_mapping(config, os.environ)
        self._manager = SessionManager.from_config(config, store)
        self._key = self._manager.key
        self._login_keys = self._manager.login_keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        outer = scope.get(self._key)
        if scope["type"] not in ("http", "websocket") or (
            isinstance(outer, Session) and outer.is_open  # the same middleware, twice
        ):
            await self.app(scope, receive, send)
            return
        request = self._manager.begin(_cookies(scope))
        session = AsgiSession(request, self._login_keys)
        scope[self._key] = session.session
        if not isinstance(scope.get("session"), AsgiSession):  # with another key, it stays
            scope["session"] = session
        exchange = _Exchange(session, scope, send)
        try:
            await request.read_ahead()
            await self.app(scope, receive, exchange.send)
            await exchange.finish()
        except (StoreUnavailable, SessionTooLarge) as error:
            await exchange.fail(error)
        finally:
            request.abandon()


class _Exchange:
    """One response, or one websocket, whose start is held back until the session is committed."""

    _started = False

    def __init__(self, session: AsgiSession, scope: Scope, send: Send) -> None:
        self._session, self._scope, self._send = session, scope, send
        self._complete = scope["type"] == "websocket"

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if kind in _STARTS:
            message = await self._start(message)
        elif kind in _BODIES and not message.get("more_body"):
            self._complete = True
        await self._send(message)

    async def _start(self, message: Message) -> Message:
        """Commit, and return the message with the headers of the session."""
        session, request = self._session, self._session.request
        status = message.get("status", _SWITCHING_PROTOCOLS)
        request.begin_response(status)
        current = self._scope.get("session")
        if current is not session and "litestar_app" in self._scope:
            session.replace(current)  # by Litestar's set_session() or clear_session()
            self._scope["session"] = session
        if request.used:
            headers = await session.aresponse_headers(
                status, _decoded(message.get("headers", ())), origin=self._origin
            )
            message = {**message, "headers": _encoded(headers)}
        elif self._scope["type"] == "http":
            vary = [header for header in message.get("headers", ()) if header[0] == b"vary"]
            request.response_headers(status, _decoded(vary), origin=self._origin)
        request.sealed = self._started = True
        return message

    def _origin(self) -> Origin:
        return Origin.from_asgi(self._scope)

    async def finish(self) -> None:
        """Commit what has changed since the start, unless the response was broken off."""
        if self._session.request.used and self._started and self._complete:
            await self._session.aflush()

    async def fail(self, error: StoreUnavailable | SessionTooLarge) -> None:
        """Keep nothing, and answer with a plain page, or close the websocket."""
        if self._started:
            raise error
        logger.error("A session could not be read or committed: %s", error, exc_info=error)
        if self._scope["type"] == "websocket":
            await self._send({"type": "websocket.close", "code": _TRY_AGAIN_LATER})
            return
        status, headers, body = error_page(error)
        start = {"type": "http.response.start", "status": int(status[:3])}
        await self._send({**start, "headers": _encoded(headers)})
        await self._send({"type": "http.response.body", "body": body})


def _cookies(scope: Scope) -> list[str]:
    # HTTP/2 may split the header: RFC 9113, section 8.2.3.
    return [
        value.decode("latin-1") for name, value in scope.get("headers", ()) if name == b"cookie"
    ]


def _decoded(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]


def _encoded(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
