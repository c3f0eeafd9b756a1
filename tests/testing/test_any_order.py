"""Two requests of one browser, in any order of steps: nothing is lost, nobody comes back.

The machine takes the requests step by step, on the disk store, and beside them a model
that keeps whole sessions: what a request did, it does to the session as it is when the
request commits. A failing order of steps shrinks to a few lines.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from glimr_session import DiskStore
from glimr_session._session.changes import Changes
from glimr_session.stores.disk.queries import SessionConnection
from glimr_session.testing import Visit, Visitor
from glimr_session.testing.contract import Clock

TABS = st.sampled_from(["one", "other"])
# Numbers only: what increment() adds to is a number whatever the other request did.
KEYS = st.sampled_from(["a", "b", "c"])
EDITS = st.tuples(
    st.sampled_from(["put", "put", "increment", "forget", "clear", "flash"]),
    KEYS,
    st.integers(1, 4),
)


@dataclass
class Content:
    """Data and flash. A flash set anew in the same words is another one: it is numbered."""

    data: dict[str, int] = field(default_factory=dict)
    flash: dict[str, tuple[str, int]] = field(default_factory=dict)

    @property
    def words(self) -> dict[str, str]:
        return {key: word for key, (word, _) in self.flash.items()}


Edit: TypeAlias = Callable[[Content], object]


@dataclass
class Stored:
    """A session in the model: it moves with each login, and ends with a logout."""

    content: Content
    cookie: str
    former: list[str] = field(default_factory=list)
    ended: bool = False


@dataclass
class Request:
    """A request in the model: what it found and was shown, and what it did."""

    visit: Visit
    found: Stored | None
    cookie: str
    shown: dict[str, tuple[str, int]]
    edits: list[Edit] = field(default_factory=list)
    moves: bool = False
    ends: bool = False


class Interleavings(RuleBasedStateMachine):
    """A browser with two tabs, each of which can wait for a response."""

    store: DiskStore
    database: sqlite3.Connection

    def __init__(self) -> None:
        super().__init__()
        self.database.execute("DELETE FROM Cache")
        self.visitor = Visitor(self.store)
        self.sessions: list[Stored] = []
        self.waiting: dict[str, Request] = {}
        self.numbers = count()

    def teardown(self) -> None:
        for request in self.waiting.values():
            request.visit.break_off()

    @initialize()
    def begin(self) -> None:
        self.begin_request("one")
        self.edit("one", ("put", "a", 1))
        self.respond("one", "received")

    @precondition(lambda self: len(self.waiting) < 2)
    @rule(tabs=st.sampled_from([["one"], ["other"], ["one", "other"], ["one", "other"]]))
    def open(self, tabs: list[str]) -> None:
        """Begin requests in tabs that do not wait for one: often in both."""
        for tab in tabs:
            if tab not in self.waiting:
                self.begin_request(tab)

    def begin_request(self, tab: str) -> None:
        cookie = self.visitor.cookie
        found = next((one for one in self.sessions if one.cookie == cookie and not one.ended), None)
        visit = self.visitor.request().open()
        content = Content() if found is None else found.content
        assert visit.session.all() == content.data
        assert visit.session.state().loaded_flash == content.words
        self.waiting[tab] = Request(visit, found, cookie, dict(content.flash))

    def among(self, tab: str) -> Request:
        """Return the request of this tab if it waits, else that of the other one."""
        return self.waiting.get(tab) or next(iter(self.waiting.values()))

    @precondition(lambda self: self.waiting)
    @rule(tab=TABS, edit=EDITS)
    def edit(self, tab: str, edit: tuple[str, str, int]) -> None:
        """Change one thing."""
        verb, key, number = edit
        request = self.among(tab)
        session = request.visit.session
        if verb == "put":
            session.put(key, number)
            request.edits.append(lambda content: content.data.update({key: number}))
        elif verb == "increment":
            session.increment(key, number)
            request.edits.append(
                lambda content: content.data.update({key: content.data.get(key, 0) + number})
            )
        elif verb == "forget":
            session.forget(key)
            request.edits.append(lambda content: content.data.pop(key, None))
        elif verb == "clear":
            session.clear()
            request.edits.append(lambda content: content.data.clear())
        else:
            word = f"word {number}"
            session.flash(key, word)
            request.edits.append(
                lambda content: content.flash.update({key: (word, next(self.numbers))})
            )

    @precondition(lambda self: self.waiting)
    @rule(tab=TABS, verb=st.sampled_from(["regenerate", "regenerate", "invalidate"]))
    def move(self, tab: str, verb: str) -> None:
        """Log in or out."""
        request = self.among(tab)
        if verb == "regenerate":
            request.visit.session.regenerate()
            request.moves = True
        else:
            request.visit.session.invalidate()
            request.ends = True
            request.edits.clear()

    @precondition(lambda self: self.waiting)
    @rule(
        tab=TABS, fate=st.sampled_from(["received", "received", "received", "lost", "broken off"])
    )
    def respond(self, tab: str, fate: str) -> None:
        """Commit, and set the cookie that the model expects, or none.

        If the handler raises instead, nothing of the request is committed.
        """
        request = self.taken(tab)
        if fate == "broken off":
            request.visit.break_off()
            return
        found, before = request.found, self.visitor.cookie
        set_cookie = request.visit.respond(received=fate == "received")
        cookie = None if set_cookie is None else set_cookie.partition("; ")[0]
        if cookie is None or fate == "lost":
            assert self.visitor.cookie == before
        if found is None:
            self.begun(request, cookie)
        elif found.ended:
            assert cookie is None  # gone stays gone
        elif request.ends:
            found.ended = True
            self.begun(request, cookie)
        elif request.moves and found.cookie != request.cookie:
            assert cookie is None  # of two logins at once the first one wins
        else:
            self.merged(request, found, cookie)

    def taken(self, tab: str) -> Request:
        request = self.among(tab)
        self.waiting = {name: one for name, one in self.waiting.items() if one is not request}
        return request

    def begun(self, request: Request, cookie: str | None) -> None:
        """A session begins, if there is anything to keep."""
        content = Content()
        for edit in request.edits:
            edit(content)
        if content != Content():
            assert cookie is not None
            assert all(cookie not in (one.cookie, *one.former) for one in self.sessions)
            self.sessions.append(Stored(content, cookie))
        else:
            assert cookie == ("glimr_session=" if request.found is not None else None)

    def merged(self, request: Request, found: Stored, cookie: str | None) -> None:
        """What was shown goes, unless it was set anew since; what was done is done again."""
        content = found.content
        for key, shown in request.shown.items():
            if content.flash.get(key) == shown:
                del content.flash[key]
        for edit in request.edits:
            edit(content)
        if request.moves:
            assert cookie is not None
            found.former.append(found.cookie)
            found.cookie = cookie
        else:
            assert cookie is None

    @invariant()
    def everything_acknowledged_is_there_and_nothing_else(self) -> None:
        """Whoever comes with a cookie finds what the model has for it, or nothing."""
        for session in self.sessions:
            for cookie in (session.cookie, *session.former):
                live = cookie == session.cookie and not session.ended
                expected = session.content if live else Content()
                with Visitor(self.store, cookie) as visitor:
                    state = visitor.request().open().session.state()
                assert state.data == expected.data
                assert state.loaded_flash == expected.words

    @invariant()
    def no_entry_is_left_over(self) -> None:
        """What has ended is not in the database, under any id."""
        ((number,),) = self.database.execute("SELECT count(*) FROM Cache").fetchall()
        assert number == sum(not session.ended for session in self.sessions)


def run(directory: Path, **options: Any) -> None:
    path = directory / "sessions"
    with (
        closing(DiskStore(path)) as Interleavings.store,
        closing(sqlite3.connect(path / "cache.db", isolation_level=None)) as Interleavings.database,
    ):
        run_state_machine_as_test(
            Interleavings, settings=settings(stateful_step_count=50, **options)
        )


def test_any_order_of_steps_is_as_one_request_after_the_other(tmp_path: Path) -> None:
    """What is found after any order of steps is what whole requests, one after the other, make."""
    run(tmp_path, max_examples=300)


def overwrite(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each request write the session as it saw it."""
    replay = Changes.replay

    def onto_what_it_saw(self: Changes, *stored: Any, **options: Any) -> Any:
        base = self.base
        return replay(self, base.data if base else {}, base.flash if base else {}, **options)

    monkeypatch.setattr(Changes, "replay", onto_what_it_saw)


