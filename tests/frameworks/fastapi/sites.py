"""FastAPI applications for the tests."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI
from fastapi.testclient import TestClient

from glimr_session import SessionConfig, SessionStore
from glimr_session.fastapi import SessionDep, SessionMiddleware

__all__ = ["CONFIG", "LIFETIME", "ask", "make_app"]

LIFETIME: Final = 1000.0
CONFIG: Final = SessionConfig(
    store="cookie", secret_keys=["a key for tests that is long enough"], gc="never"
)


def make_app(store: SessionStore | None = None, **settings: Any) -> FastAPI:
    """Return an application with our sessions, whose ``/session`` shows what is in one."""
    app = FastAPI(**settings)
    app.add_middleware(SessionMiddleware, config=CONFIG, store=store)

    @app.get("/session")
    async def show(session: SessionDep) -> dict[str, Any]:
        return session.all()

    return app


def ask(client: TestClient, path: str = "/session") -> Any:
    """Return the JSON of an answer."""
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    return answer.json()
