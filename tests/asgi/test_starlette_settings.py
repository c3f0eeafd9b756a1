"""The settings of Starlette's SessionMiddleware, and its cookies."""

from __future__ import annotations

import dataclasses
import json
from base64 import b64encode
from pathlib import Path
from typing import Any

import itsdangerous
import pytest
from starlette.datastructures import Secret

from glimr_session import ConfigError, DiskStore, SessionConfig
from glimr_session.asgi import SessionMiddleware
from tests.conftest import Clock
from tests.support.asgi_client import Browser
from tests.support.cookies import tampered
from tests.support.wsgi_apps import rows

from .apps import KEY, Change, answering, nothing, noting, put, run

DAY = 24 * 3600


def cookie_of(**settings: Any) -> tuple[str, set[str]]:
    """Return the name of the cookie and its attributes, with these settings of Starlette's."""
    given: dict[str, Any] = {"secret_key": KEY, **settings}
    app = SessionMiddleware(answering(put("a", 1)), **given)
    pair, *attributes = (run(Browser().get(app)).set_cookie or "").split("; ")
    return pair.partition("=")[0], set(attributes)


USUAL = {"Max-Age=1209600", "Path=/", "HttpOnly", "SameSite=Lax"}


SETTINGS: list[tuple[dict[str, Any], str, set[str]]] = [
    ({}, "session", USUAL),
    ({"secret_key": Secret(KEY)}, "session", USUAL),
    ({"session_cookie": "shop"}, "shop", USUAL),
    ({"max_age": 3600}, "session", USUAL - {"Max-Age=1209600"} | {"Max-Age=3600"}),
    ({"max_age": None}, "session", USUAL - {"Max-Age=1209600"}),
    ({"path": "/shop"}, "session", USUAL - {"Path=/"} | {"Path=/shop"}),
    ({"same_site": "strict"}, "session", USUAL - {"SameSite=Lax"} | {"SameSite=Strict"}),
    (
        {"same_site": "none", "https_only": True},
        "session",
        USUAL - {"SameSite=Lax"} | {"SameSite=None", "Secure"},
    ),
    ({"https_only": True}, "session", USUAL | {"Secure"}),
    ({"https_only": False}, "session", USUAL),
    ({"domain": "example.org"}, "session", USUAL | {"Domain=example.org"}),
    ({"domain": None}, "session", USUAL),
    ({"partitioned": True, "https_only": True}, "session", USUAL | {"Secure", "Partitioned"}),
]


@pytest.mark.parametrize(
    ("settings", "name", "attributes"), SETTINGS, ids=[str(case[0]) for case in SETTINGS]
)
def test_each_setting_does_what_it_does_there(
    settings: dict[str, Any], name: str, attributes: set[str]
) -> None:
    """One is changed at a time."""
    assert cookie_of(**settings) == (name, attributes)


def test_a_session_ends_when_its_time_is_up(clock: Clock) -> None:
    """``max_age`` seconds after its last use; None is 14 days."""
    found: list[Any] = []

    async def work(age: float | None, seconds: float) -> None:
        browser = Browser()
        app = SessionMiddleware(answering(put("a", 1)), secret_key=KEY, max_age=age)
        await browser.get(app)
        clock.advance(seconds)
        look = answering(noting(found, dict))
        await browser.get(SessionMiddleware(look, secret_key=KEY, max_age=age))

    for age, seconds in ((60, 59), (60, 60), (None, 14 * DAY - 1), (None, 14 * DAY)):
        run(work(age, seconds))
    assert found == [{"a": 1}, {}, {"a": 1}, {}]


def test_a_store_beside_the_settings_keeps_the_sessions(disk: DiskStore) -> None:
    """Then the cookie has only an id."""
    app = SessionMiddleware(answering(put("a", 1)), secret_key=KEY, store=disk)
    run(Browser().get(app))
    assert rows(disk) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"session_cookie": "shop"}, "secret_key"),
        ({"secret_key": ""}, "^secret_key"),
        ({"secret_key": "short"}, "^secret_key"),
        ({"secret_key": None}, "^secret_key"),
        ({"secret_key": KEY, "lifetime": 60}, "^lifetime: no setting of Starlette's.*secret_key"),
        ({"secret_key": KEY, "max_age": 0}, "^max_age"),
        ({"secret_key": KEY, "max_age": -1}, "^max_age"),
        ({"secret_key": KEY, "max_age": "60"}, "^max_age"),
        ({"secret_key": KEY, "session_cookie": "a b"}, "^session_cookie"),
        ({"secret_key": KEY, "path": "shop"}, "^path"),
        ({"secret_key": KEY, "same_site": "loose"}, "^same_site"),
        ({"secret_key": KEY, "same_site": None}, "^same_site"),
        ({"secret_key": KEY, "https_only": "yes"}, "^https_only"),
        ({"secret_key": KEY, "domain": "https://example.org"}, "^domain"),
        ({"secret_key": KEY, "domain": 5}, "^domain"),
        ({"secret_key": KEY, "partitioned": 1}, "^partitioned"),
    ],
    ids=str,
)
def test_a_wrong_setting_is_refused_by_name(settings: dict[str, Any], message: str) -> None:
    """By the name that Starlette has for it, when the middleware is made."""
    with pytest.raises(ConfigError, match=message) as error:
        SessionMiddleware(answering(), **settings)
    assert "cookie_" not in str(error.value)
    assert KEY not in str(error.value)


