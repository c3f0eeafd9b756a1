"""The middleware on real servers: threads, processes, streams, and the end of them."""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from .server_apps import THREADS
from .wsgi_client import Cookies

ROOT = Path(__file__).parent.parent
PROCESSES = 2
PATIENCE = 10.0  # seconds: what a test waits at most for a server

GUNICORN = f"""\
wsgi_app = "tests.server_apps:make_application()"
bind = "127.0.0.1:0"
workers = {PROCESSES}
threads = {THREADS}
preload_app = {{preload}}
control_socket_disable = True
"""


class Server(NamedTuple):
    """A server that is running."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path
    processes: int

    def stop(self) -> float:
        """End it as an administrator would; give the seconds that took."""
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
        self.cookies.take(response.getheaders())
        return response

    def get(self, path: str) -> Any:
        """Give the JSON of an answer."""
        with self.open(path) as response:
            body = response.read()
            assert response.status == 200, body
            return json.loads(body)


def command(name: str, directory: Path) -> list[str]:
    """Give the command that starts a server."""
    program = name.partition(" ")[0]
    if importlib.util.find_spec(program) is None:
        reason = f"{program} is not installed"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    if program != "gunicorn":
        return [sys.executable, "-m", "tests.server_apps", name]
    settings = directory / "gunicorn.conf.py"
    settings.write_text(GUNICORN.format(preload="preload" in name))
    return [sys.executable, "-m", "gunicorn", "--config", str(settings)]


@contextmanager
def running(name: str, store: str, directory: Path) -> Iterator[Server]:
    """Start a server, wait until it listens, and end it; it must not log a traceback."""
    log = directory / "log"
    environ = {
        **{key: value for key, value in os.environ.items() if not key.startswith("GLIMR_")},
        "GLIMR_SESSION_STORE": store,
        "GLIMR_SESSION_DISK_DIRECTORY": str(directory / "sessions"),
        "GLIMR_SESSION_SECRET_KEYS": "a key for tests that is long enough",
        # Collecting is part of serving: often, so that it is part of these tests.
        "GLIMR_SESSION_GC_CHANCE": "0.5",
    }
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command(name, directory),
            cwd=ROOT,
            env=environ,
            stdout=output,
            stderr=output,
            start_new_session=True,
        ) as process,
    ):
        try:
            yield Server(process, listening(process, log), log, PROCESSES if name[0] == "g" else 1)
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(PATIENCE)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)  # its workers too
    assert "Traceback" not in log.read_text()


def listening(process: subprocess.Popen[bytes], log: Path) -> int:
    """Wait until the server tells its port."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        if found := re.search(r"http://127\.0\.0\.1:(\d+)\s", log.read_text()):
            return int(found[1])
        time.sleep(0.01)
    raise AssertionError(f"the server does not listen:\n{log.read_text()}")


SERVERS = ("waitress", "gunicorn", "gunicorn preload", "cheroot")


@pytest.fixture(scope="module", params=SERVERS)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """Each server, with the disk store."""
    with running(request.param, "disk", tmp_path_factory.mktemp("server")) as found:
        yield found


@pytest.fixture(scope="module", params=("waitress", "gunicorn preload"))
def cookie_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """Two of the servers, with the cookie store."""
    with running(request.param, "cookie", tmp_path_factory.mktemp("server")) as found:
        yield found


def seen_by_all(server: Server, ask: Callable[[], Any]) -> list[Any]:
    """Ask, from several threads, until every process of the server has answered."""
    answers: list[Any] = []
    deadline = time.monotonic() + PATIENCE
    with ThreadPoolExecutor(2 * THREADS) as pool:
        while len({answer["pid"] for answer in answers}) < server.processes:
            assert time.monotonic() < deadline, f"some process never answered: {answers}"
            answers += [future.result() for future in [pool.submit(ask) for _ in range(40)]]
    return [answer["found"] for answer in answers]


def test_concurrent_requests_lose_nothing(server: Server) -> None:
    """Increments from many threads, in every process, add up to as many as were answered."""
    client = Client(server)
    assert client.get("/count")["found"] == 1
    numbers = seen_by_all(server, lambda: client.get("/count"))
    assert len(numbers) >= 40
    assert client.get("/session")["found"] == {"count": 1 + len(numbers)}


def test_a_logout_ends_the_session_in_every_process(server: Server) -> None:
    """A copy of the cookie is good in every process before the logout, and in none after."""
    client = Client(server)
    client.get("/login")
    copy = Client(server, client.cookies.header())
    assert {found["user"] for found in seen_by_all(server, lambda: copy.get("/session"))} == {"ada"}
    client.get("/logout")
    assert client.cookies.header() == ""
    assert all(found == {} for found in seen_by_all(server, lambda: copy.get("/session")))


def stream(client: Client) -> None:
    """Read a stream, whose second chunk is only made after the first one was read."""
    with socket.create_server(("127.0.0.1", 0)) as gate:
        gate.settimeout(PATIENCE)
        with client.open(f"/stream?gate={gate.getsockname()[1]}") as response:
            assert response.read(5) == b"first"
            gate.accept()[0].close()
            assert response.read() == b"second"


def test_a_stream_is_not_held_up(server: Server) -> None:
    """Chunks and the cookie arrive while the rest is made, and what changes late is saved."""
    client = Client(server)
    stream(client)
    deadline = time.monotonic() + PATIENCE
    while client.get("/session")["found"] != {"streamed": "late"}:
        # The browser may have the last chunk before the server closes the body.
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_cookie_store_serves_from_every_process(cookie_server: Server) -> None:
    """The session travels with the browser: every process reads it and may write it."""
    client = Client(cookie_server)
    for number in (1, 2, 3):
        assert client.get("/count")["found"] == number
    found = seen_by_all(cookie_server, lambda: client.get("/session"))
    assert all(one == {"count": 3} for one in found)
    client.get("/logout")
    assert client.cookies.header() == ""


def test_a_late_change_with_the_cookie_store_is_logged(cookie_server: Server) -> None:
    """The cookie has left when the stream ends: the server's log says what was lost."""
    client = Client(cookie_server)
    stream(client)
    assert client.get("/session")["found"] == {"streamed": "early"}
    deadline = time.monotonic() + PATIENCE
    while "the change is lost" not in cookie_server.log.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_ends_cleanly(name: str, tmp_path: Path) -> None:
    """SIGTERM ends it within seconds, sessions and janitors and all, without a traceback."""
    with running(name, "disk", tmp_path) as server:
        seen_by_all(server, lambda: Client(server).get("/count"))
        assert server.stop() < 5
        assert server.process.returncode == 0
