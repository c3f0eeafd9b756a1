"""How applications are tested: httpx.AsyncClient, overrides of the dependency."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.requests import HTTPConnection
from fastapi.testclient import TestClient

from glimr_session import DiskStore, SessionStore
from glimr_session.fastapi import AsgiSession, SessionDep, session_cookie, session_of
from glimr_session.testing import read_session, seed_session

from .sites import ask, make_app


def counting(store: SessionStore | None = None) -> FastAPI:
    app = make_app(store)

    @app.get("/count")
    async def count(session: SessionDep) -> int | float:
        return session.increment("visits")

    return app


def as_ada(connection: HTTPConnection) -> AsgiSession:
    session = session_of(connection)
    session["user"] = "Ada"
    return session


@pytest.mark.parametrize("url", ["http://testserver", "http://localhost", "https://example.org"])
def test_an_async_client_keeps_the_session(store: SessionStore, url: str) -> None:
    """Its cookie comes back over HTTPS, and over plain HTTP to this machine."""

    async def visit() -> list[int]:
        transport = httpx.ASGITransport(counting(store))
        async with httpx.AsyncClient(transport=transport, base_url=url) as client:
            return [(await client.get("/count")).json() for _ in range(3)]

    assert asyncio.run(visit()) == [1, 2, 3]


def test_requests_at_the_same_time_add_up(disk: DiskStore) -> None:
    """Twenty requests of one client, all at once, on one event loop."""

    async def visit() -> Any:
        transport = httpx.ASGITransport(counting(disk))
        async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
            await client.get("/count")
            await asyncio.gather(*(client.get("/count") for _ in range(20)))
            return (await client.get("/session")).json()

    assert asyncio.run(visit()) == {"visits": 21}


def test_an_override_changes_the_real_session(store: SessionStore) -> None:
    """A test logs in by the dependency, and the cookie, the verbs and the commit are real."""
    app = counting(store)
    app.dependency_overrides[session_cookie] = as_ada
    client = TestClient(app)
    ask(client, "/count")
    app.dependency_overrides.clear()
    assert ask(client) == {"user": "Ada", "visits": 1}


def test_a_seeded_session_is_that_of_the_client(store: SessionStore) -> None:
    """A test begins with a session, and looks into it in the end, without a request."""
    app = counting(store)
    client = TestClient(app)
    client.cookies.set(*seed_session(app, {"user": "Ada"}), domain="testserver.local")
    ask(client, "/count")
    found = read_session(app, client.cookies["glimr_session"])
    assert found.data == {"user": "Ada", "visits": 1}
