"""Owners behind Flask's door, with Flask-Login."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import flask_login  # type: ignore[import-untyped]

from glimr_session import DiskStore
from glimr_session.flask import GlimrSession
from tests.frameworks import owners_page
from tests.frameworks.owners_contract import USER, OwnersContract

from .sites import KEY, do, make_app, ours, twin


class User(flask_login.UserMixin):  # type: ignore[misc]
    id = USER


class TestFlask(OwnersContract):
    """The contract, by Flask-Login's functions and Flask's test client."""

    def make_site(self, store: DiskStore, *, owner_from_login: bool) -> Callable[[], Any]:
        app = make_app(store, GLIMR_SESSION={"gc": "never", "owner_from_login": owner_from_login})
        flask_login.LoginManager(app).user_loader(lambda name: User())

        def log_in(**noted: str) -> str:
            flask_login.login_user(User())
            if noted:
                ours.belongs_to(USER, **noted)
            return "done"

        def other() -> str:
            ours.belongs_to("tenant")
            return log_in()

        pages: dict[str, Callable[[], object]] = {
            "begin": lambda: ours.increment("n"),
            "login": log_in,
            "logout": flask_login.logout_user,
            "device": lambda: log_in(device="phone"),
            "other": other,
            "who": lambda: flask_login.current_user.get_id() or "",
            "all": lambda: ours.store.destroy_all(USER, except_=ours),
        }
        for name, page in pages.items():
            app.add_url_rule(f"/{name}", name, lambda page=page: str(page()))
        return app.test_client

    def ask(self, client: Any, path: str) -> str:
        return str(client.get(path).text)

    def copy_cookies(self, client: Any, other: Any) -> None:
        client._cookies = twin(other)._cookies


def test_an_id_of_another_type_is_taken_as_text(disk: DiskStore) -> None:
    """A UUID, which Flask's sessions can hold, is the owner that its text is."""
    app = make_app(
        disk, GLIMR_SESSION={"gc": "never", "owner_from_login": True, "login_key": "member"}
    )
    member = uuid.uuid4()
    do(app, lambda: ours.update(member=member))
    assert len(disk.sessions(str(member))) == 1


def test_the_program_on_the_page(disk: DiskStore) -> None:
    """Another browser of the user is logged out by it, and this one is not."""
    app = owners_page.run(owners_page.FLASK)["app"]
    app.config["SECRET_KEY"] = KEY
    GlimrSession(app, store=disk)
    browsers = [app.test_client() for _ in range(2)]
    for browser in browsers:
        do(app, lambda: ours.update(_user_id=USER), browser)
    assert browsers[0].post("/logout-everywhere").text == "Logged out on 1 other devices."
    users = [do(app, lambda: ours.get("_user_id"), browser).text for browser in browsers]
    assert users == ["ada", "done: None"]
