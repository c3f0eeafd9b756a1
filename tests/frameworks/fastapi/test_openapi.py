"""What OpenAPI says of the session."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Security
from fastapi.testclient import TestClient

from glimr_session import SessionConfig
from glimr_session.fastapi import AsgiSession, SessionCookie, SessionDep, SessionMiddleware

from .sites import CONFIG

SHOP = SessionConfig(store="cookie", cookie="shop", secret_keys=CONFIG.secret_keys)

ShopSession = Annotated[AsgiSession, Security(SessionCookie(SHOP.cookie))]


def scheme(name: str) -> dict[str, str]:
    """Return how OpenAPI is to describe a cookie of this name."""
    return {
        "type": "apiKey",
        "in": "cookie",
        "name": name,
        "description": "The session. The server sets the cookie, and browsers send it back.",
    }


def user(session: SessionDep) -> Any:
    return session.get("user")


def securities(app: FastAPI) -> dict[str, Any]:
    """Return what the operations need, by their paths; None where nothing is said."""
    return {path: item["get"].get("security") for path, item in app.openapi()["paths"].items()}


def test_each_operation_that_has_a_session_has_the_cookie() -> None:
    """Those that ask for it, directly, by a dependency or by their router; and no others."""
    app = FastAPI()
    router = APIRouter(dependencies=[Depends(user)])

    @app.get("/direct")
    async def direct(session: SessionDep) -> None:
        pass

    @app.get("/dependency")
    async def dependency(user: Annotated[Any, Depends(user)]) -> None:
        pass

    @router.get("/router")
    async def of_router() -> None:
        pass

    @app.get("/without")
    async def without() -> None:
        pass

    app.include_router(router)
    cookie: list[dict[str, list[str]]] = [{"glimr_session": []}]
    assert securities(app) == {
        "/direct": cookie,
        "/dependency": cookie,
        "/router": cookie,
        "/without": None,
    }
    schemes = app.openapi()["components"]["securitySchemes"]
    assert schemes == {"glimr_session": scheme("glimr_session")}


def test_the_session_is_no_parameter_and_no_body() -> None:
    """An operation whose only argument is the session has neither."""
    app = FastAPI()

    @app.get("/")
    async def handler(session: SessionDep) -> None:
        pass

    assert app.openapi()["paths"]["/"]["get"].keys().isdisjoint({"parameters", "requestBody"})


def test_the_name_is_that_of_the_cookie_which_is_set() -> None:
    """The default of both is one; another name is taken from the configuration."""
    for config, dependency in ((CONFIG, SessionDep), (SHOP, ShopSession)):
        app = FastAPI()
        app.add_middleware(SessionMiddleware, config=config)
        app.add_api_route("/", counting(dependency))
        client = TestClient(app)
        schemes = client.get("/openapi.json").json()["components"]["securitySchemes"]
        assert schemes == {config.cookie: scheme(config.cookie)}
        client.get("/")
        assert list(dict(client.cookies)) == [config.cookie]


def counting(dependency: Any) -> Any:
    """Return a handler that counts in the session of a dependency."""

    async def count(session: AsgiSession) -> None:
        session.increment("n")

    count.__annotations__["session"] = dependency
    return count


def test_two_names_are_two_schemes() -> None:
    """An application may document a cookie of another application beside its own."""
    app = FastAPI()

    @app.get("/")
    async def handler(session: SessionDep, shop: ShopSession) -> None:
        pass

    schemes = app.openapi()["components"]["securitySchemes"]
    assert schemes == {"glimr_session": scheme("glimr_session"), "shop": scheme("shop")}
