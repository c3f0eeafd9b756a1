"""``glimr-session backup``: a directory with all living sessions, that a site can go on with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from glimr_session import DiskStore, SessionConfig, SessionStore, SqlStore
from glimr_session.stores.base import StoredSession
from glimr_session.testing.requests import (
    Request,
    begin,
    belong_to,
    content,
    expire_after,
    flash,
    invalidate,
    put,
    regenerate,
)
from tests.cli.conftest import KEY, Run, Site, settled
from tests.cli.test_move import KILLED, KILLS, Visitors, has_more, interrupted
from tests.conftest import Clock
from tests.support.disk import query
from tests.support.servers import running


def filled(store: SessionStore, number: int = 5) -> list[str]:
    """Begin sessions that have something of everything."""
    return [
        begin(
            store, put("n", n), flash("x", n), belong_to(n % 2, device="phone"), expire_after(5e5)
        )
        for n in range(number)
    ]


def everything(store: SessionStore) -> dict[str, StoredSession]:
    """Return all sessions by their handles, with their numbers and their revisions."""
    found = {info.handle: store.find(info.handle)[0] for info in store.all_sessions()}
    return {
        handle: stored._replace(marks=stored.marks._replace(purge_after=0.0, commits=b""))
        for handle, stored in found.items()
        if stored is not None
    }


def in_backup(directory: str = "copies") -> dict[str, StoredSession]:
    store = DiskStore(directory)
    try:
        return everything(store)
    finally:
        store.close()


def test_a_backup_has_all_sessions(site: Site, run: Run) -> None:
    """With content, flash, owners, times, lifetimes, numbers and revisions."""
    filled(site.store)
    done = run("backup", "copies")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == "5 sessions: 5 copied, 0 as before; 0 removed that have ended.\n"
    assert in_backup() == everything(site.store)
    with_owners = DiskStore("copies")
    assert len(with_owners.sessions(0)) == 3
    with_owners.close()
    assert Path("copies").stat().st_mode & 0o777 == 0o700


def test_the_next_run_copies_what_has_changed(site: Site, run: Run, clock: Clock) -> None:
    """Written, used, moved by a login, given away, ended, expired and begun ones; no other."""
    written, used, moved, given, ended, same = filled(site.store, 6)
    expired = begin(site.store, put("a", 1))
    run("backup", "copies")
    clock.advance(7000)
    Request(site.store, written).commit(put("b", 2))
    assert site.store.touch(used)
    moved = Request(site.store, moved).commit(regenerate, put("user", 7))
    Request(site.store, given).commit(belong_to(None))
    Request(site.store, ended).commit(invalidate)
    clock.advance(1000)
    begun = begin(site.store)
    done = run("backup", "copies")
    assert done.stdout == "6 sessions: 5 copied, 1 as before; 1 removed that have ended.\n"
    assert in_backup() == everything(site.store)
    copies = DiskStore("copies")
    assert content(copies, moved) == content(site.store, moved)
    assert [content(copies, one) for one in (ended, expired)] == [None, None]
    assert None not in [content(copies, one) for one in (written, used, given, same, begun)]
    assert len(copies.sessions(0)) == len(site.store.sessions(0))
    copies.close()
    assert run("backup", "copies").stdout.startswith("6 sessions: 0 copied, 6 as before; 0 ")


def test_an_id_that_is_saved_again_is_copied(site: Site, run: Run) -> None:
    """As a session of its own, in the place of the one before, which may have come by a login."""
    moved = Request(site.store, begin(site.store)).commit(regenerate)
    for session_id in ("an id", moved.partition("~")[0]):
        site.store.save(session_id, {"a": 1}, {})
        run("backup", "copies")
        site.store.destroy(session_id)
        site.store.save(session_id, {"a": 2}, {})
        assert run("backup", "copies").exit_code == 0
        assert in_backup() == everything(site.store)
    assert [stored.data for stored in in_backup().values()] == [{"a": 2}] * 2


def restored_by_name(folder: Path, run: Run) -> SessionStore:
    (folder / "copies" / "BACKUP").unlink()
    (folder / "copies").rename(folder / "back")
    return DiskStore("back")


def restored_into_sql(folder: Path, run: Run) -> SessionStore:
    url = f"sqlite:///{folder}/new.sqlite"
    SqlStore.create_table(url)
    env = {
        "GLIMR_SESSION_STORE": "sql",
        "GLIMR_SESSION_SQL_URL": url,
        "GLIMR_SESSION_DISK_DIRECTORY": str(folder / "copies"),
    }
    done = run("move", "disk", "sql", "--site-stopped", env=env)
    assert done.stdout == "4 sessions moved.\n"
    return SqlStore(url)


@pytest.mark.parametrize("restore", [restored_by_name, restored_into_sql])
def test_a_site_goes_on_with_its_backup(
    site: Site, run: Run, folder: Path, restore: Callable[[Path, Run], SessionStore]
) -> None:
    """Named as its directory, or moved into another store: every cookie finds its session."""
    *cookies, moved = filled(site.store, 4)
    moved = Request(site.store, moved).commit(regenerate, put("user", 7))
    before = [content(site.store, cookie) for cookie in [*cookies, moved]]
    assert run("backup", "copies").exit_code == 0
    store = restore(folder, run)
    assert [content(store, cookie) for cookie in [*cookies, moved]] == before
    assert store.destroy_all(0) == 2
    Request(store, moved).commit(put("b", 2))
    assert (content(store, moved) or ({}, {}))[0]["b"] == 2
    store.close()


def test_a_backup_is_encrypted_as_the_site_is(folder: Path, run: Run) -> None:
    """With the same keys, by which its sessions are opened again."""
    with settled(folder, "sql", "encrypt = true\n") as site:
        cookie_value = begin(site.store, put("card", "4111 1111"))
        run("backup", "copies")
        ((value,),) = query(folder / "copies", "SELECT value FROM Cache")
        assert b"4111" not in value
        config = SessionConfig(disk_directory="copies", secret_keys=[KEY], encrypt=True)
        copies = config.make_store()
        assert content(copies, cookie_value) == ({"card": "4111 1111"}, {})
        copies.close()
        assert run("backup", "copies").stdout.startswith("1 session: 0 copied")


def test_the_directory_of_a_store_is_no_backup(site: Site, run: Run) -> None:
    """That of this site, or of another one: its sessions would be removed."""
    cookie_value = begin(site.store)
    DiskStore("sessions").close()
    other = DiskStore("other")
    begin(other)
    for directory in ("sessions", "other"):
        done = run("backup", directory)
        assert (done.exit_code, done.stdout) == (1, "")
        assert "is the directory of a store" in done.stderr
    assert len(list(other.all_sessions())) == 1
    assert content(site.store, cookie_value) is not None
    other.close()


def test_a_directory_that_cannot_be_written_is_told(site: Site, run: Run, folder: Path) -> None:
    """In a sentence."""
    (folder / "file").touch()
    done = run("backup", "file/copies")
    assert done.exit_code == 1
    assert done.stderr == "Error: file/copies cannot be written: Not a directory.\n"


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_backup_that_is_interrupted_at_any_step_is_gone_on_with(
    site: Site, run: Run, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    """What was copied is whole, and is not copied again."""
    filled(site.store, 3)
    ended = begin(site.store)
    run("backup", "copies")
    site.store.destroy(ended)
    cookies = filled(site.store, 3)
    expected = everything(site.store)
    at = calls = 0  # at: which call is interrupted; 0: none

    def counted(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == at and not after:
                raise KeyboardInterrupt
            returned = method(*arguments)
            if calls == at:
                raise KeyboardInterrupt
            return returned

        return call

    for kind, name in (
        (type(site.store), "find"), (DiskStore, "copy"), (DiskStore, "destroy"), (DiskStore, "gc"),
    ):  # fmt: skip
        monkeypatch.setattr(kind, name, counted(getattr(kind, name)))
    number = 0
    for number in range(1, 100):
        at, calls = number, 0
        done = run("backup", "copies")
        at = 0
        if done.exit_code == 0:
            break
        assert done.exit_code == 130
        assert "The same command goes on." in done.stderr
        found = in_backup()
        known = {handle: found[handle] for handle in found.keys() & expected.keys()}
        assert known == {handle: expected[handle] for handle in known}
    assert number > 10
    assert in_backup() == expected
    assert len(cookies) == 3


def test_a_backup_beside_a_site_that_counts(folder: Path, run: Run) -> None:
    """Under load, killed and gone on with: each session is as it was at some moment."""
    with settled(folder, "sql") as site:
        cookies = {begin(site.store, put("n", n)): n for n in range(200)}
        environ = {
            "GLIMR_SESSION_STORE": "sql",
            "GLIMR_SESSION_SQL_URL": f"sqlite:///{folder}/sessions.sqlite",
            "GLIMR_SESSION_SECRET_KEYS": KEY,
        }
        with (
            running("waitress", folder, store="sql", environ=environ) as server,
            Visitors(server, 4),
        ):
            copies = DiskStore("copies")
            (folder / "copies" / "BACKUP").touch()
            for number, status in zip(KILLS, KILLED, strict=True):
                assert interrupted(number, has_more(copies), "backup", "copies") == status
            assert run("backup", "copies").exit_code == 0
        for cookie, n in cookies.items():
            assert content(copies, cookie) == ({"n": n}, {})
        counts = [
            stored.data["count"] for stored in everything(copies).values() if "count" in stored.data
        ]
        assert len(counts) == 4
        assert min(counts) >= 2
        copies.close()
        last = run("backup", "copies").stdout
        assert last.startswith("204 sessions: ")
        assert in_backup() == everything(site.store)


@pytest.mark.parametrize("command", ["backup copies", "move {} other --site-stopped"])
def test_a_site_with_a_longer_lifetime_is_told_of(
    site: Site, run: Run, clock: Clock, command: str
) -> None:
    """Those that are idle longer than the command's lifetime are left out."""
    kind = site.store.kind
    other = "sql" if kind == "disk" else "disk"
    arguments = command.format(kind).replace("other", other).split()
    if "move" in arguments:
        assert "lifetime" not in run(*arguments).stderr
    long = replace(site.config, lifetime=31 * 86400, absolute_lifetime=0).make_store()
    begin(long)
    long.close()
    clock.advance(3 * 3600)
    told = run(*arguments)
    assert told.exit_code == 0
    assert "Warning: the site keeps sessions for longer" in told.stderr
    env = {"GLIMR_SESSION_LIFETIME": "44640", "GLIMR_SESSION_ABSOLUTE_LIFETIME": "0"}
    done = run(*arguments, env=env)
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.startswith("1 session")
