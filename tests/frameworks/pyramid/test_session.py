"""What Pyramid asks of a session: ISession in full, and what is kept from request to request."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pyramid.csrf import SessionCSRFStoragePolicy, get_csrf_token
from pyramid.i18n import TranslationString
from pyramid.interfaces import ISession
from pyramid.response import Response
from pyramid.testing import DummyRequest
from zope.interface.verify import verifyObject

from glimr_session import DiskStore, SessionStore
from glimr_session.pyramid import PyramidSession, session_factory
from glimr_session.testing import Steps
from tests.conftest import Clock
from tests.support.wsgi_apps import CONFIG

from .sites import browser, changing, everything, putting


@pytest.fixture
def session(store: SessionStore) -> Iterator[PyramidSession]:
    """The session of a request that nothing else is done with."""
    session = session_factory(CONFIG, store=store)(DummyRequest())
    yield session
    session.request.abandon()


def test_it_is_what_pyramid_calls_a_session(session: PyramidSession) -> None:
    """It has all attributes and methods of ISession, with their arguments."""
    assert verifyObject(ISession, session)


def test_what_is_put_is_there_in_the_next_request(store: SessionStore) -> None:
    """A session is kept across requests, and begins empty."""
    site = browser(store, put=putting("cart", ["book"]))
    assert site.get("/all").json == {}
    site.get("/put")
    assert site.get("/all").json == {"cart": ["book"]}


def test_a_nested_change_needs_no_changed(store: SessionStore) -> None:
    """What is changed in place is kept, with ``changed()`` and without it."""

    def deepen(session: Any) -> None:
        session["a"]["b"].append(2)

    def deepen_and_tell(session: Any) -> None:
        session["a"]["b"].append(3)
        session.changed()

    site = browser(
        store,
        put=putting("a", {"b": [1]}),
        deepen=changing(deepen),
        tell=changing(deepen_and_tell),
    )
    for path in ("/put", "/deepen", "/tell"):
        site.get(path)
    assert site.get("/all").json == {"a": {"b": [1, 2, 3]}}


def test_the_methods_of_a_dict(session: PyramidSession) -> None:
    """Each of ISession's dictionary methods does what it does for a dict."""
    session["a"] = 1
    session.update({"b": 2}, c=3)
    assert session.setdefault("a", 9) == 1
    assert session.pop("c") == 3
    del session["b"]
    assert (session.get("b"), session.get("b", 7), "a" in session) == (None, 7, True)
    assert (list(session.keys()), list(session.values())) == (["a"], [1])
    assert (list(session.items()), list(session), len(session)) == ([("a", 1)], ["a"], 1)
    assert session.popitem() == ("a", 1)
    session["d"] = 4
    session.clear()
    assert dict(session) == {}


def test_new_and_created(store: SessionStore, clock: Clock) -> None:
    """A session is new in its first request, and keeps the time it was created."""

    def birth(request: Any) -> object:
        return [request.session.new, request.session.created]

    site = browser(store, birth=birth, put=putting("a", 1))
    began = int(clock.now)
    assert site.get("/birth").json == [True, began]
    site.get("/put")
    clock.now += 60
    assert site.get("/birth").json == [False, began]
    assert site.get("/birth").json == [False, began]


def test_an_invalidated_session_is_a_new_one(store: SessionStore, clock: Clock) -> None:
    """After ``invalidate()`` it is empty, new, and created now; so it is in the next request."""

    def end(request: Any) -> object:
        request.session.invalidate()
        request.session["b"] = 2
        return [request.session.new, request.session.created, dict(request.session)]

    def birth(request: Any) -> object:
        return [request.session.new, request.session.created, dict(request.session)]

    site = browser(store, put=putting("a", 1), end=end, birth=birth)
    site.get("/put")
    clock.now += 60
    ended = int(clock.now)
    assert site.get("/end").json == [True, ended, {"b": 2}]
    clock.now += 60
    assert site.get("/birth").json == [False, ended, {"b": 2}]


# Flash queues.


