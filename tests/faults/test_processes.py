"""Processes and threads: none is left over, none takes anything with it when it ends."""

from __future__ import annotations

import gc
import http.client
import json
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self

import pytest

from glimr_session import DiskStore, SessionMiddleware
from tests.stores.disk.test_pool import CONFIG
from tests.support.servers import PATIENCE, THREADS, Client, Server, running, seen_by_all
from tests.support.wsgi_client import Browser, Response

from . import process_app

SITE: Final = "tests.faults.process_app:site"
WITHOUT_SESSIONS: Final = "tests.faults.process_app:without_sessions()"
WITHOUT_COLLECTOR: Final = "tests.faults.process_app:without_collector()"
USED_BEFORE: Final = "tests.faults.process_app:used_before()"

BUSY_STORE: Final = "tests.faults.process_app:busy_store"

UNCOLLECTED: Final = {"GLIMR_SESSION_GC": "never"}  # the cleanup worker has a thread

REQUESTS: Final = 1000
AT_ONCE: Final = 16
FILES_OF_A_CONNECTION: Final = 3  # SQLite's: the database, its log, and the log's index

# SIGTERM alone ends uWSGI's workers where they are.
GRACEFUL: Final = "hook-master-start = unix_signal:15 gracefully_kill_them_all\n"
FORK_HOOKS: Final = "py-call-uwsgi-fork-hooks = true\n"

ENDING: Final = re.compile(
    "Ending|Handling signal: term|graceful shutdown triggered|SIGINT/SIGTERM received"
)
FINISHING: Final = ("gunicorn", "waitress", "cheroot", "uwsgi graceful")
CUTTING: Final = ("uwsgi", "werkzeug", "wsgiref")

# Of a process that has nothing to do: the main one, and those for requests.
THREADS_OF: Final = {
    "gunicorn": 1 + THREADS,
    "waitress": 1 + THREADS,
    "werkzeug": 2,  # made for the very request that asks
    "wsgiref": 2,
}


class Gate:
    """A gate at which requests are held. Leaving it lets them all go."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.settimeout(PATIENCE)
        self._held: list[socket.socket] = []
        self.port: int = self._listening.getsockname()[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.open()
        self._listening.close()

    def wait(self) -> socket.socket:
        """Wait until a request is held."""
        self._held.append(self._listening.accept()[0])
        self._held[-1].settimeout(PATIENCE)
        return self._held[-1]

    def wait_for_pid(self) -> int:
        """Wait until a request to /held is held; return the id of its process."""
        with self.wait().makefile("rb") as lines:
            return int(lines.readline())

    def open(self) -> None:
        """Let go all that are held."""
        while self._held:
            self._held.pop().close()


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that comes true in a while."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class LocalSite:
    """The site in this process, and a browser that asks it."""

    def __init__(self, directory: Path, cookies: str = "") -> None:
        self.store = DiskStore(directory / "sessions")
        self._app = SessionMiddleware(process_app.site, CONFIG, store=self.store)
        self._browser = Browser(cookies)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.store.close()

    def begin(self, path: str) -> Response:
        """Ask for a page whose body is still to be read."""
        return self._browser.request(self._app, extra={"PATH_INFO": path}).begin()

    def get(self, path: str) -> Any:
        """Return what is found on a page."""
        return json.loads(self.begin(path).finish().body)["found"]


def kept(directory: Path, client: Client) -> Any:
    """Return what the store has for a client, without its server."""
    with LocalSite(directory, client.cookies.header()) as site:
        return site.get("/session")


@contextmanager
def no_collector() -> Iterator[None]:
    """Leave garbage in cycles where it is."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@pytest.mark.parametrize("at_once", [1, AT_ONCE])
