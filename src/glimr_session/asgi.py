"""SessionMiddleware: sessions for ASGI applications: Starlette, FastAPI, Litestar and others."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final, TypeAlias, Unpack

from ._log import logger
from ._request.asgi_headers import encode_headers, headers_named, split_headers
from ._request.asgi_session import AsgiSession, session_of
from ._request.error_page import error_page
from ._request.manager import SessionManager
from ._request.origin import Origin
from .config import SessionConfig
from .errors import ConfigError, SessionError, SessionTooLarge, StoreUnavailable
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
        app: Callable[..., Awaitable[None]],  # frameworks have types of their own for scopes
        config: SessionConfig | Mapping[str, Any] | None = None,
        *,
        store: SessionStore | None = None,
        **settings: Unpack[StarletteSettings],
    ) -> None:
        self.app = app
        if settings:
            config = config_of(settings, config, store)
        elif config is not None and not isinstance(config, SessionConfig):
            config = SessionConfig.from_mapping(config, os.environ)
        if not (store is None or isinstance(store, SessionStore)):
            raise ConfigError(
                f"store: {store!r} is no SessionStore; pass DiskStore(directory), say, or name it "
                'in config: {"store": "disk"}'
            )
        self._manager = SessionManager.shared(config, store)
        self._key = self._manager.key
        if "." not in self._key:
            raise ConfigError(
                f"key: {self._key!r} may belong to the server or to the framework; use a name with "
                'a dot, as in "shop.session"'
            )
        self._header = self._manager.request_header.lower().encode("ascii")
        self._cookie = f"{self._key}.cookie"
        self._login_keys, self._owner_keys = self._manager.login_keys, self._manager.owner_keys

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        cookies = headers_named(self._header, scope)
        request = self._manager.begin(cookies)
        outer = scope.get(self._key)
        if outer is not None and isinstance(outer, Session) and outer.is_open:
            if scope.get(self._cookie) == request.cookie_name:  # the same middleware, twice
                await self.app(scope, receive, send)
                return
            scope = {**scope, "session": None}  # one of its own, for a mounted application
        scope[self._cookie] = request.cookie_name
        session = AsgiSession(request, self._login_keys, self._owner_keys)
        if cookies and await request.read_ahead() and request.fetch() is not None:
            session.fill()
        other = scope.get("session")
        if not isinstance(other, AsgiSession) or other.request.closed:  # one of another key stays
            if not (other is None or isinstance(other, AsgiSession)):
                scope = {**scope}  # or that of a middleware outside gets our session
            scope["session"] = session
        scope[self._key] = session.session
        exchange = _Exchange(session, scope, send)
        try:
            await self.app(scope, receive, exchange.send)
            await exchange.finish()
        except Exception as error:  # noqa: BLE001  # raised again, or answered
            await exchange.fail(error)
        finally:
            request.abandon()


class _Exchange:
    """One response, or one websocket, whose start is held back until the session is committed."""

    _started = False
    _error: SessionError | None = None  # why the session could not be committed

    def __init__(self, session: AsgiSession, scope: Scope, send: Send) -> None:
        self._session, self._scope, self._send = session, scope, send
        self._complete = scope["type"] == "websocket"
        self._is_dict = scope["session"] is session  # and not one of another key

    async def send(self, message: Message) -> None:
        kind, request = message["type"], self._session.request
        if kind in _STARTS:
            request.begin_response(message.get("status", _SWITCHING_PROTOCOLS))
            self._take_replacement()
            if request.used:
                try:
                    message = await self._with_session_headers(message)
                except (StoreUnavailable, SessionTooLarge) as error:
                    self._error = error
                    raise
            elif kind != "websocket.accept":
                vary = split_headers(message.get("headers", ()))[1]
                request.response_headers(message["status"], vary, origin=self._origin)
            request.sealed = self._started = True
        await self._send(message)
        if kind in _BODIES and not message.get("more_body"):
            self._complete = True

    async def _with_session_headers(self, message: Message) -> Message:
        """Commit, and return the message with the headers of the session."""
        others, headers = split_headers(message.get("headers", ()))
        status = message.get("status", _SWITCHING_PROTOCOLS)
        headers = await self._session.aresponse_headers(status, headers, origin=self._origin)
        return {**message, "headers": [*others, *encode_headers(headers)]}

    def _take_replacement(self) -> None:
        """Take what Litestar's set_session() or clear_session() has put in the session's place."""
        session, scope = self._session, self._scope
        current, framework = scope.get("session"), scope.get("litestar_app")
        if (
            current is not session
            and self._is_dict
            and framework is not None
            and framework is scope.get("app")  # else an application mounted in it has put its own
        ):
            scope["session"] = session
            session.replace(current)

    def _origin(self) -> Origin:
        return Origin.from_asgi(self._scope)

    async def finish(self) -> None:
        """Commit what has changed since the start, unless the response was broken off."""
        if self._started and self._complete:
            self._take_replacement()
            if self._session.request.used:
                await self._session.aflush()
        elif not self._started and self._session.modified:
            self._session.request.flush(last=True)  # which warns that nothing is kept

    async def fail(self, raised: Exception) -> None:
        """Keep nothing, and answer with a plain page, or close the websocket.

        Starlette puts an error of its own in the place of one that its handlers take too late.
        """
        error = raised if isinstance(raised, StoreUnavailable | SessionTooLarge) else self._error
        if self._started or error is None:
            raise raised
        logger.error("A session could not be read or committed: %s", error, exc_info=error)
        if self._scope["type"] == "websocket":
            await self._send({"type": "websocket.close", "code": _TRY_AGAIN_LATER})
            return
        status, headers, body = error_page(error)
        start = {"type": "http.response.start", "status": int(status[:3])}
        await self._send({**start, "headers": encode_headers(headers)})
        await self._send({"type": "http.response.body", "body": body})
