"""flask.session: a mapping whose values can be changed in place, and its verbs."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import flask.sessions
import pytest
from flask import Flask, session
from flask.json.provider import DefaultJSONProvider
from flask.json.tag import JSONTag, TaggedJSONSerializer
from markupsafe import Markup

from glimr_session import SessionStore
from glimr_session.flask import FlaskSession, GlimrSession
from tests.support.ids import name_of

from .sites import KEY, do, make_app, ours, set_cookies

VALUES: dict[str, Any] = {
    "text": "räksmörgås",
    "number": 7,
    "float": 1.5,
    "flag": True,
    "nothing": None,
    "list": [1, [2, {"a": None}]],
    "dict": {"b": 1, "a": {"c": []}},
    "tuple": (1, ("two", [3, (4,)])),
    "bytes": b"\x00\xff",
    "markup": Markup("<b>bold</b>"),
    "uuid": UUID("12345678-1234-5678-1234-567812345678"),
    "datetime": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    "nested": {"when": [(datetime(2026, 1, 2, tzinfo=UTC), b"x", Markup("y"))]},
    "tag": {" t": [1]},
    "escaped": {" t__": [1]},
}


@pytest.fixture
def app(store: SessionStore) -> Flask:
    return make_app(store)


def test_flask_session_is_ours(app: Flask) -> None:
    """The object behind the proxy is a dict, a SessionMixin and ours."""
    with app.test_request_context():
        found: Any = session._get_current_object()  # type: ignore[attr-defined]
        assert isinstance(found, FlaskSession)
        assert isinstance(found, dict)
        assert isinstance(found, flask.sessions.SessionMixin)


@pytest.mark.parametrize("key", VALUES)
def test_a_value_comes_back_as_flask_would_give_it_back(app: Flask, key: str) -> None:
    """Each type of Flask's tagged JSON, nested too, comes back equal and of its type."""
    value = VALUES[key]
    client = app.test_client()
    do(app, lambda: session.update({key: value}), client)
    found: list[Any] = []
    do(app, lambda: found.append(session[key]), client)
    assert found == [value]
    assert repr(found[0]) == repr(value)


@pytest.mark.parametrize("value", [{1: "one"}, {"a": {2: 3}}])
def test_a_key_that_is_no_text_comes_back_as_text(app: Flask, value: Any) -> None:
    """In a nested dict, as JSON has it and as Flask's sessions do it."""
    client = app.test_client()
    do(app, lambda: session.update(value=value), client)
    found: list[Any] = []
    do(app, lambda: found.append(session["value"]), client)
    flask_s = TaggedJSONSerializer()
    assert found == [flask_s.loads(flask_s.dumps(value))]


def test_the_application_s_own_json_provider_is_used(store: SessionStore) -> None:
    """It encodes what Flask cannot, and decodes it."""

    class Provider(DefaultJSONProvider):
        @staticmethod
        def default(o: Any) -> Any:
            return {"complex": [o.real, o.imag]}

        def loads(self, s: str | bytes, **kwargs: Any) -> Any:
            return super().loads(
                s, object_hook=lambda d: complex(*d["complex"]) if "complex" in d else d
            )

    app = make_app(store)
    app.json = Provider(app)
    client = app.test_client()
    do(app, lambda: session.update(number=[2 + 3j]), client)
    with client.session_transaction() as found:  # where no application context is pushed
        assert found["number"] == [2 + 3j]


