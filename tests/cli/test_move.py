"""``glimr-session move``: every session arrives once, with all it has, whatever happens."""

from __future__ import annotations

import random
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self

import pytest

from glimr_session import DiskStore, SessionStore, StoreUnavailable
from glimr_session.stores.base import StoredSession
from glimr_session.stores.moving import MovingStore
from glimr_session.testing.requests import (
    Request,
    begin,
    belong_to,
    content,
    expire_after,
    flash,
    put,
)
from tests.cli.conftest import KEY, Run, settled, stores
from tests.cli.test_command import PROGRAM, Terminal
from tests.conftest import Clock
from tests.support.servers import Client, Server, running

DIRECTIONS: Final = [("disk", "sql"), ("sql", "disk")]
STEPS: Final = ("find", "leave", "adopt", "forget_left")


def settle(folder: Path, former: str, target: str) -> None:
    with settled(folder, target, f'move_from = "{former}"\n'):
        pass


@pytest.fixture(params=DIRECTIONS, ids="-to-".join)
def pair(request: pytest.FixtureRequest, folder: Path) -> Iterator[tuple[str, str, Any]]:
    """The names of the stores that sessions are moved from and to, and both stores."""
    former, target = request.param
    settle(folder, former, target)
    made = stores(folder)
    yield former, target, made
    for store in made.values():
        store.close()


def whole(store: SessionStore, handle: str) -> StoredSession:
    """Return a session, without what a store counts for itself."""
    found = store.find(handle)[0]
    assert found is not None
    return found._replace(marks=(found.marks.number, found.marks.key, found.marks.flashed.keys()))


def test_all_sessions_are_moved(pair: Any, run: Run) -> None:
    """With content, flash, owner, times and lifetimes; each is in the new store alone."""
    former, target, made = pair
    old, new = made[former], made[target]
    cookies = [
        begin(old, put("n", n), flash("x", n), belong_to(n % 3, device="phone"), expire_after(5e5))
        for n in range(7)
    ]
    there = begin(new, put("n", 7))
    before = {info.handle: whole(old, info.handle) for info in old.all_sessions()}
    listed = sorted(old.all_sessions(), key=lambda info: info.handle)
    done = run("move", former, target)
    assert (done.exit_code, done.stdout, done.stderr) == (0, "7 sessions moved.\n", "")
    assert list(old.all_sessions()) == []
    assert {handle: whole(new, handle) for handle in before} == before
    assert [content(new, cookie) for cookie in cookies] == [({"n": n}, {"x": n}) for n in range(7)]
    assert content(new, there) == ({"n": 7}, {})
    moved = sorted(new.all_sessions(), key=lambda info: info.handle)
    assert [info._replace(size=0) for info in moved if info.handle in before] == [
        info._replace(size=0) for info in listed
    ]
    assert len(new.sessions(0)) == 3
    assert run("move", former, target).stdout == "0 sessions moved.\n"


def test_what_has_ended_is_not_brought_back(pair: Any, run: Run, clock: Clock) -> None:
    """An expired session stays behind, as does one of which a request moved on meanwhile."""
    former, target, made = pair
    begin(made[former], put("n", 1))
    clock.advance(3 * 3600)
    kept = begin(made[former], put("n", 2))
    assert run("move", former, target).stdout == "1 session moved.\n"
    assert content(made[target], kept) == ({"n": 2}, {})
    made[target].destroy(kept)
    assert run("move", former, target).stdout == "0 sessions moved.\n"
    assert list(made[target].all_sessions()) == []


