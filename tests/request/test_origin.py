"""Origin: where a request came to, whether its cookie is Secure, and whether it comes back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glimr_session._request.cookie import SessionCookie
from glimr_session._request.origin import Origin
from glimr_session._request.signing import CookieSigner
from tests.support.wsgi_apps import warnings_in

SIGNER = CookieSigner(["a first key of 32 characters, at least"], "the salt of these tests")


@pytest.mark.parametrize(
    ("host", "name", "loopback"),
    [
        ("localhost", "localhost", True),
        ("LocalHost:8000", "localhost", True),
        ("127.0.0.1", "127.0.0.1", True),
        ("[::1]", "[::1]", True),
        ("[::1]:8000", "[::1]", True),
        ("", "", False),
        (":80", "", False),
        ("[", "", False),
        ("Shop.Example.org:443", "shop.example.org", False),
        ("localhost.example.org", "localhost.example.org", False),
        ("127.0.0.1.example.org", "127.0.0.1.example.org", False),
        ("127.0.0.11", "127.0.0.11", False),
        ("[2001:db8::1]:8000", "[2001:db8::1]", False),
    ],
)
def test_the_name_of_a_host_has_no_port(host: str, name: str, loopback: bool) -> None:
    """The name is the host without its port in lower case; three of them are this machine."""
    origin = Origin(https=False, host=host)
    assert (origin.name, origin.is_loopback) == (name, loopback)


HTTPS_BY_HEADER: list[dict[str, str]] = [
    {"x_forwarded_proto": "https"},
    {"x_forwarded_proto": " HTTPS , http"},
    {"x_forwarded_ssl": "on"},
    {"x_forwarded_ssl": " On "},
    {"forwarded": "proto=https"},
    {"forwarded": 'proto="https"'},
    {"forwarded": "for=192.0.2.60;PROTO=HTTPS;by=203.0.113.43"},
    {"forwarded": 'for="[2001:db8::1]:47" ; proto = https'},
    {"forwarded": "for=192.0.2.43, for=198.51.100.17;proto=https"},
    {"forwarded": "proto=http, proto=https"},
]


HTTP_BY_HEADER: list[dict[str, str]] = [
    {},
    {"x_forwarded_proto": "http"},
    {"x_forwarded_proto": "http, https"},
    {"x_forwarded_proto": "httpsx"},
    {"x_forwarded_ssl": "off"},
    {"x_forwarded_ssl": "onn"},
    {"forwarded": "proto=http"},
    {"forwarded": "proto=httpsx"},
    {"forwarded": "xproto=https"},
    {"forwarded": "for=https"},
    {"forwarded": "host=proto=https"},
]


@pytest.mark.parametrize("headers", HTTPS_BY_HEADER, ids=str)
def test_a_proxy_can_say_that_it_is_https(headers: dict[str, str]) -> None:
    """Each header by which proxies tell of HTTPS makes the cookie Secure, here too."""
    origin = Origin(https=False, host="localhost", **headers)
    assert origin.is_https
    assert origin.needs_secure


@pytest.mark.parametrize("headers", HTTP_BY_HEADER, ids=str)
def test_other_words_of_a_proxy_are_not_https(headers: dict[str, str]) -> None:
    """Other values say nothing of HTTPS; that a proxy spoke of a protocol is enough for Secure."""
    origin = Origin(https=False, host="localhost", **headers)
    assert not origin.is_https
    assert origin.needs_secure is ("x_forwarded_proto" in headers)
    assert Origin(https=True, host="localhost", **headers).is_https
    assert Origin(https=False, host="example.org", **headers).needs_secure


any_text = st.text(st.characters(categories=None))


@given(headers=st.fixed_dictionaries({}, optional=dict.fromkeys(
    ["x_forwarded_proto", "x_forwarded_ssl", "forwarded"], any_text
)), host=any_text)  # fmt: skip
def test_no_header_takes_secure_away(headers: dict[str, str], host: str) -> None:
    """Whatever the proxy's headers are, a cookie that is Secure without them is with them."""
    for https in (True, False):
        if Origin(https=https, host=host).needs_secure:
            assert Origin(https=https, host=host, **headers).needs_secure