def test_a_tag_that_the_application_has_registered_is_used(
    store: SessionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``app.session_interface.serializer.register`` is how Flask's documentation does it."""

    class TagSet(JSONTag):
        key = " s"

        def check(self, value: Any) -> bool:
            return isinstance(value, set)

        def to_json(self, value: Any) -> Any:
            return sorted(value)

        def to_python(self, value: Any) -> Any:
            return set(value)

    monkeypatch.setattr(GlimrSession, "serializer", TaggedJSONSerializer())
    app = make_app(store)
    app.session_interface.serializer.register(TagSet)  # type: ignore[attr-defined]
    client = app.test_client()
    do(app, lambda: session.update(seen={3, 1}), client)
    found: list[Any] = []
    do(app, lambda: found.append(session["seen"]), client)
    assert found == [{1, 3}]


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (object(), TypeError),
        ([{1, 2}], TypeError),
        (float("nan"), ValueError),
        ([float("inf")], ValueError),
        ("\ud800", ValueError),
        (10**700, ValueError),
    ],
    ids=name_of,
)
def test_a_value_that_cannot_be_kept_names_its_key(
    app: Flask, value: Any, error: type[Exception]
) -> None:
    """The error says which key it was; nothing of the request is kept."""
    client = app.test_client()
    do(app, lambda: session.update(before=1), client)
    with pytest.raises(error, match="'broken'"):
        do(app, lambda: session.update(before=2, broken=value), client)
    found: list[Any] = []
    do(app, lambda: found.append(dict(session)), client)
    assert found == [{"before": 1}]


def test_a_list_that_holds_itself_names_its_key(app: Flask) -> None:
    """It cannot be encoded, and the error says which key it was."""

    def tie_a_knot() -> None:
        session["knot"] = []
        session["knot"].append(session["knot"])

    with pytest.raises(ValueError, match="'knot'"):
        do(app, tie_a_knot)


def test_json_and_union_see_what_is_there(app: Flask) -> None:
    """Even as the first use of the session."""
    client = app.test_client()
    do(app, lambda: session.update(a=1), client)
    found: list[Any] = []

    def look(work: Any) -> None:
        do(app, lambda: found.append(work()), client)

    look(lambda: json.dumps(session._get_current_object()))  # type: ignore[attr-defined]
    look(lambda: session | {})  # type: ignore[operator]
    look(lambda: {} | session)  # type: ignore[operator]
    look(lambda: {**session})
    look(lambda: dict(session))
    look(lambda: [len(session), bool(session), "a" in session, *session])
    assert found == ['{"a": 1}', *4 * [{"a": 1}], [1, True, True, "a"]]


@pytest.mark.parametrize("modified", [False, True], ids=["as it is", "modified = True"])
def test_a_nested_change_is_kept(app: Flask, modified: bool) -> None:
    """Whether the view says ``session.modified = True``, as with Flask's sessions, or does not."""

    def change() -> None:
        session["cart"]["books"].append("two")
        if modified:
            session.modified = True

    client = app.test_client()
    do(app, lambda: session.update(cart={"books": ["one"]}), client)
    do(app, change, client)
    found: list[Any] = []
    do(app, lambda: found.append(session["cart"]), client)
    assert found == [{"books": ["one", "two"]}]


def test_new_modified_and_accessed_say_what_has_happened(app: Flask) -> None:
    """Each of the three, in a request that reads, changes a key, changes a nested value."""
    client = app.test_client()
    found: list[Any] = []

    def note() -> None:
        found.append((session.accessed, session.new, session.modified))

    def change() -> None:
        session["cart"] = []
        note()

    def look() -> None:
        session.get("cart")
        note()

    def change_nested() -> None:
        session["cart"].append(1)
        note()

    do(app, note, client)
    do(app, change, client)
    do(app, look, client)
    do(app, change_nested, client)
    accessed = found[0][0]  # Flask 3.1.3 has set it for a look at the proxy, earlier ones do not
    assert found == [
        (accessed, True, False), (True, True, True), (True, False, False), (True, False, True),
    ]  # fmt: skip


def test_reading_writes_nothing(app: Flask) -> None:
    """A session with every type in it is not committed by a request that only looks at it."""
    client = app.test_client()
    do(app, lambda: session.update(VALUES), client)
    assert set_cookies(do(app, lambda: repr(dict(session)), client)) == []


def test_the_order_of_a_dict_is_kept_and_is_no_change(app: Flask) -> None:
    """A dict comes back in its own order, and a request that looks at it commits nothing."""
    client = app.test_client()
    do(app, lambda: session.update(d={"b": 1, "a": 2}), client)
    response = do(app, lambda: "".join(session["d"]), client)
    assert response.text == "ba"
    assert set_cookies(response) == []


