"""What the reader of a page has already, and its blocks use. See ``test_documents.py``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from werkzeug.test import Client

from glimr_session import CookieStore, Session, SessionConfig, SessionMiddleware, SessionStore

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


def my_app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    """Serve one request."""
    session: Session = environ["glimr.session"]
    session.clear()
    start_response("200 OK", [])
    return []


def client(app: WSGIApplication) -> Client:
    """Return a test client."""
    return Client(app)


session: Session = Session.start("0" * 64)
config: SessionConfig = SessionConfig(secret_keys=["a key for tests that is long enough"])
store: SessionStore = CookieStore()
app: SessionMiddleware = SessionMiddleware(my_app, config, store=store)
