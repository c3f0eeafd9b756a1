"""ServerStore: the algorithm of commits, on a server that is a dict."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from glimr_session import SessionStore, StoreUnavailable
from glimr_session.stores._commands import (
    MADE,
    Acquire,
    Command,
    Entry,
    Extend,
    Find,
    Insert,
    Owned,
    Register,
    Swap,
)
from glimr_session.stores._server import ServerStore
from glimr_session.testing.contract import ABSOLUTE, LIFETIME, StoreContract


class DictServer:
    """A server that keeps entries in a dict, and runs one command at a time."""

    def __init__(self) -> None:
        self.entries: dict[int, Entry] = {}
        self.registered: dict[bytes, set[int]] = {}
        self.down = False
        self.commands: list[Command] = []
        self._lock = threading.Lock()

    def execute(self, command: Command) -> Any:
        with self._lock:
            self.commands.append(command)
            if self.down:
                raise StoreUnavailable("the server is down") from ConnectionError("refused")
            return self._execute(command)

    def _execute(self, command: Command) -> Any:
        if isinstance(command, Find):
            return self._with_key(command.key)
        if isinstance(command, Register):
            self.registered.setdefault(command.owner, set()).add(command.number)
            return None
        if isinstance(command, Owned):
            return sorted(self.registered.get(command.owner, ()))
        if isinstance(command, Insert):
            entry = command.entry
            present = self.entries.get(entry.number) or self._with_key(entry.key)
            return present or self._keep(entry)
        found = self.entries.get(command.number)
        if isinstance(command, Swap):
            unchanged = found is not None and found.revision == command.revision
            if found is None or not unchanged or found.last_used_at <= command.used_after:
                return found
            del self.entries[command.number]
            return MADE if command.after is None else self._keep(command.after)
        if isinstance(command, Extend):
            if found is None or found.key != command.key:
                return False
            self._keep(
                found._replace(last_used_at=command.last_used_at, purge_after=command.purge_after)
            )
            return True
        return found

    def _with_key(self, key: bytes) -> Entry | None:
        return next((entry for entry in self.entries.values() if entry.key == key), None)

    def _keep(self, entry: Entry) -> Any:
        self.entries[entry.number] = entry
        return MADE

    def close(self) -> None:
        pass


class DictStore(ServerStore):
    """Keeps sessions on such a server, and asks the clock of this machine."""

    kind = "dict"
    registers_owners = True

    def __init__(self) -> None:
        super().__init__(LIFETIME, ABSOLUTE, timeout=5.0)
        self.server = DictServer()

    def _executor(self) -> DictServer:
        return self.server

    def _scan(self) -> Iterator[list[Entry]]:
        self.server.execute(Find(b""))
        yield [*self.server.entries.values()]

    def gc(self) -> int:
        from time import time

        if self.server.down:
            self.server.execute(Find(b""))
        old = [n for n, entry in self.server.entries.items() if entry.purge_after <= time()]
        for number in old:
            del self.server.entries[number]
        return len(old)


class TestDictStore(StoreContract):
    """The contract on the algorithm alone."""

    @pytest.fixture
    def store(self) -> SessionStore:
        return DictStore()

    @pytest.fixture
    def broken(self, store: SessionStore) -> SessionStore:
        assert isinstance(store, DictStore)
        store.server.down = True
        return store


def test_a_child_stands_in_no_line_of_its_parents_threads() -> None:
    """A thread that commits at the moment of a fork does not exist in the child."""
    store = DictStore()
    turn = store._lines.acquire(Acquire(1))
    assert turn is not None
    child = os.fork()
    if child == 0:
        own = store._lines.acquire(Acquire(1, only_if_busy=True))
        os._exit(0 if own is None else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert turn.held
