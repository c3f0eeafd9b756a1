"""Servers that start in an outage, with wrong settings, or as another user than the owner."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Event
from typing import Any, Final, Self

import pytest

from glimr_session import ConfigError, DiskStore, StoreUnavailable
from tests.support.disk import LockHolder, query
from tests.support.servers import PATIENCE, THREADS, Client, Server, running, seen_by_all

from . import storage_process
from .storage import PRIVATE_MOUNTS, able
from .storage_process import StoreProcess

IMPATIENT: Final = "tests.faults.process_app:impatient_store"

SOON: Final = 5.0
"""Seconds in which a site recovers from an outage; the store looks once a second."""

# An application is imported in each worker: gunicorn's way, and uWSGI's if it is told so.
REPLACING: Final = {
    "gunicorn": "max_requests = 10\n",
    "uwsgi": "max-requests = 10\nmin-worker-lifetime = 0\nlazy-apps = true\n",
}


class Outage:
    """A store with one session that cannot be written for a while.

    Args:
        directory: where the store is made.
    """

    told = ""
    """What the log says of it."""

    reads = True
    """Whether sessions can be read all the same."""

    closed = False
    """Whether it can only begin while nobody has the store open."""

    mounts = False

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "disk"
        self.directory.mkdir()
        self.sessions = self.directory / "sessions"
        if self.mounts:
            able(*PRIVATE_MOUNTS, "true")
        self.inside = StoreProcess(prefix=PRIVATE_MOUNTS if self.mounts else ())
        try:
            self.prepare()
            self.inside.make(self.sessions)
            _, self.cookies = self.inside.run(storage_process.ask, "/count", "")
            self.inside.close()
        except BaseException:
            self.inside.end()
            raise

    @property
    def prefix(self) -> list[str]:
        """Return what starts a process where the store is."""
        if not self.mounts:
            return []
        user = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
        return ["nsenter", "--target", str(self.inside.pid), "--mount", "--wd", *user]

    def mount(self, *arguments: str) -> None:
        self.inside.run(storage_process.mount, *arguments)

    def prepare(self) -> None:
        """Prepare the place for the store."""

    def begin(self) -> None:
        """Begin the outage, or make it worse."""

    def end(self) -> None:
        """End the outage; twice is fine."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        try:
            self.end()
        finally:
            self.inside.end()


class Locked(Outage):
    """Another process has a transaction open."""

    told = "another writer has held it"
    _holder: LockHolder | None = None

    def begin(self) -> None:
        self._holder = self._holder or LockHolder(self.sessions)

    def end(self) -> None:
        if self._holder is not None:
            self._holder.release()


class Exclusive(Outage):
    """Another process has the database for itself, so that nobody reads it either."""

    told = "another writer has held it|locking_mode = EXCLUSIVE"
    reads = False
    closed = True
    _connection: sqlite3.Connection | None = None

    def begin(self) -> None:
        if self._connection is None:
            self._connection = sqlite3.connect(self.sessions / "cache.db", isolation_level=None)
            self._connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._connection.execute("BEGIN EXCLUSIVE")
            self._connection.execute("COMMIT")

    def end(self) -> None:
        if self._connection is not None:
            self._connection.close()


class Full(Outage):
    """The disk is full, to the last byte."""

    told = "is full|disk I/O error"
    mounts = True

    def prepare(self) -> None:
        self.mount("-t", "tmpfs", "-o", "size=2m", "none", str(self.directory))

    def begin(self) -> None:
        self.inside.run(storage_process.fill, self.directory / "ballast")

    def end(self) -> None:
        with suppress(FileNotFoundError):
            self.inside.run(storage_process.remove, self.directory / "ballast")


class ReadOnly(Outage):
    """The file system can be read, and nothing else."""

    told = "read-?only"
    mounts = True
    closed = True

    def prepare(self) -> None:
        self.mount("--bind", str(self.directory), str(self.directory))

    def begin(self) -> None:
        self.mount("-o", "remount,bind,ro", str(self.directory))

    def end(self) -> None:
        self.mount("-o", "remount,bind,rw", str(self.directory))


@contextmanager
def kept_up(outage: Outage) -> Iterator[None]:
    """Begin an outage again and again, for what a worker that ends may have made room for."""
    ended = Event()

    def begin() -> None:
        while not ended.wait(0.005):
            outage.begin()

    with ThreadPoolExecutor(1) as pool:
        beginning = pool.submit(begin)
        try:
            yield
        finally:
            ended.set()
        beginning.result()


