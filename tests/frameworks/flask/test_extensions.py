"""Flask-Login and Flask-WTF, unchanged, on our sessions."""

from __future__ import annotations

import re
from typing import Any

import pytest
from flask import Flask, session
from flask.testing import FlaskClient

from glimr_session import DiskStore, SessionStore, StoreUnavailable
from glimr_session.testing import Steps

from .sites import make_app, ours, twin

flask_login = pytest.importorskip("flask_login")
flask_wtf = pytest.importorskip("flask_wtf")


class User(flask_login.UserMixin):  # type: ignore[misc, name-defined]  # it has no types
    def __init__(self, name: str) -> None:
        self.id = name


def login_site(store: SessionStore, **settings: Any) -> Flask:
    """Return a site as Flask-Login's documentation builds one."""
    app = make_app(store, **settings)
    manager = flask_login.LoginManager(app)
    manager.user_loader(User)

    @app.get("/login/<name>")
    def login(name: str) -> str:
        flask_login.login_user(User(name), remember=name.startswith("remember"))
        return ours.id

    @app.get("/logout")
    def logout() -> str:
        flask_login.logout_user()
        return ours.id

    @app.get("/me")
    @flask_login.login_required  # type: ignore[untyped-decorator]
    def me() -> str:
        return str(flask_login.current_user.id)

    @app.get("/id")
    def id_() -> str:
        session.setdefault("seen", True)
        return ours.id

    @app.get("/fresh")
    @flask_login.fresh_login_required  # type: ignore[untyped-decorator]
    def fresh() -> str:
        return "fresh"

    return app


@pytest.fixture
def client(store: SessionStore) -> FlaskClient:
    return login_site(store).test_client()


def test_a_login_and_a_logout_give_new_ids(client: FlaskClient) -> None:
    """Whoever planted or copied the id of the one has nothing of the other."""
    ids = [client.get(path).text for path in ("/id", "/login/ada", "/id", "/logout", "/id")]
    before, _, user, _, after = ids
    assert len({before, user, after}) == 3
    assert client.get("/me").status_code == 401


def test_who_is_logged_in_stays_logged_in(client: FlaskClient) -> None:
    """From request to request, and freshly."""
    client.get("/login/ada")
    assert [client.get(path).text for path in ("/me", "/me", "/fresh")] == ["ada", "ada", "fresh"]


def test_an_old_cookie_is_dead_after_the_logout(disk: DiskStore) -> None:
    """And the one from before the login was worth nothing at any time."""
    client = login_site(disk).test_client()
    client.get("/id")
    planted = twin(client)
    client.get("/login/ada")
    stolen = twin(client)
    assert stolen.get("/me").text == "ada"
    assert planted.get("/me").status_code == 401
    client.get("/logout")
    assert stolen.get("/me").status_code == 401
    assert planted.get("/me").status_code == 401


def test_two_logins_at_once_both_succeed(disk: DiskStore) -> None:
    """Two forms that are sent at the same time, with one cookie."""
    steps = Steps(disk)
    client = login_site(steps).test_client()
    client.get("/id")
    other = twin(client)
    steps.run(
        "one opens, two opens, one commits, two commits",
        one=lambda: client.get("/login/ada"),
        two=lambda: other.get("/login/bob"),
    )
    assert client.get("/me").text == "ada"
    assert other.get("/me").text == "bob"


def test_remember_me_logs_in_again(client: FlaskClient) -> None:
    """With Flask-Login's own cookie, after the session was lost; that login is not fresh."""
    client.get("/login/remember-ada")
    client.delete_cookie("session")
    assert client.get("/me").text == "remember-ada"
    assert client.get("/fresh").status_code == 401
    client.get("/logout")
    assert client.get_cookie("remember_token") is None
    assert client.get("/me").status_code == 401


def test_strong_session_protection_logs_out(store: SessionStore) -> None:
    """A request from another browser with the same cookie."""
    client = login_site(store, SESSION_PROTECTION="strong").test_client()
    client.get("/login/ada")
    other = twin(client)
    assert other.get("/me", headers={"User-Agent": "another"}).status_code == 401