class Interruption:
    """Raises at a call to either of the stores, before it or after it."""

    def __init__(self, at: int, *, after: bool, error: type[BaseException]) -> None:
        self.at, self.after, self.error = at, after, error
        self.calls = 0

    def around(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            self.calls += 1
            if self.calls != self.at:
                return method(*arguments)
            if self.after:
                method(*arguments)
            raise self.error("here")

        return call


@contextmanager
def interrupting(
    at: int, kinds: list[type], *, after: bool, error: type[BaseException]
) -> Iterator[Interruption]:
    """Interrupt the call of this number; kinds are the classes of stores."""
    interruption = Interruption(at, after=after, error=error)
    with pytest.MonkeyPatch.context() as patch:
        for kind in kinds:
            for name in STEPS:
                patch.setattr(kind, name, interruption.around(getattr(kind, name)))
        yield interruption


@pytest.mark.parametrize(
    ("error", "status"), [(KeyboardInterrupt, 130), (StoreUnavailable, 1)], ids=["^C", "outage"]
)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_move_that_ends_at_any_step_is_gone_on_with(
    pair: Any, run: Run, error: type[BaseException], status: int, after: bool
) -> None:
    """Nobody is logged out meanwhile, and the same command moves the rest."""
    former, target, made = pair
    old, new = made[former], made[target]
    site = MovingStore(new, old)
    kinds = [type(old), type(new)]
    for at in range(1, 100):
        cookies = [begin(old, put("n", n)) for n in range(2)]
        with interrupting(at, kinds, after=after, error=error) as interruption:
            done = run("move", former, target)
        expected: list[Any] = [({"n": n}, {}) for n in range(2)]
        assert [content(site, cookie) for cookie in cookies] == expected
        if interruption.calls < at:
            assert done.exit_code == 0
            assert at > 10
            break
        assert done.exit_code == status
        if status == 130:
            assert "The same command goes on." in done.stderr
        assert run("move", former, target).exit_code == 0
        assert [content(new, cookie) for cookie in cookies] == expected
        assert list(old.all_sessions()) == []
        for cookie in cookies:
            new.destroy(cookie)
    else:
        pytest.fail("it has never been through")


def test_other_commands_work_while_sessions_are_moved(pair: Any, run: Run) -> None:
    """They see both stores, and what they end is in neither."""
    former, _, made = pair
    old, new = made.values() if former == "disk" else reversed(made.values())
    cookies = [begin(store, put("n", 1), belong_to(7)) for store in (old, new, old)]
    leaving = old.find(old.handle_of(cookies[2]))[0]
    assert leaving is not None
    old.leave(leaving)
    assert run("list", "--owner", "7").stderr == "3 sessions.\n"
    assert run("show", old.handle_of(cookies[2])).exit_code == 0
    assert run("destroy", old.handle_of(cookies[0])).exit_code == 0
    assert run("backup", "copies").stdout.startswith("2 sessions: 2 copied")
    assert run("logout", "7").stdout == "2 sessions ended.\n"
    assert [content(MovingStore(new, old), cookie) for cookie in cookies] == [None] * 3


def test_a_terminal_shows_a_bar(folder: Path) -> None:
    """Which ends at the number of sessions."""
    settle(folder, "disk", "sql")
    made = stores(folder)
    for n in range(40):
        begin(made["disk"], put("n", n))
    terminal = Terminal("move", "disk", "sql")
    assert terminal.end() == 0
    assert re.search(r"Moving.*40/40", re.sub(r"\x1b\[[0-9;?]*\w", "", terminal.printed))
    assert "40 sessions moved." in terminal.printed
    for store in made.values():
        store.close()


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ("move cookie disk", "the browsers have them"),
        ("move disk cookie", "the browsers have them"),
        ("move disk glimr_session.stores.cookie:cookie_store", "the browsers have them"),
        ("move disk disk", "the same store"),
        ("move disk redis", 'store = "redis" and move_from = "disk"'),
        ("move sql disk", 'store = "disk" and move_from = "sql"'),
        ("move disk redis --site-stopped", "needs redis_url"),
        ("move disk glimr_session.stores.base:NullStore", "cannot be moved"),
    ],
)
def test_what_cannot_be_moved_is_said(folder: Path, run: Run, arguments: str, found: str) -> None:
    """Nothing is moved where a process of the site might know one store alone."""
    settle(folder, "disk", "sql")
    if ":" in arguments:
        arguments += " --site-stopped"
    begin(stores(folder)["disk"])
    done = run(*arguments.split())
    assert done.exit_code == 1
    assert found in done.stderr
    assert len(list(stores(folder)["disk"].all_sessions())) == 1


