"""The session as a dependency of FastAPI: ``async def page(session: SessionDep)``."""

# No "from __future__ import annotations": FastAPI reads those of __call__ itself, and
# older versions of it do not understand strings.

from typing import Annotated, Final

from fastapi import Security
from fastapi.openapi.models import APIKey
from fastapi.requests import HTTPConnection
from fastapi.security.base import SecurityBase

from ._request.token import TOKEN_HEADER
from .asgi import AsgiSession, SessionMiddleware, session_of
from .config import SessionConfig

__all__ = [
    "AsgiSession",
    "SessionCookie",
    "SessionDep",
    "SessionMiddleware",
    "SessionToken",
    "session_cookie",
    "session_of",
]


class SessionCookie(SecurityBase):
    """A dependency that is the session of a request or a websocket.

    In OpenAPI it is an API key in a cookie. It lets everybody in: whether somebody is logged in
    is for the application to say.

    Args:
        name: the cookie's name in the application's documentation; nothing else uses it.

    Example:
        The name is the configured one::

            config = SessionConfig.from_toml("session.toml")
            ShopSession = Annotated[AsgiSession, Security(SessionCookie(config.cookie))]
    """

    def __init__(self, name: str = SessionConfig.cookie) -> None:
        about = "The session. The server sets the cookie, and browsers send it back."
        self.model = APIKey.model_validate({"in": "cookie", "name": name, "description": about})
        self.scheme_name = name

    async def __call__(self, connection: HTTPConnection) -> AsgiSession:  # async: needs no thread
        """Return the session; FastAPI calls it.

        Raises:
            TypeError: the application is not wrapped in SessionMiddleware.
        """
        return session_of(connection)


class SessionToken(SessionCookie):
    """The same for ``transport = "header"``: an API key in the header X-Session-Token.

    Example:
        In the place of SessionDep::

            TokenDep = Annotated[AsgiSession, Security(SessionToken())]
    """

    def __init__(self) -> None:
        super().__init__(TOKEN_HEADER)
        about = "The session. A response that has this header replaces it; an empty one ends it."
        self.model = APIKey.model_validate(
            {"in": "header", "name": TOKEN_HEADER, "description": about}
        )


session_cookie: Final = SessionCookie()
"""What is behind SessionDep: the key of ``app.dependency_overrides`` in tests."""

SessionDep = Annotated[AsgiSession, Security(session_cookie)]
"""The session of a request or a websocket; OpenAPI shows the cookie ``glimr_session``, which is
the default of ``SessionConfig``. For another name see :class:`SessionCookie`."""