OUTAGES: Final[list[type[Outage]]] = [Locked, Exclusive, Full, ReadOnly]

in_each_outage = pytest.mark.parametrize("kind", OUTAGES, ids=lambda kind: kind.__name__)


class Site:
    """A server in an outage, as somebody with a session sees it, and somebody without one."""

    def __init__(self, server: Server, outage: Outage) -> None:
        self.server = server
        self.outage = outage
        self.client = Client(server, outage.cookies)

    def status(self, path: str, client: Client | None = None) -> int:
        with (client or self.client).open(path) as response:
            response.read()
            return response.status

    def worker(self) -> int:
        """Return the process that answers a page without a session."""
        pid: int = Client(self.server).get("/")["pid"]
        return pid

    def worsen(self) -> None:
        """Make the outage worse, until no new session can be stored."""
        deadline = time.monotonic() + PATIENCE
        while self.status("/count", Client(self.server)) != 503:
            assert time.monotonic() < deadline
            self.outage.begin()

    def check_reading(self) -> None:
        """Check that the session is read, or is an error if that is impossible."""
        if self.outage.reads:
            assert self.client.get("/session")["found"] == {"count": 1}
        else:
            assert self.status("/session") == 503

    def _found(self, deadline: float) -> Any:
        """Return what is in the session; each worker recovers by itself, within a second."""
        while True:
            with self.client.open("/session") as response:
                body = response.read()
                if response.status == 200:
                    return json.loads(body)["found"]
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def check_recovery(self) -> None:
        """Check that the session is written before long, by the same server, which told why."""
        deadline = time.monotonic() + SOON
        while self.status("/count") == 503:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert self._found(deadline) == {"count": 2}
        assert self.server.process.poll() is None
        assert re.search(self.outage.told, self.server.log.read_text())


@contextmanager
def served(
    name: str, outage: Outage, *, processes: int = 1, threads: int = THREADS, settings: str = ""
) -> Iterator[Site]:
    """Start a server where the store is."""
    with running(
        name,
        outage.directory.parent,
        store=IMPATIENT,
        processes=processes,
        threads=threads,
        settings=settings,
        prefix=outage.prefix,
        environ={"GLIMR_SESSION_DISK_DIRECTORY": str(outage.sessions)},
        failing=True,  # a 503 is logged with its traceback
    ) as server:
        yield Site(server, outage)


@in_each_outage
@pytest.mark.parametrize("name", ["waitress", "gunicorn preload"])
def test_a_site_starts_in_an_outage(name: str, kind: type[Outage], tmp_path: Path) -> None:
    """A server that starts on a store that cannot be written serves all but the writes."""
    with kind(tmp_path) as outage:
        outage.begin()
        with served(name, outage) as site:
            assert site.worker()
            site.check_reading()
            assert outage.reads is ("Traceback" not in site.server.log.read_text())
            site.worsen()
            for path in ("/count", "/login", "/logout"):
                assert site.status(path) == 503
            assert site.worker()
            site.check_reading()
            outage.end()
            site.check_recovery()


@in_each_outage
@pytest.mark.parametrize(("name", "processes"), [("gunicorn", 1), ("gunicorn", 2), ("uwsgi", 1)])
def test_workers_are_replaced_in_an_outage(
    name: str, processes: int, kind: type[Outage], tmp_path: Path
) -> None:
    """A worker that takes another's place in an outage serves as well, and no server ends."""
    with kind(tmp_path) as outage:
        if outage.closed:
            outage.begin()
        # A worker of uWSGI that ends cuts off what its other threads have begun.
        with served(name, outage, processes=processes, threads=1, settings=REPLACING[name]) as site:
            before: set[int] = set()
            while len(before) < processes:
                before.add(site.worker())
            site.worsen()
            later: set[int] = set()
            deadline = time.monotonic() + PATIENCE
            with kept_up(outage):
                while len(later - before) < processes:
                    assert time.monotonic() < deadline, later
                    later.add(site.worker())
            site.worsen()
            site.check_reading()
            outage.end()
            site.check_recovery()


# Wrong settings.


def log_of_a_refusal(name: str, directory: Path, **options: Any) -> str:
    """Return what a server has logged that must end by itself."""
    with (
        suppress(AssertionError),  # it may end before it listens
        running(name, directory, failing=True, **options) as server,
    ):
        server.process.wait(PATIENCE)
    return (directory / "log").read_text()