@pytest.mark.parametrize(
    "given", [SessionConfig(secret_keys=[KEY]), {"secret_keys": [KEY]}], ids=["object", "mapping"]
)
def test_config_and_settings_together_are_refused(given: Any) -> None:
    """The error says what the setting is called in config."""
    with pytest.raises(ConfigError, match=r"max_age: .* not both\. In config it is lifetime"):
        SessionMiddleware(answering(), given, max_age=60)


# From Starlette's own sessions to ours.


def theirs(data: Any, key: str = KEY) -> str:
    """Return a Cookie header as Starlette's own SessionMiddleware makes it."""
    signed = itsdangerous.TimestampSigner(key).sign(b64encode(json.dumps(data).encode()))
    return f"session={signed.decode()}"


@pytest.fixture
def moving(tmp_path: Path) -> SessionConfig:
    return SessionConfig(
        secret_keys=["a new key for tests that is long enough", KEY],
        gc="never",
        lifetime=14 * DAY,
        disk_directory=tmp_path / "moved",
        move_from="glimr_session.starlette:signed_cookies",
    )


def site(moving: SessionConfig, change: Change = nothing) -> SessionMiddleware:
    return SessionMiddleware(answering(change), moving)


def test_nobody_is_logged_out_when_sessions_move(moving: SessionConfig) -> None:
    """The first request finds Starlette's data, and its cookie gives way to ours."""
    found: list[Any] = []

    async def work() -> None:
        browser = Browser(theirs({"user": 7}))
        response = await browser.get(site(moving, noting(found, dict)))
        assert [value.partition("=")[0] for value in response.values("Set-Cookie")] == [
            "session",
            "glimr_session",
        ]
        assert browser.cookies.header().startswith("glimr_session=")
        await browser.get(site(moving, noting(found, dict)))

    run(work())
    assert found == [{"user": 7}] * 2


def test_a_logout_ends_starlette_s_session(moving: SessionConfig) -> None:
    """A copy of its cookie, too: those of Starlette itself live on after a logout."""
    found: list[Any] = []

    async def work() -> None:
        browser = Browser(theirs({"user": 7}))
        copied = browser.twin()
        await browser.get(site(moving, lambda session: session.invalidate()))
        assert browser.cookies.header() == ""
        await copied.get(site(moving, noting(found, dict)))

    run(work())
    assert found == [{}]


def test_a_session_of_starlette_s_may_be_in_a_cookie_of_our_name(moving: SessionConfig) -> None:
    """One Set-Cookie replaces it."""

    same = dataclasses.replace(moving, cookie="session")

    async def work() -> None:
        browser = Browser(theirs({"user": 7}))
        response = await browser.get(site(same, lambda session: session.increment("n")))
        assert response.set_cookie is not None
        found: list[Any] = []
        await browser.get(site(same, noting(found, dict)))
        assert found == [{"user": 7, "n": 1}]

    run(work())


@pytest.mark.parametrize(
    "cookie",
    [
        theirs({"user": 7}, "a key of somebody else's, also long"),
        "session=" + tampered(theirs({"user": 7}).removeprefix("session=")),
        "session=",
        "session=x.y.z",
        theirs([1, 2]),
        theirs("text"),
        "session=" + itsdangerous.TimestampSigner(KEY).sign(b"no base64!").decode(),
        "session=" + itsdangerous.TimestampSigner(KEY).sign(b64encode(b"no json")).decode(),
    ],
    ids=["other key", "tampered", "empty", "made up", "list", "text", "no base64", "no JSON"],
)
def test_what_is_no_session_of_starlette_s_is_nothing(cookie: str, moving: SessionConfig) -> None:
    """The request is anonymous, and the cookie is left alone."""
    found: list[Any] = []
    response = run(Browser(cookie).get(site(moving, noting(found, dict))))
    assert found == [{}]
    assert response.set_cookie is None


def test_a_session_of_starlette_s_ends_in_time(moving: SessionConfig, clock: Clock) -> None:
    """After the configured lifetime, as there."""
    found: list[Any] = []
    cookies = [theirs({"user": 1}), theirs({"user": 2})]
    for cookie, seconds in zip(cookies, (14 * DAY - 10, 20), strict=True):
        clock.advance(seconds)
        run(Browser(cookie).get(site(moving, noting(found, dict))))
    assert found == [{"user": 1}, {}]
