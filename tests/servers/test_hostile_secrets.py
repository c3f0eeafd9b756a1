"""Secrets, where ``test_secrecy.py`` does not look: damage, files, variables, and reprs."""

from __future__ import annotations

import os
import pprint
import shutil
import sqlite3
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
from pykka._envelope import Envelope

from glimr_session import (
    CommitResult,
    ConfigError,
    DiskStore,
    SessionConfig,
    StoredSession,
    StoreUnavailable,
    generate_id,
)
from glimr_session._request.manager import SessionManager
from glimr_session._request.origin import Origin
from glimr_session._request.signing import CookieSigner
from glimr_session._session.actor import SessionActor
from glimr_session._session.messages import Finish, Get, Invalidate, Put, Regenerate, TakeChanges
from glimr_session._session.state import SessionState
from glimr_session.session import ReadOnly
from tests.conftest import Clock
from tests.servers import test_secrecy
from tests.servers.test_secrecy import TYPED, Secrets
from tests.support.actors import living_session_actors
from tests.support.cookies import make_cookie
from tests.support.hostile import KEY, inside, parts

# The fixture: no log record of a test may hold a secret.
secrets = test_secrecy.secrets


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[DiskStore]:
    with closing(DiskStore(tmp_path / "sessions")) as store:
        yield store


