"""The benchmarks of event loops run, and notice what would make their figures worthless."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from benchmarks.connections import Connections
from benchmarks.lag import worst_lag
from benchmarks.rivals.asgi import APPLICATIONS, BATCH, AsgiClient
from benchmarks.sites import begin

from .test_run import run

COOKIE = "session=of another request"


def test_the_cases_run(tmp_path: Path) -> None:
    """All sides do the same work in this process and through uvicorn, and nothing is left."""
    done = run("--quick", "--only", "event_loops", "--directory", tmp_path)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert list(tmp_path.iterdir()) == []
    for case in ("event loop, cookie", "event loop, disk", "uvicorn, cookie", "uvicorn, disk"):
        assert f"{case}: read and write" in done.stdout
    assert "worst lag" in done.stdout
    if "NOT MEASURED" in done.stdout and not os.environ.get("CI"):
        pytest.skip(done.stdout.splitlines()[-1])
    assert "uvicorn, Redis: read and write" in done.stdout
    assert "increments that were kept" in done.stdout


def test_a_batch_is_so_many_requests() -> None:
    """An arm sends as many requests as its time is divided by, and each finds the one before."""
    with asyncio.Runner() as runner:
        client = AsgiClient(APPLICATIONS["Starlette"](""), runner.get_loop().run_until_complete)
        cookies = begin(client, visitors=1)
        client.browse("/visit", cookies)()
        assert client("/read", cookies[0]).body == str(100_000 + BATCH)


@contextmanager
def answering(response: bytes) -> Iterator[str]:
    """Start a server that answers each request with these bytes, and yield its address."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

        def answer(connection: socket.socket) -> None:
            with connection, suppress(OSError):  # the client has seen enough
                while connection.recv(65_536):
                    connection.sendall(response[:-3])
                    time.sleep(0.01)  # what follows comes in a packet of its own
                    connection.sendall(response[-3:])
                    if not response:
                        return

        accepting = threading.Thread(target=serve)
        accepting.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        accepting.join()


def test_a_client_takes_the_cookie_and_the_whole_body() -> None:
    """A response that comes in pieces is read to its end, and its cookie is sent from then on."""
    response = b"HTTP/1.1 200 OK\r\nset-cookie: a=b; Path=/\r\ncontent-length: 5\r\n\r\n12345"
    with answering(response) as address, Connections.to(address) as client:
        assert client("/", COOKIE) == ("200 OK", "a=b", "12345")
        cookies = [COOKIE]
        client.send("/", cookies, 9)
        assert cookies == ["a=b"]


@pytest.mark.parametrize(
    ("response", "message"),
    [
        (b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n", "500 Internal"),
        (b"", "has closed a connection"),
    ],
    ids=["an error", "no answer"],
)
def test_a_server_that_fails_is_not_timed(response: bytes, message: str) -> None:
    """A page of an error is made faster than any other."""
    with (
        answering(response) as address,
        Connections.to(address) as client,
        pytest.raises(RuntimeError, match=message),
    ):
        client.send("/", [COOKIE], 9)


async def _blocking(_scope: Any, _receive: Any, send: Any) -> None:
    time.sleep(0.05)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def _failing(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 500, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def test_an_application_that_blocks_the_loop_is_seen() -> None:
    """The worst lag is at least as long as what blocks the loop, less a tick."""
    with asyncio.Runner() as runner:
        client = AsgiClient(_blocking, runner.get_loop().run_until_complete)
        assert runner.run(worst_lag(client, [""], 0.02)) > 40


def test_a_request_that_fails_beside_the_lock_stops_the_case() -> None:
    """Responses without sessions would make the lag look small."""
    with asyncio.Runner() as runner:
        client = AsgiClient(_failing, runner.get_loop().run_until_complete)
        with pytest.raises(RuntimeError, match="500 Internal"):
            runner.run(worst_lag(client, [""], 0.02))