def open_to_others(directory: Path) -> None:
    directory.chmod(0o755)


def of_a_later_version(directory: Path) -> None:
    query(directory, "PRAGMA user_version = 2")


@pytest.mark.parametrize("name", ["gunicorn", "gunicorn preload", "waitress", "uwsgi"])
@pytest.mark.parametrize(
    ("spoil", "told"),
    [(open_to_others, "Run: chmod 700"), (of_a_later_version, "later version of glimr_session")],
)
def test_a_directory_that_is_wrong_still_fails_at_the_start(
    spoil: Callable[[Path], None], told: str, name: str, tmp_path: Path
) -> None:
    """What no waiting mends keeps a server from starting, and its log says what to do."""
    directory = tmp_path / "sessions"
    DiskStore(directory).close()
    spoil(directory)
    log = log_of_a_refusal(name, tmp_path)
    assert "ConfigError" in log
    assert told in log


@pytest.mark.parametrize("name", ["gunicorn", "waitress", "uwsgi"])
def test_a_weak_key_still_fails_at_the_start(name: str, tmp_path: Path) -> None:
    """A key that can be guessed keeps a server from starting."""
    log = log_of_a_refusal(name, tmp_path, environ={"GLIMR_SESSION_SECRET_KEYS": "secret"})
    assert "ConfigError" in log
    assert "secret_keys" in log


# Users.

USER: Final = "www-data"
NUMBER: Final = 33
"""Of both the user and the group, on every Debian."""

by_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")

AS_USER: Final = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]

BECOMING: Final = {
    "gunicorn": f"user = '{USER}'\ngroup = '{USER}'\n",
    "gunicorn preload": f"user = '{USER}'\ngroup = '{USER}'\n",
    "uwsgi": f"uid = {USER}\ngid = {USER}\n",
}

# Where Python is in a home directory: one of our own in its place, with nothing else in it.
OPEN_PYTHON: Final = """
mount --bind "$1" "$3" && mount -t tmpfs -o mode=755 none "$2" && mkdir -p "$1" &&
mount --bind "$3" "$1" && shift 3 && exec "$@"
"""


def everybodys_python(directory: Path) -> list[str]:
    """Return what starts a process in which every user may read Python's own files."""
    base = Path(sys.base_prefix)
    closed = [parent for parent in base.parents if not parent.stat().st_mode & stat.S_IXOTH]
    if not closed:
        return []
    aside = directory / "python"
    aside.mkdir()
    script = ["sh", "-c", OPEN_PYTHON, "sh", str(base), str(closed[-1]), str(aside)]
    return [*PRIVATE_MOUNTS, *script]


