"""Visit the application of the README, in the environment that it was installed into.

Runs beside app.py and session.toml; prints the answers and where the package was found.
"""

import sys
from wsgiref.types import WSGIApplication
from wsgiref.util import setup_testing_defaults


def visit(application: WSGIApplication, cookie: str) -> tuple[str, str]:
    """Return what a request is answered, and the cookie to send with the next one."""
    environ = {"wsgi.url_scheme": "https", "HTTP_COOKIE": cookie}
    setup_testing_defaults(environ)
    sent: dict[str, str] = {}

    def start_response(status: str, headers: list[tuple[str, str]], _: object = None) -> object:
        sent.update(headers, status=status)
        return lambda data: None

    body = application(environ, start_response)  # type: ignore[arg-type]
    answer = b"".join(body).decode().strip()
    return answer, sent.get("Set-Cookie", cookie).partition(";")[0]


if __name__ == "__main__":
    import importlib

    import glimr_session

    app = importlib.import_module("app")  # the README's, in the working directory

    cookie = ""
    for _ in range(3):
        answer, cookie = visit(app.application, cookie)
        print(answer)
    print(glimr_session.__file__)
    print(sorted(sys.modules.keys() & {"click", "django", "flask", "redis", "sqlalchemy"}))
