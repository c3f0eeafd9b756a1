"""SessionDep in handlers, dependencies, routers and sub-applications."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any, assert_type

import pytest
from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, Request
from fastapi.responses import StreamingResponse
from fastapi.testclient import TestClient
from pydantic import BaseModel
from starlette.middleware.sessions import SessionMiddleware as SessionsOfStarlette

from glimr_session import CookieStore, DiskStore, SessionStore
from glimr_session.fastapi import AsgiSession, SessionDep, session_of

from .sites import ask, make_app


class Cart(BaseModel):
    books: list[str]


def basket(session: SessionDep) -> AsgiSession:
    return session


def visits(basket: Annotated[AsgiSession, Depends(basket)], session: SessionDep) -> int | float:
    assert basket is session
    return basket.increment("visits")


Visits = Annotated[int, Depends(visits)]


def test_async_and_plain_handlers_share_it(store: SessionStore) -> None:
    """Requests of both kinds count in one session, and another browser has its own."""
    app = make_app(store)

    @app.get("/async")
    async def count(session: SessionDep) -> int | float:
        assert_type(session, AsgiSession)
        return session.increment("visits")

    @app.get("/plain")
    def count_in_a_thread(session: SessionDep) -> int | float:
        assert threading.current_thread() is not threading.main_thread()
        return session.increment("visits")

    client = TestClient(app)
    assert [ask(client, path) for path in ("/async", "/plain", "/async")] == [1, 2, 3]
    assert ask(TestClient(app), "/plain") == 1


def test_it_is_the_session_of_the_request(store: SessionStore) -> None:
    """The dependency, ``request.session`` and ``session_of(request)`` are one object."""
    app = make_app(store)

    @app.get("/")
    async def compare(request: Request, session: SessionDep) -> bool:
        return session is request.session is session_of(request)

    assert ask(TestClient(app), "/") is True


@pytest.mark.parametrize("place", ["router", "sub-application", "sub-application with sessions"])
def test_routers_and_sub_applications_share_it(store: SessionStore, place: str) -> None:
    """The session of the application is that of all its parts, whatever they depend on."""
    app = make_app(store)
    router = APIRouter(dependencies=[Depends(visits)])

    @router.get("/visits")
    async def show(visits: Visits, session: SessionDep) -> list[int]:
        return [visits, session["visits"]]

    if place == "router":
        app.include_router(router, prefix="/part")
    else:
        part = make_app(store) if place.endswith("with sessions") else FastAPI()
        part.include_router(router)
        app.mount("/part", part)
    client = TestClient(app)
    assert ask(client, "/part/visits") == [1, 1]
    assert ask(client, "/part/visits") == [2, 2]
    assert ask(client) == {"visits": 2}


def test_a_handler_that_asks_for_it_does_not_use_it_yet(store: SessionStore) -> None:
    """A response sets no cookie, and eats no flash, until a method is called."""
    app = make_app(store)

    @app.get("/leave")
    async def leave(session: SessionDep) -> None:
        session.flash("notice", "Saved.")

    @app.get("/unused")
    async def leave_alone(session: SessionDep) -> None:
        pass

    @app.get("/show")
    async def show(session: SessionDep) -> Any:
        return session.get_flash("notice")

    client = TestClient(app)
    client.get("/leave")
    headers = client.get("/unused").headers
    assert "set-cookie" not in headers
    assert ask(client, "/show") == "Saved."
    assert ask(client, "/show") == ""


def test_values_change_in_place(store: SessionStore) -> None:
    """What a handler in a thread changes in a nested list is kept."""
    app = make_app(store)

    @app.get("/buy/{book}")
    def buy(book: str, session: SessionDep) -> None:
        session.setdefault("cart", {"books": []})["books"].append(book)

    client = TestClient(app)
    client.get("/buy/one")
    client.get("/buy/two")
    assert ask(client) == {"cart": {"books": ["one", "two"]}}


def test_a_response_model_takes_of_a_session_what_it_has(store: SessionStore) -> None:
    """All that is in a session may be returned, and only fields of the model are shown."""
    app = make_app(store)

    @app.get("/begin")
    async def begin(session: SessionDep) -> None:
        session.update(books=["one"], user="ada")

    @app.get("/cart", response_model=Cart)
    async def cart(session: SessionDep) -> Any:
        return session.all()

    client = TestClient(app)
    ask(client, "/begin")
    assert ask(client, "/cart") == {"books": ["one"]}


def test_a_dependency_with_yield_before_the_response(store: SessionStore) -> None:
    """What a dependency of the function's scope does after the handler is in the response."""
    app = make_app(store)

    async def around(session: SessionDep) -> AsyncIterator[None]:
        session["before"] = 1
        yield
        session["after"] = session["before"] + 1

    # Until FastAPI 0.118 this is the only scope, which has no name.
    in_time: Any = {"scope": "function"} if "scope" in Depends.__annotations__ else {}

    @app.get("/", dependencies=[Depends(around, **in_time)])
    async def handler() -> None:
        pass

    client = TestClient(app)
    client.get("/")
    assert ask(client) == {"before": 1, "after": 2}


