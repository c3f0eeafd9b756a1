"""Hostile requests to the middleware as a whole."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz import config as configuration
from fuzz import cookies
from glimr_session import Session, SessionConfig, SessionMiddleware, SessionStore
from tests.fuzz.inputs import any_text, words
from tests.support.wsgi_client import Browser, Response

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


KEY = configuration.KEY


def application(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    """Read a key, and write one where the path says so."""
    session: Session = environ["glimr.session"]
    text = json.dumps(session.get("a"))
    if environ["PATH_INFO"] == "/write":
        session["a"] = 1
    start_response("200 OK", [("Content-Type", "application/json")])
    return [text.encode()]


@pytest.fixture
def site(store: SessionStore) -> WSGIApplication:
    return SessionMiddleware(application, SessionConfig(secret_keys=[KEY], gc="never"), store=store)


def answer(site: WSGIApplication, path: str, **environ: str) -> Response:
    response = Browser().request(site, extra={"PATH_INFO": path, **environ}).begin().finish()
    assert response.status == "200 OK"
    return response


hostile_environ = st.fixed_dictionaries(
    {},
    optional={
        "HTTP_HOST": words | st.sampled_from(["[", "[::1", "localhost:", ":", "]", "LOCALHOST"]),
        "SERVER_NAME": any_text,
        "HTTP_X_FORWARDED_PROTO": any_text,
        "HTTP_X_FORWARDED_SSL": any_text | st.sampled_from(["on", "ON ", "off"]),
        "HTTP_FORWARDED": any_text
        | st.text('proto=https";, ').map(lambda text: f"for=a;{text}")
        | st.sampled_from(["proto=https", 'for="[::1]";proto="https', "proto=" * 5_000]),
        "SCRIPT_NAME": any_text,
        "wsgi.url_scheme": st.sampled_from(["http", "https", "HTTPS", ""]) | any_text,
    },
)


hostile_header = st.lists(
    st.sampled_from([cookies.OURS, cookies.NAME, "=", "; ", ".", '"', "0" * 64]) | any_text
).map("".join)


@given(header=hostile_header, environ=hostile_environ)
def test_any_request_that_only_reads_is_served_and_gets_no_cookie(
    site: WSGIApplication, header: str, environ: dict[str, str]
) -> None:
    """Any request that only reads is served and gets no cookie."""
    response = answer(site, "/", HTTP_COOKIE=header, **environ)
    assert response.body == b"null"
    assert response.set_cookie is None
    assert response.values("Vary") == ["Cookie"]


SET_COOKIE = re.compile(
    r"glimr_session=[\w.=-]+; HttpOnly; Max-Age=7200; Path=/; SameSite=Lax(; Secure)?", re.ASCII
)


@given(header=hostile_header, environ=hostile_environ)
def test_any_request_that_writes_gets_one_good_cookie(
    site: WSGIApplication, header: str, environ: dict[str, str]
) -> None:
    """Any request that writes gets one well-formed cookie, which finds the session again."""
    response = answer(site, "/write", HTTP_COOKIE=header, **environ)
    ours = response.set_cookie
    assert ours is not None
    assert SET_COOKIE.fullmatch(ours), ours
    cookie = ours.partition(";")[0]
    after = answer(site, "/", HTTP_COOKIE=f"{header}; {cookie}", **environ)
    assert after.body == b"1"
    assert after.set_cookie is None
