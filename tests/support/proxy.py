"""A proxy between a client and a server, which loses answers, stalls, and cuts connections."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Self

from .services import PATIENCE, free_port

CHUNK = 65_536  # bytes: what is read at once


class Proxy:
    """A TCP proxy in front of a server on 127.0.0.1. It knows no protocol: it sees bytes alone.

    Use it in a ``with`` statement. A chunk is what one read returned: a small message that was
    sent at once. When the server refuses a connection, the proxy closes the client's.

    Attributes:
        port: The port on 127.0.0.1 where clients connect.
        connections: How many connections it has accepted.
        chunks: How many chunks clients have sent.
        round_trips: How often a client has waited for an answer: chunks in a row count once.
        lost: How many answers it has swallowed.
        sent: The chunks that clients have sent, if it records.
        received: The chunks that the server has sent, if it records.
    """

    def __init__(self, port: int, *, record: bool = False) -> None:
        """Make a proxy for the server on a port; ``record`` keeps what is sent."""
        self.port = free_port()
        self._server_port = port
        self._record = record
        self._lock = threading.Lock()  # for all that threads change
        self._flowing = threading.Event()
        self._flowing.set()
        self._lose: Callable[[bytes], bool] | None = None
        self._open: set[_Connection] = set()
        self._threads: list[threading.Thread] = []
        self._listener: socket.socket | None = None
        self.reset()

    def __enter__(self) -> Self:
        self.accept()
        return self

    def __exit__(self, *_: object) -> None:
        self.refuse()
        self.cut()
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive(), "a thread of the proxy does not end"

    def reset(self) -> None:
        """Begin to count and to record anew."""
        with self._lock:
            self.connections = self.chunks = self.round_trips = self.lost = 0
            self.sent: list[bytes] = []
            self.received: list[bytes] = []

    def lose_answer(self, when: Callable[[bytes], bool] = lambda _: True) -> None:
        """Swallow the answer to the next chunk that satisfies ``when``, then cut its connection.

        The server gets the chunk and acts on it. The client cannot know that.
        """
        with self._lock:
            self._lose = when

    def refuse(self) -> None:
        """Refuse new connections. Those that are open stay open."""
        if self._listener:
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits on it
            self._acceptor.join()
            self._listener.close()
            self._listener = None

    def accept(self) -> None:
        """Accept new connections, as at first."""
        if self._listener is None:
            self._listener = socket.create_server(("127.0.0.1", self.port), backlog=128)
            self._acceptor = threading.Thread(target=self._accept, args=(self._listener,))
            self._acceptor.start()

    def stall(self) -> None:
        """Forward nothing from now on. Connections stay open, and new ones are accepted."""
        self._flowing.clear()

    def resume(self) -> None:
        """Forward again after ``stall``, first what was held back."""
        self._flowing.set()

    def cut(self) -> None:
        """Close all connections now; what was held back is lost."""
        with self._lock:
            connections = list(self._open)
        for connection in connections:
            connection.cut()

    def _accept(self, listener: socket.socket) -> None:
        """Accept connections until the listener is closed."""
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._server_port), PATIENCE)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            connection = _Connection(client, server, self._flowing)
            thread = threading.Thread(target=self._serve, args=(connection,))
            with self._lock:
                self.connections += 1
                self._open.add(connection)
                self._threads = [found for found in self._threads if found.is_alive()]
                self._threads.append(thread)
                thread.start()

    def _serve(self, connection: _Connection) -> None:
        """Forward in both directions until one side has closed."""
        back = threading.Thread(
            target=connection.forward,
            args=(connection.server, connection.client, self._answered),
        )
        back.start()
        try:
            connection.forward(connection.client, connection.server, self._asked)
        finally:
            back.join()
            with self._lock:
                self._open.remove(connection)
            connection.close()

    def _asked(self, connection: _Connection, chunk: bytes) -> bool:
        """Count what a client has sent; return True: it is passed on."""
        with self._lock:
            self.chunks += 1
            self.round_trips += connection.answered
            connection.answered = False
            if self._record:
                self.sent.append(chunk)
            if self._lose and self._lose(chunk):
                self._lose = None
                connection.losing = True
        return True

    def _answered(self, connection: _Connection, chunk: bytes) -> bool:
        """Record what the server has sent; return whether it is passed on."""
        with self._lock:
            connection.answered = True
            if self._record:
                self.received.append(chunk)
            self.lost += connection.losing
        return not connection.losing


class _Connection:
    """A connection of a client, and the one to the server that belongs to it."""

    def __init__(
        self, client: socket.socket, server: socket.socket, flowing: threading.Event
    ) -> None:
        self.client = client
        self.server = server
        self.answered = True  # the next chunk of the client begins a round trip
        self.losing = False  # the next answer is swallowed
        self._flowing = flowing
        self._cut = threading.Event()
        for side in (client, server):
            side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def forward(
        self,
        source: socket.socket,
        target: socket.socket,
        passes: Callable[[_Connection, bytes], bool],
    ) -> None:
        """Forward in one direction, until a side has closed or a chunk does not pass."""
        try:
            while chunk := source.recv(CHUNK):
                self._wait_to_flow()
                if self._cut.is_set() or not passes(self, chunk):
                    break
                target.sendall(chunk)
            self._wait_to_flow()
        except OSError:
            pass  # one side has closed; so does the other
        finally:
            self.cut()

    def cut(self) -> None:
        """End both sides at once; ``close`` frees them."""
        self._cut.set()
        for side in (self.client, self.server):
            with suppress(OSError):  # it has ended before
                side.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close both sides."""
        self.client.close()
        self.server.close()

    def _wait_to_flow(self) -> None:
        """Wait while the proxy is stalled and this connection is not cut."""
        while not self._flowing.wait(0.01) and not self._cut.is_set():
            pass
