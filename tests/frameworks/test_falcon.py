"""The counter with Falcon, asked by Falcon's own test client."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from falcon import testing

from .examples_contract import USER, Answer, ExampleContract, Request

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


class TestFalcon(ExampleContract):
    example = "falcon_app.py"
    block = 1
    show = Request("GET", "/")
    count = Request("POST", "/")
    login = Request("PUT", "/login", USER)
    logout = Request("DELETE", "/login")
    known = f'"user": "{USER}"'

    def send(self, app: WSGIApplication, request: Request, cookie: str) -> Answer:
        answer = testing.TestClient(app).simulate_request(
            request.method,
            request.path,
            json={"user": request.text} if request.text else None,
            headers={"Cookie": cookie} if cookie else {},
        )
        return Answer(answer.status_code, answer.text, list(answer.headers.items()))

    def begin(self, app: WSGIApplication, request: Request) -> object:
        environ = testing.create_environ(request.path, method=request.method)
        return app(environ, testing.StartResponseMock())

    def count_in(self, text: str) -> int:
        return int(json.loads(text)["count"])
