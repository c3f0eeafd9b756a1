"""The pages that are measured, and a process that serves them with any version of glimr_session.

    python worker.py DIRECTORY

Each line of the input is the name of a case and a number of requests. They are sent one
after the other; the answer is one line of JSON: the nanoseconds that they took, and the body
of the last response. ``compare.py`` starts two of these, with two versions of the package.

This file needs nothing but glimr_session and the standard library, and uses only what every
version of the package has.
"""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from itertools import cycle
from operator import itemgetter, methodcaller
from pathlib import Path
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias
from wsgiref.util import setup_testing_defaults

from glimr_session import CookieStore, DiskStore, SessionConfig, SessionMiddleware

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

SECRET: Final = "a key that signs nothing but benchmarks"

SAMPLE: Final[dict[str, Any]] = {
    "user": {"id": 48_151, "name": "Grace Hopper", "roles": ["author", "editor"]},
    "csrf_token": "1f8a4c1be0d94d7c9f0b6a0f7f3f5f0e61c2d3b4a5968778695a4b3c2d1e0f00",
    "cart": [{"item": "A-1906", "number": 2}, {"item": "B-1992", "number": 1}],
    # Incremented by every request that writes; six digits, so that the size stays the same.
    "visits": 100_000,
}
"""What a session holds: four keys, about 300 bytes of JSON."""

LARGE: Final[dict[str, Any]] = {
    **SAMPLE,
    "pairs": [[number % 10, number % 7] for number in range(1_400)],
    "items": [{"n": number % 10} for number in range(1_400)],
}
"""About 20 kB of JSON: 2,800 small lists and dicts."""

VISITORS: Final = 1_100
"""Sessions that take turns: more than the middleware remembers signatures."""

LOGGED_IN: Final = {"id": 48_152, "name": "Ada Lovelace", "roles": ["author", "reader"]}
"""The user after a login."""

ERRORS: Final = {"email": "This address is taken.", "age": "Enter a number."}
OLD: Final = {"name": "Ada Lovelace", "email": "ada@example.org", "age": "thirty-six"}
"""A form that is shown again: its errors, and what was typed into its fields."""

CONFIG: Final = SessionConfig(secret_keys=[SECRET], gc="never")
"""The default settings, but nothing is collected, as with the other libraries."""

_REQUEST: Final[WSGIEnvironment] = {
    "HTTP_HOST": "example.org",
    "HTTP_USER_AGENT": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101",
    "HTTP_ACCEPT": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "HTTP_ACCEPT_LANGUAGE": "en-US,en;q=0.5",
    "HTTP_ACCEPT_ENCODING": "gzip, deflate, br",
    "HTTP_X_FORWARDED_PROTO": "https",
    "REMOTE_ADDR": "127.0.0.1",
    "QUERY_STRING": "",
}
setup_testing_defaults(_REQUEST)


class Answer(NamedTuple):
    """A response: the status, the cookie that it sets or "", and the body."""

    status: str
    cookie: str
    body: str


Client: TypeAlias = Callable[[str, str], Answer]
"""Sends a GET request for a path with a Cookie header, "" for none."""


def wsgi_client(application: WSGIApplication) -> Client:
    """Return a client that calls the application in this process, as a server would."""

    def get(path: str, cookie: str) -> Answer:
        started: list[Any] = []

        def start_response(*status_and_headers: Any) -> Callable[[bytes], None]:
            started[:] = status_and_headers
            return started.append

        body = application({**_REQUEST, "PATH_INFO": path, "HTTP_COOKIE": cookie}, start_response)
        content = b"".join(body)
        if close := getattr(body, "close", None):
            close()
        status, headers = started[:2]
        for name, value in headers:
            if name.lower() == "set-cookie":
                return Answer(status, value.partition(";")[0], content.decode())
        return Answer(status, "", content.decode())

    return get


def _flash(session: Any, errors: Mapping[str, str], old: Mapping[str, str]) -> None:
    session["flash"] = {"errors": dict(errors), "old": dict(old)}


def _flashed(session: Any) -> Callable[[str], tuple[str, str]]:
    flash = session.pop("flash", None) or {"errors": {}, "old": {}}
    return lambda field: (flash["old"].get(field, ""), flash["errors"].get(field, ""))


