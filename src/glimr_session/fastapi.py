"""The session as a dependency of FastAPI: ``async def page(session: SessionDep)``."""

from __future__ import annotations

from typing import Annotated

from fastapi import Security
from fastapi.openapi.models import APIKey
from fastapi.requests import HTTPConnection
from fastapi.security.base import SecurityBase

from .asgi import AsgiSession, SessionMiddleware, session_of

__all__ = ["AsgiSession", "SessionCookie", "SessionDep", "SessionMiddleware"]


class SessionCookie(SecurityBase):
    """A dependency that is the session of a request or a websocket.

    In OpenAPI it is an API key in a cookie. It lets everybody in: whether somebody is logged in
    is for the application to say.

    Args:
        name: of the cookie; the application's documentation shows it, and nothing else uses it.

    Example:
        >>> Own = Annotated[AsgiSession, Security(SessionCookie("shop"))]
    """

    def __init__(self, name: str = "session") -> None:
        about = "The session. The server sets the cookie, and browsers send it back."
        self.model = APIKey.model_validate({"in": "cookie", "name": name, "description": about})
        self.scheme_name = "session"

    def __call__(self, connection: HTTPConnection) -> AsgiSession:
        """Return the session; FastAPI calls it.

        Raises:
            TypeError: the application is not wrapped in SessionMiddleware.
        """
        return session_of(connection)


SessionDep = Annotated[AsgiSession, Security(SessionCookie())]
"""The session of a request or a websocket, whose cookie is called ``session``."""
