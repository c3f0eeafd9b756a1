"""Workers on real servers that get new keys one after the other, under requests."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from threading import Event, Lock
from typing import Final

from tests.support.servers import PATIENCE, Client, Server, running

OLD: Final = "the old key of this test is long enough"
NEW: Final = "the new key of this test is long enough"

BROWSERS: Final = 3


class Worker:
    """A server that can be restarted with other keys. A browser holds the lock while it asks.

    Args:
        directory: where the sessions are, of all workers.
        keys: the secret keys.
        environ: other settings.
        refuses: whether it gets cookies that it cannot verify.
    """

    def __init__(
        self,
        directory: Path,
        keys: list[str],
        environ: Mapping[str, str] | None = None,
        *,
        refuses: bool = False,
    ) -> None:
        self.asked = Lock()
        self._directory = directory
        self._environ = environ or {}
        self._refuses = refuses
        self._start(keys)

    def _start(self, keys: list[str]) -> None:
        own = Path(tempfile.mkdtemp(dir=self._directory))
        environ = {
            "GLIMR_SESSION_DISK_DIRECTORY": str(self._directory / "sessions"),
            "GLIMR_SESSION_SECRET_KEYS": ",".join(keys),
            **self._environ,
        }
        self._running = ExitStack()
        self.server: Server = self._running.enter_context(running("waitress", own, environ=environ))

    def restart(self, keys: list[str]) -> None:
        """End the server and start one with these keys; requests wait, as at a proxy."""
        with self.asked:
            self.close()
            self._start(keys)

    def close(self) -> None:
        """End the server; its log must say whether it got cookies that it could not verify."""
        self._running.close()
        assert ("does not verify" in self.server.log.read_text()) is self._refuses


class Browser:
    """Somebody who asks each worker in turn."""

    def __init__(self, workers: list[Worker]) -> None:
        self.rounds = 0
        self._workers = workers
        self._client = Client(workers[0].server)

    def browse(self, ended: Event) -> None:
        """Count and log in at each worker until told to end; nothing may be lost."""
        count = 0
        while not ended.wait(0.005):  # so that a restart gets the lock, too
            for worker in self._workers:
                with worker.asked:
                    self._client.port = worker.server.port
                    count += 1
                    assert self._client.get("/count")["found"] == count
                    self._client.get("/login")
            self.rounds += 1
        user = {"user": "ada"} if count else {}
        assert self._client.get("/session")["found"] == {"count": count, **user}


def let_browse(browsers: list[Browser], answers: list[Future[None]]) -> None:
    """Wait until each browser has asked all workers, and has a cookie of the present keys."""
    wanted = [browser.rounds + 2 for browser in browsers]
    deadline = time.monotonic() + 3 * PATIENCE
    while any(browser.rounds < n for browser, n in zip(browsers, wanted, strict=True)):
        for answer in answers:
            if answer.done():
                answer.result()  # raises what went wrong
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_keys_are_rotated_under_requests(tmp_path: Path) -> None:
    """No session is lost while two workers go through the three steps, one after the other."""
    with (
        closing(Worker(tmp_path, [OLD])) as one,
        closing(Worker(tmp_path, [OLD])) as other,
        ThreadPoolExecutor(BROWSERS) as pool,
    ):
        browsers = [Browser([one, other]) for _ in range(BROWSERS)]
        ended = Event()
        answers = [pool.submit(browser.browse, ended) for browser in browsers]
        try:
            let_browse(browsers, answers)
            for keys in ([OLD, NEW], [NEW, OLD], [NEW]):
                for worker in (one, other):
                    worker.restart(keys)
                    let_browse(browsers, answers)
        finally:
            ended.set()
        for answer in answers:
            answer.result()


def test_a_key_that_signs_too_early_logs_nobody_out_in_the_grace(tmp_path: Path) -> None:
    """A worker without the new key answers anonymously, and leaves the session to the other one."""
    grace = {"GLIMR_SESSION_ROTATION_GRACE": "5"}
    with (
        closing(Worker(tmp_path, [NEW, OLD], grace)) as ahead,
        closing(Worker(tmp_path, [OLD], grace, refuses=True)) as behind,
    ):
        client = Client(ahead.server)
        for number in (1, 2, 3):
            client.port = ahead.server.port
            assert client.get("/count")["found"] == number
            client.port = behind.server.port
            assert client.get("/count")["found"] == 1
