"""SessionMiddleware for Django, in the place of Django's own."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Iterator
from http.cookies import Morsel, SimpleCookie
from typing import Any

from asgiref.sync import iscoroutinefunction
from django import conf  # settings cannot be looked at, as doctest does, before they are set
from django.contrib.sessions import middleware
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse
from django.template import TemplateDoesNotExist
from django.template.loader import get_template

from .._log import logger
from .._request.error_page import error_page
from .._request.origin import Origin
from .._request.token import TOKEN_HEADER
from ..errors import StoreUnavailable
from ._setup import current, in_thread
from ._store import SessionStore

__all__ = ["SessionMiddleware"]

_PARTITIONED = "; Partitioned"


class SessionMiddleware(middleware.SessionMiddleware):  # type: ignore[misc]  # not typed
    """Gives each request of a Django site its session, in a signed cookie or a signed token.

    It is a subclass of Django's own, for the system check of Django's admin looks for that.

    Raises:
        ImproperlyConfigured: the settings cannot work.
    """

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        super().__init__(get_response)
        if not issubclass(self.SessionStore, SessionStore):
            raise ImproperlyConfigured(
                "glimr_session.django.SessionMiddleware needs the engine that belongs to it: set "
                'SESSION_ENGINE = "glimr_session.django"'
            )
        if f"{middleware.__name__}.SessionMiddleware" in conf.settings.MIDDLEWARE:
            raise ImproperlyConfigured(
                "glimr_session.django.SessionMiddleware stands in MIDDLEWARE beside Django's own, "
                "which would set another cookie. Remove Django's."
            )
        current().cookie_binding  # noqa: B018  # wrong settings are told at the start

    def __call__(self, request: HttpRequest) -> Any:
        if iscoroutinefunction(self):
            return self.__acall__(request)
        session = self._begin(request)
        try:
            response = self.get_response(request)
        except StoreUnavailable as error:  # the page for an error uses the session too
            return _unavailable(error)
        return response if session is None else self._finish(request, session, response)

    async def __acall__(self, request: HttpRequest) -> Any:
        session = self._begin(request)
        try:
            response = await self.get_response(request)
        except StoreUnavailable as error:
            return await in_thread(_unavailable, error)
        if session is None:
            return response
        replaced = getattr(request, "session", session) is not session
        if session.accessed or replaced or conf.settings.SESSION_SAVE_EVERY_REQUEST:
            return await in_thread(self._finish, request, session, response)
        return self._finish(request, session, response)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Answer 503 where a view could not read or save its session."""
        return _unavailable(exception) if isinstance(exception, StoreUnavailable) else None

    def _begin(self, request: HttpRequest) -> SessionStore | None:
        """Give a request its session, unless the same middleware has, outside of this one."""
        if isinstance(getattr(request, "session", None), SessionStore):
            return None
        session: SessionStore = self.SessionStore()
        session.begin(request.META.get(current().cookie_binding.cookie.environ_key, ""))
        setattr(request, "session", session)  # noqa: B010  # Django has no type for it
        return session

    def _finish(self, request: HttpRequest, session: SessionStore, response: Any) -> Any:
        """Commit the session and put its headers on the response."""
        if session.outage is not None and response.status_code == 500:
            return _unavailable(session.outage)  # another middleware has raised it
        current_session: Any = getattr(request, "session", session)
        if current_session is not session:  # a view has put another one in its place
            session.flush()
            session.update(dict(current_session.items()))
        file = getattr(response, "file_to_stream", None)  # the server may have a way to send it
        last = not response.streaming or file is not None
        try:
            if conf.settings.SESSION_SAVE_EVERY_REQUEST and session.session_key:
                session.keys()  # used, and so renewed
            headers = session.keeper.response_headers(
                response.status_code,
                list(response.items()),
                origin=functools.partial(_origin, request),
                last=last,
            )
        except StoreUnavailable as error:
            return _unavailable(error)
        transport = current().cookie_binding.cookie
        cookies = [_morsel(value) for name, value in headers if name == "Set-Cookie"]
        for name, value in headers:
            if name in ("Vary", "Cache-Control", TOKEN_HEADER):
                response[name] = value
            if name == TOKEN_HEADER == transport.response_header:
                session.sent(value)
        for number, cookie in enumerate(cookies, 1):  # ours is the last one
            others = f" {number}" if number < len(cookies) else ""
            response.cookies[f"{cookie.key}{others}"] = cookie
            if cookie.value:
                session.sent(f"{cookie.key}={cookie.value}")
        if not last:
            stream = _astream if response.is_async else _stream
            response.streaming_content = stream(response.streaming_content, session)
        return response


def _stream(chunks: Iterator[bytes], session: SessionStore) -> Iterator[bytes]:
    """Send the chunks of a response, and commit what its session was given meanwhile."""
    try:
        yield from chunks
    except GeneratorExit:  # the client has left
        session.keeper.flush(last=True)
        raise
    session.keeper.flush(last=True)


async def _astream(chunks: AsyncIterator[bytes], session: SessionStore) -> AsyncIterator[bytes]:
    try:
        async for chunk in chunks:
            yield chunk
    except (GeneratorExit, asyncio.CancelledError):
        await in_thread(session.keeper.flush, last=True)
        raise
    await in_thread(session.keeper.flush, last=True)


def _morsel(set_cookie: str) -> Morsel[str]:
    """Return a cookie as Django's responses hold it."""
    value = set_cookie.removesuffix(_PARTITIONED)
    (morsel,) = SimpleCookie(value).values()
    if morsel["max-age"]:
        morsel["max-age"] = int(morsel["max-age"])  # as Django's own cookies have it
    if not conf.settings.SESSION_COOKIE_HTTPONLY:
        morsel["httponly"] = ""
    if not conf.settings.SESSION_COOKIE_SAMESITE and morsel["samesite"] == "Lax":  # our own default
        morsel["samesite"] = ""
    if value != set_cookie:  # the standard library knows this attribute since Python 3.14 only
        morsel["samesite"] += _PARTITIONED
    return morsel


def _origin(request: HttpRequest) -> Origin:
    """Return where a request came to; Django knows which proxies to trust."""
    return Origin.from_cgi({**request.META, "wsgi.url_scheme": request.scheme})


def _unavailable(error: StoreUnavailable) -> HttpResponse:
    """Answer with the template 503.html, or else with a plain page."""
    logger.error("A session could not be read or committed: %s", error, exc_info=error)
    try:
        html = get_template("503.html").render()
    except TemplateDoesNotExist:
        _, headers, body = error_page(error)
        return HttpResponse(body, status=503, headers=dict(headers))
    return HttpResponse(html, status=503, headers={"Cache-Control": "no-store"})
