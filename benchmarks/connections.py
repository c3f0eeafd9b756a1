"""Connections to an HTTP server of this machine that stay open."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle, islice
from typing import Final, Self
from urllib.parse import urlsplit

from .sites import cycled
from .worker import Answer

__all__ = ["Connections"]

_NUMBER: Final = 4
"""Connections: with one the server would wait for the client after each response."""

_REQUEST: Final = (
    "GET {path} HTTP/1.1\r\nHost: example.org\r\nX-Forwarded-Proto: https\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101\r\n"
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n"
    "Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br\r\n{cookie}\r\n"
)
_PATIENCE: Final = 20.0  # seconds to answer
_LENGTH: Final = b"content-length: "
_SET_COOKIE: Final = b"set-cookie: "


class Connections:
    """A client of one server, over some connections that take turns.

    Args:
        address: of the server: ``http://127.0.0.1:8000``.
    """

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        where = (parts.hostname, parts.port)
        self._sockets = [socket.create_connection(where, _PATIENCE) for _ in range(_NUMBER)]
        for connection in self._sockets:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @classmethod
    @contextmanager
    def to(cls, address: str) -> Iterator[Self]:
        """Return a client; its connections are closed after the block."""
        client = cls(address)
        try:
            yield client
        finally:
            for connection in client._sockets:
                connection.close()

    def __call__(self, path: str, cookie: str) -> Answer:
        """Send one request, and return its answer."""
        _send(self._sockets[0], path, cookie)
        return _answer(self._sockets[0])

    def send(self, path: str, cookies: list[str], requests: int) -> None:
        """Send so many requests; on each connection one is on its way at a time.

        ``cookies`` is kept up to date.
        """
        turns = cycled(self._sockets)
        sent: deque[tuple[socket.socket, int]] = deque()
        for visitor in islice(cycle(range(len(cookies))), requests):
            if len(sent) == len(self._sockets):
                _receive(*sent.popleft(), cookies)
            connection = next(turns)
            _send(connection, path, cookies[visitor])
            sent.append((connection, visitor))
        for connection, visitor in sent:
            _receive(connection, visitor, cookies)


def _receive(connection: socket.socket, visitor: int, cookies: list[str]) -> None:
    answer = _answer(connection)
    if answer.status != "200 OK":
        raise RuntimeError(f"the server has answered with {answer}")
    if answer.cookie:
        cookies[visitor] = answer.cookie


def _send(connection: socket.socket, path: str, cookie: str) -> None:
    header = f"Cookie: {cookie}\r\n" if cookie else ""
    connection.sendall(_REQUEST.format(path=path, cookie=header).encode())


def _answer(connection: socket.socket) -> Answer:
    data = b""
    while b"\r\n\r\n" not in data:
        data += _received(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    _, _, length = head.partition(_LENGTH)
    while len(body) < int(length.split(b"\r\n", 1)[0]):
        body += _received(connection)
    status = head[: head.index(b"\r\n")].partition(b" ")[2].decode()
    _, _, cookie = head.partition(_SET_COOKIE)
    return Answer(status, cookie.partition(b";")[0].decode(), body.decode())


def _received(connection: socket.socket) -> bytes:
    data = connection.recv(65_536)
    if not data:
        raise RuntimeError("the server has closed a connection")
    return data
