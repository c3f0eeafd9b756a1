"""Owners behind the door for event loops, with the setting ``login_key``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from fastapi.testclient import TestClient

from glimr_session import DiskStore
from glimr_session.fastapi import SessionDep, SessionMiddleware
from tests.frameworks import owners_page
from tests.frameworks.owners_contract import USER, OwnersContract
from tests.support.wsgi_apps import KEY


class TestFastApi(OwnersContract):
    """The contract, by FastAPI's test client."""

    def make_site(self, store: DiskStore, *, owner_from_login: bool) -> Callable[[], Any]:
        app = FastAPI()

        @app.get("/{page}")
        async def answer(page: str, session: SessionDep) -> str:
            if page == "begin":
                return str(session.increment("n"))
            if page == "logout":
                del session["user"]
                return "done"
            if page == "who":
                return str(session.get("user", ""))
            if page == "all":
                return str(await session.store.adestroy_all(USER, except_=session))
            if page == "other":
                session.belongs_to("tenant")
            session["user"] = USER
            if page == "device":
                session.belongs_to(USER, device="phone")
            return "done"

        app.add_middleware(
            SessionMiddleware,
            config={
                "secret_keys": [KEY],
                "gc": "never",
                "login_key": "user",
                "owner_from_login": owner_from_login,
            },
            store=store,
        )
        return lambda: TestClient(app, base_url="https://testserver")

    def ask(self, client: Any, path: str) -> str:
        return str(client.get(path).json())

    def copy_cookies(self, client: Any, other: Any) -> None:
        client.cookies.update(other.cookies)


def test_the_program_on_the_page(disk: DiskStore) -> None:
    """Another browser of the user is logged out by it, and this one is not."""
    app = FastAPI()

    @app.get("/login")
    async def log_in(session: SessionDep) -> str:
        session["user"] = USER
        return await session.store.ahandle_of(session)

    @app.get("/who")
    async def who(session: SessionDep) -> str:
        return str(session.get("user"))

    app.include_router(owners_page.run(owners_page.FASTAPI)["router"])
    config = {"secret_keys": [KEY], "login_key": "user", "owner_from_login": True}
    app.add_middleware(SessionMiddleware, config=config, store=disk)
    clients = [TestClient(app, base_url="https://testserver") for _ in range(2)]
    assert [client.get("/login").json() for client in clients] == ["", ""]  # not committed yet
    assert clients[0].get("/login").json() in {info.handle for info in disk.sessions(USER)}
    assert clients[0].post("/logout-everywhere").json() == "Logged out on 1 other devices."
    assert [client.get("/who").json() for client in clients] == [USER, "None"]
