"""Processes that write until they are killed, and what has to be there afterwards.

    python -m tests.faults.writers rounds DIRECTORY SEED

Each round starts writers, kills them with SIGKILL at a random moment, and then looks in a
new process. A writer tells what it is about to commit, and again when it has; so at its
death at most one commit is open, which may be there whole or not at all.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import sqlite3
import sys
import time
import traceback
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias

from glimr_session import CommitResult, DiskStore, SessionStore, generate_id
from glimr_session.testing.contract import (
    Request,
    begin,
    content,
    increment,
    invalidate,
    put,
    to,
)

ROUNDS: Final = 12
WRITERS: Final = 4
PATIENCE: Final = 30

Step: TypeAlias = tuple[str, list[str]]
"""A commit: its kind, and the ids and keys it is about."""


class Ledger:
    """What has been acknowledged, and what was open when its writer was killed."""

    def __init__(self, shared: list[str]) -> None:
        self.shared = shared
        self.merged: dict[str, set[str]] = defaultdict(set)
        self.open_merges: set[str] = set()
        self.live: dict[str, set[str]] = defaultdict(set)
        self.gone: set[str] = set()
        self.open: list[tuple[str, list[str], set[str]]] = []
        self.acknowledged = 0

    def enter(self, steps: list[tuple[bool, Step]]) -> None:
        """Take what one writer has told: pairs of whether it is done, and what."""
        for done, (kind, names) in steps:
            if done:
                self.acknowledged += 1
                getattr(self, kind)(*names)
        if steps and not steps[-1][0]:
            kind, names = steps[-1][1]
            if kind == "merge":
                self.open_merges.add(names[1])
            else:
                self.open.append((kind, names, self.live.pop(names[0], set())))

    def merge(self, session_id: str, key: str) -> None:
        self.merged[session_id].add(key)

    def begin(self, session_id: str) -> None:
        self.live[session_id].add("begun")

    def move(self, old: str, new: str, key: str) -> None:
        self.live[new] = self.live.pop(old) | {key}
        self.gone.add(old)

    def late(self, session_id: str, key: str) -> None:
        self.live[session_id].add(key)

    def end(self, session_id: str) -> None:
        del self.live[session_id]
        self.gone.add(session_id)

    def check(self, store: SessionStore) -> None:
        """Compare with what is in the store."""
        for session_id in self.shared:
            found = content(store, session_id)
            assert found is not None
            keys = set(found[0]) - {"count"}
            assert self.merged[session_id] <= keys, "an acknowledged key is lost"
            assert keys <= self.merged[session_id] | self.open_merges
            assert found[0].get("count", 0) == len(keys), "half a commit, or one made twice"
        for kind, (session_id, *more), known in self.open:
            found = content(store, session_id)
            if kind == "move":
                moved = content(store, more[0])
                assert (found is None) != (moved is None), "a move is half done"
                whole = {*known, more[1]} if found is None else known
                assert set((found or moved or ({}, {}))[0]) == whole
            elif kind == "late":
                assert found is not None
                assert set(found[0]) in (known, {*known, more[0]})
            elif kind == "end":
                assert found is None or set(found[0]) == known
            else:
                assert found is None or set(found[0]) == {"begun"}
        for session_id, keys in self.live.items():
            found = content(store, session_id)
            assert found is not None, "an acknowledged session is lost"
            assert set(found[0]) == keys
        for session_id in self.gone:
            assert content(store, session_id) is None, "what was acknowledged as gone is there"


def write(
    directory: Path, name: str, shared: list[str], tell: Callable[[bool, Step], None]
) -> None:
    """Commit one thing after another, for ever."""
    store = DiskStore(directory)

    def commit(step: Step, request: Request, *transitions: Any) -> CommitResult:
        tell(False, step)
        answer = request.answer(*transitions)
        tell(True, step)
        return answer

    number = 0
    while True:
        number += 1
        key = f"{name}.{number}"
        session_id = random.choice(shared)
        commit(("merge", [session_id, key]), Request(store, session_id),
               put(key, 1), increment("count"))  # fmt: skip

        chain = Request(store, None)
        commit(("begin", [chain.state.id]), chain, put("begun", True))
        old, new = chain.state.id, generate_id()
        slow = Request(store, old)
        moved = commit(("move", [old, new, key]), Request(store, old), put(key, 1), to(new))
        assert moved.cookie_value.partition("~")[0] == new
        assert commit(("late", [new, "late"]), slow, put("late", 1)) is CommitResult.MOVED
        if number % 3:
            outcome = commit(("end", [new]), Request(store, new), invalidate)
            assert outcome is CommitResult.EMPTY


def start(work: Callable[[], object]) -> int:
    """Do some work in a child; return its process id."""
    pid = os.fork()
    if pid:
        return pid
    signal.alarm(PATIENCE)  # ends a child that hangs
    code = 1
    try:
        work()
        code = 0
    except BaseException:  # noqa: BLE001  # the parent is told by the exit code
        traceback.print_exc()
    finally:
        os._exit(code)


def ended(pid: int) -> int:
    """Wait for a child; return its exit code, which is negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


