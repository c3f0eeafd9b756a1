"""SessionMiddleware: environ in, headers out (PEP 3333)."""

from __future__ import annotations

import io
import logging
import os
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from .config import SessionConfig
from .cookies import SessionCookie, Signatures, with_session_headers
from .janitor import make_policy, never
from .lifecycle import Exchange, Sessions
from .registry import configured_store
from .store import NoStore, SessionStore

if TYPE_CHECKING:
    from _typeshed import OptExcInfo
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

__all__ = ["ENVIRON_KEY", "SessionMiddleware"]

logger = logging.getLogger("glimr_session")

ENVIRON_KEY: Final = "glimr.session"
"""Where the session of a request is: ``environ["glimr.session"]``."""

_FORGETTING: Final = NoStore()

_END: Final[Any] = object()

_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})


class SessionMiddleware:
    """Gives each request of a WSGI application its session.

    ``store`` beats the store of ``setup()``, which beats the one that ``config`` asks
    for. With none of them the application still serves, its sessions are forgotten,
    and one warning says so. Without ``config`` the keys and the cookie are read from
    the environment, ``GLIMR_SESSION_SECRET_KEYS`` and its like.

    Raises ConfigError here, not in a request, for a configuration that cannot work.
    """

    def __init__(
        self,
        app: WSGIApplication,
        config: SessionConfig | None = None,
        *,
        store: SessionStore | None = None,
    ) -> None:
        self._app = app
        self._config = SessionConfig.from_env(os.environ) if config is None else config
        self._store = store
        self._fallback: SessionStore = _FORGETTING
        if config is not None and store is None and configured_store() is None:
            Signatures(config.secret_keys, "")  # no directory is made if the keys will not do
            self._fallback = config.make_store()
        self._sessions: Sessions | None = None
        self._binding = threading.Lock()
        current = self._current_store()
        if current is not _FORGETTING:  # setup() may yet be called
            self._bind(current)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        sessions = self._sessions
        if sessions is None or (
            self._store is None and sessions.store is not self._current_store()
        ):
            sessions = self._bind(self._current_store())
        exchange = Exchange(sessions, environ.get("HTTP_COOKIE", ""))
        environ[ENVIRON_KEY] = exchange.session
        response = _Response(exchange, environ, start_response)
        body: Iterable[bytes] = ()
        try:
            body = self._app(environ, response.start)
            if type(body) is list or type(body) is tuple or _is_file(body, environ):
                # Nothing of the application runs any more, and servers look at the
                # very object for Content-Length and sendfile.
                response.finish()
                return body
        except BaseException:
            exchange.abandon()
            _close(body)  # the server will not get it
            raise
        return _Body(body, response)

    def _current_store(self) -> SessionStore:
        if self._store is not None:
            return self._store
        configured = configured_store()
        return self._fallback if configured is None else configured

    def _bind(self, store: SessionStore) -> Sessions:
        """Make what the requests with this store share, once."""
        with self._binding:
            if self._sessions is None or self._sessions.store is not store:
                self._sessions = self._make_sessions(store)
            return self._sessions

    def _make_sessions(self, store: SessionStore) -> Sessions:
        config = self._config
        if store is _FORGETTING:
            logger.warning(
                "No session store is configured, so sessions are forgotten after each request. "
                "Give SessionMiddleware a config or a store, or call setup() at boot."
            )
            cookie = SessionCookie(Signatures([secrets.token_hex()], "never set"))
            return Sessions(store, cookie, lifetime=1.0, policy=never)
        return Sessions(
            store,
            config.make_cookie(store),
            lifetime=config.lifetime_with(store),
            policy=make_policy(config),
        )