def stay_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody find a session again that has moved."""
    monkeypatch.setattr(SessionConnection, "find_by_rowid", lambda self, rowid: None)


def come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a logout leave the session where it is."""
    monkeypatch.setattr(SessionConnection, "remove", lambda self, rowid, key: None)


@pytest.mark.parametrize("spoil", [overwrite, stay_behind, come_back])
def test_the_machine_finds_what_it_looks_for(
    spoil: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The machine fails on a store that overwrites, loses a session or keeps what has ended."""
    spoil(monkeypatch)
    with pytest.raises(AssertionError):
        run(
            tmp_path,
            max_examples=500,
            phases=[Phase.generate],  # found is enough
            report_multiple_bugs=False,
            database=None,
        )


@pytest.fixture
def visitor(tmp_path: Path) -> Iterator[Visitor]:
    """A visitor with something in the session."""
    with (
        closing(DiskStore(tmp_path / "sessions", lifetime=600)) as store,
        Visitor(store) as visitor,
    ):
        begin = visitor.request()
        begin.session["n"] = 1
        begin.respond()
        yield visitor


def test_a_late_change_follows_a_login_also_where_the_cookie_was_due(
    visitor: Visitor, clock: Clock
) -> None:
    """A late change reaches a session whose old id could not be renewed any more."""
    clock.advance(300)
    put, logout = visitor.request().open(), visitor.request().open()
    login = visitor.request()
    login.session.regenerate()
    login.respond()
    for late in (put, logout):
        assert late.send_headers() is None
    put.session["late"] = True
    put.close()
    assert visitor.request().session.all() == {"n": 1, "late": True}
    logout.session.invalidate()
    logout.close()
    assert visitor.request().session.all() == {}


def test_a_late_logout_of_the_loser_of_two_logins_ends_the_session(visitor: Visitor) -> None:
    """A late logout ends the session, though the login before it was dropped."""
    loser = visitor.request().open()
    winner = visitor.request()
    winner.session.regenerate()
    winner.respond()
    loser.session.regenerate()
    assert loser.send_headers() is None
    loser.session["late"] = True
    assert visitor.request().session.all() == {"n": 1}
    loser.session.invalidate()
    loser.close()
    assert visitor.request().session.all() == {}