def test_a_site_that_is_stopped_needs_no_setting(folder: Path, run: Run) -> None:
    """Nobody can use the former store meanwhile."""
    with settled(folder, "disk") as site:
        begin(site.store)
    done = run("move", "disk", "sql", "--site-stopped")
    assert done.stdout == "1 session moved.\n"


def test_what_is_in_both_stores_stays_as_it_is_in_the_new_one(pair: Any, run: Run) -> None:
    """As at a restore, where some sessions are missing: each is counted once."""
    former, target, made = pair
    old, new = made[former], made[target]
    cookies = [begin(old, put("n", n)) for n in range(3)]
    assert run("move", former, target, "--site-stopped").stdout == "3 sessions moved.\n"
    backup = [found for info in new.all_sessions() if (found := new.find(info.handle)[0])]
    new.destroy(cookies[0])
    Request(new, cookies[1]).commit(put("n", 7))
    copied_into(old, backup)
    done = run("move", former, target)
    assert "Warning: 2 sessions in both stores" in done.stderr
    assert "still begin" not in done.stderr
    assert len(list(old.all_sessions())) == 2
    done = run("move", former, target, "--site-stopped")
    assert done.stdout.splitlines() == [
        "0 sessions moved.",
        f"2 sessions in {target} already, and as before there.",
    ]
    assert done.stderr == ""
    assert [content(new, cookie) for cookie in cookies] == [
        ({"n": 0}, {}),
        ({"n": 7}, {}),
        ({"n": 2}, {}),
    ]
    assert list(old.all_sessions()) == []


def copied_into(store: SessionStore, sessions: list[StoredSession]) -> None:
    """Copy sessions into a store that they have left, as from a backup that is older."""
    for stored in sessions:
        later = stored.marks._replace(revision=stored.marks.revision + 2**25)
        assert store.adopt(stored._replace(marks=later))


def test_a_session_that_has_ended_in_the_new_store_is_told_of(pair: Any, run: Run) -> None:
    """The new store remembers that, and does not take it back from a backup."""
    former, target, made = pair
    old, new = made[former], made[target]
    begin(old)
    ended = begin(old)
    stored = old.find(old.handle_of(ended))[0]
    assert stored is not None
    assert new.adopt(stored)
    new.remembers_ends = True
    new.destroy(old.handle_of(ended))
    done = run("move", former, target, "--site-stopped")
    assert done.stdout.splitlines() == [
        "1 session moved.",
        f"1 session not moved: ended, meanwhile or in {target} within the last ten minutes.",
    ]


@pytest.mark.parametrize("names", [("disk", "nope"), ("nope", "disk")], ids="-to-".join)
def test_a_name_that_is_no_store_is_refused(folder: Path, run: Run, names: tuple[str, str]) -> None:
    """With the list of stores, and without the name, which may be a URL."""
    settle(folder, "disk", "sql")
    done = run("move", *names)
    assert done.exit_code == 2
    assert '"disk", "redis", "sql"' in done.stderr
    assert "nope" not in done.stderr


def test_the_refusal_names_both_deploys(folder: Path, run: Run) -> None:
    """First everybody learns of the new store."""
    with settled(folder, "disk"):
        pass
    told = run("move", "disk", "sql").stderr
    first = 'First set store = "disk" and move_from = "sql"'
    then = 'Then set store = "sql" and move_from = "disk"'
    assert 0 < told.index(first) < told.index(then)


