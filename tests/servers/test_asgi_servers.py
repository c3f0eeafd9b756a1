"""The middleware on real ASGI servers, on asyncio and trio, with one worker and with several."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from websockets.sync.client import connect

from tests.support.asgi_apps import EVENTS
from tests.support.asgi_servers import SERVERS, running_asgi
from tests.support.servers import PATIENCE, Client, Server, seen_by_all

WORKERS: Final = 2
TABS: Final = 4
REQUESTS: Final = 100  # of each tab


def on(*stores: str, workers: int = 1) -> pytest.MarkDecorator:
    """Run a test on each server, with each of these stores."""
    kinds = [(name, store, workers) for name in SERVERS for store in stores]
    ids = [f"{name} {store}" for name, store, _ in kinds]
    return pytest.mark.parametrize("server", kinds, ids=ids, indirect=True, scope="module")


@pytest.fixture(scope="module")
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server, which the tests of this module share."""
    name, store, workers = request.param
    directory = tmp_path_factory.mktemp("server")
    with running_asgi(name, directory, store=store, processes=workers) as found:
        yield found


def eventually(check: Callable[[], object]) -> None:
    """Wait until a check is true."""
    deadline = time.monotonic() + PATIENCE
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def data(client: Client) -> Any:
    return client.get("/session")["found"]


# One worker.


@on("disk", "cookie")
def test_what_is_written_is_read(server: Server) -> None:
    """Each request finds what the one before has written, and a new browser finds nothing."""
    client = Client(server)
    assert [client.get("/count")["found"] for _ in range(3)] == [1, 2, 3]
    assert data(client) == {"count": 3}
    assert data(Client(server)) == {}


@on("disk")
def test_a_login_moves_the_session(server: Server) -> None:
    """A login keeps the data, and the cookie from before finds nothing any more."""
    client = Client(server)
    client.get("/count")
    before = Client(server, client.cookies.header())
    client.get("/login")
    assert data(client) == {"count": 1, "user": "ada"}
    assert data(before) == {}


@on("disk", "cookie")
def test_a_logout_ends_the_session(server: Server) -> None:
    """A logout ends the cookie."""
    client = Client(server)
    client.get("/login")
    client.get("/logout")
    assert client.cookies.header() == ""
    assert data(client) == {}


@on("disk", "cookie")
def test_flash_is_shown_once(server: Server) -> None:
    """The next request sees the flash, and the one after that does not."""
    client = Client(server)
    client.get("/flash")
    assert [client.get("/shown")["found"] for _ in range(2)] == ["saved", ""]


@on("disk")
def test_a_websocket_commits_while_it_is_open(server: Server) -> None:
    """Each message is committed before it is answered, and a request beside it sees that."""
    client = Client(server)
    client.get("/login")
    headers = {"Cookie": client.cookies.header()}
    with connect(f"ws://127.0.0.1:{server.port}/", additional_headers=headers) as websocket:
        for number in (1, 2, 3):
            websocket.send("hello")
            assert websocket.recv(PATIENCE) == str(number)
            assert data(client) == {"user": "ada", "messages": number}


@on("disk")
def test_events_are_committed_before_they_are_sent(server: Server) -> None:
    """Whoever has read an event finds it in the session, while the stream goes on."""
    client = Client(server)
    with client.open("/events") as response:
        assert response.readline() == b"data: 1\n"
        assert data(client)["events"] >= 1
        rest = response.read()
    assert rest.count(b"data: ") == EVENTS - 1
    assert data(client) == {"events": EVENTS}


class Stream:
    """A response whose second chunk is only made when the gate is opened."""

    def __init__(self, client: Client, path: str = "/stream") -> None:
        self._gate = socket.create_server(("127.0.0.1", 0))
        self._gate.settimeout(PATIENCE)
        self.response = client.open(f"{path}?gate={self._gate.getsockname()[1]}")
        assert self.response.read(5) == b"first"
        self._knock = self._gate.accept()[0]

    def finish(self) -> None:
        """Open the gate and read the rest."""
        with self._gate, self._knock, self.response:
            self._knock.sendall(b"!")
            assert self.response.read() == b"second"