def test_a_flash_waits_in_its_queue(store: SessionStore) -> None:
    """Messages stay, in order, until their own queue is popped; peeking leaves them."""

    def leave(session: Any) -> None:
        session.flash("one")
        session.flash("two")
        session.flash("three", "errors")

    def peek(request: Any) -> object:
        return [request.session.peek_flash(), request.session.peek_flash("errors")]

    site = browser(
        store, leave=changing(leave), peek=peek, pop=lambda request: request.session.pop_flash()
    )
    site.get("/leave")
    assert site.get("/peek").json == [["one", "two"], ["three"]]
    assert site.get("/pop").json == ["one", "two"]
    assert site.get("/pop").json == []
    assert site.get("/peek").json == [[], ["three"]]


def test_a_duplicate_is_added_unless_it_is_not_allowed(session: PyramidSession) -> None:
    """``allow_duplicate=False`` leaves a queue alone that has the message."""
    session.flash("one")
    session.flash("one")
    session.flash("one", allow_duplicate=False)
    session.flash("two", allow_duplicate=False)
    assert session.pop_flash() == ["one", "one", "two"]


def test_two_requests_that_flash_at_once_both_survive(disk: DiskStore) -> None:
    """Neither queue loses a message, whether it was there before or not."""
    steps = Steps(disk)
    site = browser(
        steps,
        begin=putting("user", 7),
        one=changing(lambda session: session.flash("one")),
        two=changing(lambda session: session.flash("two")),
        three=changing(lambda session: session.flash("three")),
    )
    site.get("/begin")
    for first, second in (("one", "two"), ("three", "one")):
        steps.run(
            f"{first} opens, {second} opens, {first} commits, {second} commits",
            **{name: lambda name=name: site.get(f"/{name}") for name in (first, second)},
        )
    assert site.get("/all").json["_f_"] == ["one", "two", "three", "one"]


@pytest.mark.parametrize("order", ["pop commits, flash commits", "flash commits, pop commits"])
def test_what_was_popped_is_not_shown_twice(disk: DiskStore, order: str) -> None:
    """Beside a request that flashes, a request pops: the new message is left, and it alone."""
    steps = Steps(disk)
    site = browser(
        steps,
        old=changing(lambda session: session.flash("old")),
        flash=changing(lambda session: session.flash("new")),
        pop=lambda request: request.session.pop_flash(),
    )
    site.get("/old")
    answers = steps.run(
        f"pop opens, flash opens, {order}",
        pop=lambda: site.get("/pop").json,
        flash=lambda: site.get("/flash"),
    )
    assert answers["pop"] == ["old"]
    assert site.get("/pop").json == ["new"]


def test_our_flash_lasts_for_one_request(store: SessionStore) -> None:
    """It is kept beside Pyramid's queues, which stay until they are popped."""

    def leave(session: Any) -> None:
        session.session.flash("notice", "ours")
        session.flash("Pyramid's")

    def show(request: Any) -> object:
        return [request.session.get_flash("notice"), request.session.peek_flash()]

    site = browser(store, leave=changing(leave), show=show)
    site.get("/leave")
    assert site.get("/show").json == ["ours", ["Pyramid's"]]
    assert site.get("/show").json == ["", ["Pyramid's"]]


def test_our_flash_has_its_other_names(store: SessionStore) -> None:
    """``flash_errors``, ``error`` and the like work; they last for one request."""

    def leave(request: Any) -> object:
        request.session.flash_errors({"email": ["Write an address."]})
        request.session.flash_old({"email": "ada"})
        return Response(status=303, location="/form")

    def form(request: Any) -> object:
        found = request.session
        return [found.has_error("email"), found.error("email"), found.old("email")]

    site = browser(store, leave=leave, form=form)
    site.get("/leave")
    assert site.get("/form").json == [True, "Write an address.", "ada"]
    assert site.get("/form").json == [False, "", ""]


# CSRF tokens.