def test_a_process_that_still_begins_sessions_there_is_told_of(
    folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command ends all the same."""
    settle(folder, "disk", "sql")
    old = stores(folder)["disk"]
    begin(old)
    listed = DiskStore.all_sessions

    def begun_meanwhile(store: DiskStore, *, records: bool = False) -> Any:
        found = list(listed(store, records=records))
        begin(old)
        return iter(found)

    monkeypatch.setattr(DiskStore, "all_sessions", begun_meanwhile)
    done = run("move", "disk", "sql")
    assert done.exit_code == 0
    assert "Warning: sessions still begin in disk" in done.stderr


# A site that goes on meanwhile.


class Visitors:
    """Browsers that count in their sessions, at a real server, in threads."""

    def __init__(self, server: Server, number: int) -> None:
        self.clients = [Client(server) for _ in range(number)]
        self.counted = [0] * number
        self.problems: list[object] = []
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(target=self._visit, args=(index,)) for index in range(number)
        ]

    def _visit(self, index: int) -> None:
        while not self._ended.is_set():
            try:
                found = self.clients[index].get("/count")["found"]
            except BaseException as error:  # noqa: BLE001  # told below
                self.problems.append(error)
                return
            self.counted[index] += 1
            if found != self.counted[index]:
                self.problems.append((index, found, self.counted[index]))
                return
            time.sleep(0.01)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        while min(self.counted) < 2 and not self.problems:  # from now on each has its session
            time.sleep(0.01)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()
        if kind is not None:
            return
        assert self.problems == []
        assert min(self.counted) > 3, self.counted
        for client, number in zip(self.clients, self.counted, strict=True):
            assert client.get("/session")["found"] == {"count": number}


def interrupted(number: int, when: Callable[[], bool], *arguments: str) -> int:
    """Run the command, send it a signal when something is true; return its exit status."""
    with subprocess.Popen(
        [PROGRAM, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        while process.poll() is None and not when():
            time.sleep(0.002)
        process.send_signal(number)
        said = process.communicate(timeout=30)[1]
    assert "Traceback" not in said
    return process.returncode


def has_more(store: SessionStore) -> Callable[[], bool]:
    """Return a function that says whether a store has some more sessions than now."""
    enough = len(list(store.all_sessions())) + random.randint(1, 40)
    return lambda: len(list(store.all_sessions())) >= enough


KILLS: Final = [signal.SIGINT, signal.SIGKILL]
KILLED: Final = [130, -signal.SIGKILL]


def test_a_move_that_is_killed_again_and_again_loses_nothing(folder: Path, run: Run) -> None:
    """^C and SIGKILL at random moments, while a site counts in its sessions."""
    settle(folder, "disk", "sql")
    made = stores(folder)
    old, new = made["disk"], made["sql"]
    cookies = {begin(old, put("n", n), belong_to(n % 7)): n for n in range(300)}
    environ = {
        "GLIMR_SESSION_STORE": "sql",
        "GLIMR_SESSION_MOVE_FROM": "disk",
        "GLIMR_SESSION_SQL_URL": f"sqlite:///{folder}/sessions.sqlite",
        "GLIMR_SESSION_DISK_DIRECTORY": str(folder / "sessions"),
        "GLIMR_SESSION_SECRET_KEYS": KEY,
    }
    with (
        running("waitress", folder, store="sql", environ=environ) as server,
        Visitors(server, 4),
    ):
        for number, status in zip(KILLS * 3, KILLED * 3, strict=True):
            assert interrupted(number, has_more(new), "move", "disk", "sql") == status
        done = run("move", "disk", "sql")
        assert (done.exit_code, done.stderr) == (0, "")
    assert list(old.all_sessions()) == []
    assert len(list(new.all_sessions())) == len(cookies) + 4
    for cookie, n in cookies.items():
        assert content(new, cookie) == ({"n": n}, {})
    assert sum(len(new.sessions(owner)) for owner in range(7)) == len(cookies)
    for store in made.values():
        store.close()