def test_the_origin_is_found_in_the_variables_of_cgi() -> None:
    """from_cgi() reads each field of a request where WSGI servers put it."""
    environ = {
        "wsgi.url_scheme": "https",
        "HTTP_HOST": "shop.example.org:8000",
        "SERVER_NAME": "10.0.0.7",
        "SCRIPT_NAME": "/shop",
        "PATH_INFO": "/cart",
        "HTTP_X_FORWARDED_PROTO": "a",
        "HTTP_X_FORWARDED_SSL": "b",
        "HTTP_FORWARDED": "c",
    }
    expected = Origin(True, "shop.example.org:8000", "/shop/cart", "a", "b", "c")
    assert Origin.from_cgi(environ) == expected
    del environ["HTTP_HOST"]
    assert Origin.from_cgi(environ).host == "10.0.0.7"
    assert Origin.from_cgi({}) == Origin(https=False, host="", path="")


# Cookies that will not come back.


def warned(
    caplog: pytest.LogCaptureFixture, origin: Origin, times: int = 2, **settings: Any
) -> list[str]:
    """Return the warnings after some responses to an origin."""
    cookie = SessionCookie(SIGNER, **settings)
    for _ in range(times):
        cookie.set("value", origin)
    return warnings_in(caplog)


PLAIN = Origin(https=False, host="example.org")


def test_a_secure_cookie_over_plain_http_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """One warning tells that browsers will not send a Secure cookie back, and what to set."""
    (message,) = warned(caplog, PLAIN, times=3)
    assert "X-Forwarded-Proto" in message
    assert "cookie_secure = false" in message


@pytest.mark.parametrize(
    ("origin", "settings"),
    [
        (PLAIN, {"secure": False}),
        (Origin(https=True, host="example.org"), {}),
        (Origin(https=False, host="localhost:8000"), {}),
        (Origin(https=False, host="127.0.0.1"), {"secure": True}),
        *((Origin(https=False, host="example.org", **said), {}) for said in HTTPS_BY_HEADER),
    ],
    ids=str,
)
def test_a_cookie_that_comes_back_is_no_warning(
    origin: Origin, settings: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is logged where browsers send the cookie back."""
    assert warned(caplog, origin, **settings) == []


@pytest.mark.parametrize(
    ("host", "domain", "fits"),
    [
        ("example.org", "example.org", True),
        ("shop.example.org:8000", "Example.org", True),
        ("shop.example.org", ".example.org", True),
        ("badexample.org", "example.org", False),
        ("example.org", "shop.example.org", False),
        ("localhost", "example.org", False),
    ],
)
def test_a_domain_that_is_not_the_request_s_is_told_once(
    host: str, domain: str, fits: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning tells that browsers will not take a cookie for another domain."""
    messages = warned(caplog, Origin(https=True, host=host), domain=domain)
    assert len(messages) == (not fits)
    assert all("cookie_domain" in message for message in messages)


@pytest.mark.parametrize(
    ("at", "path", "fits"),
    [
        ("/", "/", True),
        ("/app", "/app", True),
        ("/app/", "/app", True),
        ("/app/cart", "/app/", True),
        ("/app", "/app/", True),
        ("/apple", "/app", False),
        ("/", "/app", False),
    ],
)
def test_a_path_that_is_not_the_request_s_is_told_once(
    at: str, path: str, fits: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning tells that browsers will not send a cookie for another path back."""
    messages = warned(caplog, Origin(https=True, host="example.org", path=at), path=path)
    assert len(messages) == (not fits)
    assert all("cookie_path" in message for message in messages)


def test_ending_a_cookie_is_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    """A cookie that is ended need not come back."""
    cookie = SessionCookie(SIGNER, domain="example.net", path="/app")
    assert "Max-Age=0" in cookie.expire(PLAIN)
    assert cookie.expire_others(PLAIN) != []
    assert warnings_in(caplog) == []
