"""Sessions move between the disk, Redis and SQL servers, while a site goes on."""

from __future__ import annotations

import http.client
import json
import random
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from glimr_session import DiskStore, SessionStore
from glimr_session.stores.moving import MovingStore
from glimr_session.stores.redis import RedisStore
from glimr_session.testing.contract import (
    ABSOLUTE,
    LIFETIME,
    Request,
    begin,
    content,
    expire_after,
    flash,
    increment,
    invalidate,
    put,
    regenerate,
    run_all,
)
from tests.support.services import DatabaseServer, RedisServer

SECONDS: Final = 12.0  # of load
WORKERS: Final = 3
CLIENTS: Final = 6
KEY: Final = "a key of these tests, which no site has"


@pytest.fixture(params=["redis", "sqlite", "postgresql"])
def servers(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[SessionStore]]:
    """A disk store, and one on a server."""
    times: dict[str, Any] = {"lifetime": LIFETIME, "absolute_lifetime": ABSOLUTE}
    stores: list[SessionStore] = [DiskStore(tmp_path / "sessions", **times)]
    if request.param == "redis":
        redis: RedisServer = request.getfixturevalue("redis")
        redis.ask("FLUSHALL")
        stores.append(RedisStore(redis.url, **times))
    else:
        sql = pytest.importorskip("glimr_session.stores.sql")
        url = f"sqlite:///{tmp_path / 'sql.db'}"
        if request.param == "postgresql":
            server: DatabaseServer = request.getfixturevalue("postgresql")
            url = server.url
        table = f"moving_{secrets.token_hex(4)}"
        sql.SqlStore.create_table(url, table=table)
        stores.append(sql.SqlStore(url, table=table, **times))
    yield stores
    for store in stores:
        store.close()


@pytest.mark.parametrize("to_disk", [True, False])
def test_a_session_moves_with_all_it_has(servers: list[SessionStore], *, to_disk: bool) -> None:
    """In both directions: content, id, lifetime and the making of its id."""
    new, former = servers if to_disk else reversed(servers)
    moving = MovingStore(new, former)
    cookie_value = begin(former, put("a", 1), flash("x", 1), expire_after(5000.0))
    before = former.open(cookie_value)
    assert before is not None
    Request(moving, cookie_value).commit(put("b", 2))
    assert former.open(cookie_value) is None
    after = new.open(cookie_value)
    assert after is not None
    assert (after.id, after.data, after.flash) == (before.id, {"a": 1, "b": 2}, {})
    assert (after.lifetime, after.created_at) == (5000.0, before.created_at)
    slow = Request(moving, cookie_value)
    moved = Request(moving, cookie_value).commit(regenerate)
    back = MovingStore(former, new)
    again = Request(back, moved).commit(increment("n"))
    late = Request(back, again)
    assert Request(moving, again).commit(invalidate) == ""
    for request in (slow, late):
        assert request.answer(increment("n")).outcome == "gone"
    for store in (moving, back):
        assert store.open(again) is None
        assert store.open(cookie_value) is None


def test_threads_in_both_directions_lose_nothing(servers: list[SessionStore]) -> None:
    """Every increment is there in the end, and the session is in one place."""
    one, other = servers
    directions = [MovingStore(one, other), MovingStore(other, one)] * 2
    cookie_value = begin(one)
    errors: list[BaseException] = []

    def work(moving: MovingStore) -> None:
        try:
            for _ in range(25):
                Request(moving, cookie_value).commit(increment("n"))
        except BaseException as error:  # noqa: BLE001  # raised below
            errors.append(error)
        finally:
            moving.close()

    run_all([lambda moving=moving: work(moving) for moving in directions])  # type: ignore[misc]
    assert errors == []
    assert content(directions[0], cookie_value) == ({"a": 1, "n": 100}, {})
    assert [store.open(cookie_value) is None for store in servers].count(False) == 1


@pytest.mark.parametrize("to_disk", [True, False])
def test_a_mark_is_not_taken_for_the_session(servers: list[SessionStore], *, to_disk: bool) -> None:
    """A request that opened a session as it had just arrived commits to it, and to nothing else."""
    store, former = servers if to_disk else reversed(servers)
    moving, back = MovingStore(store, former), MovingStore(former, store)
    cookie_value = begin(store, put("n", 0))
    found = store.open(cookie_value)
    assert found is not None
    left = store.leave(found)
    assert left is not None
    assert former.adopt(left) is True
    store.forget_left(left)
    slow = Request(moving, cookie_value)
    Request(back, cookie_value).commit(increment("n"))
    slow.commit(increment("n"))
    assert content(moving, cookie_value) == ({"n": 2}, {})
    assert former.open(cookie_value) is None


