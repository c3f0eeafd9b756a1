"""Real servers, started for a test and ended with it, and a client that asks them."""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from .wsgi_client import Cookies

ROOT: Final = Path(__file__).parents[2]
PROCESSES: Final = 2
THREADS: Final = 4
PATIENCE: Final = 10.0  # seconds: what a test waits at most for a server

SITE: Final = "tests.support.server_apps:site"

GUNICORN: Final = """\
wsgi_app = "tests.support.server_apps:make_application({app!r})"
bind = "127.0.0.1:0"
workers = {processes}
threads = {threads}
preload_app = {preload}
control_socket_disable = True
"""

# The application is made in the master, before it forks, which is uWSGI's default. Its
# requests are left to finish at SIGTERM only if it is told so.
UWSGI: Final = """\
[uwsgi]
eval = import tests.support.server_apps as apps; application = apps.make_application({app!r})
http-socket = 127.0.0.1:0
master = true
processes = {processes}
threads = {threads}
need-app = true
die-on-term = true
disable-logging = true
"""


class Server(NamedTuple):
    """A server that is running."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path
    processes: int
    environ: Mapping[str, str]

    def stop(self) -> float:
        """End it as an administrator would; return the seconds that took."""
        started = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(PATIENCE)
        return time.monotonic() - started


class Client:
    """A browser that asks over the network. Threads share it, with one cookie jar."""

    def __init__(self, server: Server, cookies: str = "") -> None:
        self.port = server.port
        self.cookies = Cookies(cookies)

    def open(self, path: str) -> http.client.HTTPResponse:
        """Send a request, over a connection of its own; the body is still to be read."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            headers = {"Connection": "close"}
            if cookie := self.cookies.header():
                headers["Cookie"] = cookie
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
        except BaseException:
            connection.close()
            raise
        if connection.sock:  # uWSGI does not say that it closes; the response has it open still
            connection.sock.close()
        self.cookies.take(response.getheaders())
        return response

    def get(self, path: str) -> Any:
        """Return the JSON of an answer."""
        with self.open(path) as response:
            body = response.read()
            assert response.status == 200, body
            return json.loads(body)


def seen_by_all(server: Server, ask: Callable[[], Any]) -> list[Any]:
    """Ask, from several threads, until every process of the server has answered."""
    answers: list[Any] = []
    deadline = time.monotonic() + PATIENCE
    with ThreadPoolExecutor(2 * THREADS) as pool:
        while len({answer["pid"] for answer in answers}) < server.processes:
            assert time.monotonic() < deadline, f"some process never answered: {answers}"
            answers += [future.result() for future in [pool.submit(ask) for _ in range(40)]]
    return [answer["found"] for answer in answers]


def needed(program: str) -> None:
    """Skip the test, or fail it in CI, if a Python package is missing."""
    if importlib.util.find_spec(program) is None:
        reason = f"{program} is not installed"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)


def command(
    name: str, directory: Path, *, app: str, processes: int, threads: int, settings: str
) -> list[str]:
    """Return the command that starts a server."""
    program = name.partition(" ")[0]
    needed("pyuwsgi" if program == "uwsgi" else program)
    if program == "uwsgi":
        file = directory / "uwsgi.ini"
        file.write_text(UWSGI.format(app=app, processes=processes, threads=threads) + settings)
        return [str(Path(sys.executable).with_name("uwsgi")), "--ini", str(file)]
    if program != "gunicorn":
        return [sys.executable, "-m", "tests.support.server_apps", name, app, str(threads)]
    file = directory / "gunicorn.conf.py"
    preload = "preload" in name
    file.write_text(
        GUNICORN.format(app=app, processes=processes, threads=threads, preload=preload) + settings
    )
    return [sys.executable, "-m", "gunicorn", "--config", str(file)]


@contextmanager
def running(
    name: str,
    directory: Path,
    *,
    store: str = "disk",
    app: str = SITE,
    processes: int = PROCESSES,
    threads: int = THREADS,
    settings: str = "",
    environ: Mapping[str, str] | None = None,
    prefix: Sequence[str] = (),
    failing: bool = False,
) -> Iterator[Server]:
    """Start a server, wait until it listens, and end it.

    It must not log a traceback, unless the application is there to be ``failing``.

    ``name`` is "gunicorn", "gunicorn preload", "uwsgi" or one of ``server_apps.SERVE``. The
    disk store is in ``directory / "sessions"``. ``settings`` are lines for the file of
    gunicorn or uWSGI, ``environ`` beats the variables that are set here. ``prefix`` is a command
    to start it with.
    """
    log = directory / "log"
    variables = {
        **{key: value for key, value in os.environ.items() if not key.startswith("GLIMR_")},
        "GLIMR_SESSION_STORE": store,
        "GLIMR_SESSION_DISK_DIRECTORY": str(directory / "sessions"),
        "GLIMR_SESSION_SECRET_KEYS": "a key for tests that is long enough",
        # Collecting is part of serving: often, so that it is part of these tests.
        "GLIMR_SESSION_GC_CHANCE": "0.5",
        **(environ or {}),
    }
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [
                *prefix,
                *command(
                    name,
                    directory,
                    app=app,
                    processes=processes,
                    threads=threads,
                    settings=settings,
                ),
            ],
            cwd=ROOT,
            env=variables,
            stdout=output,
            stderr=output,
            start_new_session=True,
        ) as process,
    ):
        try:
            number = processes if name.startswith(("gunicorn", "uwsgi")) else 1
            yield Server(process, listening(process, log), log, number, variables)
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(PATIENCE)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)  # its workers too
    assert failing or "Traceback" not in log.read_text()


def listening(process: subprocess.Popen[bytes], log: Path) -> int:
    """Wait until the server tells its port."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        if found := re.search(r"(?:http://|TCP address )127\.0\.0\.1:(\d+)\s", log.read_text()):
            return int(found[1])
        time.sleep(0.01)
    raise AssertionError(f"the server does not listen:\n{log.read_text()}")
