"""Sessions for Pyramid: ``config.include("glimr_session.pyramid")``."""

from __future__ import annotations

import io
import os
import secrets
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from pyramid.events import ApplicationCreated
from pyramid.interfaces import IException, ISession, ISessionFactory
from pyramid.response import FileIter, Response
from pyramid.settings import aslist
from zope.interface import classImplements, implementer

from ._log import logger, warn
from ._request.error_page import error_page
from ._request.live_session import LiveSession, owner_keys
from ._request.manager import SessionManager
from ._request.origin import Origin
from ._request.request_session import RequestSession
from .config import SessionConfig
from .errors import StoreUnavailable
from .stores.base import SessionStore

if TYPE_CHECKING:
    from pyramid.config import Configurator

__all__ = ["PyramidSession", "SessionFactory", "includeme", "session_factory"]

_SETTINGS: Final = "glimr_session."
_LOGIN_KEY: Final = "auth.userid"  # SessionAuthenticationHelper's, unless it has a prefix
_SECRET_KEYS: Final = "GLIMR_SESSION_SECRET_KEYS"  # noqa: S105  # a name
_FLASH: Final = "_f_"
_CSRF_TOKEN: Final = "_csrft_"  # noqa: S105  # a name


def includeme(config: Configurator) -> None:
    """Give each request its session, as the settings ``glimr_session.*`` say.

    Text is read as in the environment: ``glimr_session.disk.directory`` is
    ``GLIMR_SESSION_DISK_DIRECTORY``; ``glimr_session.secret_keys`` are separated by spaces, lines
    or commas. Variables of the environment beat the settings.

    A StoreUnavailable that no view of the application takes is answered with 503.

    Without any such setting, and without a key in the environment, the application is to set a
    ``session_factory()`` of its own.

    Raises:
        ConfigError: the configuration cannot work.
    """
    settings = config.get_settings()
    if os.environ.get(_SECRET_KEYS) or any(name.startswith(_SETTINGS) for name in settings):
        config.set_session_factory(session_factory(_config_from(settings)))
    config.add_subscriber(_look_at_the_factory, ApplicationCreated)
    config.add_tween("glimr_session.pyramid.session_tween_factory")
    config.add_exception_view(_answer_outage, context=_IOutage)


def _look_at_the_factory(event: Any) -> None:
    if not isinstance(event.app.registry.queryUtility(ISessionFactory), SessionFactory):
        warn(
            "glimr_session.pyramid is included, and the application has another session factory "
            "or none. Remove its set_session_factory(), or give it glimr_session.pyramid's "
            "session_factory(); or set glimr_session.secret_keys."
        )


def session_tween_factory(handler: Callable[[Any], Any], _registry: Any) -> Callable[[Any], Any]:
    """Return a tween that begins the session of a request whose body is still to be made."""

    def tween(request: Any) -> Any:
        response = handler(request)
        if not _is_finished(response.app_iter, request.environ):
            _ = request.session  # now it has its callbacks, if the body is the first to use it
        return response

    return tween


def session_factory(
    config: SessionConfig | Mapping[str, Any] | None = None, *, store: SessionStore | None = None
) -> SessionFactory:
    """Return a session factory for ``Configurator.set_session_factory``.

    Args:
        config: the settings; a mapping has the shape of ``session.toml`` and is beaten by the
            environment; None reads the environment alone.
        store: beats the one of ``setup()``, which beats that of ``config``.

    Raises:
        ConfigError: the configuration cannot work.

    Example:
        >>> from pyramid.testing import DummyRequest
        >>> factory = session_factory({
        ...     "store": "cookie", "secret_keys": ["oUv7 - 32 characters, made at random"],
        ... })
        >>> session = factory(DummyRequest())
        >>> session.flash("Saved.")
        >>> session.pop_flash()
        ['Saved.']
    """
    if not isinstance(config, SessionConfig):
        config = SessionConfig.from_mapping(config or {}, os.environ)
    return SessionFactory(config, store)


class SessionFactory:
    """Makes the session of each request; ``seed_session`` and ``read_session`` take it, too."""

    def __init__(self, config: SessionConfig, store: SessionStore | None) -> None:
        self._manager = SessionManager.from_config(config, store)
        self._login_keys = {_LOGIN_KEY, config.login_key or _LOGIN_KEY}
        self._owner_keys = owner_keys(config, _LOGIN_KEY)

    def __call__(self, request: Any) -> PyramidSession:
        cookies = request.environ.get(self._manager.environ_key, "")
        session = PyramidSession(self._manager.begin(cookies), self._login_keys, self._owner_keys)
        exchange = _Exchange(session)
        request.add_response_callback(exchange.commit)
        request.add_finished_callback(exchange.finish)
        return session


