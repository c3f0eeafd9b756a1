"""The headers of a response that used its session."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glimr_session._request.cache_headers import add_session_headers, directives_of


def lines(headers: list[tuple[str, str]], name: str) -> list[str]:
    return [value for header, value in headers if header.lower() == name]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([], ["Cookie"]),
        (["Accept"], ["Accept, Cookie"]),
        (["Accept, Origin"], ["Accept, Origin, Cookie"]),
        ([""], ["Cookie"]),
        (["*"], ["*"]),
        (["Accept, *"], ["Accept, *"]),
        (["Cookie"], ["Cookie"]),
        (["cookie"], ["cookie"]),
        (["Accept ,\tCOOKIE , Origin"], ["Accept ,\tCOOKIE , Origin"]),
        (["X-Cookie"], ["X-Cookie, Cookie"]),
        (["Accept", "Origin"], ["Accept", "Origin, Cookie"]),
        (["Cookie", "Origin"], ["Cookie", "Origin"]),
        (["Accept", "*"], ["Accept", "*"]),
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["Vary", "vary", "VARY"])
def test_vary_names_the_cookie_once(name: str, before: list[str], after: list[str]) -> None:
    """Vary names the cookie once, unless it says as much already."""
    headers = [(name, value) for value in before]
    assert lines(add_session_headers(headers, []), "vary") == after
    assert lines(add_session_headers(headers, ["a=b"]), "vary") == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([], ["no-store"]),
        (["no-store"], ["no-store"]),
        (["No-Store, private"], ["No-Store, private"]),
        (["no-cache"], ["no-cache, private"]),
        (["public, NO-CACHE"], ["public, NO-CACHE, private"]),
        (["no-cache, Private"], ["no-cache, Private"]),
        (["no-cache, no-store"], ["no-cache, no-store"]),
        (["no-cache", "private"], ["no-cache", "private"]),
        (["no-cache", "max-age=0"], ["no-cache", "max-age=0, private"]),
        (["no-cache, x-private"], ["no-cache, x-private, private"]),
        (['no-cache="Set-Cookie"'], ['no-cache="Set-Cookie"']),
        (["private"], ['private, no-cache="Set-Cookie"']),
        (["public, max-age=60"], ['public, max-age=60, no-cache="Set-Cookie"']),
        ([""], ["", "no-store"]),
        (["public", "max-age=60"], ["public", 'max-age=60, no-cache="Set-Cookie"']),
        (["no-store", "max-age=60"], ["no-store", "max-age=60"]),
        (["x-no-store"], ['x-no-store, no-cache="Set-Cookie"']),
        (['no-cache="X-Other"'], ['no-cache="X-Other", no-cache="Set-Cookie"']),
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["Cache-Control", "cache-control"])
def test_caches_do_not_store_the_cookie(name: str, before: list[str], after: list[str]) -> None:
    """A response that sets a cookie is not stored, or without it, or by the browser alone."""
    headers = [(name, value) for value in before]
    for set_cookies in (["a=b"], ["a=b", "c=d"]):
        assert lines(add_session_headers(headers, set_cookies), "cache-control") == after


def test_without_a_cookie_to_set_only_vary_is_added() -> None:
    """A response without Set-Cookie gets Vary alone."""
    headers = [("Content-Type", "text/plain"), ("Cache-Control", "max-age=60")]
    assert add_session_headers(headers, []) == [*headers, ("Vary", "Cookie")]


def test_the_cookies_come_after_the_headers_of_the_application() -> None:
    """The cookies come after the application's headers; all keep their order."""
    headers = [("Set-Cookie", "theirs=1"), ("Content-Type", "text/plain")]
    changed = add_session_headers(headers, ["ours=1", "ours=2"])
    assert changed[:2] == headers
    assert changed[-2:] == [("Set-Cookie", "ours=1"), ("Set-Cookie", "ours=2")]
    assert lines(changed, "set-cookie") == ["theirs=1", "ours=1", "ours=2"]


@pytest.mark.parametrize(
    ("headers", "name", "directives"),
    [
        ([], "vary", []),
        ([("Vary", "")], "vary", []),
        ([("Vary", " , ,")], "vary", []),
        (
            [("vArY", "Accept , COOKIE"), ("X", "a"), ("Vary", "*")],
            "vary",
            ["accept", "cookie", "*"],
        ),
    ],
    ids=str,
)
def test_directives_are_read_in_lower_case_and_in_order(
    headers: list[tuple[str, str]], name: str, directives: list[str]
) -> None:
    """directives_of() splits all headers of a name at their commas."""
    assert directives_of(headers, name) == directives


@pytest.mark.parametrize("set_cookies", [[], ["a=b"], ["a=b", "c=d"]], ids=str)
@given(
    headers=st.lists(
        st.tuples(
            st.sampled_from(["Vary", "vary", "Cache-Control", "cache-control", "X-Other"]),
            st.sampled_from(["", "*", "Cookie", "no-store", "Accept"])
            | st.text(string.ascii_letters + ' ,"='),
        )
    )
)
def test_the_list_of_the_application_is_never_changed(
    headers: list[tuple[str, str]], set_cookies: list[str]
) -> None:
    """add_session_headers() returns a new list and leaves the old one unchanged."""
    before = [*headers]
    changed = add_session_headers(headers, set_cookies)
    assert changed is not headers
    assert headers == before
    assert add_session_headers(tuple(headers), set_cookies) == changed


def test_a_token_replaces_one_of_the_application_s() -> None:
    """A response has one token, and its other headers stay as they are."""
    own = [("x-session-token", "theirs"), ("Vary", "Accept"), ("Cache-Control", "private")]
    token = {"request_header": "X-Session-Token", "response_header": "X-Session-Token"}
    assert add_session_headers(own, ["ours"], **token) == [
        ("Vary", "Accept, X-Session-Token"),
        ("Cache-Control", "private, no-store"),
        ("X-Session-Token", "ours"),
    ]
    assert add_session_headers(own, [], **token)[0] == ("x-session-token", "theirs")
