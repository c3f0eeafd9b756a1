"""The counter without a framework, asked as a server does it (PEP 3333)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.support.wsgi_client import Browser

from .examples_contract import USER, Answer, ExampleContract, Request

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


class TestBareWsgi(ExampleContract):
    example = "bare_wsgi.py"
    block = 2
    show = Request("GET", "/")
    count = Request("POST", "/count")
    login = Request("POST", "/login")
    logout = Request("POST", "/logout")
    known = f"<p>{USER}:"

    def send(self, app: WSGIApplication, request: Request, cookie: str) -> Answer:
        extra = {"PATH_INFO": request.path, **({"HTTP_COOKIE": cookie} if cookie else {})}
        answer = Browser().request(app, request.method, extra).begin().finish()
        return Answer(int(answer.status[:3]), answer.body.decode(), answer.headers)

    def begin(self, app: WSGIApplication, request: Request) -> object:
        return Browser().request(app, request.method, {"PATH_INFO": request.path}).begin()

    def count_in(self, text: str) -> int:
        found = re.search(r": (\d+)</p>", text)
        assert found is not None
        return int(found[1])
