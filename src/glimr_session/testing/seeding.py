"""Sessions for the tests of a whole application, with whatever client it is tested."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from http.cookies import SimpleCookie
from typing import Any, NamedTuple

from .._request.manager import SessionManager
from .._request.origin import Origin
from .._request.token import TOKEN_HEADER
from .._session.values import Json, JsonInput

__all__ = ["SeededCookie", "SessionContent", "read_session", "seed_session"]


class SeededCookie(NamedTuple):
    """A cookie for a test client: ``client.set_cookie(*cookie)``.

    With httpx and Starlette's TestClient it is ``client.cookies.set(*cookie, domain=host)``. The
    host of Starlette's is ``"testserver.local"``: without it a new cookie stands beside this one.

    Under ``transport = "header"`` it is the header X-Session-Token: ``headers=dict([cookie])``.

    Attributes:
        name: its name, from the configuration, or that of the header.
        value: its value, signed.
    """

    name: str
    value: str


class SessionContent(NamedTuple):
    """What a stored session holds.

    Attributes:
        data: its values.
        flash: what the next request will be shown.
    """

    data: dict[str, Json]
    flash: dict[str, Json]


def seed_session(
    application: object,
    data: Mapping[str, JsonInput],
    *,
    flash: Mapping[str, JsonInput] | None = None,
) -> SeededCookie:
    """Begin a session with this content, as if a request had; return its cookie, or its token.

    Args:
        application: the SessionMiddleware, or the framework's application whose ``wsgi_app``
            it is, or to which ``add_middleware`` has added it.
        data: the session's values.
        flash: what the first request is shown.

    Raises:
        TypeError: the application has no sessions of ours.
        ValueError: there is nothing in the session, and so no cookie.

    Example:
        >>> from glimr_session import CookieStore, SessionConfig, SessionMiddleware
        >>> config = SessionConfig(secret_keys=["signs the cookies of tests alone"])
        >>> app = SessionMiddleware(lambda environ, start_response: [], config, store=CookieStore())
        >>> cookie = seed_session(app, {"user": 1})
        >>> cookie.name
        'glimr_session'
        >>> read_session(app, cookie.value).data
        {'user': 1}
    """
    if not data and not flash:
        raise ValueError("an empty session has no cookie; seed it with data or flash")
    manager = _manager_of(application)
    config = manager._config
    request = manager.begin()
    request.session.update(data)
    for key, value in (flash or {}).items():
        request.session.flash(key, value)
    origin = Origin(True, config.cookie_domain.removeprefix("."), config.cookie_path)
    headers = dict(request.response_headers(200, [], origin=lambda: origin, last=True))
    request.close()
    if TOKEN_HEADER in headers:
        return SeededCookie(TOKEN_HEADER, headers[TOKEN_HEADER])
    (cookie,) = SimpleCookie(headers["Set-Cookie"]).values()
    return SeededCookie(cookie.key, cookie.value)


def read_session(application: object, cookie_value: str | None) -> SessionContent:
    """Return what is in the session behind a cookie, or a token; no flash is consumed by it.

    Args:
        application: as for ``seed_session``.
        cookie_value: the value of the cookie, or the token, that the client has now; None for none.

    Returns:
        The content; both parts are empty if there is no such session, or it has ended.

    Raises:
        TypeError: the application has no sessions of ours.
    """
    manager = _manager_of(application)
    value = cookie_value or ""
    is_token = manager.request_header == TOKEN_HEADER
    request = manager.begin(value if is_token else f"{manager._config.cookie}={value}")
    stored = request.fetch()
    request.abandon()
    return SessionContent({}, {}) if stored is None else SessionContent(stored.data, stored.flash)


def _manager_of(application: object) -> SessionManager:
    for candidate in (application, getattr(application, "wsgi_app", None), *_stack(application)):
        manager = getattr(candidate, "_manager", None)
        if isinstance(manager, SessionManager):
            return manager
    raise TypeError(
        f"{application!r} is no SessionMiddleware; pass the one that the application is wrapped "
        "in, and not what is around or in it"
    )


def _stack(application: Any) -> Iterator[object]:
    """Yield the middleware of an application of Starlette's, from the outside in."""
    if not hasattr(application, "build_middleware_stack"):
        return
    if application.middleware_stack is None:  # else its first request would build it
        application.middleware_stack = application.build_middleware_stack()
    layer = application.middleware_stack
    while layer is not None:
        yield layer
        layer = getattr(layer, "app", None)
