"""What a page of Starlette does with its session."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest
from starlette.endpoints import HTTPEndpoint
from starlette.middleware import sessions
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from glimr_session import CookieStore, DiskStore, Session, SessionStore
from glimr_session.asgi import session_of

from .sites import client_of, make_app, twin, values


async def untouched(request: Request) -> Response:
    return JSONResponse(request.url.path)


async def count(request: Request) -> Response:
    return JSONResponse(session_of(request).increment("visits"))


async def log_in(request: Request) -> Response:
    session_of(request).regenerate()
    request.session["user"] = "ada"
    return RedirectResponse("/show", 303)


async def log_out(request: Request) -> Response:
    session_of(request).invalidate()
    return RedirectResponse("/show", 303)


def test_it_is_a_dict(store: SessionStore) -> None:
    """For json, for ``|``, for comparisons and for everybody who asks."""

    async def use(request: Request) -> Response:
        session = request.session
        session["a"] = [1, {"b": 2}]
        session |= {"c": None}
        assert isinstance(session, dict)
        assert json.loads(json.dumps(session)) == session == {"a": [1, {"b": 2}], "c": None}
        assert {**session} == session | {} == dict(session.items())
        assert session.pop("c") is None
        return JSONResponse(session)

    client = client_of(store, use)
    assert client.get("/use").json() == values(client) == {"a": [1, {"b": 2}]}


def test_the_session_itself_is_in_the_scope_too(store: SessionStore) -> None:
    """Under the setting ``key``, and what it holds is what the dict holds."""

    async def use(request: Request) -> Response:
        session: Session = request.scope["glimr.session"]
        session["a"] = 1
        return JSONResponse(request.session["a"])

    client = client_of(store, use)
    assert client.get("/use").json() == 1
    assert values(client) == {"a": 1}


def test_a_change_in_place_is_found(store: SessionStore) -> None:
    """In a list and in a dict in a dict, without ``modified``."""

    async def buy(request: Request) -> Response:
        cart = request.session.setdefault("cart", {"books": {}, "seen": []})
        cart["books"]["one"] = cart["books"].get("one", 0) + 1
        cart["seen"].append("one")
        return JSONResponse(None)

    client = client_of(store, buy)
    client.get("/buy")
    client.get("/buy")
    assert values(client) == {"cart": {"books": {"one": 2}, "seen": ["one", "one"]}}


def test_the_verbs_are_there_for_type_checkers(store: SessionStore) -> None:
    """By ``session_of``, of a request or of a scope."""

    async def visit(request: Request) -> Response:
        session = session_of(request)
        assert session is session_of(request.scope) is request.session
        return JSONResponse(session.increment("visits", 2))

    client = client_of(store, visit)
    assert [client.get("/visit").json() for _ in range(2)] == [2, 4]


def test_a_flash_is_there_after_a_redirect_and_gone_then(store: SessionStore) -> None:
    """A page that does not use its session in between leaves it."""

    async def save(request: Request) -> Response:
        session_of(request).flash("notice", "saved")
        return RedirectResponse("/shown", 303)

    async def shown(request: Request) -> Response:
        return JSONResponse(session_of(request).get_flash("notice"))

    client = client_of(store, save, shown, untouched)
    answer = client.get("/save", follow_redirects=False)
    assert answer.headers["location"] == "/shown"
    client.get("/untouched")
    assert [client.get("/shown").json() for _ in range(2)] == ["saved", ""]


def test_the_errors_of_a_form_are_there_after_a_redirect(store: SessionStore) -> None:
    """With what was typed, but no password."""

    async def sign_up(request: Request) -> Response:
        session = session_of(request)
        session.flash_errors({"email": ["is taken", "is long"]})
        session.flash_old(request.query_params)
        return RedirectResponse("/form", 303)

    async def form(request: Request) -> Response:
        session = session_of(request)
        return JSONResponse([session.error("email"), session.old("email"), session.old("password")])

    client = client_of(store, sign_up, form)
    answer = client.get("/sign_up?email=ada&password=secret")
    assert answer.json() == ["is taken", "ada", ""]


def test_a_login_gives_a_new_id(store: SessionStore) -> None:
    """What was there stays, and the cookie from before is not logged in."""
    client = client_of(store, count, log_in)
    client.get("/count")
    before = twin(client)
    client.get("/log_in")
    assert values(client) == {"visits": 1, "user": "ada"}
    assert "user" not in values(before)


def test_the_login_key_gives_a_new_id_by_itself(store: SessionStore) -> None:
    """Once per user, and at the logout."""
    ids: list[str] = []

    async def note(request: Request) -> Response:
        request.session.update(request.query_params)
        if request.query_params.get("user") == "":
            del request.session["user"]
        return JSONResponse(None)

    async def tell(request: Request) -> Response:
        ids.append(session_of(request).id)
        return JSONResponse(None)

    client = client_of(store, note, tell, settings={"login_key": "user"})
    for query in ("seen=1", "user=ada", "user=ada", "user=bob", "user="):
        client.get(f"/note?{query}")
        client.get("/tell")
    first, ada, same, bob, nobody = ids
    assert ada == same
    assert len({first, ada, bob, nobody}) == 4


def test_a_logout_ends_the_session_everywhere(disk: DiskStore) -> None:
    """The cookie is ended, and a copy of it opens nothing."""
    client = client_of(disk, log_in, log_out)
    client.get("/log_in")
    copied = twin(client)
    assert values(copied) == {"user": "ada"}
    client.get("/log_out")
    assert values(client) == values(copied) == {}
    assert not client.cookies


def test_vary_is_sent_where_the_session_was_touched(store: SessionStore) -> None:
    """By ``request.session`` alone, as Starlette's ``mark_accessed`` has it, and not elsewhere."""

    async def touched(request: Request) -> Response:
        assert request.session is request.scope["session"]
        return JSONResponse(None)

    client = client_of(store, count, touched, untouched)
    client.get("/count")
    if hasattr(sessions, "Session"):  # the versions of Starlette that call mark_accessed
        assert client.get("/touched").headers["vary"] == "Cookie"
    assert client.get("/show").headers["vary"] == "Cookie"
    assert "vary" not in client.get("/untouched").headers


