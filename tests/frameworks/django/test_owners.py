"""Owners behind Django's door, with django.contrib.auth and both middlewares for sessions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest
from django.contrib import auth
from django.http import HttpResponse
from django.test.utils import override_settings

import glimr_session
from glimr_session import DiskStore
from glimr_session.django import SessionStore
from tests.frameworks import owners_page
from tests.frameworks.owners_contract import OwnersContract

from .conftest import site_with
from .site import browser, visit


class OnDjango(OwnersContract):
    """The contract, by django.contrib.auth and Django's test client."""

    middleware: ClassVar[str]
    user = "1"

    @pytest.fixture(autouse=True)
    def _people(self, people: Any) -> Iterator[None]:
        self.person = people.get(username="ada")
        assert str(self.person.pk) == self.user
        with site_with(self.middleware):
            yield

    def make_site(self, store: DiskStore, *, owner_from_login: bool) -> Callable[[], Any]:
        glimr_session.setup(store)
        settings = {"gc": "never", "owner_from_login": owner_from_login}
        return lambda: (browser(), settings)

    def ask(self, client: Any, path: str) -> str:
        with override_settings(GLIMR_SESSION=client[1]):
            answer = visit(client[0], lambda request: HttpResponse(self.page(request, path)))
        assert answer.status_code == 200
        return str(answer.content.decode())

    def page(self, request: Any, path: str) -> Any:
        session = request.session
        if path == "/begin":
            return session.increment("n")
        if path == "/logout":  # a kind that keeps the session: auth.logout() ends it
            return session.pop(auth.SESSION_KEY)
        if path == "/who":
            return request.user.pk or ""
        if path == "/all":
            return session.store.destroy_all(self.user, except_=session)
        if path == "/other":
            session.belongs_to("tenant")
        auth.login(request, self.person)
        if path == "/device":
            session.belongs_to(self.user, device="phone")
        return "done"

    def copy_cookies(self, client: Any, other: Any) -> None:
        client[0].cookies = other[0].cookies

    def test_a_logout_of_django_s_ends_the_session(self, store: DiskStore) -> None:
        """Nothing is left that could be in a list; a change of the password keeps the owner."""
        client = self.make_site(store, owner_from_login=True)()
        self.ask(client, "/login")
        with override_settings(GLIMR_SESSION=client[1]):
            visit(client[0], lambda request: auth.update_session_auth_hash(request, self.person))
            assert len(store.sessions(self.user)) == 1
            visit(client[0], lambda request: auth.logout(request) or {})
        assert [*store.all_sessions()] == []


class TestDjangosMiddleware(OnDjango):
    middleware = "django's"


class TestOurMiddleware(OnDjango):
    middleware = "ours"


def test_the_program_on_the_page(
    middleware: str, people: Any, glimr: dict[str, Any], database: None
) -> None:
    """Another browser of the user is logged out by it, and this one is not."""
    change_password = owners_page.run(owners_page.DJANGO)["change_password"]
    person = people.create_user("joan", password="correct horse")
    browsers = [browser(), browser()]
    with override_settings(GLIMR_SESSION={**glimr, "owner_from_login": True}):
        for each in browsers:
            visit(each, lambda request: auth.login(request, person) or {})

        def post(request: Any) -> HttpResponse:
            request.POST = {"password": "battery staple"}
            answer: HttpResponse = change_password(request)
            return answer

        answer = visit(browsers[0], post)
        assert answer.content == b"Logged out on 1 other devices."
        names = [visit(each, lambda request: request.user.username).json() for each in browsers]
        assert names == ["joan", ""]
        assert len(SessionStore().store.sessions(person.pk)) == 1
    person.delete()
