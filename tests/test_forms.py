"""Forms that fail: what is shown beside their fields again, and what never is."""

from __future__ import annotations

import io
from collections import UserList
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pytest
from markupsafe import Markup
from werkzeug.datastructures import FileStorage, ImmutableMultiDict, MultiDict

from glimr_session import (
    CookieStore,
    Json,
    Session,
    SessionConfig,
    SessionMiddleware,
    empty,
    flash_errors,
    flash_old,
)
from tests.support.ids import name_of
from tests.support.wsgi_client import Browser

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


@pytest.fixture
def session() -> Iterator[Session]:
    session = Session.start("0" * 64)
    yield session
    session.stop()


def left(session: Session) -> dict[str, Json]:
    """Return what the next request will be shown."""
    return dict(session.state().flash)


class Lazy:
    """A translation that is looked up late, like Flask-Babel's and Django's: like a str."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __str__(self) -> str:
        return self._text

    def __len__(self) -> int:
        return len(self._text)

    def __getitem__(self, position: int) -> str:
        return self._text[position]

    def __iter__(self) -> Iterator[str]:
        return iter(self._text)


class ErrorList(UserList[object]):
    """A list of errors, like Django's."""


class GetAll(dict[str, str]):
    """A multidict like WebOb's and Bottle's: ``getall``, and the last value as item."""

    def __init__(self, *pairs: tuple[str, str]) -> None:
        super().__init__(pairs)
        self._pairs = pairs

    def getall(self, key: str) -> list[str]:
        return [value for name, value in self._pairs if name == key]


# flash_errors.


@pytest.mark.parametrize(
    "messages",
    [
        "is missing",
        ["is missing"],
        ["is missing", "is too short"],
        ("is missing", "is too short"),
        ErrorList(["is missing", "is too short"]),
        Markup("is missing"),
        [Markup("is missing")],
        [Lazy("is missing")],
        (Lazy("is missing"), "is too short"),
        Lazy("is missing"),
        ValueError("is missing"),
        [ValueError("is missing")],
    ],
    ids=lambda messages: f"{type(messages).__name__} {name_of(messages)}",
)
def test_the_first_message_of_a_field_is_kept_as_text(session: Session, messages: object) -> None:
    """flash_errors() keeps the first message of a field as a str."""
    flash_errors(session, {"email": messages})
    assert left(session) == {"errors.email": "is missing"}
    assert type(left(session)["errors.email"]) is str


def test_an_iterator_of_messages_gives_its_first(session: Session) -> None:
    """flash_errors() keeps the first message of an iterator."""
    flash_errors(session, {"email": (text for text in ("is missing", "is too short"))})
    assert left(session) == {"errors.email": "is missing"}


@pytest.mark.parametrize("messages", [[], (), None, ErrorList(), [None]], ids=name_of)
def test_a_field_without_a_message_has_no_error(session: Session, messages: object) -> None:
    """flash_errors() keeps nothing for an empty list or None."""
    flash_errors(session, {"email": messages, "name": "is missing"})
    assert left(session) == {"errors.name": "is missing"}


def test_errors_of_the_whole_form_are_left_out(session: Session) -> None:
    """flash_errors() leaves out the errors of the whole form."""
    errors: Mapping[str | None, object] = {None: ["do not match"], "email": ["is missing"]}
    flash_errors(session, errors)
    assert left(session) == {"errors.email": "is missing"}


def test_every_field_is_kept_whatever_it_is_called(session: Session) -> None:
    """flash_errors() keeps the error of every field, a password's too."""
    errors = {"user.name": "is missing", "password": "is too short", "e-mail ü": "is wrong"}
    flash_errors(session, errors)
    assert left(session) == {f"errors.{field}": text for field, text in errors.items()}


def test_no_errors_change_nothing(session: Session) -> None:
    """flash_errors() without errors changes nothing."""
    flash_errors(session, {})
    flash_errors(session, {"email": []})
    assert not session.state().dirty


# flash_old.


@pytest.mark.parametrize(
    "form",
    [
        {"name": "Ann", "colours": ["red", "blue"]},
        {"name": ["Ann"], "colours": ("red", "blue")},
        MultiDict([("name", "Ann"), ("colours", "red"), ("colours", "blue")]),
        ImmutableMultiDict([("colours", "red"), ("name", "Ann"), ("colours", "blue")]),
        GetAll(("name", "Ann"), ("colours", "red"), ("colours", "blue")),
    ],
    ids=lambda form: type(form).__name__,
)
def test_what_was_typed_is_kept(session: Session, form: Mapping[str, Any]) -> None:
    """flash_old() keeps one value as a str and several as a list."""
    flash_old(session, form)
    assert left(session) == {"old.name": "Ann", "old.colours": ["red", "blue"]}


