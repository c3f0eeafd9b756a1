"""SessionMiddleware: sessions for WSGI applications (PEP 3333)."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from ._log import logger
from ._request.error_page import OnError, plain_page
from ._request.manager import SessionManager
from ._request.origin import Origin
from ._request.request_session import RequestSession
from .config import SessionConfig
from .errors import SessionTooLarge, StoreUnavailable
from .session import Session
from .stores.base import SessionStore

if TYPE_CHECKING:
    from _typeshed import OptExcInfo
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

__all__ = ["ENVIRON_KEY", "OnError", "SessionMiddleware"]

ENVIRON_KEY: Final = "glimr.session"
"""The session of a request is ``environ["glimr.session"]``, unless ``key`` is set."""
_END: Final[Any] = object()


class SessionMiddleware:
    """Gives each request of a WSGI application its session.

    Args:
        app: the application to wrap.
        config: the settings; None reads the environment: ``GLIMR_SESSION_SECRET_KEYS``, ...
        store: beats the one of ``setup()``, which beats that of ``config``. Without any of them
            sessions are forgotten, and one warning says so.
        on_error: ``on_error(environ, start_response, error)`` answers where the session cannot
            be read or committed and the application has not caught the error. The default is
            a plain page: 503 for StoreUnavailable, 500 for SessionTooLarge. Both are logged.

    Raises:
        ConfigError: the configuration cannot work.

    Example:
        >>> def app(environ, start_response):
        ...     visits = environ["glimr.session"].increment("visits")
        ...     start_response("200 OK", [("Content-Type", "text/plain")])
        ...     return [f"Visit {visits}".encode()]
        >>> config = SessionConfig(store="cookie", secret_keys=["oUv7 random, 32 characters of it"])
        >>> application = SessionMiddleware(app, config)
    """

    def __init__(
        self,
        app: WSGIApplication,
        config: SessionConfig | None = None,
        *,
        store: SessionStore | None = None,
        on_error: OnError | None = None,
    ) -> None:
        self._app, self._on_error = app, on_error or plain_page
        self._manager = SessionManager.from_config(config, store)
        self._key, self._header = self._manager.key, self._manager.environ_key

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        outer = environ.get(self._key)
        if isinstance(outer, Session) and outer.is_open:  # the same middleware, twice
            return self._app(environ, start_response)
        request = self._manager.begin(environ.get(self._header, ""))
        environ[self._key] = request.session
        response = _Response(request, environ, start_response, self._on_error)
        body: Iterable[bytes] = ()
        try:
            body = self._app(environ, response.start)
            if type(body) is list or type(body) is tuple or _is_file(body, environ):
                # Servers look at the very object, for Content-Length and sendfile.
                response.send_headers(last=True)
                request.flush(last=True)  # of what came after write()
                return body
            return _Body(body, response)
        except BaseException as error:  # noqa: BLE001  # raised again, or answered
            request.abandon()
            _close(body)  # the server will not get it
            return response.fail(error)


class _Response:
    """One response, held back until its session is committed."""

    sent = False
    _status: str | None = None

    def __init__(
        self, request: RequestSession, environ: WSGIEnvironment, start: StartResponse, fail: OnError
    ) -> None:
        self.request, self._environ = request, environ
        self._server, self._on_error = start, fail

    def start(
        self, status: str, headers: list[tuple[str, str]], exc_info: OptExcInfo | None = None, /
    ) -> Callable[[bytes], object]:
        """Take status and headers: the application's ``start_response``."""
        if self._status is not None and exc_info is None:
            raise AssertionError("start_response was called again without exc_info (PEP 3333)")
        self._status = status
        self.request.begin_response(status)
        self._headers = [*headers]  # the application may change its list before they are sent
        self._exc_info = () if exc_info is None else (exc_info,)
        if self.sent:
            self.send_headers(again=True)
        return self.write

    def write(self, data: bytes) -> object:
        if not (data or self.sent):
            return None  # it is no first chunk
        self.send_headers()
        return self._write(data)

    def send_headers(self, *, last: bool = False, again: bool = False) -> None:
        """Commit the session and start the server's response, once the application has."""
        if self._status is None or (self.sent and not again):
            return
        exc_info, self._exc_info = self._exc_info, ()  # its traceback refers to this frame
        try:
            headers = self.request.response_headers(
                self._status, self._headers, origin=self._origin, last=last
            )
            self.sent = True
            self._write = self._server(self._status, headers, *exc_info)
        finally:
            del exc_info

    def _origin(self) -> Origin:
        return Origin.from_cgi(self._environ)

    def fail(self, error: BaseException) -> Iterable[bytes]:
        """Keep nothing, and answer with an error page if it is the session that has failed."""
        self.request.abandon()
        if self.sent or not isinstance(error, StoreUnavailable | SessionTooLarge):
            raise error
        self.sent = True  # by the page
        logger.error("A session could not be read or committed: %s", error, exc_info=error)
        return self._on_error(self._environ, self._server, error)


class _Body:
    """The chunks that the application has still to make."""

    _chunks: Iterator[bytes] | None = None

    def __init__(self, body: Iterable[bytes], response: _Response) -> None:
        self._response, self._body = response, body

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        response = self._response
        try:
            if self._chunks is None:
                self._chunks = iter(self._body)
            chunk = next(self._chunks, _END)
            while chunk == b"" and not response.sent:  # the session is not committed yet
                chunk = next(self._chunks, _END)
            response.send_headers()
            if chunk is _END:
                response.request.flush()  # some never call close()
        except BaseException as error:  # noqa: BLE001  # raised again, or answered
            failed, self._body = self._body, response.fail(error)
            self._chunks = iter(self._body)
            _close(failed)
            chunk = next(self._chunks, _END)
        if chunk is _END:
            raise StopIteration
        return chunk

    def close(self, *, wait: bool = True) -> None:
        request = self._response.request
        request.sealed = True  # the client may have left before the headers
        try:
            _close(self._body)
            request.close(wait=wait)
        finally:
            request.abandon()

    def __del__(self) -> None:
        if not self._response.request.closed:  # the server has dropped it
            self.close(wait=False)  # this thread may be in the middle of a commit


def _close(body: object) -> None:
    getattr(body, "close", lambda: None)()


def _is_file(body: object, environ: WSGIEnvironment) -> bool:
    wrapper = environ.get("wsgi.file_wrapper")
    kind = wrapper if isinstance(wrapper, type) else io.IOBase  # uWSGI's is a function
    return wrapper is not None and isinstance(body, kind)
