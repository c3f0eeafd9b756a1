"""ASGI servers that are told to end while they serve: each commit is made whole or not at all."""

from __future__ import annotations

import http.client
import signal
import socket
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any, Final

import pytest

from glimr_session import DiskStore
from tests.support.asgi_servers import GRACE, SERVERS, running_asgi
from tests.support.servers import PATIENCE, Client, Server

# To a server with so many workers.
ENDINGS: Final = {
    "SIGTERM": (signal.SIGTERM, 1),
    "SIGINT": (signal.SIGINT, 1),
    "SIGTERM, workers": (signal.SIGTERM, 2),
}


def logged_in(server: Server) -> Client:
    client = Client(server)
    client.get("/login")
    return client


def stored(directory: Path, client: Client) -> Any:
    """Return what the store has of the client's session, after the server has ended."""
    value = client.cookies.header().partition("=")[2].partition(".")[0]
    with closing(DiskStore(directory / "sessions")) as store:
        found = store.open(value)
        assert found is not None
        return found.data


def status(client: Client, path: str) -> int | None:
    """Return the status of an answer, or None if the server cuts the connection."""
    try:
        with client.open(path) as response:
            response.read()
            return response.status
    except (OSError, http.client.HTTPException):
        return None


class Waiting:
    """A request that waits at its gate, which is never opened unless the test does."""

    def __init__(self, stack: ExitStack, pool: ThreadPoolExecutor, server: Server) -> None:
        self.client = Client(server)
        self.client.get("/login")
        gate = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        gate.settimeout(PATIENCE)
        self.status = pool.submit(status, self.client, f"/slow?gate={gate.getsockname()[1]}")
        self._knock = stack.enter_context(gate.accept()[0])

    def go_on(self) -> None:
        self._knock.sendall(b"!")


def until_it_ends(server: Server) -> None:
    """Wait until the server takes no more connections, or has ended."""
    deadline = time.monotonic() + GRACE / 2
    with suppress(OSError):
        while time.monotonic() < deadline:
            socket.create_connection(("127.0.0.1", server.port)).close()
            time.sleep(0.01)


@pytest.mark.parametrize(("number", "workers"), ENDINGS.values(), ids=ENDINGS)
@pytest.mark.parametrize("name", SERVERS)
def test_requests_in_flight_are_committed_whole_or_not_at_all(
    name: str, number: signal.Signals, workers: int, tmp_path: Path
) -> None:
    """A request that ends in time is answered and committed, one that is cut off is neither.

    Hypercorn need not give requests any time if it has several workers.
    """
    with ThreadPoolExecutor() as pool, ExitStack() as stack:
        running = running_asgi(name, tmp_path, processes=workers, failing=True)
        server = stack.enter_context(running)
        done, cut_off = (Waiting(stack, pool, server) for _ in range(2))
        server.process.send_signal(number)
        until_it_ends(server)
        done.go_on()
        answered = done.status.result(PATIENCE) == 200
        assert answered or (name.startswith("hypercorn") and workers > 1)
        server.process.wait(PATIENCE)
        assert cut_off.status.result(PATIENCE) != 200
        whole = {"early": 1, "late": 1} if answered else {}
        assert stored(tmp_path, done.client) == {"user": "ada", **whole}
        assert stored(tmp_path, cut_off.client) == {"user": "ada"}


@pytest.mark.parametrize("released", [True, False], ids=["released", "held"])
@pytest.mark.parametrize("name", SERVERS)
def test_a_server_ends_while_a_commit_waits_for_the_lock(
    name: str, released: bool, tmp_path: Path
) -> None:
    """A commit whose thread gets the lock in time is made, and otherwise it holds up nobody."""
    with ThreadPoolExecutor() as pool, ExitStack() as stack:
        server = stack.enter_context(running_asgi(name, tmp_path, failing=True))
        client = Client(server)
        client.get("/login")
        with closing(sqlite3.connect(tmp_path / "sessions" / "cache.db")) as other:
            other.execute("BEGIN IMMEDIATE")
            answer = pool.submit(status, client, "/count")
            while Client(server).get("/actors")["found"] == 0:  # it does not wait yet
                assert not answer.done()
            server.process.send_signal(signal.SIGTERM)
            if released:
                until_it_ends(server)
                other.rollback()
            server.process.wait(PATIENCE)
        assert (answer.result(PATIENCE) == 200) == released
    assert stored(tmp_path, client) == {"user": "ada", **({"count": 1} if released else {})}
