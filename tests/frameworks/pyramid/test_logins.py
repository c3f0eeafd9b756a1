"""Logins and logouts with Pyramid's own helper: each gives the session another id."""

from __future__ import annotations

import dataclasses

import pytest
from pyramid.authentication import SessionAuthenticationHelper
from pyramid.response import Response
from pyramid.security import forget, remember
from webtest import TestApp

from glimr_session import CookieStore, DiskStore, SessionStore
from glimr_session.testing import Steps
from tests.support.wsgi_apps import CONFIG

from .sites import browser, changing, putting, twin


class Policy:
    """A security policy that asks the session who it is."""

    def __init__(self, helper: SessionAuthenticationHelper) -> None:
        self.authenticated_userid = self.identity = helper.authenticated_userid
        self.remember, self.forget = helper.remember, helper.forget

    def permits(self, request: object, context: object, permission: str) -> bool:
        return True


def shop(store: SessionStore, *, prefix: str = "auth.", login_key: str = "") -> TestApp:
    """Return a browser of a shop with a cart, a login and two kinds of logout."""
    policy = Policy(SessionAuthenticationHelper(prefix))

    def answer(headers: list[tuple[str, str]]) -> Response:
        return Response(headerlist=[("Content-Type", "text/plain"), *headers])

    return browser(
        store,
        lambda config: config.set_security_policy(policy),
        settings=dataclasses.replace(CONFIG, login_key=login_key),
        put=putting("cart", ["book"]),
        login=lambda request: answer(remember(request, "ada")),
        logout=lambda request: answer(forget(request)),
        end=changing(lambda session: session.invalidate()),
        who=lambda request: [request.authenticated_userid, request.session.get("cart")],
        id=lambda request: request.session.id,
    )


@pytest.mark.parametrize("key", ["", "own.userid"])
def test_a_login_gives_a_new_id(store: SessionStore, key: str) -> None:
    """``remember`` keeps the cart and gives another id; so it does with a prefix of its own."""
    site = shop(store, prefix="own." if key else "auth.", login_key=key)
    site.get("/put")
    before = site.get("/id").json
    site.get("/login")
    assert site.get("/id").json != before
    assert site.get("/who").json == ["ada", ["book"]]


def test_a_cookie_from_before_the_login_is_nobody(disk: DiskStore) -> None:
    """Who knows the id of before the login is not logged in (session fixation)."""
    site = shop(disk)
    site.get("/put")
    attacker = twin(site)
    site.get("/login")
    assert attacker.get("/who").json == [None, None]


@pytest.mark.parametrize("logout", ["/logout", "/end"])
def test_an_old_cookie_is_dead_after_a_logout(store: SessionStore, logout: str) -> None:
    """``forget`` and ``invalidate()`` end what the browser had; a copied cookie finds nothing.

    On the cookie store a copied cookie lives on: its documented limit.
    """
    site = shop(store)
    site.get("/put")
    site.get("/login")
    copied = twin(site)
    before = site.get("/id").json
    site.get(logout)
    assert site.get("/id").json != before
    assert site.get("/who").json == [None, ["book"] if logout == "/logout" else None]
    expected = ["ada", ["book"]] if isinstance(store, CookieStore) else [None, None]
    assert copied.get("/who").json == expected


def test_a_slow_request_does_not_undo_a_login(disk: DiskStore) -> None:
    """A request that began before the login is sent no cookie, and the login stays."""
    steps = Steps(disk)
    site = shop(steps)
    site.get("/put")
    answers = steps.run(
        "slow opens, login opens, login commits, slow commits",
        slow=lambda: site.get("/put"),
        login=lambda: site.get("/login"),
    )
    assert "Set-Cookie" not in answers["slow"].headers
    assert site.get("/who").json == ["ada", ["book"]]


def test_a_second_login_of_the_same_user_stays(store: SessionStore) -> None:
    """Nobody else is logged in by it, so the id may stay; the user does."""
    site = shop(store)
    site.get("/login")
    site.get("/login")
    assert site.get("/who").json == ["ada", None]
