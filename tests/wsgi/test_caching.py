"""What the headers of a response tell caches."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pytest

from glimr_session import SessionStore, StoreUnavailable
from tests.support.wsgi_apps import (
    TEXT,
    Change,
    Recorded,
    Wrap,
    answering,
    bare,
    browser_with,
    nothing,
    put,
    session_of,
)
from tests.support.wsgi_client import Browser

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


def cookie_words(values: list[str]) -> list[str]:
    """Return the words in Vary headers that make a response vary by its cookie."""
    words = [word.strip().lower() for value in values for word in value.split(",")]
    return [word for word in words if word in ("cookie", "*")]


@pytest.mark.parametrize(
    "own",
    [
        [],
        ["Accept-Encoding"],
        ["Accept, Accept-Language"],
        ["Accept", "Accept-Language"],
        ["cookie"],
        ["Accept, COOKIE"],
        ["Cookie", "Accept"],
        ["*"],
    ],
    ids=str,
)
@pytest.mark.parametrize("touch", [lambda session: session.get("a"), put("a", 1)], ids=["r", "w"])
def test_a_touched_response_varies_by_cookie(
    own: list[str], touch: Change, wrap: Wrap, store: SessionStore
) -> None:
    """A response that used its session has Cookie in its Vary headers once."""
    response = Browser().get(wrap(answering(touch, [("Vary", value) for value in own]), store))
    values = response.values("Vary")
    assert len(cookie_words(values)) == 1
    assert ", ".join(values).startswith(", ".join(own))
    assert len(values) == max(len(own), 1)


@pytest.mark.parametrize("own", [[], ["Accept-Encoding"]], ids=str)
def test_an_untouched_response_does_not_vary_by_cookie(own: list[str], store: SessionStore) -> None:
    """A response that did not use its session keeps its headers unchanged."""
    browser = browser_with(store, a=1)
    headers = [("Vary", value) for value in own]
    response = browser.get(bare(answering(nothing, headers), store))
    assert response.headers == [TEXT, *headers]


@pytest.mark.parametrize(
    ("own", "sent"),
    [
        ([], ["no-store"]),
        (["no-store"], ["no-store"]),
        (["no-cache"], ["no-cache, private"]),
        (["public, max-age=60"], ['public, max-age=60, no-cache="Set-Cookie"']),
        (["private"], ['private, no-cache="Set-Cookie"']),
        (["public", "max-age=60"], ["public", 'max-age=60, no-cache="Set-Cookie"']),
        (["max-age=60", "No-Store"], ["max-age=60", "No-Store"]),
    ],
    ids=str,
)
def test_a_cookie_is_never_cached(
    own: list[str], sent: list[str], wrap: Wrap, store: SessionStore
) -> None:
    """A response with Set-Cookie is not cached, or without that header, or by the browser."""
    app = answering(put("a", 1), [("Cache-Control", value) for value in own])
    response = Browser().get(wrap(app, store))
    assert response.set_cookie is not None
    assert response.values("Cache-Control") == sent


@pytest.mark.parametrize("own", [[], ["public"]], ids=str)
@pytest.mark.parametrize("touch", [nothing, lambda session: session.get("a")], ids=["-", "read"])
def test_without_a_cookie_caching_is_the_application_s_own(
    touch: Change, own: list[str], store: SessionStore
) -> None:
    """A response without Set-Cookie keeps the application's Cache-Control."""
    browser = browser_with(store, a=1)
    app = answering(touch, [("Cache-Control", value) for value in own])
    response = browser.get(bare(app, store))
    assert response.set_cookie is None
    assert response.values("Cache-Control") == own


def test_a_response_to_an_outage_varies_by_cookie() -> None:
    """An application's own page for an outage has Vary: Cookie."""
    recorded = Recorded()
    browser = browser_with(recorded.store, a=1)
    recorded.down = True

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        try:
            session_of(environ).get("a")
        except StoreUnavailable:
            start_response("503 Service Unavailable", [TEXT])
        return [b"later"]

    response = browser.get(bare(app, recorded.store))
    assert (response.status, response.set_cookie) == ("503 Service Unavailable", None)
    assert response.values("Vary") == ["Cookie"]
