"""scope["session"]: a dict to everybody, with the verbs of the session."""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

import pytest

from glimr_session import Session, SessionConfig, SessionStore
from glimr_session.asgi import AsgiSession, SessionMiddleware, session_of
from tests.support.asgi_client import Browser

from .apps import Change, answering, browser_with, data_of, noting, put, run, wrap

DATA: dict[str, Any] = {"name": "Ada", "cart": ["book", {"n": 2}]}

USES: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "json.dumps": (json.dumps, json.dumps(DATA)),
    "json.dumps, indented": (
        lambda session: json.dumps(session, indent=1),
        json.dumps(DATA, indent=1),
    ),
    "or": (lambda session: session | {"name": "Grace"}, {**DATA, "name": "Grace"}),
    "or, the other way": (lambda session: {"name": "Grace", "x": 1} | session, {"x": 1, **DATA}),
    "dict": (dict, DATA),
    "copy": (lambda session: session.copy(), DATA),
    "unpacked": (lambda session: {**session}, DATA),
    "equal": (lambda session: session == DATA, True),
    "unequal": (lambda session: session != DATA, False),
    "equal, the other way": (lambda session: operator.eq(DATA, session), True),
    "iterated": (list, ["name", "cart"]),
    "reversed": (lambda session: [*reversed(session)], ["cart", "name"]),
    "len": (len, 2),
    "true": (bool, True),
    "in": (lambda session: ("name" in session, "x" in session), (True, False)),
    "get": (lambda session: (session.get("name"), session.get("x", 5)), ("Ada", 5)),
    "item": (lambda session: session["cart"][1]["n"], 2),
    "items": (lambda session: [*session.items()], [*DATA.items()]),
    "keys": (lambda session: [*session.keys()], [*DATA]),
    "values": (lambda session: [*session.values()], [*DATA.values()]),
    "repr": (repr, repr(DATA)),
    "dict.update": (lambda session: (empty := {}, empty.update(session))[0], DATA),
    "isinstance": (
        lambda session: [isinstance(session, kind) for kind in (dict, Mapping, MutableMapping)],
        [True] * 3,
    ),
}  # fmt: skip


def test_a_session_reads_as_a_dict(store: SessionStore) -> None:
    """Whatever is the first that a request does to its session."""
    found: list[Any] = []

    async def work() -> None:
        browser = await browser_with(store, **DATA)
        for use, _ in USES.values():
            await browser.get(wrap(answering(noting(found, use)), store))

    run(work())
    expected = {name: expected for name, (_, expected) in USES.items()}
    assert dict(zip(USES, found, strict=True)) == expected


def log_in_anew(session: AsgiSession) -> None:
    session.invalidate()
    session["b"] = 1


CHANGES: dict[str, tuple[Change, dict[str, Any]]] = {
    "set": (lambda session: session.__setitem__("a", 2), {"a": 2, "list": [1]}),
    "del": (lambda session: session.__delitem__("a"), {"list": [1]}),
    "pop": (lambda session: session.pop("a"), {"list": [1]}),
    "setdefault": (lambda session: session.setdefault("b", 2), {"a": 1, "list": [1], "b": 2}),
    "update": (lambda session: session.update({"a": 3}, b=4), {"a": 3, "list": [1], "b": 4}),
    "or": (lambda session: session.__ior__({"a": 3}), {"a": 3, "list": [1]}),
    "clear": (lambda session: session.clear(), {}),
    "in place": (lambda session: session["list"].append(2), {"a": 1, "list": [1, 2]}),
    "put": (put("a", 5), {"a": 5, "list": [1]}),
    "forget": (lambda session: session.forget("a"), {"list": [1]}),
    "pull": (lambda session: session.pull("a"), {"list": [1]}),
    "increment": (lambda session: session.increment("a", 2), {"a": 3, "list": [1]}),
    "regenerate": (lambda session: session.regenerate(), {"a": 1, "list": [1]}),
    "invalidate": (lambda session: session.invalidate(), {}),
    "invalidate and put": (log_in_anew, {"b": 1}),
    "the session itself": (lambda session: session.session.put("a", 9), {"a": 9, "list": [1]}),
}