def test_a_csrf_token_stays(store: SessionStore) -> None:
    """The token is made once, stays from request to request, and is another after a login."""
    site = browser(
        store,
        token=lambda request: request.session.get_csrf_token(),
        renew=lambda request: request.session.new_csrf_token(),
    )
    token = site.get("/token").json
    assert len(token) == 40
    assert site.get("/token").json == token
    renewed = site.get("/renew").json
    assert renewed != token
    assert site.get("/token").json == renewed


def test_pyramid_checks_the_token(store: SessionStore) -> None:
    """With SessionCSRFStoragePolicy a POST needs the token that the form was given."""

    def checked(config: Any) -> None:
        config.set_csrf_storage_policy(SessionCSRFStoragePolicy())
        config.set_default_csrf_options(require_csrf=True)

    def form(request: Any) -> object:
        return get_csrf_token(request)

    site = browser(store, checked, form=form, send=lambda request: "taken")
    token = site.get("/form").json
    assert site.post("/send", {"csrf_token": token}).json == "taken"
    assert site.post("/send", {"csrf_token": "x"}, status=400).status_int == 400
    assert site.post("/send", {"csrf_token": token}).json == "taken"


# Two requests at once.


def test_changes_of_different_keys_both_survive(disk: DiskStore) -> None:
    """Of two requests at once neither undoes the other, in a nested dict either."""
    steps = Steps(disk)

    def fill(session: Any) -> None:
        session["a"] = 1
        session["cart"]["tea"] = 1
        session["log"].append("tea")

    def fill_too(session: Any) -> None:
        session["b"] = 2
        session["cart"]["jam"] = 2
        session["log"].append("jam")

    site = browser(
        steps,
        begin=changing(lambda session: session.update(cart={"bread": 1}, log=["bread"])),
        one=changing(fill),
        two=changing(fill_too),
    )
    site.get("/begin")
    steps.run(
        "one opens, two opens, one commits, two commits",
        one=lambda: site.get("/one"),
        two=lambda: site.get("/two"),
    )
    assert site.get("/all").json == {
        "a": 1,
        "b": 2,
        "cart": {"bread": 1, "tea": 1, "jam": 2},
        "log": ["bread", "tea", "jam"],
    }


def test_a_slow_request_does_not_undo_a_logout(disk: DiskStore) -> None:
    """What a request changes that began before a logout and ends after it is not kept."""
    steps = Steps(disk)
    site = browser(
        steps,
        login=putting("user", 7),
        slow=putting("cart", ["book"]),
        logout=changing(lambda session: session.invalidate()),
    )
    site.get("/login")
    answers = steps.run(
        "slow opens, logout opens, logout commits, slow commits",
        slow=lambda: site.get("/slow"),
        logout=lambda: site.get("/logout"),
    )
    assert "Set-Cookie" not in answers["slow"].headers
    assert site.get("/all").json == {}


# What is refused, and what ends.


@pytest.mark.parametrize(
    "value",
    [{1, 2}, b"bytes", {"nested": [object()]}, {1: "one"}, TranslationString("Saved.")],
    ids=["set", "bytes", "nested", "key", "translation"],
)
def test_what_json_does_not_give_back_is_refused(store: SessionStore, value: object) -> None:
    """The error names the key, reaches the exception views, and nothing is kept."""

    def views(config: Any) -> None:
        config.add_exception_view(
            lambda error, request: Response(str(error), status=500), context=TypeError
        )

    site = browser(store, views, put=changing(lambda session: session.update(a=1, wrong=value)))
    answer = site.get("/put", status=500)
    assert "'wrong' holds" in answer.text
    assert "Set-Cookie" not in answer.headers
    assert site.get("/all").json == {}


def test_a_session_expires(store: SessionStore, clock: Clock) -> None:
    """After its lifetime without a use nothing is left."""
    site = browser(store, put=putting("a", 1), all=everything)
    cookie = site.get("/put").headers["Set-Cookie"].partition(";")[0]
    clock.now += 999
    assert site.get("/all", headers={"Cookie": cookie}).json == {"a": 1}
    clock.now += 2000
    assert site.get("/all", headers={"Cookie": cookie}).json == {}
