"""The session engine and the session middleware for Django.

In ``settings.py``::

    SESSION_ENGINE = "glimr_session.django"
    GLIMR_SESSION = {"store": "disk", "disk": {"directory": "var/sessions"}}

Django's own ``SessionMiddleware`` works with it. This one, in its place, signs the cookie, and
answers where Django's has to interrupt the request::

    MIDDLEWARE = ["glimr_session.django.SessionMiddleware", ...]
"""

from ._middleware import SessionMiddleware
from ._store import SessionStore

__all__ = ["SessionMiddleware", "SessionStore"]