def test_a_dependency_with_yield_after_the_response(disk: DiskStore) -> None:
    """A store on the server keeps what a plain dependency does when the response has left."""
    app = make_app(disk)

    def around(session: SessionDep) -> Iterator[None]:
        session.increment("before")
        yield
        session.increment("after")

    @app.get("/", dependencies=[Depends(around)])
    async def handler() -> None:
        pass

    client = TestClient(app)
    ask(client, "/")
    ask(client, "/")
    assert ask(client) == {"before": 2, "after": 2}


@pytest.mark.parametrize("kind", ["async", "plain"])
def test_a_background_task_can_change_it(disk: DiskStore, kind: str) -> None:
    """A store on the server keeps what a task does after the response."""
    app = make_app(disk)

    async def task(session: AsgiSession) -> None:
        session["sent"] = True
        await session.save()

    def plain_task(session: AsgiSession) -> None:
        session["sent"] = True

    @app.get("/")
    async def handler(session: SessionDep, tasks: BackgroundTasks) -> None:
        session["asked"] = True
        tasks.add_task(task if kind == "async" else plain_task, session)

    client = TestClient(app)
    ask(client, "/")
    assert ask(client) == {"asked": True, "sent": True}


def test_a_background_task_with_sessions_in_the_cookie(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What the task changes is lost, and a warning says so."""
    app = make_app(CookieStore())

    @app.get("/")
    async def handler(session: SessionDep, tasks: BackgroundTasks) -> None:
        session["asked"] = True
        tasks.add_task(session.put, "sent", True)

    client = TestClient(app)
    ask(client, "/")
    assert "the change is lost: it lives in the cookie" in caplog.text
    assert ask(client) == {"asked": True}


def test_a_stream_can_change_it(disk: DiskStore) -> None:
    """A store on the server keeps what is changed between the chunks of a body."""
    app = make_app(disk)

    @app.get("/stream")
    async def stream(session: SessionDep) -> StreamingResponse:
        session["rows"] = 0

        async def rows() -> AsyncIterator[str]:
            for _ in range(3):
                yield f"{session.increment('rows')} "

        return StreamingResponse(rows())

    client = TestClient(app)
    answer = client.get("/stream")
    assert answer.text == "1 2 3 "
    assert answer.headers["vary"] == "Cookie"
    assert ask(client) == {"rows": 3}


def test_a_stream_of_a_plain_generator_can_change_it(disk: DiskStore) -> None:
    """The same where the body is made in threads."""
    app = make_app(disk)

    @app.get("/stream")
    def stream(session: SessionDep) -> StreamingResponse:
        session["rows"] = 0
        return StreamingResponse(f"{session.increment('rows')} " for _ in range(3))

    client = TestClient(app)
    assert client.get("/stream").text == "1 2 3 "
    assert ask(client) == {"rows": 3}


@pytest.mark.parametrize("around", ["nothing", "Starlette's"])
def test_without_our_middleware_the_error_says_what_to_do(around: str) -> None:
    """It names the middleware, whether there are no sessions or somebody else's."""
    app = FastAPI()
    if around != "nothing":
        app.add_middleware(SessionsOfStarlette, secret_key="any")

    @app.get("/")
    async def handler(session: SessionDep) -> None:
        pass

    @app.websocket("/socket")
    async def socket(session: SessionDep) -> None:
        pass

    client = TestClient(app)
    with pytest.raises(TypeError, match=r"wrap the application in glimr_session\.asgi\."):
        client.get("/")
    with (
        pytest.raises(TypeError, match=r"wrap the application in glimr_session\.asgi\."),
        client.websocket_connect("/socket"),
    ):
        pass