def test_what_a_handler_changes_is_kept(store: SessionStore) -> None:
    """By the dict, by a value in it, by a verb, and by the Session."""
    found: dict[str, Any] = {}

    async def work() -> None:
        for name, (change, _) in CHANGES.items():
            browser = await browser_with(store, a=1, list=[1])
            await browser.get(wrap(answering(change), store))
            found[name] = await data_of(browser, store)

    run(work())
    assert found == {name: expected for name, (_, expected) in CHANGES.items()}


def test_flash_is_for_the_next_request(store: SessionStore) -> None:
    """The one after that finds it no more; errors and old input of forms are flash too."""

    def leave(session: AsgiSession) -> None:
        session.flash("notice", "Saved.")
        session.flash_errors({"mail": ["is missing"]})
        session.flash_old({"mail": "x", "password": "secret"})

    def look(session: AsgiSession) -> None:
        found.append((session.get_flash("notice"), session.error("mail"), session.old("mail")))

    async def work() -> None:
        browser = Browser()
        await browser.get(wrap(answering(leave), store))
        for _ in range(2):
            await browser.get(wrap(answering(look), store))

    found: list[tuple[Any, ...]] = []
    run(work())
    assert found == [("Saved.", "is missing", "x"), ("", "", "")]


def test_the_session_itself_is_in_the_scope_too(store: SessionStore) -> None:
    """scope["glimr.session"] is a Session, and both are the same session."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert type(scope["glimr.session"]) is Session
        scope["glimr.session"]["n"] = 1
        assert scope["session"]["n"] == 1
        assert scope["session"].session is scope["glimr.session"]
        assert session_of(scope) is scope["session"]
        scope["session"]["m"] = 2
        await answering()(scope, receive, send)

    async def work() -> None:
        browser = Browser()
        await browser.get(wrap(app, store))
        assert await data_of(browser, store) == {"n": 1, "m": 2}

    run(work())


@pytest.mark.parametrize("scope", [{}, {"session": {}}, {"session": None}], ids=str)
def test_a_connection_without_a_session_of_ours_is_told_apart(scope: dict[str, Any]) -> None:
    """The error says which middleware is missing."""
    with pytest.raises(TypeError, match=r"glimr_session\.asgi\.SessionMiddleware"):
        session_of(scope)


def test_marking_a_session_as_accessed_is_a_use(store: SessionStore) -> None:
    """The response varies with the cookie, as Starlette has it; nothing is opened for it."""

    async def work() -> None:
        browser = await browser_with(store, a=1)
        response = await browser.get(
            wrap(answering(lambda session: session.mark_accessed()), store)
        )
        assert response.values("Vary") == ["Cookie"]
        assert response.set_cookie is None

    run(work())


def test_marking_a_session_as_modified_changes_nothing_else(store: SessionStore) -> None:
    """``modified`` is True then; what has changed is found without it."""

    def change(session: AsgiSession) -> None:
        assert session.modified is False
        session["list"].append(2)
        assert session.modified is False
        session.mark_modified()
        assert session.modified is True

    async def work() -> None:
        browser = await browser_with(store, list=[1])
        await browser.get(wrap(answering(change), store))
        assert await data_of(browser, store) == {"list": [1, 2]}

    run(work())


def test_what_json_does_not_have_is_refused_by_name(store: SessionStore) -> None:
    """The error that names the key comes before the response, and nothing is kept."""

    async def work() -> None:
        browser = await browser_with(store, a=1)
        for bad in (object(), {1, 2}, {1: 2}, float("nan"), b"bytes", ["fine", {"deep": object()}]):
            request = browser.request(wrap(answering(put("the key", bad)), store))
            with pytest.raises((TypeError, ValueError), match="the key"):
                await request.run()
            assert request.sent == []
        assert await data_of(browser, store) == {"a": 1}

    run(work())


def test_a_setting_can_be_a_mapping(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the shape of session.toml; the environment beats it."""
    monkeypatch.setenv("GLIMR_SESSION_COOKIE", "from-the-environment")
    keys = ["a key for tests that is long enough"]
    app = SessionMiddleware(answering(put("a", 1)), {"store": "cookie", "secret_keys": keys})
    response = run(Browser().get(app))
    assert (response.set_cookie or "").startswith("from-the-environment=")


def test_config_may_be_given_by_keyword() -> None:
    """As add_middleware of Starlette does."""
    settings = SessionConfig(store="cookie", secret_keys=["a key for tests that is long enough"])
    app = SessionMiddleware(answering(put("a", 1)), config=settings)
    assert run(Browser().get(app)).set_cookie is not None
