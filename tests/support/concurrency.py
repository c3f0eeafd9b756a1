"""Many requests of one session at once: how they are sent, held up and answered."""

from __future__ import annotations

import http.client
import json
import socket
import sqlite3
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any, Final, NamedTuple, Self
from urllib.parse import quote

from tests.support.concurrency_app import Step
from tests.support.servers import PATIENCE, Client, Server, seen_by_all
from tests.support.wsgi_client import Cookies

CLIENTS: Final = 12  # threads that ask at once
REQUESTS: Final = 25  # of each client
ROUNDS: Final = 5

USER: Final[Step] = ("put", "user", "ada")
ALL: Final[Step] = ("all",)
SHOWN: Final[Step] = ("shown",)
GATE: Final[Step] = ("gate",)  # where a Slow request waits
OPEN: Final = b"!"  # what the site waits for at the gate
WORK: Final[Step] = ("work",)
NEEDS_USER: Final[Step] = ("needs", "user")  # as an application asks for a login


class Answer(NamedTuple):
    """What a request was told.

    ``cookie`` is the Cookie header from now on: None if it stays what it was, "" if
    there is to be none.
    """

    pid: int
    found: list[Any]
    cookie: str | None
    began: float
    ended: float


class Request:
    """A request that has been sent, in HTTP/1.0: the body ends when the connection does.

    That is when the server has closed the application's body, and so after the late
    commit of a stream.
    """

    def __init__(self, server: Server, cookie: str, *steps: Step) -> None:
        self.began = time.monotonic()
        self._socket = socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE)
        host = f"127.0.0.1:{server.port}"
        head = f"GET {address(*steps)} HTTP/1.0\r\nHost: {host}\r\nCookie: {cookie}\r\n\r\n"
        self._socket.sendall(head.encode())
        self._response = http.client.HTTPResponse(self._socket)

    def cookie(self) -> str | None:
        """Wait for the headers, and return the cookie as Answer has it."""
        self._response.begin()  # at most once, it sees to that
        if self._response.getheader("Set-Cookie") is None:
            return None
        cookies = Cookies()
        cookies.take(self._response.getheaders())
        return cookies.header()

    def answer(self) -> Answer:
        """Wait for the answer."""
        with self._socket, self._response as response:
            cookie = self.cookie()
            body = response.read()
            ended = time.monotonic()
            assert response.status == 200, body
            told = json.loads(body)
            return Answer(told["pid"], told["found"], cookie, self.began, ended)

    def leave(self, *, abruptly: bool = False) -> None:
        """Leave before the answer, with a goodbye or (RST instead of FIN) without."""
        if abruptly:
            linger = struct.pack("ii", 1, 0)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._response.close()
        self._socket.close()


class Slow:
    """A request that waits at its GATE, while others are served beside it."""

    def __init__(self, server: Server, cookie: str, *steps: Step) -> None:
        self._server = server
        self._gate = socket.create_server(("127.0.0.1", 0))
        self._gate.settimeout(PATIENCE)
        self._request = self._send(cookie, *steps)
        self._knock, self._pid = self._arrival()

    def beside(self, cookie: str, *steps: Step) -> Answer:
        """Have a whole request served, by another process if there is one."""
        deadline = time.monotonic() + PATIENCE
        while True:
            request = self._send(cookie, GATE, *steps)
            knock, pid = self._arrival()
            with knock:
                elsewhere = pid != self._pid or self._server.processes == 1
                if elsewhere:
                    knock.sendall(OPEN)
            answer = request.answer()
            if elsewhere:
                return answer
            assert time.monotonic() < deadline, "one process takes every request"

    def cookie(self) -> str | None:
        """Return the cookie that its headers set, which must have left already."""
        return self._request.cookie()

    def go_on(self) -> Answer:
        """Let it through, and wait for its answer."""
        self._knock.sendall(OPEN)
        return self._request.answer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._gate.close()
        self._knock.close()
        self._request.leave()

    def _send(self, cookie: str, *steps: Step) -> Request:
        port = self._gate.getsockname()[1]
        return Request(
            self._server, cookie, *((*step, port) if step == GATE else step for step in steps)
        )

    def _arrival(self) -> tuple[socket.socket, int]:
        """Wait for a request at the gate; return its connection and its process."""
        knock = self._gate.accept()[0]
        knock.settimeout(PATIENCE)
        with knock.makefile("rb") as words:
            return knock, int(words.readline())