def test_the_verbs_work_on_what_flask_session_holds(app: Flask) -> None:
    """increment, pull, put, forget and has; the old way of writing beside them."""
    client = app.test_client()
    found: list[Any] = []

    def change() -> None:
        session["n"] = 1
        found.append(ours.increment("n", 2))
        ours.put("tuple", (1, 2))
        session["gone"] = session["pulled"] = "x"
        ours.forget("gone")
        found.append(ours.pull("pulled"))

    do(app, change, client)
    do(app, lambda: found.append([dict(session), ours.has("n"), len(ours.id)]), client)
    assert found == [3, "x", [{"n": 3, "tuple": (1, 2)}, True, 64]]


def test_errors_of_a_form_and_what_was_typed_are_there_for_the_next_request(app: Flask) -> None:
    """flash_errors and flash_old, and a flash of ours, beside Flask's."""
    client = app.test_client()

    def refuse() -> None:
        ours.flash_errors({"email": ["is taken"]})
        ours.flash_old({"email": "ada@example.org"})
        ours.flash("notice", "Not saved.")

    def show() -> str:
        return f"{ours.error('email')} {ours.old('email')} {ours.get_flash('notice')}"

    do(app, refuse, client)
    assert do(app, show, client).text == "is taken ada@example.org Not saved."
    assert do(app, show, client).text.strip() == ""


def test_regenerate_gives_a_new_id_and_keeps_the_data(app: Flask) -> None:
    """What was put before is there under the new id."""
    client = app.test_client()
    ids: list[str] = []
    do(app, lambda: session.update(a=1), client)

    def regenerate() -> None:
        ids.append(ours.id)
        ours.regenerate()

    do(app, regenerate, client)
    response = do(app, lambda: f"{ours.id} {session['a']}", client)
    assert response.text == f"{response.text[:64]} 1"
    assert response.text[:64] != ids[0]


@pytest.mark.parametrize("login_key", ["", "user"])
def test_a_login_gives_a_new_id(store: SessionStore, login_key: str) -> None:
    """Setting the key that names the user, Flask-Login's or the configured one, and removing it."""
    key = login_key or "_user_id"
    app = make_app(store, GLIMR_SESSION={"login_key": login_key, "gc": "never"})
    client = app.test_client()
    ids: list[str] = []

    def work(change: Any) -> None:
        def view() -> None:
            ids.append(ours.id)
            change()

        do(app, view, client)

    work(lambda: session.update(other=1))
    work(lambda: session.update({key: "7", "other": 2}))
    work(lambda: session.update(other=3))
    work(lambda: session.pop(key))
    work(lambda: None)
    first, same, login, still, logout = ids
    assert first == same != login == still != logout != first


def test_clear_is_a_logout(disk: SessionStore) -> None:
    """The old cookie is dead, what is put afterwards is another session, and is kept."""
    app = make_app(disk)
    client = app.test_client()
    do(app, lambda: session.update(user="ada", cart=[1]), client)
    thief = twin_of = app.test_client()
    cookie = client.get_cookie("session")
    assert cookie is not None
    twin_of.set_cookie("session", cookie.value)

    def log_out() -> None:
        session.clear()
        assert dict(session) == {}
        session["note"] = "bye"

    do(app, log_out, client)
    found: list[Any] = []
    do(app, lambda: found.append(dict(session)), thief)
    do(app, lambda: found.append(dict(session)), client)
    assert found == [{}, {"note": "bye"}]


def test_clear_alone_ends_the_cookie(app: Flask) -> None:
    """As Flask's own sessions do it."""
    client = app.test_client()
    do(app, lambda: session.update(a=1), client)
    do(app, lambda: session.clear(), client)
    assert client.get_cookie("session") is None


def test_a_session_s_own_expiry(app: Flask) -> None:
    """expire_after sets the age of a permanent session's cookie."""
    client = app.test_client()

    def remember() -> None:
        session.permanent = True
        ours.expire_after(timedelta(days=90))

    (cookie,) = set_cookies(do(app, remember, client))
    assert f"Max-Age={90 * 24 * 3600};" in cookie


def test_the_key_is_what_signs() -> None:
    """Guard against a test key that would not do."""
    assert len(KEY) >= 32