@implementer(ISession)
class PyramidSession(LiveSession):
    """``request.session``: a dict whose values may be changed in place, and Pyramid's ISession."""

    def __init__(
        self,
        request: RequestSession,
        login_keys: Collection[str] = (),
        owner_keys: Sequence[str] = (),
    ) -> None:
        super().__init__(request, login_keys, owner_keys)
        self._began = time.time()
        self._ended = False

    @property
    def new(self) -> bool:
        """Whether the session begins with this request."""
        self.read()
        return self._ended or self.request.fetch() is None

    @property
    def created(self) -> int:
        """When the session was given its id, in seconds since 1970.

        A login gives it a new one. The setting ``absolute_lifetime`` counts from then, too.
        """
        self.read()
        stored = None if self._ended else self.request.fetch()
        return int(self._began if stored is None else stored.created_at)

    def changed(self) -> None:
        """Set ``modified``, and nothing more: changes are found without it, nested ones too."""
        self._begin_change()

    def invalidate(self) -> None:
        """Forget everything, destroy what is stored and go on as a new session: a logout."""
        super().invalidate()
        self._ended, self._began = True, time.time()

    def flash(  # type: ignore[override]  # Pyramid's, not ours
        self, msg: Any, queue: str = "", allow_duplicate: bool = True
    ) -> None:
        """Add a message to a queue.

        Args:
            msg: what JSON has.
            queue: its name.
            allow_duplicate: whether to add it if it is in the queue already.
        """
        messages = self.setdefault(_FLASH + queue, [])
        if allow_duplicate or msg not in messages:
            messages.append(msg)

    def pop_flash(self, queue: str = "") -> list[Any]:
        """Return the messages of a queue, and empty it."""
        messages: list[Any] = self.pop(_FLASH + queue, [])
        return messages

    def peek_flash(self, queue: str = "") -> list[Any]:
        """Return the messages of a queue, and leave them there."""
        messages: list[Any] = self.get(_FLASH + queue, [])
        return messages

    def new_csrf_token(self) -> str:
        """Make a new CSRF token, and return it: at a login, for example."""
        self[_CSRF_TOKEN] = token = secrets.token_hex(20)
        return token

    def get_csrf_token(self) -> str:
        """Return the CSRF token; it is made if there is none."""
        token: str | None = self.get(_CSRF_TOKEN)
        return self.new_csrf_token() if token is None else token


class _Exchange:
    """Commits and ends the session of a request, which it does not hold: that would be a cycle."""

    _last = False
    _streamed = False

    def __init__(self, session: PyramidSession) -> None:
        self._session = session

    def commit(self, request: Any, response: Any) -> None:
        """Commit and set our headers: behind the application's callbacks, which may use it."""
        if not self._last and any(other != self.commit for other in request.response_callbacks):
            self._last = True
            request.add_response_callback(self.commit)
            return
        session, body = self._session, response.app_iter
        self._streamed = not _is_finished(body, request.environ)
        try:
            headers = session.response_headers(
                response.status,
                response.headerlist,
                origin=lambda: Origin.from_cgi(request.environ),
                last=not self._streamed,
            )
        except Exception:  # noqa: BLE001  # answered, or raised again
            self._streamed = False
            _close(body)
            answer = request.invoke_exception_view(reraise=True)
            response.status, body = answer.status, answer.app_iter
            headers = answer.headerlist
        if self._streamed:
            body = _Body(body, session)
        if body is not response.app_iter:
            headers = [*headers]  # WebOb drops the Content-Length with the old body
            response.app_iter = body
        if headers is not response.headerlist:
            response.headerlist[:] = headers

    def finish(self, _request: Any) -> None:
        """End the session, unless its response is still to be made."""
        if not self._streamed:
            self._session.request.abandon()


class _Body:
    """The chunks that the application has still to make."""

    def __init__(self, body: Iterable[bytes], session: PyramidSession) -> None:
        self._body, self._session = body, session

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._body
            self._session.flush(last=False)  # some never call close()
        except GeneratorExit:  # the client has left
            raise
        except BaseException:
            self._session.request.abandon()
            raise

    def close(self, *, wait: bool = True) -> None:
        try:
            _close(self._body)
            self._session.flush(wait=wait)
        finally:
            self._session.request.abandon()

    def __del__(self) -> None:
        if not self._session.request.closed:  # the server has dropped it
            self.close(wait=False)  # this thread may be in the middle of a commit


class _IOutage(IException):  # type: ignore[misc]  # zope.interface is not typed
    """What the default view is registered for: StoreUnavailable, if no view is for that itself."""


classImplements(StoreUnavailable, _IOutage)


def _answer_outage(error: StoreUnavailable, _request: Any) -> Response:
    logger.error("A session could not be read or committed: %s", error, exc_info=error)
    status, headers, body = error_page(error)
    return Response(body, status=status, headerlist=headers)


def _config_from(settings: Mapping[str, Any]) -> SessionConfig:
    text, values = dict[str, str](), dict[str, Any]()
    for key, value in settings.items():
        if key.startswith(_SETTINGS):
            name = key.removeprefix(_SETTINGS).replace(".", "_")
            if isinstance(value, str):
                text[f"GLIMR_SESSION_{name.upper()}"] = value
            else:
                values[name] = value
    text[_SECRET_KEYS] = ",".join(aslist(text.get(_SECRET_KEYS, "")))
    return SessionConfig.from_mapping(
        values, text | {name: value for name, value in os.environ.items() if value}
    )


def _is_finished(body: object, environ: Mapping[str, Any]) -> bool:
    """Whether nothing can use the session while this is sent."""
    wrapper = environ.get("wsgi.file_wrapper")
    kind = wrapper if isinstance(wrapper, type) else io.IOBase  # uWSGI's is a function
    return isinstance(body, list | tuple | FileIter | kind)


def _close(body: object) -> None:
    getattr(body, "close", lambda: None)()
