"""Each command of ``glimr-session`` on Redis, PostgreSQL and MariaDB; moves between them."""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
from click.testing import CliRunner, Result

from glimr_session import DiskStore, RedisStore, SessionStore, SqlStore
from glimr_session._cli.program import program
from glimr_session.testing.requests import begin, belong_to, content, expire_after, flash, put
from tests.cli.test_move import KILLED, KILLS, Visitors, has_more, interrupted
from tests.support.servers import running
from tests.support.services import DatabaseServer, RedisServer

KEY: Final = "quae4Thie6ohphoh7ahCheiph1sie3ah"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory; no variable of the environment is about sessions."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("GLIMR_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GLIMR_SESSION_SECRET_KEYS", KEY)
    monkeypatch.setenv("GLIMR_SESSION_DISK_DIRECTORY", str(tmp_path / "sessions"))
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(program, arguments)


class Place(NamedTuple):
    """A store on a server, and what it is called in settings."""

    name: str
    store: SessionStore


def on_redis(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Place:
    server.ask("FLUSHALL")
    monkeypatch.setenv("GLIMR_SESSION_REDIS_URL", server.url)
    return Place("redis", RedisStore(server.url))


def on_sql(server: DatabaseServer, monkeypatch: pytest.MonkeyPatch) -> Place:
    table = f"command_{secrets.token_hex(4)}"
    SqlStore.create_table(server.url, table=table)
    monkeypatch.setenv("GLIMR_SESSION_SQL_URL", server.url)
    monkeypatch.setenv("GLIMR_SESSION_SQL_TABLE", table)
    return Place("sql", SqlStore(server.url, table=table))


@pytest.fixture(params=["redis", "postgresql", "mariadb"])
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    server = request.getfixturevalue(request.param)
    place = (on_redis if request.param == "redis" else on_sql)(server, monkeypatch)
    monkeypatch.setenv("GLIMR_SESSION_STORE", place.name)
    yield place
    place.store.close()


def filled(store: SessionStore, number: int) -> list[str]:
    return [
        begin(
            store, put("n", n), flash("x", n), belong_to(n % 3, device="phone"), expire_after(5e5)
        )
        for n in range(number)
    ]


def contents(store: SessionStore, cookies: list[str]) -> list[Any]:
    return [content(store, cookie) for cookie in cookies]


def test_each_command_works(place: Place) -> None:
    """On servers as on the disk."""
    cookies = filled(place.store, 6)
    checked = run("check")
    assert (checked.exit_code, "works." in checked.stdout) == (0, True), checked.output
    counted = json.loads(run("stats", "--json").stdout)
    assert (counted["store"], counted["sessions"]) == (place.name, 6)
    assert (counted["owners"]["number"], counted["owners"]["sessions"]) == (3, 6)
    assert run("gc").exit_code == 0
    handles = [info.handle for info in place.store.sessions(1)]
    listed = run("list", "--owner", "1")
    assert [line.split()[0] for line in listed.stdout.splitlines()[1:]] == handles
    assert "2 values" not in (shown := run("show", handles[0]).stdout)
    assert "1 value, 1 of flash" in shown
    assert run("destroy", handles[0]).stdout == "1 session ended.\n"
    assert run("logout", "1").stdout == "1 session ended.\n"
    assert contents(place.store, [cookies[1], cookies[4]]) == [None, None]
    backed_up = "4 sessions: {} copied, {} as before; 0 removed that have ended.\n"
    assert run("backup", "copies").stdout == backed_up.format(4, 0)
    assert run("backup", "copies").stdout == backed_up.format(0, 4)
    kept = [cookie for n, cookie in enumerate(cookies) if n % 3 != 1]
    copies = DiskStore("copies")
    assert contents(copies, kept) == contents(place.store, kept)
    copies.close()


@pytest.mark.parametrize("to_disk", [True, False], ids=["to disk", "from disk"])
def test_sessions_move_to_the_disk_and_back(
    place: Place, monkeypatch: pytest.MonkeyPatch, to_disk: bool
) -> None:
    """With all they have, and idle ones stay as idle as they are."""
    disk = DiskStore("sessions")
    former, target = (place.name, "disk") if to_disk else ("disk", place.name)
    old, new = (place.store, disk) if to_disk else (disk, place.store)
    monkeypatch.setenv("GLIMR_SESSION_STORE", target)
    monkeypatch.setenv("GLIMR_SESSION_MOVE_FROM", former)
    cookies = filled(old, 6)
    before = contents(old, cookies)
    times = sorted((info.handle, info.created_at, info.last_used_at) for info in old.all_sessions())
    time.sleep(0.01)
    assert run("move", former, target).stdout == "6 sessions moved.\n"
    assert contents(new, cookies) == before
    assert contents(old, cookies) == [None] * 6
    after = sorted((info.handle, info.created_at, info.last_used_at) for info in new.all_sessions())
    assert after == times
    assert len(new.sessions(1)) == 2
    disk.close()


def test_a_killed_move_between_servers_loses_nothing(
    redis: RedisServer,
    postgresql: DatabaseServer,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From Redis to PostgreSQL, while a site counts in its sessions."""
    old, new = on_redis(redis, monkeypatch).store, on_sql(postgresql, monkeypatch).store
    monkeypatch.setenv("GLIMR_SESSION_STORE", "sql")
    monkeypatch.setenv("GLIMR_SESSION_MOVE_FROM", "redis")
    cookies = filled(old, 200)
    settings = {name: value for name, value in os.environ.items() if name.startswith("GLIMR_")}
    with (
        running("waitress", folder, store="sql", environ=settings) as server,
        Visitors(server, 4),
    ):
        for number, status in zip(KILLS, KILLED, strict=True):
            assert interrupted(number, has_more(new), "move", "redis", "sql") == status
        assert run("move", "redis", "sql").exit_code == 0
    assert list(old.all_sessions()) == []
    assert contents(new, cookies) == [({"n": n}, {"x": n}) for n in range(len(cookies))]
    assert len(list(new.all_sessions())) == len(cookies) + 4
    for store in (old, new):
        store.close()
