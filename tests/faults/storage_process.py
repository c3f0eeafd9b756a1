"""A disk store in a process of its own, where it can be stopped, killed and damaged.

    with StoreProcess(directory, timeout=0.5) as store:
        cookie_value = begin(store)
        store.run(stop_before_commit)

Operations are sent over, and raise here what they raise there; what is logged there is
logged here. A process that dies, or hangs, fails the test.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import pickle
import random
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Concatenate, Final, ParamSpec, Self, TypeVar

from glimr_session import (
    CommitResult,
    DiskStore,
    SessionConfig,
    SessionMiddleware,
    SessionStore,
    StoredSession,
    StoreUnavailable,
    generate_id,
)
from glimr_session._ids import storage_key
from glimr_session._session.changes import Changes
from glimr_session.stores.base import Data
from tests.support.server_apps import site
from tests.support.wsgi_client import Browser

P = ParamSpec("P")
R = TypeVar("R")

ROOT: Final = Path(__file__).parent.parent.parent
PATIENCE: Final = 30.0  # seconds: what an operation may take before it counts as hanging
PAGE: Final = 4096
CONFIG: Final = SessionConfig(secret_keys=["a key for tests that is long enough"], gc="never")

logger = logging.getLogger("glimr_session")


class StoreProcess(SessionStore):
    """A DiskStore elsewhere. ``prefix`` is a command to start its process with.

    Without a directory no store is made: for functions that make their own.
    """

    kind = "disk"
    atomic = True

    def __init__(
        self, directory: Path | None = None, *, prefix: Sequence[str] = (), **options: Any
    ) -> None:
        self.process = subprocess.Popen(
            [*prefix, sys.executable, "-m", __name__],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            self.pid: int = self.run(process_id)  # not Popen's, if the prefix forks
            if directory is not None:
                self.make(directory, **options)
        except BaseException:
            self.end()
            raise

    def make(self, directory: Path, **options: Any) -> None:
        """Make the store in the process, in place of the one before."""
        self._ask("__init__", directory, options)

    def run(
        self, function: Callable[Concatenate[DiskStore, P], R], /, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Call a function of a module there, with the store."""
        found: R = self._ask(partial(function, **kwargs), *args)
        return found

    def begin(self, operation: str | Callable[..., Any], *args: Any) -> None:
        """Send an operation, and leave its answer for ``answer``."""
        assert self.process.stdin is not None
        pickle.dump((operation, args), self.process.stdin)
        self.process.stdin.flush()

    def answer(self) -> Any:
        """Wait for the answer of an operation that was begun."""
        output = self.process.stdout
        assert output is not None
        if not select.select([output], [], [], PATIENCE)[0]:
            raise AssertionError(f"the process hangs: no answer in {PATIENCE:g} s")
        try:
            found, error, records = pickle.load(output)
        except EOFError:
            code = self.process.wait(PATIENCE)
            raise AssertionError(f"the process died, with {signal_name(code)}") from None
        for level, message in records:
            logger.log(level, "%s", message)
        if error is not None:
            raise error
        return found

    def _ask(self, operation: str | Callable[..., Any], *args: Any) -> Any:
        self.begin(operation, *args)
        return self.answer()

    def wait_until_stopped(self) -> None:
        """Wait until the process has been stopped by a signal."""
        deadline = time.monotonic() + PATIENCE
        while Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
            assert time.monotonic() < deadline, "the process does not stop"
            time.sleep(0.001)

    def go_on(self) -> None:
        """Let the process go on that was stopped."""
        os.kill(self.pid, signal.SIGCONT)

    def end(self) -> None:
        """Kill the process."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(PATIENCE)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):  # what could not be sent to it
                    pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.end()

    # What a store does.

    def open(self, cookie_value: str) -> StoredSession | None:
        found: StoredSession | None = self._ask("open", cookie_value)
        return found

    def commit(self, changes: Changes, *, wait: bool = True) -> CommitResult:
        found: CommitResult = self._ask(partial(DiskStore.commit, wait=wait), changes)
        return found

    def touch(self, cookie_value: str) -> bool:
        return bool(self._ask("touch", cookie_value))

    def load(self, session_id: str) -> tuple[Data, Data]:
        found: tuple[Data, Data] = self._ask("load", session_id)
        return found

    def save(self, session_id: str, data: Data, flash: Data) -> None:
        self._ask("save", session_id, data, flash)

    def destroy(self, session_id: str) -> None:
        self._ask("destroy", session_id)

    def gc(self) -> int:
        return int(self._ask("gc"))

    def cookie_value(self, session_id: str, data: Data, flash: Data) -> str:
        return session_id

    def close(self) -> None:
        self._ask("close")


def signal_name(code: int) -> str:
    """Return how a process has ended: a negative code is the number of a signal."""
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


class Processes:
    """Store processes that are used again: to start one takes longer than most tests."""

    def __init__(self, prefix: Sequence[str] = ()) -> None:
        self._prefix = prefix
        self._idle: list[StoreProcess] = []

    @contextlib.contextmanager
    def store(self, directory: Path | None = None, **options: Any) -> Iterator[StoreProcess]:
        """Lend a process with a new store in it."""
        process = self._idle.pop() if self._idle else StoreProcess(prefix=self._prefix)
        try:
            if directory is not None:
                process.make(directory, **options)
            yield process
            process.run(forget)
        except BaseException:
            process.end()
            raise
        self._idle.append(process)

    def end(self) -> None:
        """End all of them."""
        while self._idle:
            self._idle.pop().end()


# What can be run in the process.


def process_id(_store: DiskStore) -> int:
    return os.getpid()


def forget(store: DiskStore | None) -> None:
    """Close what the store has open, as the end of a process does."""
    if store is not None:
        store.close()


def open_files(_store: DiskStore, *, collect: bool) -> int:
    """Count the files that the process has open; first ``collect`` what Python has not freed."""
    if collect:
        gc.enable()
        gc.collect()
    return len(list(Path("/proc/self/fd").iterdir()))


def connect(store: DiskStore, number: int = 1) -> None:
    """Have connections open that have read nothing."""
    store.close()
    pool = store._database._pool
    for connection in [pool.acquire() for _ in range(number)]:
        pool.release(connection)


def look_now(store: DiskStore) -> None:
    """Have the store check its files at the next operation, not in a second."""
    store._database._next_check = 0.0


def fail_for_long(store: DiskStore, operations: int) -> int:
    """Read and write in vain, and close the store; return how often that failed.

    Python's collector is off: no file may stay open until it runs.
    """
    failed = 0
    gc.disable()
    for number in range(operations):
        try:
            if number % 2:
                store.save(generate_id(), {"a": 1}, {})
            else:
                store.open(generate_id())
        except StoreUnavailable:
            failed += 1
    store.close()
    return failed


def save_from_threads(store: DiskStore, threads: int, number: int) -> tuple[dict[str, Data], float]:
    """Save from several threads at once; return what was acknowledged, and the longest wait."""
    sessions: dict[str, Data] = {}
    waits: list[float] = []
    start = threading.Barrier(threads)

    def save() -> None:
        start.wait(PATIENCE)
        for n in range(number):
            session_id, began = generate_id(), time.monotonic()
            data: Data = {"number": n}
            try:
                store.save(session_id, data, {})
                sessions[session_id] = data
            except StoreUnavailable:
                pass
            waits.append(time.monotonic() - began)

    workers = [threading.Thread(target=save) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(PATIENCE)
        assert not worker.is_alive()
    return sessions, max(waits)


def integrity(store: DiskStore) -> str:
    """Return what SQLite itself finds wrong with the database, or "ok"."""
    connection = sqlite3.connect(store.directory / "cache.db")
    try:
        return "; ".join(row[0] for row in connection.execute("PRAGMA integrity_check"))
    finally:
        connection.close()


def mount(_store: DiskStore, *arguments: str) -> None:
    """Mount a file system: for this process alone, if it was started with PRIVATE_MOUNTS."""
    subprocess.run(["mount", *arguments], check=True)


def fill(_store: DiskStore, file: Path) -> None:
    """Write a file until the disk is full, to the last byte."""
    with file.open("ab", buffering=0) as ballast, contextlib.suppress(OSError):
        for size in (1 << 16, 1 << 9, 1):
            with contextlib.suppress(OSError):
                while ballast.write(b"x" * size) == size:
                    pass


def remove(_store: DiskStore, file: Path) -> None:
    file.unlink()


def become(store: DiskStore, user: int) -> None:
    """Become another user and save a session, within a second of the start."""
    store.close()
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
    store.save("an id", {"a": 1}, {})


def ask(store: DiskStore, path: str, cookie: str) -> tuple[str, str]:
    """Send a request to a site on the store; return the status and the browser's cookies.

    The status is "500", as a server would answer, if the request failed before a
    response was started.
    """
    browser = Browser(cookie)
    app = SessionMiddleware(site, CONFIG, store=store)
    response = browser.request(app, extra={"PATH_INFO": path})
    try:
        response.begin().finish()
    except StoreUnavailable:
        assert not response.started
        return "500", browser.cookies.header()
    return response.status[:3], browser.cookies.header()


def overwrite_pages(_store: DiskStore, directory: Path, kind: str, *, running: bool) -> list[str]:
    """Overwrite one page after the other; return what went wrong, which is nothing.

    ``kind`` is what they are overwritten with. Each time, either a store is made on the
    damaged file, or one is ``running``, with a connection that has read nothing. Then all
    sessions are read, one is written, and some are destroyed.
    """
    sessions = some_sessions(150, large=30)
    original = directory / "original"
    made = DiskStore(original)
    save_all(made, sessions)
    made.close()
    whole = (original / "cache.db").read_bytes()
    pages = [whole[start : start + PAGE] for start in range(0, len(whole), PAGE)]
    wrong = []
    for number, page in enumerate(pages):
        for replacement in _replacements(pages, number, kind):
            copy = directory / "copy"
            copy.mkdir(mode=0o700)
            file = copy / "cache.db"
            file.write_bytes(whole)
            counted = _seen_with_page(copy, number, replacement, sessions, running=running)
            if counted["silent"] or counted["wrong"] or counted["not destroyed"]:
                wrong.append(f"page {number} of {len(pages)}, of type {page[0]}: {dict(counted)}")
            shutil.rmtree(copy)
    return wrong


def _replacements(pages: list[bytes], number: int, kind: str) -> Iterator[bytes]:
    if kind == "zeros":
        yield bytes(PAGE)
    elif kind == "noise":
        yield random.Random(number).randbytes(PAGE)
    else:
        others = pages[number + 1 :] + pages[:number]
        same = [page for page in others if page[0] == pages[number][0]]
        different = [page for page in others if page[0] != pages[number][0]]
        yield from same[:1] + different[:1]


def _number_stored(directory: Path, session_id: str) -> int | None:
    """Count the rows of a session without the help of an index; None if that cannot be done."""
    connection = sqlite3.connect(directory / "cache.db")
    try:
        query = "SELECT count(*) FROM Cache NOT INDEXED WHERE key = ?"
        return int(connection.execute(query, (storage_key(session_id),)).fetchone()[0])
    except sqlite3.DatabaseError:
        return None
    finally:
        connection.close()


def _store_with_page(
    directory: Path, number: int, replacement: bytes, *, running: bool
) -> DiskStore:
    def damage() -> None:
        with (directory / "cache.db").open("r+b") as file:
            file.seek(number * PAGE)
            file.write(replacement)

    if not running:
        damage()
        return DiskStore(directory)
    store = DiskStore(directory)
    connect(store)
    damage()
    return store


def _seen_with_page(
    directory: Path, number: int, replacement: bytes, sessions: Sessions, *, running: bool
) -> Counter[str]:
    try:
        store = _store_with_page(directory, number, replacement, running=running)
    except StoreUnavailable:
        return Counter(unavailable=len(sessions))
    counted = seen(store, sessions)
    left = dict(sessions)
    with contextlib.suppress(StoreUnavailable):
        save_all(store, new := some_sessions(1))
        left |= new
    with contextlib.suppress(StoreUnavailable):
        store.gc()
    for session_id in list(sessions)[::10]:
        with contextlib.suppress(StoreUnavailable):
            before = _number_stored(directory, session_id)
            store.destroy(session_id)
            del left[session_id]
            if before is not None and before == _number_stored(directory, session_id):
                counted["not destroyed"] += 1
    counted += seen(store, left)
    store.close()
    return counted


def stop_before_commit(store: DiskStore) -> None:
    """Have the next transaction stop the process when it is about to commit."""
    pool = store._database._pool
    pooled = pool.acquire()
    connection = pooled.connection

    def look(statement: str) -> None:
        if statement == "COMMIT":
            connection.set_trace_callback(None)
            os.kill(os.getpid(), signal.SIGSTOP)

    connection.set_trace_callback(look)
    pool.release(pooled)


def stop_while_it_makes_a_database(_store: DiskStore) -> None:
    """Have the process stopped when it opens its next connection, to make a database on."""
    armed = True

    def look(event: str, _arguments: object) -> None:
        nonlocal armed
        if armed and event == "sqlite3.connect":
            armed = False
            os.kill(os.getpid(), signal.SIGSTOP)

    sys.addaudithook(look)


# Sessions to be found again, whatever happens to the file.

Sessions = Mapping[str, Data]


def some_sessions(number: int = 150, *, large: int = 10) -> dict[str, Data]:
    """Make sessions, all different; each of so many is a large one, with pages of its own."""
    return {
        generate_id(): {"number": n, "text": f"{n:5}" * (10 if n % large else 3000)}
        for n in range(number)
    }


def save_all(store: SessionStore, sessions: Sessions) -> None:
    for session_id, data in sessions.items():
        store.save(session_id, dict(data), {})


class _Counting(logging.Handler):
    """Counts what is logged that somebody has to see."""

    number = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.number += record.levelno >= logging.WARNING


def seen(store: SessionStore, sessions: Sessions) -> Counter[str]:
    """Count how the sessions are found.

    "exact", or with a typed error as "unavailable", or gone with a line in the log as
    "logged". There must be none that are gone as "silent", or with other data as "wrong".
    """
    counted: Counter[str] = Counter()
    log = _Counting()
    logger.addHandler(log)
    try:
        for session_id, data in sessions.items():
            before = log.number
            try:
                found = store.open(session_id)
            except StoreUnavailable:
                counted["unavailable"] += 1
                continue
            if found is None:
                counted["logged" if log.number > before else "silent"] += 1
            else:
                counted["exact" if found.data == data else "wrong"] += 1
    finally:
        logger.removeHandler(log)
    return counted


class _Records(logging.Handler):
    """Keeps what is logged, to be sent along with the next answer."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[tuple[int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append((record.levelno, record.getMessage()))

    def take(self) -> list[tuple[int, str]]:
        records, self.records = self.records, []
        return records


def serve() -> None:
    """Do what is asked for on standard input, until it closes."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what is printed goes elsewhere
    log = _Records()
    logger.addHandler(log)
    logger.propagate = False
    store: Any = None
    while True:
        try:
            operation, args = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        found = error = None
        try:
            if operation == "__init__":
                store = DiskStore(args[0], **args[1])
            elif isinstance(operation, str):
                found = getattr(store, operation)(*args)
            else:
                found = operation(store, *args)
        except Exception as raised:  # noqa: BLE001  # raised on the other side
            error = raised
        pickle.dump((found, error, log.take()), answers)
        answers.flush()


if __name__ == "__main__":
    # Under its own name, which functions are sent with.
    from tests.faults import storage_process

    storage_process.serve()
