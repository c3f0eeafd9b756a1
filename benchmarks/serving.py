"""The site that real servers serve, and the servers as processes.

Every path of the site answers with a rendered page: a table of a hundred rows, 16 kB, about a
millisecond of work. ``BENCHMARK_STORE`` says where its sessions are: "cookie", "disk", or "" for
the same site without sessions.
"""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import jinja2

from glimr_session import SessionConfig, SessionMiddleware

from .sites import BARE
from .worker import SAMPLE, SECRET, wsgi_site

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

_STORE: Final = "BENCHMARK_STORE"
_DIRECTORY: Final = "BENCHMARK_DIRECTORY"
_GUNICORN: Final = (
    "gunicorn --worker-class=gthread --workers={workers} --threads={threads} "
    "--bind=127.0.0.1:{{port}} --log-level=warning benchmarks.serving:application()"
)
_ROOT: Final = Path(__file__).resolve().parents[1]
_PATIENCE: Final = 20.0  # seconds to start, and to end

_PAGE: Final = """\
<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>{{ title }}</title></head>
<body><header><a href="/">{{ title }}</a> <span>{{ text }}</span></header>
<table>{% for book in books %}
<tr class="{{ loop.cycle('odd', 'even') }}"><td>{{ book.number }}</td>
<td><a href="/books/{{ book.number }}">{{ book.title }}</a></td>
<td>{{ book.author }}</td><td>{{ "%.2f"|format(book.cents / 100) }}</td>
<td>{% if book.left %}{{ book.left }} left{% else %}sold out{% endif %}</td></tr>
{% endfor %}</table></body></html>
"""
_BOOKS: Final = [
    {"number": n, "title": f"Volume {n}", "author": "Noether", "cents": 900 + n, "left": n % 7}
    for n in range(100)
]
_template: Final = jinja2.Environment(autoescape=True).from_string(_PAGE)


def render(text: str) -> str:
    """Return a page with a table of a hundred rows."""
    return _template.render(title="Books & Sons", books=_BOOKS, text=text)


def application() -> WSGIApplication:
    """Return the application that the environment asks for, with the default settings."""
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # it warns of busy threads
    store = os.environ[_STORE]
    if not store:
        shared = dict(SAMPLE)
        return wsgi_site(lambda _environ: shared, BARE, render)
    config = SessionConfig(secret_keys=[SECRET], store=store, disk_directory=os.environ[_DIRECTORY])
    return SessionMiddleware(wsgi_site(itemgetter("glimr.session"), BARE, render), config)


# waitress passes on X-Forwarded-Proto only from a proxy that it trusts.
SERVERS: Final = {
    "waitress, 4 threads": (
        "waitress --threads=4 --listen=127.0.0.1:{port} --trusted-proxy=127.0.0.1 "
        "--trusted-proxy-headers=x-forwarded-proto --call benchmarks.serving:application"
    ),
    "gunicorn, 4 threads": _GUNICORN.format(workers=1, threads=4),
    "gunicorn, 2 x 2 threads": _GUNICORN.format(workers=2, threads=2),
}
"""For each server the arguments of ``python -m``."""


@contextmanager
def served(server: str, store: str, directory: Path) -> Iterator[str]:
    """Start a server with a store in a directory, and return its address."""
    environment = {_STORE: store, _DIRECTORY: str(directory / "sessions")}
    with running(SERVERS[server], directory, environment) as started:
        yield started.address


class Server(NamedTuple):
    """A server that is running: its address, and the id of its process."""

    address: str
    pid: int


@contextmanager
def running(command: str, directory: Path, environment: Mapping[str, str]) -> Iterator[Server]:
    """Start a server, and return it.

    Args:
        command: the arguments of ``python -m``, with a place for the port.
        directory: is made, for what it writes.
        environment: what it finds in its environment, besides ours.
    """
    directory.mkdir(parents=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    log = directory / "server.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *command.format(port=port).split()],
            env={
                **os.environ,
                "PYTHONPATH": str(_ROOT),
                "XDG_RUNTIME_DIR": str(directory),  # or all gunicorns share one control socket
                **environment,
            },
            cwd=directory,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + _PATIENCE
        while not _answers(f"{address}/ignore"):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command} does not answer: {log.read_text()}")
            time.sleep(0.02)
        yield Server(address, process.pid)
    finally:
        process.terminate()
        process.wait(_PATIENCE)


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=_PATIENCE).close()
    except OSError:
        return False
    return True
