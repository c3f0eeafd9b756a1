"""The health of a store, as a readiness probe asks for it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from glimr_session import CookieStore, DiskStore, SessionStore, StoreUnavailable
from glimr_session.metrics import Health, MeteredStore, acheck_health, check_health
from glimr_session.stores._commands import Command, Insert, Swap
from glimr_session.stores.base import CommitResult, NullStore
from glimr_session.stores.moving import MovingStore
from glimr_session.stores.overflow import OverflowStore
from glimr_session.stores.revocations import RevocableStore
from glimr_session.testing.contract import Clock
from tests.metrics.readers import Counting
from tests.stores.test_server import DictStore

Check = Callable[..., Health]


def in_a_loop(store: SessionStore, *, write: bool = False) -> Health:
    return asyncio.run(acheck_health(store, write=write))


@pytest.fixture(params=[check_health, in_a_loop], ids=["thread", "loop"])
def check(request: pytest.FixtureRequest) -> Check:
    """For threads, and for event loops."""
    found: Check = request.param
    return found


STORES: dict[str, Callable[[Path], SessionStore]] = {
    "disk": lambda path: DiskStore(path / "sessions"),
    "server": lambda path: DictStore(),
    "cookie": lambda path: CookieStore(),
    "moving": lambda path: MovingStore(DiskStore(path / "new"), DiskStore(path / "old")),
    "revocations": lambda path: RevocableStore(CookieStore(), DictStore()),
    "overflow": lambda path: OverflowStore(CookieStore(), DictStore()),
}


@pytest.mark.parametrize("write", [False, True], ids=["read", "write"])
@pytest.mark.parametrize("kind", STORES)
def test_a_store_that_works_is_healthy(
    kind: str, write: bool, check: Check, tmp_path: Path
) -> None:
    """Whether it is read alone, or written too."""
    health = check(STORES[kind](tmp_path), write=write)
    assert health
    assert health.ok
    assert health.reason == ""
    assert health.seconds > 0


def test_a_check_leaves_nothing(check: Check, tmp_path: Path) -> None:
    """What it has written is gone."""
    disk = DiskStore(tmp_path / "sessions")
    assert check(disk, write=True)
    with sqlite3.connect(disk.directory / "cache.db") as connection:
        assert connection.execute("SELECT count(*) FROM Cache").fetchone() == (0,)
    connection.close()


class Killed(DictStore):
    """Is killed before it destroys a session."""

    def destroy(self, session_id: str) -> None:
        raise KeyboardInterrupt


def test_a_check_whose_process_is_killed_leaves_a_session_for_a_minute(clock: Clock) -> None:
    """And not for the lifetime of sessions."""
    store = Killed()
    with pytest.raises(KeyboardInterrupt):
        check_health(store, write=True)
    clock.advance(59)
    assert len(list(store.all_sessions())) == 1
    clock.advance(1)
    assert list(store.all_sessions()) == []


def test_a_read_writes_nothing(check: Check) -> None:
    """It may be asked every second."""
    store = DictStore()
    assert check(store)
    assert not any(isinstance(command, Insert | Swap) for command in store.server.commands)


@pytest.mark.parametrize("kind", [RevocableStore, OverflowStore])
def test_a_store_of_cookies_needs_its_server(
    kind: Callable[[SessionStore, SessionStore], SessionStore], check: Check
) -> None:
    """Which is read, and not written."""
    server = DictStore()
    store = kind(CookieStore(), server)
    assert check(store)
    assert server.server.entries == {}
    server.server.down = True
    assert check(store).reason == "the server is down"


@pytest.mark.parametrize("write", [False, True], ids=["read", "write"])
def test_a_store_that_is_down_is_not_healthy(write: bool, check: Check) -> None:
    """The reason is the store's own, and nothing is raised."""
    store = DictStore()
    store.server.down = True
    health = check(store, write=write)
    assert not health
    assert not health.ok
    assert health.reason == "the server is down"


class Full(DictStore):
    """Reads, and writes nothing."""

    def _run(self, steps: Any) -> Any:
        execute = self.server._execute

        def full(command: Command) -> Any:
            if isinstance(command, Insert | Swap):
                raise StoreUnavailable("the server is full")
            return execute(command)

        self.server._execute = full  # type: ignore[method-assign]
        return super()._run(steps)


def test_a_store_that_only_reads_is_found_by_writing(check: Check) -> None:
    """A read does not tell."""
    assert check(Full())
    assert check(Full(), write=True).reason == "the server is full"


class Forgetful(NullStore):
    """Says that it keeps sessions, and does not."""

    def commit(self, *_: Any, **__: Any) -> CommitResult:
        return CommitResult.stored("x")

    async def acommit(self, *_: Any, **__: Any) -> CommitResult:
        return CommitResult.stored("x")


def test_a_store_that_loses_what_is_written_is_not_healthy(check: Check) -> None:
    """It is opened again."""
    assert check(Forgetful(), write=True).reason == "a session that was just begun is not there"


class Faulty(NullStore):
    """Raises an error that says what was asked for."""

    def open(self, cookie_value: str) -> None:
        raise LookupError(cookie_value)


def test_an_error_of_another_kind_is_named_and_not_quoted(check: Check) -> None:
    """Its message may hold anything."""
    assert check(Faulty()).reason == "LookupError"


def test_an_interrupt_is_none_of_the_stores(check: Check) -> None:
    """Whoever interrupts the process, the check does not answer in its place."""

    class Interrupted(NullStore):
        def open(self, cookie_value: str) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check(Interrupted())


def test_a_check_is_in_no_metric(check: Check, tmp_path: Path) -> None:
    """What is counted is the work of requests."""
    counting = Counting()
    store = MeteredStore(DiskStore(tmp_path / "sessions"), counting)
    assert check(store, write=True)
    assert not counting.operations
    assert not counting.events
