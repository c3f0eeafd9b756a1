"""flask.flash and get_flashed_messages on our sessions."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask, flash, get_flashed_messages, render_template_string, session
from flask.testing import FlaskClient
from markupsafe import Markup

from glimr_session import DiskStore, SessionStore
from glimr_session.testing import Steps

from .sites import do, make_app, ours, twin


@pytest.fixture
def app(store: SessionStore) -> Flask:
    return make_app(store)


def shown(app: Flask, client: FlaskClient, **options: Any) -> list[Any]:
    """Return the messages that a page shows."""
    found: list[Any] = []
    do(app, lambda: found.extend(get_flashed_messages(**options)), client)
    return found


def flash_all(*messages: tuple[str, str]) -> None:
    for category, text in messages:
        flash(text, category)


def test_messages_are_shown_once(app: Flask) -> None:
    """In the order in which they were flashed, by the next page that shows any."""
    client = app.test_client()
    do(app, lambda: flash_all(("message", "one"), ("message", "two")), client)
    do(app, lambda: session.get("anything"), client)
    assert shown(app, client) == ["one", "two"]
    assert shown(app, client) == []


def test_categories_and_filters(app: Flask) -> None:
    """With categories as pairs; with a filter the others are gone too, as Flask has it."""
    client = app.test_client()
    pairs = [("message", "one"), ("error", "two"), ("error", Markup("<b>three</b>"))]
    cases: list[tuple[dict[str, Any], list[Any]]] = [
        ({"with_categories": True}, pairs),
        ({"category_filter": ["error"]}, ["two", Markup("<b>three</b>")]),
        ({"category_filter": ["error"], "with_categories": True}, pairs[1:]),
    ]
    for options, expected in cases:
        do(app, lambda: flash_all(*pairs), client)
        assert shown(app, client, **options) == expected
        assert shown(app, client) == []


def test_a_template_shows_them(app: Flask) -> None:
    """In the request that flashes too."""
    text = "{% for message in get_flashed_messages() %}{{ message }}{% endfor %}"
    client = app.test_client()
    do(app, lambda: flash("one"), client)

    def both() -> str:
        flash("two & three")
        return render_template_string(text)

    assert do(app, both, client).text == "onetwo &amp; three"
    assert do(app, lambda: render_template_string(text), client).text == ""


def test_a_test_reads_them_after_the_response(app: Flask) -> None:
    """In a ``with`` block; that the test has seen them changes nothing for the next page."""
    client = app.test_client()
    with client:
        do(app, lambda: flash("one"), client)
        assert get_flashed_messages() == ["one"]
    assert shown(app, client) == ["one"]


def test_ours_stands_beside_flask_s(app: Flask) -> None:
    """``session.flash`` lasts for one request; Flask's until it is shown."""
    client = app.test_client()

    def flash_both() -> None:
        flash("flask's")
        ours.flash("notice", "ours")

    do(app, flash_both, client)
    assert do(app, lambda: ours.get_flash("notice"), client).text == "ours"
    assert do(app, lambda: ours.get_flash("notice"), client).text == ""
    assert shown(app, client) == ["flask's"]


# Two requests at once.


@pytest.fixture
def steps(disk: DiskStore) -> Steps:
    return Steps(disk)


def test_two_requests_that_flash_at_once_both_survive(steps: Steps) -> None:
    """Also in the first request of a browser that has a session, with none flashed before."""
    app = make_app(steps)
    client = app.test_client()
    do(app, lambda: session.update(a=1), client)
    first, second = twin(client), twin(client)
    steps.run(
        "one opens, two opens, one commits, two commits",
        one=lambda: do(app, lambda: flash("one"), first),
        two=lambda: do(app, lambda: flash("two"), second),
    )
    assert shown(app, client) == ["one", "two"]


@pytest.mark.parametrize("order", ["show commits, flash commits", "flash commits, show commits"])
def test_a_message_that_was_shown_is_not_shown_again(steps: Steps, order: str) -> None:
    """A request that flashes at the same time adds its own, and does not bring it back."""
    app = make_app(steps)
    client = app.test_client()
    do(app, lambda: flash("old"), client)
    showing, flashing = twin(client), twin(client)
    found = steps.run(
        f"show opens, flash opens, {order}",
        show=lambda: shown(app, showing),
        flash=lambda: do(app, lambda: flash("new"), flashing),
    )
    assert found["show"] == ["old"]
    assert shown(app, client) == ["new"]