@on("disk")
def test_a_stream_is_not_held_up(server: Server) -> None:
    """The first chunk and the cookie arrive while the rest is made; a late change is kept."""
    client = Client(server)
    stream = Stream(client)
    assert data(client) == {"streamed": "early"}
    stream.finish()
    eventually(lambda: data(client) == {"streamed": "late"})


@on("cookie")
def test_a_late_change_with_the_cookie_store_is_logged(server: Server) -> None:
    """The server's log says that a change after the cookie has left is lost."""
    client = Client(server)
    Stream(client).finish()
    assert data(client) == {"streamed": "early"}
    eventually(lambda: "the change is lost" in server.log.read_text())


@on("disk")
@pytest.mark.parametrize("path", ["/until-left", "/until-cancelled"])
def test_a_client_that_leaves_a_stream_ends_its_session(server: Server, path: str) -> None:
    """No actor stays, and a change after the headers is not committed."""
    client = Client(server)
    client.get("/login")
    with client.open(path) as response:
        assert response.read(5) == b"first"
        assert client.get("/actors")["found"] == 1
    eventually(lambda: client.get("/actors")["found"] == 0)
    assert data(client) == {"user": "ada", "streamed": "early"}


@pytest.mark.parametrize("name", SERVERS)
def test_an_outage_is_no_logout(name: str, tmp_path: Path) -> None:
    """Requests that need the store are answered with 503 while it is down, and others are served.

    Afterwards everybody is still logged in, and nothing that failed was committed.
    """
    with running_asgi(name, tmp_path, failing=True) as server:
        client = Client(server)
        client.get("/login")

        def status(path: str) -> int:
            with client.open(path) as response:
                return response.status

        (tmp_path / "sessions").chmod(0o755)  # a directory that others can read is not used
        eventually(lambda: status("/session") == 503)
        assert status("/count") == 503
        assert status("/health") == 200
        (tmp_path / "sessions").chmod(0o700)
        eventually(lambda: status("/session") == 200)
        assert data(client) == {"user": "ada"}


@pytest.mark.parametrize("name", ["hypercorn", "granian"])
def test_http_2_may_split_the_cookie_header(name: str, tmp_path: Path) -> None:
    """The session is found in whichever of several cookie headers its cookie is."""
    with running_asgi(name, tmp_path) as server:
        client = Client(server)
        client.get("/login")
        cookies = ["theme=dark", client.cookies.header(), "language=en"]
        with httpx.Client(http1=False, http2=True) as browser:
            answer = browser.get(
                f"http://127.0.0.1:{server.port}/session",
                headers=[("cookie", cookie) for cookie in cookies],
            )
        assert answer.http_version == "HTTP/2"
        assert answer.json()["found"] == {"user": "ada"}


# Several workers.


@on("disk", workers=WORKERS)
def test_a_counter_of_two_tabs_and_two_workers_adds_up(server: Server) -> None:
    """Increments that tabs send at once, to all workers, add up to exactly their number."""
    client = Client(server)
    client.get("/login")
    cookie = client.cookies.header()

    def tab(_: int) -> set[int]:
        own = Client(server, cookie)
        return {own.get("/count")["pid"] for _ in range(REQUESTS)}

    with ThreadPoolExecutor(TABS) as pool:
        processes = set().union(*pool.map(tab, range(TABS)))
    assert len(processes) == WORKERS
    assert data(client) == {"user": "ada", "count": TABS * REQUESTS}


@on("disk", workers=WORKERS)
def test_a_logout_beside_a_slow_stream_brings_nobody_back(server: Server) -> None:
    """A stream that writes after the logout stores nothing, in whichever worker it is."""
    client = Client(server)
    client.get("/login")
    copy = Client(server, client.cookies.header())
    stream = Stream(copy)
    assert {found["user"] for found in seen_by_all(server, lambda: copy.get("/session"))} == {"ada"}
    client.get("/logout")
    stream.finish()
    eventually(lambda: "the change is lost: it has ended" in server.log.read_text())
    assert all(found == {} for found in seen_by_all(server, lambda: copy.get("/session")))