def test_an_empty_text_is_kept(session: Session) -> None:
    """flash_old() keeps empty text."""
    flash_old(session, {"name": "", "nickname": [""], "colours": ["", "red"]})
    assert left(session) == {"old.name": "", "old.nickname": "", "old.colours": ["", "red"]}


@pytest.mark.parametrize("word", ["password", "secret", "token"])
@pytest.mark.parametrize("write", [str.lower, str.upper, str.title, str.swapcase])
@pytest.mark.parametrize("name", ["{}", "new_{}", "{}2", "user[{}]", "my{}field", "csrf-{}-x"])
def test_secrets_are_never_kept(
    session: Session, name: str, write: Callable[[str], str], word: str
) -> None:
    """flash_old() keeps no field whose name holds password, secret or token."""
    field = write(name.format(word))
    flash_old(session, {field: "what nobody may see", "name": "Ann"})
    flash_old(session, MultiDict([(field, "what nobody"), (field, "may see")]))
    assert left(session) == {"old.name": "Ann"}


@pytest.mark.parametrize("except_", [["iban", "pin"], ("iban", "pin"), {"iban", "pin"}], ids=type)
def test_excepted_fields_are_not_kept(session: Session, except_: Any) -> None:
    """flash_old() leaves out the excepted fields by their exact names."""
    form = {"iban": "DE02", "pin": "1234", "pinboard": "notes", "name": "Ann"}
    flash_old(session, form, except_=except_)
    assert left(session) == {"old.pinboard": "notes", "old.name": "Ann"}


def test_one_name_as_except_is_refused(session: Session) -> None:
    """flash_old() raises TypeError for a str as except_."""
    with pytest.raises(TypeError, match=r"except_=\['shipping'\]"):
        flash_old(session, {"pin": "1234"}, except_="shipping")
    assert left(session) == {}


def test_what_is_no_text_is_left_out(session: Session) -> None:
    """flash_old() leaves out uploads, numbers and None, and keeps text beside them."""
    upload = FileStorage(io.BytesIO(b"bytes"), "photo.png")
    form = MultiDict[str, Any](
        [("photo", upload), ("name", "Ann"), ("mixed", upload), ("mixed", "text"), ("age", 5)]
    )
    flash_old(session, form)
    flash_old(session, {"nothing": None, "bytes": b"bytes", "number": 1.5, "empty": []})
    assert left(session) == {"old.name": "Ann", "old.mixed": "text"}


def test_texts_of_other_classes_are_kept_as_plain_text(session: Session) -> None:
    """flash_old() keeps subclasses of str as plain str."""
    flash_old(session, {"name": Markup("<b>Ann</b>"), "colours": [Markup("red"), "blue"]})
    assert left(session) == {"old.name": "<b>Ann</b>", "old.colours": ["red", "blue"]}
    assert type(left(session)["old.name"]) is str


def test_an_empty_handle_takes_it_all_and_keeps_nothing() -> None:
    """The empty session takes errors and old values and keeps nothing."""
    handle = empty()
    flash_errors(handle, {"email": "is missing"})
    flash_old(handle, {"email": "x"})
    assert (handle.error("email"), handle.old("email")) == ("", "")


# The round trip.


def seen(session: Session) -> list[Json]:
    return [
        session.error("email"),
        session.has_error("email"),
        session.has_error("name"),
        session.old("email"),
        session.old("colours"),
        session.old("password"),
        session.error("name"),
    ]


def test_the_next_request_and_only_that_is_shown_the_form_again() -> None:
    """The next request that uses its session shows the form again, and no other does."""
    shown: list[list[Json]] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        session: Session = environ["glimr.session"]
        if environ["REQUEST_METHOD"] == "POST":
            typed = {"email": "ann@", "colours": ["red", "blue"], "password": "hush"}
            flash_errors(session, {"email": ["is no address", "is too short"], "name": []})
            flash_old(session, MultiDict(typed))
        shown.append(seen(session))
        start_response("200 OK", [])
        return [b"."]

    config = SessionConfig(secret_keys=["the key of the tests of forms, long"], gc="never")
    served = SessionMiddleware(app, config, store=CookieStore())
    browser = Browser()
    for method in ("GET", "POST", "GET", "GET"):
        browser.get(served, method)
    nothing: list[Json] = ["", False, False, "", "", "", ""]
    form: list[Json] = ["is no address", True, False, "ann@", ["red", "blue"], "", ""]
    assert shown == [nothing, nothing, form, nothing]