def address(*steps: Step) -> str:
    return "/?" + quote(json.dumps(steps))


def ask(server: Server, cookie: str, *steps: Step) -> Answer:
    return Request(server, cookie, *steps).answer()


def begin(server: Server) -> str:
    """Begin a session of a user; return its cookie."""
    cookie = ask(server, "", USER).cookie
    assert cookie
    return cookie


def everywhere(server: Server, cookie: str) -> dict[str, Any]:
    """Return the data that a cookie finds: the same in every process."""
    answers = seen_by_all(server, lambda: Client(server, cookie).get(address(ALL)))
    assert all(answer == answers[0] for answer in answers)
    (data,) = answers[0]
    assert isinstance(data, dict)
    return data


def rows(server: Server) -> int:
    """Count what is in the store, whatever session it is of."""
    environ = server.environ
    kind = environ["GLIMR_SESSION_STORE"]
    if kind == "redis":
        return redis_keys(environ["GLIMR_SESSION_REDIS_URL"])
    if kind == "sql":
        return sql_rows(environ["GLIMR_SESSION_SQL_URL"], environ["GLIMR_SESSION_SQL_TABLE"])
    file = server.log.parent / "sessions" / "cache.db"
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=rw", uri=True)) as database:
        (number,) = database.execute("SELECT count(*) FROM Cache").fetchone()
    assert isinstance(number, int)
    return number


def redis_keys(url: str) -> int:
    """Count the keys of a server, or of all nodes of a Cluster."""
    import redis

    client: Any
    if "+cluster" in url:
        client = redis.RedisCluster.from_url(url.replace("+cluster", ""))
    else:
        client = redis.Redis.from_url(url)
    with closing(client):
        return sum(1 for _ in client.scan_iter())


def sql_rows(url: str, table: str) -> int:
    """Count the rows of a table, but for the one that remembers the last collection."""
    import sqlalchemy

    psycopg = url.replace("postgresql://", "postgresql+psycopg://")
    engine = sqlalchemy.create_engine(psycopg, poolclass=sqlalchemy.NullPool)
    with engine.connect() as connection:
        counted = sqlalchemy.text(f"SELECT count(*) FROM {table} WHERE number <> 0")
        return int(connection.scalar(counted))


def at_once(work: Callable[[int], list[Answer]]) -> list[list[Answer]]:
    """Let all clients, who have a number each, do some work at the same time."""
    start = threading.Barrier(CLIENTS)

    def begin(client: int) -> list[Answer]:
        start.wait(PATIENCE)
        return work(client)

    with ThreadPoolExecutor(CLIENTS) as pool:
        return list(pool.map(begin, range(CLIENTS)))


def served_by_many(server: Server, answers: Iterable[Answer]) -> bool:
    """Whether several processes had a part in it, if there are several."""
    return len({answer.pid for answer in answers}) > 1 or server.processes == 1


def rounds(server: Server, answers: list[Answer]) -> Iterator[None]:
    """Go on for some rounds, and until several processes have answered, if there are several.

    Of gunicorn's processes, one may take all that comes at the same moment.
    """
    deadline = time.monotonic() + PATIENCE
    number = 0
    while number < ROUNDS or not served_by_many(server, answers):
        assert time.monotonic() < deadline, "one process takes every request"
        yield
        number += 1


def leaves(number: int) -> bool:
    """Whether the client leaves this request of its own before the answer."""
    return number % 5 == 4
