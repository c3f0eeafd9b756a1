"""Where a request came to, as its ASGI server says: what the cookie is to look like."""

from __future__ import annotations

from typing import Any

import pytest

from glimr_session import CookieStore
from glimr_session._request.origin import Origin
from tests.support.asgi_client import Browser
from tests.support.wsgi_apps import warnings_in

from .apps import answering, put, run, wrap


def test_the_origin_is_found_in_the_scope() -> None:
    """from_asgi() reads each field of a connection where ASGI servers put it."""
    scope: dict[str, Any] = {
        "scheme": "https",
        "path": "/shop/cart",
        "root_path": "/shop",
        "server": ("10.0.0.7", 8000),
        "headers": [
            (b"host", b"shop.example.org:8000"),
            (b"x-forwarded-proto", b"a"),
            (b"x-forwarded-ssl", b"b"),
            (b"forwarded", b"c"),
        ],
    }
    expected = Origin(True, "shop.example.org:8000", "/shop/cart", "a", "b", "c")
    assert Origin.from_asgi(scope) == expected
    scope["headers"] = []
    assert Origin.from_asgi(scope).host == "10.0.0.7"
    scope["path"] = "/cart"
    assert Origin.from_asgi(scope).path == "/shop/cart"
    assert Origin.from_asgi({"scheme": "wss"}) == Origin(https=True, host="", path="")
    assert Origin.from_asgi({"server": None}) == Origin(https=False, host="", path="")


def test_several_headers_of_one_name_are_one() -> None:
    """As WSGI servers join them (RFC 9110, section 5.3)."""
    names = [b"x-forwarded-proto", b"forwarded"]
    values = [[b"https", b"http"], [b"proto=https", b"for=10.0.0.1"]]
    headers = [(name, value) for name, found in zip(names, values, strict=True) for value in found]
    origin = Origin.from_asgi({"headers": headers})
    assert origin.x_forwarded_proto == "https,http"
    assert origin.forwarded == "proto=https,for=10.0.0.1"


@pytest.mark.parametrize(
    ("headers", "scope", "secure"),
    [
        ([], {}, False),
        ([], {"scheme": "https"}, True),
        ([(b"host", b"shop.example")], {}, True),
        ([(b"host", b"localhost")], {"server": ("10.0.0.7", 80)}, False),
        ([(b"x-forwarded-proto", b"https")], {}, True),
        ([(b"x-forwarded-ssl", b"on")], {}, True),
        ([(b"forwarded", b"for=10.0.0.1;proto=https")], {}, True),
        ([(b"host", b"testserver")], {}, False),
    ],
    ids=str,
)
def test_a_cookie_is_secure_except_on_this_machine(
    headers: list[tuple[bytes, bytes]], scope: dict[str, Any], secure: bool
) -> None:
    """What counts is the browser's own connection, as a proxy tells of it."""

    async def work() -> str:
        request = Browser().request(wrap(answering(put("a", 1)), CookieStore()))
        own = dict(request.scope["headers"]) | dict(headers)
        request.scope.update(scope, headers=[*own.items()])
        return (await request.run()).set_cookie or ""

    assert ("; Secure" in run(work())) is secure


def test_a_cookie_that_will_not_come_back_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """A path that is not that of the request, say; once."""
    app = wrap(answering(put("a", 1)), CookieStore(), cookie_path="/shop")
    for _ in range(2):
        run(Browser().get(app, "/blog"))
    assert ["/shop" in warning for warning in warnings_in(caplog)] == [True]
    run(Browser().get(app, "/shop/cart"))
    assert len(warnings_in(caplog)) == 1
