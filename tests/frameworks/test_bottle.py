"""The guest book with Bottle, asked by WebTest, the client that Bottle's documentation names."""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING

from .examples_contract import USER, Answer, ExampleContract, Request

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # WebOb imports cgi
    import webtest

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


class TestBottle(ExampleContract):
    example = "bottle_app.py"
    block = 0
    show = Request("GET", "/")
    count = Request("POST", "/write", "tea & <jam>")
    login = Request("POST", "/login", USER)
    logout = Request("POST", "/logout")
    known = f"Hello, {USER}!"

    def send(self, app: WSGIApplication, request: Request, cookie: str) -> Answer:
        answer = webtest.TestApp(app).request(
            request.path,
            method=request.method,
            POST={"text": request.text} if request.method == "POST" else None,
            headers={"Cookie": cookie} if cookie else {},
            status="*",
            expect_errors=True,
        )
        return Answer(answer.status_int, answer.text, list(answer.headers.items()))

    def begin(self, app: WSGIApplication, request: Request) -> object:
        blank = webtest.TestRequest.blank(request.path, POST={"text": request.text})
        return blank.call_application(app)

    def count_in(self, text: str) -> int:
        found = re.search(r"Entry (\d+) of yours", text)
        assert found is not None
        return int(found[1])