class Writer:
    """A process that writes."""

    def __init__(self, directory: Path, name: str, shared: list[str]) -> None:
        self.reading, writing = os.pipe()
        self._text = b""

        def tell(done: bool, step: Step) -> None:
            os.write(writing, json.dumps([done, step]).encode() + b"\n")

        def work() -> None:
            random.seed(name)
            write(directory, name, shared, tell)

        self._pid = start(work)
        os.close(writing)

    def read(self) -> bool:
        """Take what has been told; False at the end."""
        text = os.read(self.reading, 1 << 16)
        self._text += text
        return text != b""

    @property
    def steps(self) -> list[tuple[bool, Step]]:
        """What has been told so far; half a line is not told."""
        return [json.loads(line) for line in self._text.split(b"\n")[:-1]]

    def kill(self) -> None:
        os.kill(self._pid, signal.SIGKILL)

    def end(self) -> None:
        """See that it was killed and has not failed; take the rest of what it has told."""
        assert ended(self._pid) == -signal.SIGKILL
        while self.read():
            pass
        os.close(self.reading)


def one_round(directory: Path, ledger: Ledger, name: str) -> None:
    """Let writers write, and kill them all at a random moment."""
    writers = [Writer(directory, f"{name}.{n}", ledger.shared) for n in range(WRITERS)]
    wanted = random.randrange(400)
    deadline = time.monotonic() + PATIENCE
    while sum(len(writer.steps) for writer in writers) < wanted:
        assert time.monotonic() < deadline, "the writers are stuck"
        pipes = {writer.reading: writer for writer in writers}
        for pipe in select.select(list(pipes), [], [], PATIENCE)[0]:
            assert pipes[pipe].read(), "a writer has ended by itself"
    time.sleep(random.random() * 0.01)  # the moment is what is random
    for writer in random.sample(writers, WRITERS):
        writer.kill()
    for writer in writers:
        writer.end()
        ledger.enter(writer.steps)


def look(directory: Path, ledger: Ledger) -> None:
    """Start anew as after a crash: all is there, the database is whole, and it goes on."""
    store = DiskStore(directory)
    ledger.check(store)
    connection = sqlite3.connect(directory / "cache.db")
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
    cookie_value = begin(store)
    assert content(store, cookie_value) == ({"a": 1}, {})
    store.destroy(cookie_value)


def prepare(directory: Path, shared: list[str]) -> None:
    store = DiskStore(directory)
    for session_id in shared:
        store.save(session_id, {"count": 0}, {})


def write_and_be_killed(directory: Path) -> None:
    """Let writers write, in rounds, and look after each what is there."""
    ledger = Ledger([generate_id() for _ in range(2)])
    assert ended(start(partial(prepare, directory, ledger.shared))) == 0
    for number in range(ROUNDS):
        one_round(directory, ledger, str(number))
        assert ended(start(partial(look, directory, ledger))) == 0
        ledger.open.clear()
    assert ledger.acknowledged > 10 * ROUNDS
    print(f"{ledger.acknowledged} commits were acknowledged")


def start_and_be_killed(directory: Path) -> None:
    """Kill processes that make a database, and look whether the next one can."""
    whole = time.monotonic()
    assert ended(start(partial(DiskStore, directory / "whole"))) == 0
    whole = time.monotonic() - whole
    for number in range(ROUNDS):
        place = directory / str(number)
        pid = start(partial(DiskStore, place))
        time.sleep(random.random() * whole)
        os.kill(pid, signal.SIGKILL)
        ended(pid)
        assert ended(start(partial(look, place, Ledger([])))) == 0
        assert not list(place.glob(".new-*")), "a killed start has left its directory"


if __name__ == "__main__":
    _, script, place, seed = sys.argv
    random.seed(seed)
    {"rounds": write_and_be_killed, "starts": start_and_be_killed}[script](Path(place))