class _Response:
    """One response on its way out: held back until the session is committed."""

    __slots__ = (
        "_environ", "_exc_info", "_exchange", "_headers",
        "_server", "_set_cookie", "_status", "_touched", "_write", "sent",
    )  # fmt: skip

    def __init__(self, exchange: Exchange, environ: WSGIEnvironment, server: StartResponse) -> None:
        self._exchange = exchange
        self._environ = environ
        self._server = server
        self._status: str | None = None
        self.sent = False

    def start(
        self, status: str, headers: list[tuple[str, str]], exc_info: OptExcInfo | None = None, /
    ) -> Callable[[bytes], object]:
        """Take the status and the headers of the application: its ``start_response``."""
        if self._status is not None and exc_info is None:
            raise AssertionError(
                "start_response was called a second time without exc_info (PEP 3333)"
            )
        self._status = status
        self._headers = [*headers]  # the application's own may change before it is sent
        self._exc_info = exc_info
        if self.sent:
            self._hand_on()
        return self.write

    def write(self, data: bytes) -> object:
        """Send a chunk at once: PEP 3333's legacy way to answer."""
        self.send_headers()
        return self._write(data)

    def send_headers(self) -> None:
        """Commit the session and start the server's response; nothing the second time.

        If the application has not started a response, the server is left to complain.
        """
        if not self.sent and self._status is not None:
            self._exchange.session.seal()
            self._send(last=False)

    def finish(self) -> None:
        """Do all that is left: nothing of the application runs any more."""
        if self.sent or self._status is None:
            self.close()
        else:
            self._send(last=True)

    def _send(self, *, last: bool) -> None:
        exchange = self._exchange
        session = exchange.session
        self._set_cookie: str | None = None
        self._touched = session.was_used
        if session.is_open:
            self._set_cookie = exchange.commit(secure=self._only_encrypted, last=last)
        elif last:
            exchange.close()
        self.sent = True
        self._hand_on()

    def close(self) -> None:
        """Close the session; what was done to it in a response that never began is dropped."""
        if self._status is None:
            self._exchange.abandon()
        else:
            self._exchange.close()

    def abandon(self) -> None:
        """Drop what was done to the session since its last commit."""
        self._exchange.abandon()

    def seal(self) -> None:
        """Refuse what needs headers from now on: the client may have left before them."""
        self._exchange.session.seal()

    def _only_encrypted(self) -> bool:
        """Whether the cookie needs Secure: not for plain HTTP to this very machine."""
        environ = self._environ
        if environ.get("wsgi.url_scheme") == "https" or "HTTP_X_FORWARDED_PROTO" in environ:
            return True
        host: str = environ.get("HTTP_HOST") or environ.get("SERVER_NAME", "")
        name = host[: host.find("]") + 1] if host.startswith("[") else host.partition(":")[0]
        return name.lower() not in _LOOPBACK

    def _hand_on(self) -> None:
        headers, exc_info = self._headers, self._exc_info
        self._exc_info = None  # it refers to this frame
        if self._touched:
            headers = with_session_headers(headers, self._set_cookie)
        try:
            if exc_info is None:
                self._write = self._server(self._status or "", headers)
            else:
                self._write = self._server(self._status or "", headers, exc_info)
        finally:
            exc_info = None


class _Body:
    """The chunks of an application that are still to be made."""

    __slots__ = ("_body", "_chunks", "_failed", "_response")

    def __init__(self, body: Iterable[bytes], response: _Response) -> None:
        self._body = body
        self._chunks: Iterator[bytes] | None = None
        self._response = response
        self._failed = False

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            if self._chunks is None:
                self._chunks = iter(self._body)
            chunk = next(self._chunks, _END)
            if not self._response.sent:
                self._response.send_headers()
        except BaseException:
            self._failed = True
            raise
        if chunk is _END:
            raise StopIteration
        return chunk

    def close(self) -> None:
        """Close the application's body first, then the session."""
        self._response.seal()
        try:
            _close(self._body)
            if not self._failed:
                self._response.close()
        finally:
            self._response.abandon()


def _close(body: object) -> None:
    close = getattr(body, "close", None)
    if close is not None:
        close()


def _is_file(body: object, environ: WSGIEnvironment) -> bool:
    wrapper = environ.get("wsgi.file_wrapper")
    if isinstance(wrapper, type):
        return isinstance(body, wrapper)
    return wrapper is not None and isinstance(body, io.IOBase)  # uWSGI's is a function
