"""The middleware on real servers: threads, processes, streams, and the end of them."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.servers import PATIENCE, Client, Server, running, seen_by_all

SERVERS = ("waitress", "gunicorn", "gunicorn preload", "cheroot", "uwsgi")


@pytest.fixture(scope="module", params=SERVERS)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """Each server, with the disk store."""
    with running(request.param, tmp_path_factory.mktemp("server")) as found:
        yield found


@pytest.fixture(scope="module", params=("waitress", "gunicorn preload"))
def cookie_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """Two of the servers, with the cookie store."""
    with running(request.param, tmp_path_factory.mktemp("server"), store="cookie") as found:
        yield found


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
    """Chunks and the cookie arrive while the rest is made, and a late change is saved."""
    client = Client(server)
    stream(client)
    deadline = time.monotonic() + PATIENCE
    while client.get("/session")["found"] != {"streamed": "late"}:
        # The browser may have the last chunk before the server closes the body.
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_cookie_store_serves_from_every_process(cookie_server: Server) -> None:
    """Every process reads and writes the session that travels with the browser."""
    client = Client(cookie_server)
    for number in (1, 2, 3):
        assert client.get("/count")["found"] == number
    found = seen_by_all(cookie_server, lambda: client.get("/session"))
    assert all(one == {"count": 3} for one in found)
    client.get("/logout")
    assert client.cookies.header() == ""


def test_a_late_change_with_the_cookie_store_is_logged(cookie_server: Server) -> None:
    """The server's log says that a change after the cookie has left is lost."""
    client = Client(cookie_server)
    stream(client)
    assert client.get("/session")["found"] == {"streamed": "early"}
    deadline = time.monotonic() + PATIENCE
    while "the change is lost" not in cookie_server.log.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_ends_cleanly(name: str, tmp_path: Path) -> None:
    """SIGTERM ends a server, its sessions and its cleanup within seconds, without a traceback."""
    with running(name, tmp_path) as server:
        seen_by_all(server, lambda: Client(server).get("/count"))
        assert server.stop() < 5
        assert server.process.returncode == 0