def test_requests_on_fresh_threads_share_a_few_connections(tmp_path: Path, at_once: int) -> None:
    """Threads that come and go open files for those at the same time, and no more."""
    rounds = REQUESTS // at_once
    with LocalSite(tmp_path) as site, no_collector():
        before = process_app.report()
        site.get("/count")
        for _ in range(rounds):
            threads = [threading.Thread(target=site.get, args=["/count"]) for _ in range(at_once)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        after = process_app.report()
        assert site.get("/session") == {"count": 1 + rounds * at_once}
    assert opened(before, after) <= FILES_OF_A_CONNECTION * at_once


def opened(before: dict[str, Any], after: dict[str, Any]) -> int:
    """Return the number of files opened between two reports. There must be nothing else."""
    number: int = after["files"] - before["files"]
    assert {**after, "files": 0} == {**before, "files": 0}
    return number


@pytest.mark.parametrize("name", ["werkzeug", "wsgiref"])
def test_a_server_with_a_thread_for_each_request_opens_few_files(name: str, tmp_path: Path) -> None:
    """A server leaves as much open after a thousand requests as after one."""
    with running(name, tmp_path, app=WITHOUT_COLLECTOR, environ=UNCOLLECTED) as server:
        client = Client(server)
        before = settled(client, name)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            assert len(list(pool.map(client.get, ["/count"] * REQUESTS))) == REQUESTS
        assert opened(before, settled(client, name)) <= FILES_OF_A_CONNECTION * AT_ONCE


def settled(client: Client, name: str) -> dict[str, Any]:
    """Wait until a server has no actors and no more threads than it needs; return its report."""
    client.get("/count")
    found: dict[str, Any] = {}

    def nothing_left() -> bool:
        found.update(client.get("/report")["found"])
        return (found["actors"], found["threads"]) == (0, THREADS_OF[name])

    until(nothing_left)
    return found


def test_bodies_that_break_off_leave_nothing(tmp_path: Path) -> None:
    """A response that its client or its application breaks off stops its session actor."""
    with LocalSite(tmp_path) as site, no_collector():
        before = process_app.report()
        site.get("/count")
        for number in range(REQUESTS):
            if number % 9 == 0:
                site.begin("/endless").close()
            elif number % 9 == 3:
                response = site.begin("/endless")
                assert response.read_chunk()
                response.close()
            elif number % 9 == 6:
                with pytest.raises(ZeroDivisionError):
                    site.begin("/broken").finish()
            else:
                site.get("/count")
        after = process_app.report()
    assert opened(before, after) <= FILES_OF_A_CONNECTION


@pytest.mark.parametrize("name", THREADS_OF)
def test_clients_that_leave_early_leave_nothing(name: str, tmp_path: Path) -> None:
    """A third of a thousand readers leave in the middle of a body, and leave nothing behind."""
    with running(name, tmp_path, app=WITHOUT_COLLECTOR, processes=1, environ=UNCOLLECTED) as server:
        client = Client(server)
        with Gate() as gate, ThreadPoolExecutor(THREADS) as pool:  # have all threads at work once
            held = pool.map(client.get, [f"/held?gate={gate.port}"] * THREADS)
            for _ in range(THREADS):
                gate.wait()
            gate.open()
            assert len(list(held)) == THREADS
        before = settled(client, name)

        def ask(number: int) -> None:
            if number % 3:
                client.get("/count")
            else:
                with client.open("/endless") as response:
                    assert response.read(1) == b"x"

        with ThreadPoolExecutor(AT_ONCE) as pool:
            for future in [pool.submit(ask, number) for number in range(REQUESTS)]:
                future.result()
        assert opened(before, settled(client, name)) <= FILES_OF_A_CONNECTION * AT_ONCE


def ended_in_flight(
    name: str, directory: Path, app: str, *, waits: bool
) -> tuple[list[bool], int | None, Client]:
    """End a server while two requests are held, which it waits for or not.

    Return which of them were answered to their end, its exit code, and their client.
    """
    directory.mkdir()
    with (
        Gate() as gate,
        ThreadPoolExecutor(2) as pool,
        running(
            name,
            directory,
            app=app,
            settings=GRACEFUL if "graceful" in name else "",
            environ=UNCOLLECTED,
        ) as server,
    ):
        client = Client(server)
        client.get("/count")
        held = [
            pool.submit(was_answered, client, f"{path}?gate={gate.port}", end)
            for path, end in (("/held", b"}"), ("/stream", b"second"))
        ]
        for _ in held:
            gate.wait()
        server.process.send_signal(signal.SIGTERM)
        if waits:
            until(lambda: ENDING.search(server.log.read_text()) is not None)
            gate.open()
        server.process.wait(PATIENCE)
        return [future.result() for future in held], server.process.returncode, client


def was_answered(client: Client, path: str, end: bytes) -> bool:
    """Return whether an answer came, to its end."""
    try:
        with client.open(path) as response:
            body = response.read()
            return response.status == 200 and body.endswith(end)
    except (OSError, http.client.HTTPException):
        return False


@pytest.mark.parametrize("name", FINISHING)
def test_requests_in_flight_at_the_end_finish(name: str, tmp_path: Path) -> None:
    """SIGTERM ends a server when its requests have been answered and committed, not before."""
    answered, code, client = ended_in_flight(name, tmp_path / "with", SITE, waits=True)
    assert answered == [True, True]
    assert code == 0
    assert kept(tmp_path / "with", client) == {"count": 2, "streamed": "late"}


@pytest.mark.parametrize("name", CUTTING)
def test_requests_that_a_server_cuts_off_commit_nothing_more(name: str, tmp_path: Path) -> None:
    """A server that does not wait for its requests commits nothing of what it cuts off."""
    without = ended_in_flight(name, tmp_path / "without", WITHOUT_SESSIONS, waits=False)
    assert without[:2] == ([False, False], 0)
    answered, code, client = ended_in_flight(name, tmp_path / "with", SITE, waits=False)
    assert (answered, code) == without[:2]
    assert kept(tmp_path / "with", client) == {"count": 1, "streamed": "early"}


@pytest.mark.parametrize("name", ["gunicorn", "waitress", "cheroot", "uwsgi", "uwsgi graceful"])
def test_a_cleanup_worker_at_work_does_not_hold_up_the_end(name: str, tmp_path: Path) -> None:
    """SIGTERM ends a server within seconds though its cleanup worker would go on for ever."""
    with (
        Gate() as gate,
        running(
            name,
            tmp_path,
            store=BUSY_STORE,
            settings=GRACEFUL if "graceful" in name else "",
            environ={"GATE": str(gate.port), "GLIMR_SESSION_GC_CHANCE": "1"},
        ) as server,
    ):
        Client(server).get("/count")
        gate.wait()
        assert server.stop() < 5
        assert server.process.returncode == 0


def test_a_worker_that_is_ended_finishes_its_requests(tmp_path: Path) -> None:
    """A worker of gunicorn that SIGTERM ends loses nothing, and another takes its place."""
    with (
        Gate() as gate,
        ThreadPoolExecutor(2) as pool,
        running("gunicorn", tmp_path, app=SITE, processes=1) as server,
    ):
        client = Client(server)
        client.get("/count")
        held = [pool.submit(client.get, f"/held?gate={gate.port}") for _ in range(2)]
        (ended,) = {gate.wait_for_pid() for _ in held}
        os.kill(ended, signal.SIGTERM)
        gate.open()
        assert {future.result()["pid"] for future in held} == {ended}
        until(lambda: client.get("/report")["pid"] != ended)
        assert client.get("/session")["found"] == {"count": 3}


def test_a_worker_that_has_served_enough_loses_nothing(tmp_path: Path) -> None:
    """A worker that has served max_requests finishes those in flight and ends at once."""
    with (
        Gate() as cleanup,
        Gate() as gate,
        ThreadPoolExecutor(AT_ONCE) as pool,
        running(
            "gunicorn",
            tmp_path,
            app=SITE,
            store=BUSY_STORE,
            processes=1,
            settings="max_requests = 5\n",
            environ={"GATE": str(cleanup.port), "GLIMR_SESSION_GC_CHANCE": "1"},
        ) as server,
    ):
        client = Client(server)
        client.get("/count")
        cleanup.wait()
        held = [pool.submit(client.get, f"/held?gate={gate.port}") for _ in range(2)]
        (first,) = {gate.wait_for_pid() for _ in held}
        for _ in range(2):
            client.get("/count")
        until(lambda: "Autorestarting" in server.log.read_text())
        later = [pool.submit(client.get, "/count") for _ in range(12)]
        gate.open()
        assert {future.result()["pid"] for future in held} == {first}
        assert len([future.result() for future in later]) == 12
        until(lambda: client.get("/report")["pid"] != first)
        assert client.get("/session")["found"] == {"count": 1 + 2 + 2 + 12}


def test_a_worker_that_is_killed_takes_nothing_with_it(tmp_path: Path) -> None:
    """A worker that SIGKILL ends loses nothing that was acknowledged, and others go on."""
    with Gate() as gate, running("gunicorn", tmp_path, app=SITE) as server:
        client = Client(server)
        numbers = [client.get("/count")["found"]]
        unanswered = 0
        counting = threading.Lock()
        well_in, killed = threading.Event(), threading.Event()

        def ask() -> None:
            nonlocal unanswered
            after = 0
            while after < 10:
                if killed.is_set():
                    after += 1
                try:
                    found = client.get("/count")["found"]
                except (OSError, http.client.HTTPException):
                    with counting:
                        unanswered += 1
                else:
                    numbers.append(found)
                    if len(numbers) > 100:
                        well_in.set()

        with ThreadPoolExecutor(THREADS + 1) as pool:
            asking = [pool.submit(ask) for _ in range(THREADS)]
            held = pool.submit(was_answered, client, f"/held?gate={gate.port}", b"}")
            try:
                victim = gate.wait_for_pid()
                assert well_in.wait(PATIENCE)
                os.kill(victim, signal.SIGKILL)
            finally:
                killed.set()
            for future in asking:
                future.result()
            assert not held.result()
        pids: set[int] = set()

        def all_alive() -> bool:
            pids.add(client.get("/report")["pid"])
            return len(pids) == server.processes

        until(all_alive)
        assert victim not in pids
        count = client.get("/session")["found"]["count"]
        assert len(numbers) <= count <= len(numbers) + unanswered


@pytest.fixture(scope="module")
def uwsgi(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Four processes of two threads, forked after the application was made."""
    directory = tmp_path_factory.mktemp("uwsgi")
    with running("uwsgi", directory, app=SITE, processes=4, threads=2) as server:
        yield server


def test_uwsgi_loses_nothing(uwsgi: Server) -> None:
    """Increments in all processes of uWSGI add up to as many as were answered."""
    client = Client(uwsgi)
    client.get("/count")
    numbers = seen_by_all(uwsgi, lambda: client.get("/count"))
    assert client.get("/session")["found"] == {"count": 1 + len(numbers)}


def test_a_logout_ends_the_session_in_every_process_of_uwsgi(uwsgi: Server) -> None:
    """A copy of the cookie is good in every process before the logout, and in none after."""
    client = Client(uwsgi)
    client.get("/login")
    copy = Client(uwsgi, client.cookies.header())
    assert all(
        found == {"user": "ada"} for found in seen_by_all(uwsgi, lambda: copy.get("/session"))
    )
    client.get("/logout")
    assert all(found == {} for found in seen_by_all(uwsgi, lambda: copy.get("/session")))


def test_a_file_goes_through_the_wrapper_of_uwsgi(uwsgi: Server) -> None:
    """A body in uWSGI's file wrapper, which is no type, arrives whole and saves its session."""
    client = Client(uwsgi)
    for _ in range(2):
        with client.open("/file") as response:
            assert response.read() == process_app.FILE.read_bytes()
    assert client.get("/session")["found"] == {"count": 2}


@pytest.mark.parametrize(
    ("app", "settings"),
    [
        pytest.param(SITE, "", id="unused"),
        pytest.param(USED_BEFORE, FORK_HOOKS, id="used, with fork hooks"),
        pytest.param(USED_BEFORE, "", id="used"),
    ],
)
def test_a_process_of_uwsgi_has_locks_of_its_own(app: str, settings: str, tmp_path: Path) -> None:
    """A worker of uWSGI has locked the database itself, whatever its master did before."""
    with running(
        "uwsgi", tmp_path, app=app, processes=4, threads=2, settings=settings, environ=UNCOLLECTED
    ) as server:
        client = Client(server)
        client.get("/count")
        workers: set[int] = set()

        def ask() -> Any:
            answer = client.get("/count")
            workers.add(answer["pid"])
            return answer

        numbers = seen_by_all(server, ask)
        assert client.get("/session")["found"] == {"count": 1 + len(numbers)}
        assert workers <= with_locks(tmp_path / "sessions" / "cache.db")


def with_locks(file: Path) -> set[int]:
    """Return the ids of the processes that hold a lock on a file."""
    lock = re.compile(rf"POSIX .* (\d+) \S+:{file.stat().st_ino} ")
    return {int(found) for found in lock.findall(Path("/proc/locks").read_text())}