class Verbs(NamedTuple):
    """How the sessions of a library do what a mapping cannot.

    ``regenerate`` changes the session id. ``flash`` keeps errors and old values of a form for
    the next request; ``flashed`` returns a function from a field to its old value and error.
    """

    regenerate: Callable[[Any], object]
    flash: Callable[[Any, Mapping[str, str], Mapping[str, str]], object] = _flash
    flashed: Callable[[Any], Callable[[str], tuple[str, str]]] = _flashed


PATHS: Final = (
    *("/ignore", "/read", "/visit", "/show", "/fill", "/fill-large"),
    *("/login", "/form", "/form-again"),
)


def respond(path: str, session: Any, verbs: Verbs) -> str:
    """Do with the session what the page at this path does, and return the text of the page."""
    match path:
        case "/ignore":
            return "ignored"
        case "/read":
            return str(session["visits"])
        case "/visit":
            visits = session["visits"]
            session["visits"] = visits + 1
            return str(visits)
        case "/show":
            # Some libraries keep values of their own under names with an underscore.
            shown = {key: value for key, value in session.items() if not key.startswith("_")}
            return json.dumps(shown, sort_keys=True)
        case "/fill" | "/fill-large":
            session.update(SAMPLE if path == "/fill" else LARGE)
            return "filled"
        case "/login":
            verbs.regenerate(session)
            session["user"] = LOGGED_IN
            return "logged in"
        case "/form":
            verbs.flash(session, ERRORS, OLD)
            return "see the form again"
        case "/form-again":
            flashed = verbs.flashed(session)
            return "\n".join(": ".join((field, *flashed(field))) for field in OLD)
    raise ValueError(path)


def wsgi_site(
    find: Callable[[WSGIEnvironment], Any], verbs: Verbs, render: Callable[[str], str] = str
) -> WSGIApplication:
    """Return an application with all pages.

    ``find`` returns the session of a request, ``render`` the body with the text of a page in it.
    """

    def application(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        body = render(respond(environ["PATH_INFO"], find(environ), verbs)).encode()
        headers = [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))]
        start_response("200 OK", headers)
        return [body]

    return application


_PAGES: Final = {
    "untouched": ("/fill", "/ignore"),
    "read only": ("/fill", "/read"),
    "read and write": ("/fill", "/visit"),
    "log in": ("/fill", "/login"),
    "first visit": ("", "/fill"),
    "read only, 20 kB": ("/fill-large", "/read"),
    "read and write, 20 kB": ("/fill-large", "/visit"),
}
CASES: Final = {
    f"{store}: {page}": (store, *paths)
    for store in ("cookie", "disk")
    for page, paths in _PAGES.items()
    if store == "disk" or "kB" not in page
}
"""For each case the store, the path that begins the sessions, and the path that is requested."""


def _requests(client: Client, begin: str, path: str) -> Iterator[str]:
    """Send one request for each ``next``, and yield the body of the response."""
    visitors = VISITORS // 10 if begin == "/fill-large" else VISITORS
    cookies = [client(begin, "").cookie if begin else "" for _ in range(visitors)]
    for visitor in cycle(range(visitors)):
        answer = client(path, cookies[visitor])
        if begin and answer.cookie:
            cookies[visitor] = answer.cookie
        yield answer.body


def main(directory: Path) -> None:
    """Serve batches until the input ends."""
    site = wsgi_site(itemgetter("glimr.session"), Verbs(methodcaller("regenerate")))
    stores = {"cookie": CookieStore(), "disk": DiskStore(directory)}
    clients = {
        name: wsgi_client(SessionMiddleware(site, CONFIG, store=store))
        for name, store in stores.items()
    }
    running = {
        name: _requests(clients[store], begin, path) for name, (store, begin, path) in CASES.items()
    }
    gc.freeze()
    for line in sys.stdin:
        name, number = json.loads(line)
        requests = running[name]
        body = next(requests)  # begins the sessions, if this is the first batch of the case
        gc.collect()
        start = perf_counter_ns()
        for _ in range(number):
            body = next(requests)
        taken = perf_counter_ns() - start
        print(json.dumps([taken, body]), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