def test_flask_login_s_test_client(store: SessionStore) -> None:
    """It logs in through ``session_transaction``."""
    app = login_site(store)
    app.test_client_class = flask_login.FlaskLoginClient
    client = app.test_client(user=User("ada"))
    assert client.get("/me").text == "ada"


# Flask-WTF.


def form_site(store: SessionStore) -> Flask:
    from wtforms import StringField
    from wtforms.validators import InputRequired

    app = make_app(store)
    flask_wtf.CSRFProtect(app)

    class Form(flask_wtf.FlaskForm):  # type: ignore[misc, name-defined]
        name = StringField("Name", [InputRequired()])

    @app.route("/form", methods=["GET", "POST"])
    def form() -> str:
        form = Form()
        if form.validate_on_submit():
            return f"hello {form.name.data}"
        ours.flash_errors(form.errors)
        return str(form.csrf_token)

    @app.get("/error")
    def error() -> str:
        return str(ours.error("name"))

    return app


def token_in(page: str) -> str:
    found = re.search(r'value="([^"]+)"', page)
    assert found is not None
    return found[1]


def test_a_form_with_its_token_is_accepted(store: SessionStore) -> None:
    """The token of the session; another browser's is refused, and so is none."""
    app = form_site(store)
    client = app.test_client()
    token = token_in(client.get("/form").text)
    data = {"name": "Ada", "csrf_token": token}
    assert client.post("/form", data=data).text == "hello Ada"
    assert client.post("/form", data=data).text == "hello Ada"
    assert client.post("/form", data={"name": "Ada"}).status_code == 400
    assert app.test_client().post("/form", data=data).status_code == 400


def test_the_errors_of_a_form_are_there_in_the_next_request(store: SessionStore) -> None:
    """``session.flash_errors(form.errors)``."""
    client = form_site(store).test_client()
    token = token_in(client.get("/form").text)
    client.post("/form", data={"name": "", "csrf_token": token})
    assert client.get("/error").text == "This field is required."


def test_two_first_pages_at_once_have_tokens_that_work(disk: DiskStore) -> None:
    """Of a browser that has a session without a token: the one that the session has kept."""
    steps = Steps(disk)
    app = form_site(steps)
    app.add_url_rule("/put", "put", lambda: session.update(a=1) or "done")
    client = app.test_client()
    client.get("/put")
    other = twin(client)
    pages = steps.run(
        "one opens, two opens, one commits, two commits",
        one=lambda: client.get("/form"),
        two=lambda: other.get("/form"),
    )
    accepted = [
        client.post("/form", data={"name": "Ada", "csrf_token": token_in(page.text)}).status_code
        for page in pages.values()
    ]
    assert 200 in accepted


def test_an_outage_is_503_with_flask_login_and_a_page_that_uses_the_session(
    disk: DiskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flask-Login reads the session after each request, too; the page finds it empty."""
    app = login_site(disk, TESTING=False)
    app.add_url_rule("/plain", view_func=lambda: "plain")

    @app.errorhandler(503)
    def page(_error: Exception) -> tuple[str, int]:
        session["seen"] = session.get("seen", 0)
        return f"a moment, {flask_login.current_user.is_authenticated}", 503

    client = app.test_client()
    client.get("/login/ada")

    def down(*_: object, **__: object) -> None:
        raise StoreUnavailable("the disk is gone")

    with monkeypatch.context() as patched:
        patched.setattr(DiskStore, "open", down)
        for path in ("/me", "/id", "/plain"):
            response = client.get(path)
            assert (response.status_code, response.text) == (503, "a moment, False")
            assert response.headers.getlist("Set-Cookie") == []
    with monkeypatch.context() as patched:
        patched.setattr(DiskStore, "commit", down)
        assert client.get("/id").status_code == 503
    assert client.get("/me").text == "ada"


def test_a_login_key_of_the_application_stands_beside_flask_login_s(disk: DiskStore) -> None:
    """Both change the id."""
    app = login_site(disk, GLIMR_SESSION={"login_key": "admin"})
    app.add_url_rule("/admin", view_func=lambda: session.update(admin=True) or "")
    client = app.test_client()
    first = client.get("/id").text
    second = client.get("/login/ada").text
    assert client.get("/id").text not in (first, "")
    before = client.get("/id").text
    client.get("/admin")
    assert client.get("/id").text not in (first, second, before)
