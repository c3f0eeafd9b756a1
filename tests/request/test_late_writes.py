"""A write that races the last commit of its request: it is committed or refused."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator

import pytest

from glimr_session import Changes, CommitResult, SessionClosed, StoredSession
from glimr_session._request.manager import SessionManager
from glimr_session._request.origin import Origin
from glimr_session.stores.base import NullStore
from tests.support.wsgi_apps import CONFIG

ROUNDS = 1500
MOST_ROUNDS = 20 * ROUNDS  # until both outcomes have come, which is up to the scheduler


class Keeping(NullStore):
    """Keeps the last commit."""

    kind = "keeping"
    last: Changes | None = None

    def commit(self, changes: Changes, *, wait: bool = True) -> CommitResult:
        self.last = changes
        return CommitResult.stored(changes.id)

    def open(self, cookie_value: str) -> StoredSession | None:
        return None


@pytest.fixture
def hasty() -> Iterator[None]:
    """Let threads take turns after a microsecond."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("verb", ["put", "flash", "increment"])
@pytest.mark.parametrize("used", [True, False], ids=["open", "not open"])
def test_a_write_beside_the_last_commit_is_made_or_refused(verb: str, used: bool) -> None:
    """Whatever returned without an error is in the commit, also where the write opens it."""
    store = Keeping()
    manager = SessionManager.from_config(CONFIG, store)
    outcomes: list[bool] = []
    while len(outcomes) < ROUNDS or (len({*outcomes}) < 2 and len(outcomes) < MOST_ROUNDS):
        request = manager.begin()
        session = request.session
        if used:
            session["early"] = 1
        store.last = None
        written: list[bool] = []
        start = threading.Barrier(2)

        def write() -> None:
            start.wait()  # noqa: B023  # it is joined in this round
            try:
                if verb == "put":
                    session.put("late", 1)  # noqa: B023
                elif verb == "flash":
                    session.flash("late", 1)  # noqa: B023
                else:
                    session.increment("late")  # noqa: B023
            except SessionClosed:
                written.append(False)  # noqa: B023
            else:
                written.append(True)  # noqa: B023

        thread = threading.Thread(target=write)
        thread.start()
        start.wait()
        request.response_headers(200, [], origin=lambda: Origin(https=True), last=True)
        thread.join()
        changes = store.last
        committed = changes is not None and "late" in {**changes.edits, **changes.flash}
        assert written == [committed]
        outcomes.append(committed)
        request.close()
    assert True in outcomes
