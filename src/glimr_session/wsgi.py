"""SessionMiddleware: sessions for WSGI applications (PEP 3333)."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from ._request.manager import SessionManager
from ._request.request_session import RequestSession
from .config import SessionConfig
from .stores.base import SessionStore

if TYPE_CHECKING:
    from _typeshed import OptExcInfo
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

__all__ = ["ENVIRON_KEY", "SessionMiddleware"]

ENVIRON_KEY: Final = "glimr.session"
"""The session of a request is ``environ["glimr.session"]``."""

_END: Final[Any] = object()
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})


class SessionMiddleware:
    """Gives each request of a WSGI application its session.

    Args:
        app: the application to wrap.
        config: the settings; None reads keys and cookie from the environment,
            ``GLIMR_SESSION_SECRET_KEYS`` and its like.
        store: beats the store of ``setup()``, which beats the one that ``config`` asks for.
            With none of them the application still serves, its sessions are forgotten, and
            one warning says so.

    Raises:
        ConfigError: the configuration cannot work. Raised here and not in a request.

    Example:
        >>> def app(environ, start_response):
        ...     visits = environ["glimr.session"].increment("visits")
        ...     start_response("200 OK", [("Content-Type", "text/plain")])
        ...     return [f"Visit {visits}".encode()]
        >>> application = SessionMiddleware(app, SessionConfig.from_mapping({
        ...     "store": "cookie", "secret_keys": ["a secret key of 32 characters or so"],
        ... }))
    """

    def __init__(
        self,
        app: WSGIApplication,
        config: SessionConfig | None = None,
        *,
        store: SessionStore | None = None,
    ) -> None:
        self._app = app
        self._manager = SessionManager.from_config(config, store)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        request = self._manager.begin(environ.get("HTTP_COOKIE", ""))
        environ[ENVIRON_KEY] = request.session
        response = _Response(request, environ, start_response)
        body: Iterable[bytes] = ()
        try:
            body = self._app(environ, response.start)
            if type(body) is list or type(body) is tuple or _is_file(body, environ):
                # Nothing of the application runs any more, and servers look at the very
                # object for Content-Length and sendfile.
                response.send_headers(last=True)
                response.close()
                return body
        except BaseException:
            request.abandon()
            _close(body)  # the server will not get it
            raise
        return _Body(body, response)


class _Response:
    """One response, held back until its session is committed."""

    def __init__(
        self, request: RequestSession, environ: WSGIEnvironment, server: StartResponse
    ) -> None:
        self.request = request
        self.sent = False
        self._environ = environ
        self._server = server
        self._status: str | None = None

    def start(
        self, status: str, headers: list[tuple[str, str]], exc_info: OptExcInfo | None = None, /
    ) -> Callable[[bytes], object]:
        """Take status and headers: the application's ``start_response``."""
        if self._status is not None and exc_info is None:
            raise AssertionError("start_response was called again without exc_info (PEP 3333)")
        self._status = status
        self._headers = [*headers]  # the application may change its list before they are sent
        self._exc_info = exc_info
        if self.sent:
            self._start_server_response()
        return self.write

    def write(self, data: bytes) -> object:
        """Send a chunk at once: PEP 3333's legacy way to answer."""
        self.send_headers()
        return self._write(data)

    def send_headers(self, *, last: bool = False) -> None:
        """Commit the session and start the server's response, once.

        If the application has not started a response, the server is left to complain.
        """
        if not self.sent and self._status is not None:
            self._start_server_response(last)

    def close(self) -> None:
        """Close the session; what was done to it in a response that never began is dropped."""
        if self._status is None:
            self.request.abandon()
        else:
            self.request.close()

    def _start_server_response(self, last: bool = False) -> None:
        status, exc_info = self._status or "", self._exc_info
        self._exc_info = None  # its traceback refers to this frame
        try:
            headers = self.request.response_headers(
                status, self._headers, secure=self._needs_secure, last=last
            )
            self.sent = True
            if exc_info is None:
                self._write = self._server(status, headers)
            else:
                self._write = self._server(status, headers, exc_info)
        finally:
            exc_info = None

    def _needs_secure(self) -> bool:
        """Whether the cookie needs Secure: not for plain HTTP to this very machine."""
        environ = self._environ
        if environ.get("wsgi.url_scheme") == "https" or "HTTP_X_FORWARDED_PROTO" in environ:
            return True
        host: str = environ.get("HTTP_HOST") or environ.get("SERVER_NAME", "")
        name = host[: host.find("]") + 1] if host.startswith("[") else host.partition(":")[0]
        return name.lower() not in _LOOPBACK


class _Body:
    """The chunks that the application has still to make."""

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
        request = self._response.request
        request.sealed = True  # the client may have left before the headers
        try:
            _close(self._body)
            if not self._failed:
                self._response.close()
        finally:
            request.abandon()


def _close(body: object) -> None:
    if (close := getattr(body, "close", None)) is not None:
        close()


def _is_file(body: object, environ: WSGIEnvironment) -> bool:
    wrapper = environ.get("wsgi.file_wrapper")
    if isinstance(wrapper, type):
        return isinstance(body, wrapper)
    return wrapper is not None and isinstance(body, io.IOBase)  # uWSGI's is a function