@pytest.mark.parametrize("to_disk", [True, False])
def test_what_has_left_is_not_taken_for_the_session(
    servers: list[SessionStore], *, to_disk: bool
) -> None:
    """A request that opened a session on its way commits to where it has arrived."""
    store, former = servers if to_disk else reversed(servers)
    moving, back = MovingStore(store, former), MovingStore(former, store)
    cookie_value = begin(store, put("n", 0))
    found = store.open(cookie_value)
    assert found is not None
    left = store.leave(found)
    assert left is not None
    slow = Request(moving, cookie_value)
    assert former.adopt(left) is True  # and the process is killed
    Request(back, cookie_value).commit(increment("n"))
    assert content(moving, cookie_value) == ({"n": 1}, {})  # not what is still in the other store
    slow.commit(increment("n"))
    assert content(moving, cookie_value) == ({"n": 2}, {})
    assert [one.open(cookie_value) is None for one in servers].count(False) == 1


# A site whose workers are restarted, one by one, with other settings.

SITE: Final = """
import json, os, sys
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from glimr_session import SessionConfig, SessionMiddleware

class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

class Quiet(WSGIRequestHandler):
    def log_message(self, *arguments):
        pass

def app(environ, start_response):
    session = environ["glimr.session"]
    if environ["PATH_INFO"] == "/login":
        session.regenerate()
        session["user"] = environ["QUERY_STRING"]
    elif environ["PATH_INFO"] == "/count" and "user" in session:
        session.increment("n")
    body = json.dumps([session.get("user"), session.get("n", 0)]).encode()
    length = ("Content-Length", str(len(body)))  # so that a body that is cut off is seen
    start_response("200 OK", [("Content-Type", "application/json"), length])
    return [body]

config = SessionConfig.from_mapping(json.loads(sys.argv[1]))
server = make_server("127.0.0.1", 0, SessionMiddleware(app, config), Server, Quiet)
print(server.server_port, flush=True)
server.serve_forever()
"""


class Worker:
    """A process of the site."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", SITE, json.dumps(settings)], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


class Client:
    """A browser with two requests at once, now and then."""

    def __init__(self, name: str, workers: list[Worker]) -> None:
        self.name = name
        self.workers = workers
        self.cookie = ""
        self.sent = self.counted = self.failed = 0
        self.problems: list[Any] = []
        self._lock = threading.Lock()

    def ask(self, path: str) -> Any:
        """Return the answer, or None if the process was killed."""
        worker = random.choice(self.workers)
        connection = http.client.HTTPConnection("127.0.0.1", worker.port, timeout=20)
        try:
            connection.request("GET", path, headers={"Cookie": self.cookie})
            answer = connection.getresponse()
            body = answer.read()
            if answer.headers["Content-Length"] is None:  # cut off in the middle of the headers
                raise http.client.IncompleteRead(body)
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()
        if answer.status != 200:
            self.problems.append((answer.status, body[:100]))
            return None
        with self._lock:
            for header in answer.headers.get_all("Set-Cookie", []):
                self.cookie = header.partition(";")[0]
        return json.loads(body)

    def count(self) -> None:
        with self._lock:
            self.sent += 1
        answer = self.ask("/count")
        with self._lock:
            if answer is None:
                self.failed += 1
            elif answer[0] != self.name:
                self.problems.append(answer)
            else:
                self.counted += 1

    def work(self, ended: threading.Event) -> None:
        while not ended.is_set():
            both = [threading.Thread(target=self.count) for _ in range(random.choice([1, 2]))]
            for thread in both:
                thread.start()
            for thread in both:
                thread.join()


@contextmanager
def site(settings: dict[str, Any]) -> Iterator[list[Worker]]:
    workers: list[Worker] = []
    try:
        workers += [Worker(settings) for _ in range(WORKERS)]
        yield workers
    finally:
        for worker in workers:
            worker.end()


def test_a_site_changes_its_store_under_load(redis: RedisServer, tmp_path: Path) -> None:
    """Its workers are killed and started one by one: nobody is anonymous, every count is there."""
    redis.ask("FLUSHALL")
    common = {
        "secret_keys": [KEY],
        "redis_url": redis.url,
        "disk_directory": str(tmp_path / "sessions"),
    }
    steps = [
        {"store": "disk", "move_from": "redis"},
        {"store": "redis", "move_from": "disk"},
        {"store": "redis"},
    ]
    ended = threading.Event()
    with site({**common, "store": "disk"}) as workers:
        clients = [Client(f"user{number}", workers) for number in range(CLIENTS)]
        for client in clients:
            assert client.ask(f"/login?{client.name}") is not None
        threads = [threading.Thread(target=client.work, args=(ended,)) for client in clients]
        for thread in threads:
            thread.start()
        try:
            pause = SECONDS / (len(steps) * WORKERS + 1)
            for step in steps:
                for place, before in enumerate(list(workers)):
                    time.sleep(pause)
                    workers[place] = Worker({**common, **step})
                    before.end()
            time.sleep(pause)
        finally:
            ended.set()
            for thread in threads:
                thread.join()
        for client in clients:
            assert client.problems == []
            user, number = client.ask("/read")
            assert user == client.name
            assert client.counted <= number <= client.sent
            assert client.failed <= 4 * WORKERS * len(steps)
    total = sum(client.counted for client in clients)
    assert total > 20 * CLIENTS
    print(f"{total} counted, {sum(client.failed for client in clients)} cut off")
