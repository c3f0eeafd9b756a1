"""Owners behind Pyramid's door, with Pyramid's own helper for logins."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from pyramid.authentication import SessionAuthenticationHelper
from pyramid.security import forget, remember
from webtest import TestApp

from glimr_session import DiskStore
from tests.frameworks import owners_page
from tests.frameworks.owners_contract import USER, OwnersContract
from tests.support.wsgi_apps import CONFIG

from .sites import browser
from .test_logins import Policy


class TestPyramid(OwnersContract):
    """The contract, by SessionAuthenticationHelper and WebTest."""

    def make_site(self, store: DiskStore, *, owner_from_login: bool) -> Callable[[], Any]:
        def log_in(request: Any, **noted: str) -> str:
            remember(request, USER)
            if noted:
                request.session.belongs_to(USER, **noted)
            return "done"

        def other(request: Any) -> str:
            request.session.belongs_to("tenant")
            return log_in(request)

        def end_all(request: Any) -> str:
            return str(request.session.store.destroy_all(USER, except_=request.session))

        first = browser(
            store,
            lambda config: config.set_security_policy(Policy(SessionAuthenticationHelper())),
            settings=dataclasses.replace(CONFIG, owner_from_login=owner_from_login),
            begin=lambda request: request.session.increment("n"),
            login=log_in,
            logout=lambda request: forget(request) and "done",
            device=lambda request: log_in(request, device="phone"),
            other=other,
            who=lambda request: request.authenticated_userid or "",
            all=end_all,
        )
        return lambda: TestApp(first.app)

    def ask(self, client: Any, path: str) -> str:
        return str(client.get(path).json)

    def copy_cookies(self, client: Any, other: Any) -> None:
        for cookie in other.cookiejar:
            client.cookiejar.set_cookie(cookie)


def test_the_program_on_the_page(disk: DiskStore) -> None:
    """Another browser of the user is logged out by it, and this one is not."""
    site = browser(
        disk,
        lambda config: config.set_security_policy(Policy(SessionAuthenticationHelper())),
        settings=dataclasses.replace(CONFIG, owner_from_login=True),
        login=lambda request: remember(request, USER) and "",
        who=lambda request: request.authenticated_userid,
        all=owners_page.run(owners_page.PYRAMID)["log_out_everywhere"],
    )
    other = TestApp(site.app)
    for each in (site, other):
        each.get("/login")
    assert site.get("/all").json == "Logged out on 1 other devices."
    assert [each.get("/who").json for each in (site, other)] == [USER, None]