def cut_in_half(directory: Path) -> None:
    os.truncate(directory / "cache.db", (directory / "cache.db").stat().st_size // 2)


def overwrite_pages(directory: Path) -> None:
    """Leave the first page, and put what looks like text of ours into the others."""
    with (directory / "cache.db").open("r+b") as file:
        file.seek(4096)
        file.write(TYPED.encode() * 1_000)


def make_public(directory: Path) -> None:
    directory.chmod(0o755)


def delete(directory: Path) -> None:
    shutil.rmtree(directory)


DAMAGES: Final[dict[Callable[[Path], None], str]] = {
    cut_in_half: "StoreUnavailable",
    overwrite_pages: "StoreUnavailable",
    make_public: "chmod 700",
    delete: "deleted or replaced",
}


@pytest.mark.parametrize(
    ("damage", "told"), DAMAGES.items(), ids=[damage.__name__ for damage in DAMAGES]
)
def test_a_damaged_store_tells_no_secret(
    damage: Callable[[Path], None],
    told: str,
    secrets: Secrets,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Errors, their causes and the log tell no secret of a store that is damaged."""
    monkeypatch.setattr("glimr_session.stores.disk.database._CHECK_INTERVAL", 0.0)
    with closing(DiskStore(tmp_path / "sessions")) as store:
        site = test_secrecy.Site(store, secrets)
        site.get("put")
        store.close()
        damage(store.directory)
        for page in ("read", "put", "login", "late", "logout"):
            site.get(page)
        site.get("put", "")
        with suppress(StoreUnavailable, ConfigError):
            DiskStore(store.directory).close()
        for use in (store.gc, lambda: store.save("f" * 64, {"typed": TYPED}, {})):
            try:
                use()
            except StoreUnavailable as error:
                secrets.show(error, *told_of(error))
    secrets.hide("f" * 64)
    assert told in "\n".join([*secrets.shown, caplog.text])


def test_text_that_is_no_utf_8_is_unreadable_and_not_quoted(
    secrets: Secrets, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A value that is no UTF-8 counts as unreadable, and no error quotes it."""
    with closing(DiskStore(tmp_path / "sessions")) as store:
        site = test_secrecy.Site(store, secrets)
        site.get("put")
        with closing(sqlite3.connect(store.directory / "cache.db")) as database:
            database.execute("UPDATE Cache SET value = CAST(value || X'FF' AS TEXT)")
            database.commit()
        assert site.get("read") is not None
        assert "unreadable" in caplog.text


def told_of(error: BaseException) -> Iterator[object]:
    """Return what an error, its notes and all its causes carry about with them."""
    following: list[BaseException | None] = [error]
    while following:
        if (found := following.pop()) is not None:
            yield from (repr(found), found.args, vars(found))
            # Some have slots, or members in C: UnicodeDecodeError's object is one.
            yield [getattr(found, name) for name in dir(found) if not name.startswith("__")]
            following += [found.__cause__, found.__context__]


FILES: Final = {
    "not UTF-8": f'secret_keys = ["{KEY}"] # \xff'.encode("latin-1"),
    "not closed": f'secret_keys = ["{KEY}'.encode(),
    "no quotes": f"secret_keys = [{KEY}]".encode(),
    "a key of its own": f'"{KEY}" = "secret_keys'.encode(),
    "twice": f'secret_keys = ["{KEY}"]\nsecret_keys = ["{KEY}"]'.encode(),
    "a control character": f'secret_keys = ["{KEY}\0"]'.encode(),
    "a wrong type": f'secret_keys = "{KEY}"'.encode(),
    "a short one": f'secret_keys = ["{KEY[:31]}"]'.encode(),
    "in a wrong table": f'[disk]\nsecret_keys = ["{KEY}"]'.encode(),
}


@pytest.mark.parametrize("content", FILES.values(), ids=FILES.keys())
def test_an_error_about_a_file_carries_no_key(content: bytes, tmp_path: Path) -> None:
    """The error, and all that it and its causes carry, hold no key."""
    file = tmp_path / "session.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        SessionConfig.from_toml(file, {})
    watched = Secrets()
    watched.hidden = {KEY}
    watched.show(caught.value, *told_of(caught.value))
    assert watched.seen() == set()


def locals_of(error: BaseException) -> list[str]:
    """Return the variables of our own frames, as error reporters show them.

    But for ``environ`` and ``body``: they are the request and the answer, and not ours.
    """
    shown: list[str] = []
    told = traceback.TracebackException.from_exception(error, capture_locals=True)
    following: list[traceback.TracebackException | None] = [told]
    while following:
        if (found := following.pop()) is not None:
            following += [found.__cause__, found.__context__]
            shown += [
                f"{Path(frame.filename).name}:{frame.lineno} {frame.name}: {name} = {value}"
                for frame in found.stack
                if "glimr_session" in frame.filename
                for name, value in (frame.locals or {}).items()
                if name not in ("environ", "body")
            ]
    return shown


@contextmanager
def held(directory: Path) -> Iterator[None]:
    """Hold the write lock of the database."""
    with closing(sqlite3.connect(directory / "cache.db")) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


@contextmanager
def done(directory: Path, damage: Callable[[Path], None]) -> Iterator[None]:
    damage(directory)
    yield


@pytest.mark.parametrize(
    ("page", "fault"),
    [
        ("read", partial(done, damage=overwrite_pages)),
        ("read", partial(done, damage=make_public)),
        ("put", held),
        ("login", held),
        ("logout", held),
        ("read", held),
    ],
    ids=["opening", "looking", "writing", "regenerating", "destroying", "renewing"],
)
def test_the_variables_of_an_outage_hold_no_secret(
    page: str,
    fault: Callable[[Path], AbstractContextManager[None]],
    tmp_path: Path,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A reporter that shows the variables of a logged error's frames shows no id or key."""
    monkeypatch.setattr("glimr_session.stores.disk.database._CHECK_INTERVAL", 0.0)
    with closing(DiskStore(tmp_path / "sessions", timeout=0.01)) as disk:
        world = inside(disk)
        cookie = world.begin("victim")
        watched = Secrets()
        watched.hidden = {KEY, world.get("read", cookie).id, parts(cookie)[-1]}
        disk.close()
        clock.advance(disk.lifetime / 5)
        with fault(disk.directory):
            assert world.get(page, cookie).status == 503
    (error,) = [record.exc_info[1] for record in caplog.records if record.exc_info is not None]
    assert isinstance(error, StoreUnavailable)
    watched.shown = locals_of(error)
    assert any("RequestSession object" in line for line in watched.shown)  # they are seen at all
    assert watched.seen() == set()


def test_nothing_inside_shows_an_id_or_a_key(disk: DiskStore) -> None:
    """The repr of every object of ours tells no secret."""
    session_id, watched = generate_id(), Secrets()
    watched.hidden = {KEY, session_id}
    disk.save(session_id, {"typed": 1}, {"flashed": 2})
    stored = disk.open(session_id)
    assert stored is not None
    opened = SessionState.opened(stored)
    config = SessionConfig(secret_keys=[KEY], gc="never")
    cookie = make_cookie(config, disk)
    pair = cookie.set(session_id, Origin(https=True)).partition(";")[0]
    watched.hidden |= {*parts(pair)}
    manager = SessionManager.from_config(config, disk)
    request = manager.begin(pair)
    origin = Origin(https=True, host="testserver")
    assert request.session.get("typed") == 1
    assert request.ref is not None
    message = Regenerate(session_id)
    states = [opened.snapshot() for _ in range(4)]
    replies = [
        message.apply(states[0]), Invalidate(session_id).apply(states[1]),
        Put("typed", 3).apply(states[2]), TakeChanges().apply(states[2]),
        Finish().apply(states[3]), Get("typed", None).apply(states[3]),
    ]  # fmt: skip
    things = [
        config, cookie, CookieSigner([KEY], "salt"), manager, manager._binding, request,
        request.session, request.ref, disk, disk.open, stored, opened, opened.changes,
        opened.changes._replace(id=session_id), *states, *replies, message, Invalidate(session_id),
        Envelope(message), SessionActor(opened), cookie.read(pair), ReadOnly(opened), origin,
        CommitResult.stored(session_id), inside(disk),
        *living_session_actors(), vars(cookie), vars(disk), vars(manager),
    ]  # fmt: skip
    for thing in things:
        watched.show(thing, [thing], pprint.pformat(thing))
    request.abandon()
    assert watched.seen() == set()


def test_rich_shows_no_id_either() -> None:
    """The second repr of a struct, which Rich takes for its tracebacks, shows no id."""
    stored: Any = StoredSession(id=generate_id(), data={"typed": 1})
    watched = Secrets()
    watched.hidden = {stored.id}
    watched.show(*stored.__rich_repr__())
    assert "typed" in "".join(watched.shown)
    assert watched.seen() == set()
