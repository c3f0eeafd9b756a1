"""A disk that is full: every write fails loudly, and nothing is lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pytest

from glimr_session import StoreUnavailable, generate_id
from glimr_session.testing.contract import Request, begin, content, invalidate, put, regenerate

from . import storage_process
from .storage import PRIVATE_MOUNTS, TIMEOUT, able
from .storage_process import StoreProcess, save_all, seen, some_sessions

# A disk that is full.

FULL: Final = "full|disk I/O error"
"""What SQLite says, on writing and on making room for its log."""


class SmallDisk:
    """A store on a disk of 2 MB, and a file to fill it with."""

    def __init__(self, path: Path) -> None:
        path.mkdir()
        self.path = path
        self.ballast = path / "ballast"
        self.store = StoreProcess(prefix=PRIVATE_MOUNTS)
        self.mount("size=2m")
        self.store.make(path / "sessions", timeout=TIMEOUT)

    def mount(self, options: str) -> None:
        self.store.run(storage_process.mount, "-t", "tmpfs", "-o", options, "none", str(self.path))

    def fill(self) -> None:
        """Leave no room for anything, in SQLite's own files neither."""
        # The last connection that is closed, as one is that fails, would free its log.
        self.store.run(storage_process.connect, 20)
        with pytest.raises(StoreUnavailable, match=FULL):
            self._write_without_end()

    def _write_without_end(self) -> None:
        while True:
            self.store.run(storage_process.fill, self.ballast)
            begin(self.store)

    def make_room(self) -> None:
        self.store.run(storage_process.remove, self.ballast)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    able(*PRIVATE_MOUNTS, "mount", "-t", "tmpfs", "none", str(tmp_path))
    disk = SmallDisk(tmp_path / "disk")
    yield disk
    disk.store.end()


def test_a_full_disk_refuses_every_write_and_loses_nothing(small_disk: SmallDisk) -> None:
    """Every write on a full disk raises, readers read, and the store recovers by itself."""
    store = small_disk.store
    sessions = some_sessions(50)
    save_all(store, sessions)
    cookie_value, new_id = begin(store), generate_id()
    request, logout, move = (Request(store, cookie_value) for _ in range(3))
    small_disk.fill()
    writes: list[Callable[[], Any]] = [
        lambda: request.commit(put("b", 2)),
        lambda: Request(store, None).commit(put("new", 1)),
        lambda: move.commit(regenerate),
        lambda: logout.commit(invalidate),
        lambda: store.destroy(cookie_value),
        lambda: store.touch(cookie_value),
        lambda: store.save(new_id, {"a": 1}, {}),
    ]
    for write in writes:
        with pytest.raises(StoreUnavailable, match=FULL):
            write()
    assert seen(store, sessions) == Counter(exact=len(sessions))
    assert content(store, cookie_value) == ({"a": 1}, {})
    assert store.open(new_id) is None
    small_disk.make_room()
    assert request.commit() == cookie_value
    assert content(store, cookie_value) == ({"a": 1, "b": 2}, {})
    assert logout.commit() == ""
    assert store.open(cookie_value) is None
    assert seen(store, sessions) == Counter(exact=len(sessions))
    assert store.run(storage_process.integrity) == "ok"


def test_a_disk_that_sessions_have_filled_keeps_them_all(small_disk: SmallDisk) -> None:
    """Each acknowledged session is there: at once, after a start, and with more room."""
    store = small_disk.store
    sessions: dict[str, Any] = {}

    def save_without_end() -> None:
        while True:
            save_all(store, new := some_sessions(1))
            sessions.update(new)

    with pytest.raises(StoreUnavailable, match=FULL):
        save_without_end()
    assert len(sessions) > 20
    assert seen(store, sessions) == Counter(exact=len(sessions))
    store.close()
    with suppress(StoreUnavailable):
        store.make(small_disk.path / "sessions", timeout=TIMEOUT)
        assert not seen(store, sessions).keys() & {"silent", "wrong"}
    small_disk.mount("remount,size=8m")
    store.make(small_disk.path / "sessions", timeout=TIMEOUT)
    assert seen(store, sessions) == Counter(exact=len(sessions))
    begin(store)
    assert store.run(storage_process.integrity) == "ok"


def test_a_logout_on_a_full_disk_is_an_error_in_the_browser(small_disk: SmallDisk) -> None:
    """The browser is told of no logout and no login that was not stored."""
    store = small_disk.store
    status, cookie = store.run(storage_process.ask, "/login", "")
    assert status == "200"
    small_disk.fill()
    assert store.run(storage_process.ask, "/logout", cookie) == ("503", cookie)
    assert store.run(storage_process.ask, "/login", "") == ("503", "")
    assert store.run(storage_process.ask, "/session", cookie) == ("200", cookie)
    small_disk.make_room()
    assert store.run(storage_process.ask, "/logout", cookie) == ("200", "")
    assert store.run(storage_process.ask, "/count", cookie)[1] != cookie
