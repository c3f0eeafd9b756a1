"""The site that real servers serve: ``benchmarks.serving:make()``, set by the environment.

``BENCHMARK_SESSIONS`` says what its pages find their session in, and
``BENCHMARK_DIRECTORY`` where that is kept. ``/read`` and ``/visit`` answer with some
digits; the same below ``/table`` answer with a page that was rendered around them.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

import jinja2

from glimr_session import SessionConfig, SessionMiddleware
from glimr_session.wsgi import ENVIRON_KEY

from .ours import SECRET
from .pages import PAGES
from .sample import SAMPLE

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

__all__ = ["DIRECTORY", "SESSIONS", "TABLE", "limit_cookies", "make", "table_page"]

SESSIONS: Final = "BENCHMARK_SESSIONS"
DIRECTORY: Final = "BENCHMARK_DIRECTORY"

TABLE: Final = "/table"
"""Where the rendered pages are."""

_Answer: TypeAlias = Callable[["WSGIEnvironment", str], tuple[str, list[tuple[str, str]]]]
"""Give what there is to say on a page of ``site.PAGES``, and headers."""


def make() -> WSGIApplication:
    """Make the application that the environment asks for."""
    directory = Path(os.environ[DIRECTORY])
    # waitress says so of every request that waits for a thread: with any sessions, half.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    return _MAKERS[os.environ[SESSIONS]](directory)


def _without(_directory: Path) -> WSGIApplication:
    """Give every page the same dict."""
    shared = dict(SAMPLE)
    return _site(lambda _environ, page: (PAGES[page](shared), []))


def _with_cookie_store(_directory: Path) -> WSGIApplication:
    return _with_sessions(SessionConfig(secret_keys=[SECRET], store="cookie"))


def _with_disk_store(directory: Path) -> WSGIApplication:
    return _with_sessions(
        SessionConfig(secret_keys=[SECRET], store="disk", disk_directory=directory)
    )


def _with_sessions(config: SessionConfig) -> WSGIApplication:
    """Make the application as users have it: each setting is as it comes, the lottery too."""
    session_of = itemgetter(ENVIRON_KEY)
    return SessionMiddleware(
        _site(lambda environ, page: (PAGES[page](session_of(environ)), [])), config
    )


def _with_statements(directory: Path) -> WSGIApplication:
    """Let SQLite keep the number alone: one SELECT to read it, one UPDATE to write it.

    Nothing is signed, encoded, merged or expired, and what names a row is its number.
    """
    mine = threading.local()

    def answer(environ: WSGIEnvironment, page: str) -> tuple[str, list[tuple[str, str]]]:
        if not hasattr(mine, "connection"):
            mine.connection = _connect(directory)
        connection: sqlite3.Connection = mine.connection
        if page == "/fill":
            number = connection.execute(_BEGIN, (SAMPLE["visits"], _FILLING)).lastrowid
            return "filled", [("Set-Cookie", f"row={number}")]
        row = int(environ["HTTP_COOKIE"].removeprefix("row="))
        ((visits, _),) = connection.execute(_READ, (row,))
        if page == "/visit":
            connection.execute(_WRITE, (visits + 1, row))
        return str(visits), []

    return _site(answer)


def _site(answer: _Answer) -> WSGIApplication:
    """Make the application around what its pages say."""

    def application(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        path: str = environ["PATH_INFO"]
        page = path.removeprefix(TABLE)
        said, headers = answer(environ, page)
        body = (said if page is path else table_page(said)).encode()
        kind = "text/plain" if page is path else "text/html"
        start_response(
            "200 OK",
            [
                ("Content-Type", f"{kind}; charset=utf-8"),
                ("Content-Length", str(len(body))),
                *headers,
            ],
        )
        return [body]

    return application


_MAKERS: Final[Mapping[str, Callable[[Path], WSGIApplication]]] = {
    "nothing": _without,
    "cookie": _with_cookie_store,
    "disk": _with_disk_store,
    "statements": _with_statements,
}


# What is in a small page: a heading, a line about the visitor, and a table.

_PAGE: Final = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8"><title>{{ title }}</title><link rel="stylesheet" href="/site.css">
</head>
<body>
<header><a href="/">{{ title }}</a> <span>{{ said }}</span></header>
<table>
<thead><tr><th>Number</th><th>Title</th><th>Author</th><th>Price</th><th></th></tr></thead>
<tbody>
{% for book in books %}
<tr class="{{ loop.cycle('odd', 'even') }}">
<td>{{ book.number }}</td>
<td><a href="/books/{{ book.number }}">{{ book.title }}</a></td>
<td>{{ book.author }}</td>
<td>{{ "%.2f"|format(book.cents / 100) }}</td>
<td>{% if book.left %}{{ book.left }} left{% else %}sold out{% endif %}</td>
</tr>
{% endfor %}
</tbody>
</table>
</body>
</html>
"""

_BOOKS: Final = [
    {
        "number": number,
        "title": f"Of Numbers & Names, volume {number}",
        "author": ("Hopper, Grace", "Noether, Emmy", "Lovelace, Ada")[number % 3],
        "cents": 900 + 37 * number,
        "left": number % 7,
    }
    for number in range(100)
]

_template: Final = jinja2.Environment(autoescape=True).from_string(_PAGE)


def table_page(said: str) -> str:
    """Render a page: a table of a hundred rows, made anew from a list each time."""
    return _template.render(title="Books & Sons", books=_BOOKS, said=said)


_FILLING: Final = b"x" * 300  # as much as there is in the session
_BEGIN: Final = "INSERT INTO Sessions (visits, filling) VALUES (?, ?)"
_READ: Final = "SELECT visits, filling FROM Sessions WHERE number = ?"
_WRITE: Final = "UPDATE Sessions SET visits = ? WHERE number = ?"


def _connect(directory: Path) -> sqlite3.Connection:
    """Open a connection with the settings of the disk store's."""
    directory.mkdir(mode=0o700, exist_ok=True)
    connection = sqlite3.connect(directory / "limit.db", timeout=5, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA cache_size = 8192")
    connection.execute(
        "CREATE TABLE IF NOT EXISTS Sessions (number INTEGER PRIMARY KEY, visits INT, filling BLOB)"
    )
    return connection


def limit_cookies(directory: Path, visitors: int) -> list[str]:
    """Begin so many rows; give the cookies that name them."""
    with closing(_connect(directory)) as connection:
        connection.execute("BEGIN")
        numbers = [
            connection.execute(_BEGIN, (SAMPLE["visits"], _FILLING)).lastrowid
            for _ in range(visitors)
        ]
        connection.execute("COMMIT")
    return [f"row={number}" for number in numbers]