@pytest.fixture
def place() -> Iterator[Path]:
    """Return a directory that every user may search."""
    path = Path(tempfile.mkdtemp(prefix="glimr-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def install(directory: Path, owner: str, group: str, mode: str) -> None:
    """Make a directory as the guide says."""
    command = ["install", "-d", "-m", mode, "-o", owner, "-g", group, str(directory)]
    subprocess.run(command, check=True)


def owners(directory: Path) -> set[int]:
    return {path.stat().st_uid for path in (directory, *directory.iterdir())}


def tells_the_mend(told: str, path: Path) -> bool:
    """Whether a message has both users, and the command that gives the directory to ours."""
    pattern = rf"belongs to the user root \(0\).* {USER} \({NUMBER}\).*chown -R {USER} {path}"
    return re.search(pattern, told) is not None


@by_root
@pytest.mark.parametrize("name", BECOMING)
def test_a_server_of_root_becomes_the_owner(name: str, place: Path) -> None:
    """A server that root starts and another user serves keeps sessions, and no file is root's."""
    directory = place / "sessions"
    install(directory, USER, USER, "700")
    with running(name, place, settings=BECOMING[name], prefix=everybodys_python(place)) as server:
        client = Client(server)
        client.get("/count")
        numbers = seen_by_all(server, lambda: client.get("/count"))
        assert client.get("/session")["found"] == {"count": 1 + len(numbers)}
        assert owners(directory) == {NUMBER}
        assert ("still runs as root" in server.log.read_text()) is ("preload" in name)
    assert owners(directory) == {NUMBER}


@by_root
@pytest.mark.parametrize("name", ["gunicorn", "uwsgi"])
def test_a_directory_of_root_fails_at_the_start(name: str, place: Path) -> None:
    """A server that has become another user before it opens root's directory does not start."""
    install(place / "sessions", "root", "root", "700")
    log = log_of_a_refusal(name, place, settings=BECOMING[name], prefix=everybodys_python(place))
    assert "ConfigError" in log
    assert tells_the_mend(log, place / "sessions")


@by_root
@pytest.mark.parametrize("exists", [True, False])
def test_a_directory_that_root_has_opened_is_refused_to_another_user(
    exists: bool, place: Path
) -> None:
    """What root has made before its server became another user is a 503 that says so."""
    name = "gunicorn preload"
    directory = place / "sessions"
    if exists:
        install(directory, "root", "root", "700")
    with running(
        name, place, settings=BECOMING[name], prefix=everybodys_python(place), failing=True
    ) as server:
        client = Client(server)
        assert client.get("/")["found"] is None
        for path in ("/count", "/login"):
            with client.open(path) as response:
                assert response.status == 503
        assert tells_the_mend(server.log.read_text(), directory)


@by_root
def test_the_first_use_by_another_user_than_root_says_what_is_wrong(place: Path) -> None:
    """Also within the second after root has opened it, in which its files are not looked at."""
    directory = place / "sessions"
    with StoreProcess(directory, prefix=everybodys_python(place)) as store:
        with pytest.raises(StoreUnavailable) as caught:
            store.run(storage_process.become, NUMBER)
        assert tells_the_mend(str(caught.value), directory)


@by_root
def test_root_does_not_serve_from_the_directory_of_another_user(place: Path) -> None:
    """A server that stays root makes nothing in a directory of another user, and says why."""
    directory = place / "sessions"
    install(directory, USER, USER, "700")
    with running("gunicorn", place, failing=True) as server:
        with Client(server).open("/count") as response:
            assert response.status == 503
        log = server.log.read_text()
        assert f"belongs to the user {USER} ({NUMBER}), and this process still runs as root" in log
        assert f"chown -R root {directory}" in log
    assert list(directory.iterdir()) == []


@by_root
def test_a_user_is_told_whose_directory_it_is(place: Path) -> None:
    """A process that is not root refuses the directory of another user with a command for root."""
    directory = place / "sessions"
    install(directory, "root", "root", "700")
    python = everybodys_python(place)
    with StoreProcess(prefix=[*python, *AS_USER]) as store:
        with pytest.raises(ConfigError) as caught:
            store.make(directory)
        assert tells_the_mend(str(caught.value), directory)
        subprocess.run(["chown", "-R", USER, str(directory)], check=True)
        store.make(directory)
        assert store.run(storage_process.ask, "/count", "")[0] == "200"


# A directory for a group, as Kubernetes makes it for fsGroup.

FOR_A_GROUP: Final = {"GLIMR_SESSION_DISK_MODE": "2770"}


def of_the_group(number: int) -> list[str]:
    """Return what starts a process as a user without a name, in the group of our user."""
    return ["setpriv", f"--reuid={number}", f"--regid={USER}", "--clear-groups"]


@by_root
def test_users_of_a_group_share_a_directory(place: Path) -> None:
    """With mode = "2770" one user after the other, and both at once, use the same sessions."""
    install(place / "sessions", "root", USER, "2770")
    python = everybodys_python(place)
    cookies = ""
    count = 0
    places = [place / "one", place / "other"]
    for own in places:
        own.mkdir()
    environ = {**FOR_A_GROUP, "GLIMR_SESSION_DISK_DIRECTORY": str(place / "sessions")}
    for users in ([12345], [12346], [12345, 12346]):
        with ExitStack() as servers:
            for own, user in zip(places, users, strict=False):
                prefix = [*python, *of_the_group(user)]
                server = servers.enter_context(
                    running("waitress", own, prefix=prefix, environ=environ)
                )
                client = Client(server, cookies)
                for _ in range(2):
                    count += 1
                    assert client.get("/count")["found"] == count
                cookies = client.cookies.header()
            modes = {path.stat().st_mode & 0o777 for path in (place / "sessions").iterdir()}
            assert modes == {0o660}


@by_root
def test_a_directory_for_a_group_is_refused_without_the_setting(place: Path) -> None:
    """A user of the group is refused, and the message has both users."""
    directory = place / "sessions"
    install(directory, "root", USER, "2770")
    prefix = [*everybodys_python(place), *of_the_group(12345)]
    log = log_of_a_refusal("waitress", place, prefix=prefix)
    assert "ConfigError" in log
    assert f"{directory} belongs to the user root (0), and this process runs as 12345" in log
    assert 'set [disk] mode = "2770"' in log