def test_only_a_change_sets_the_cookie(disk: DiskStore) -> None:
    """Reading does not, nor does a change of a session that the store keeps."""
    client = client_of(disk, count)
    assert "set-cookie" not in client.get("/show").headers
    assert "set-cookie" in client.get("/count").headers
    assert "set-cookie" not in client.get("/show").headers
    assert "set-cookie" not in client.get("/count").headers


def test_what_json_does_not_have_is_an_error_that_names_the_key(store: SessionStore) -> None:
    """And nothing else of the request is kept."""

    async def wrong(request: Request) -> Response:
        request.session["good"] = 1
        request.session["colours"] = {"red"}
        return JSONResponse(None)

    client = client_of(store, wrong)
    with pytest.raises(TypeError, match="colours"):
        client.get("/wrong")
    assert values(client) == {}


def test_endpoints_in_threads_use_the_session(store: SessionStore) -> None:
    """A function, and a method of an HTTPEndpoint; both run in the pool of threads."""

    def by_function(request: Request) -> Response:
        return JSONResponse(session_of(request).increment("visits"))

    class Visits(HTTPEndpoint):
        def get(self, request: Request) -> Response:
            return JSONResponse(session_of(request).increment("visits"))

    client = client_of(store, by_function, Route("/by_class", Visits))
    answers = [client.get(path).json() for path in ("/by_function", "/by_class", "/by_function")]
    assert answers == [1, 2, 3]


def test_requests_at_once_add_up(disk: DiskStore) -> None:
    """Twenty of them on one event loop, by httpx, each of which waits in its middle."""
    inside = 0

    async def visit(request: Request) -> Response:
        nonlocal inside
        session = session_of(request)
        session.increment("visits")
        request.session.setdefault("seen", []).append(request.query_params["n"])
        inside += 1
        while inside < 20:
            await asyncio.sleep(0)
        return JSONResponse(None)

    async def visits() -> dict[str, Any]:
        transport = httpx.ASGITransport(make_app(disk, visit, count))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            await client.get("/count")
            await asyncio.gather(*(client.get(f"/visit?n={n}") for n in range(20)))
            found: dict[str, Any] = (await client.get("/show")).json()
            return found

    found = asyncio.run(visits())
    assert found["visits"] == 21
    assert sorted(map(int, found["seen"])) == [*range(20)]


@pytest.mark.parametrize(
    ("base_url", "secure", "kept"),
    [
        ("http://testserver", False, True),
        ("http://localhost:8000", False, True),
        ("https://example.com", True, True),
        ("http://example.com", True, False),
    ],
)
def test_httpx_gets_its_cookie_back(base_url: str, secure: bool, kept: bool) -> None:
    """Over plain HTTP where the host is this machine or the one of tests; elsewhere over HTTPS."""

    async def ask() -> tuple[str, dict[str, Any]]:
        transport = httpx.ASGITransport(make_app(CookieStore()))
        async with httpx.AsyncClient(transport=transport, base_url=base_url) as client:
            answer = await client.get("/put?a=1")
            found: dict[str, Any] = (await client.get("/show")).json()
            return answer.headers["set-cookie"], found

    set_cookie, found = asyncio.run(ask())
    assert ("Secure" in set_cookie) == secure
    assert found == ({"a": "1"} if kept else {})
