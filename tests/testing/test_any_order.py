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
VERBS = [
    "put", "put", "increment", "forget", "clear", "setdefault", "pull", "pop", "popitem", "del",
    "flash", "flash", "now", "keep", "reflash",
]  # fmt: skip
EDITS = st.tuples(st.sampled_from(VERBS), KEYS, st.integers(1, 4))


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
    by_login: bool = False  # what has ended it


@dataclass
class Request:
    """A request in the model: what it found and was shown, and what it did."""

    visit: Visit
    found: Stored | None
    cookie: str
    shown: dict[str, tuple[str, int]]
    before_login: bool = False  # it came with a cookie that a login has replaced
    dead: bool = False  # it came with the cookie of a session that has ended
    edits: list[Edit] = field(default_factory=list)
    edited: set[str] = field(default_factory=set)  # keys
    taken: set[str] = field(default_factory=set)
    flashed: set[str] = field(default_factory=set)
    now: dict[str, str] = field(default_factory=dict)
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
        known = [one for one in self.sessions if cookie in (one.cookie, *one.former)]
        before_login = found is None and any(
            one.by_login or (cookie in one.former and not one.ended) for one in known
        )
        self.waiting[tab] = Request(
            visit, found, cookie, dict(content.flash), before_login, bool(cookie and not found)
        )

    def among(self, tab: str) -> Request:
        """Return the request of this tab if it waits, else that of the other one."""
        return self.waiting.get(tab) or next(iter(self.waiting.values()))

    @precondition(lambda self: self.waiting)
    @rule(tab=TABS, edit=EDITS)
    def edit(self, tab: str, edit: tuple[str, str, int]) -> None:
        """Change one thing."""
        verb, key, number = edit
        request = self.among(tab)
        if verb in ("flash", "now", "keep", "reflash"):
            self.edit_flash(request, verb, key, f"word {number}")
        elif verb in ("setdefault", "pull", "pop", "popitem", "del"):
            self.edit_what_is_there(request, verb, key, number)
        elif verb == "clear":
            request.visit.session.clear()
            request.edited.update("abc")
            request.taken.clear()
            request.edits.append(lambda content: content.data.clear())
        elif verb == "put":
            request.visit.session.put(key, number)
            request.edited.add(key)
            request.taken.discard(key)
            request.edits.append(lambda content: content.data.update({key: number}))
        elif verb == "forget":
            request.visit.session.forget(key)
            request.edited.add(key)
            request.taken.discard(key)
            request.edits.append(lambda content: content.data.pop(key, None))
        elif key not in request.taken:  # what is set where a value was taken depends on both
            request.visit.session.increment(key, number)
            request.edited.add(key)
            request.edits.append(
                lambda content: content.data.update({key: content.data.get(key, 0) + number})
            )

    def edit_what_is_there(self, request: Request, verb: str, key: str, number: int) -> None:
        """Set a default, or take a value: what another request has put there since stays."""
        session = request.visit.session
        there = session.all()
        if verb == "popitem" and there:
            key = [*there][-1]
        if key in request.edited:
            return  # what it meant is known then, and test_changes has that
        request.edited.add(key)
        if verb == "setdefault":
            assert session.setdefault(key, number) == there.get(key, number)
            if key not in there:
                request.edits.append(lambda content: content.data.setdefault(key, number))
            return
        value = there.get(key)
        if verb == "popitem":
            if there:
                assert session.popitem() == (key, value)
        elif verb == "pull":
            assert session.pull(key) == value
        elif verb == "pop":
            assert session.pop(key, None) == value
        elif key in there:
            del session[key]
        if key in there:
            request.taken.add(key)

            def take(content: Content) -> None:
                if content.data.get(key) == value:
                    del content.data[key]

            request.edits.append(take)

    def edit_flash(self, request: Request, verb: str, key: str, word: str) -> None:
        """Leave, show or keep a word."""
        session = request.visit.session

        def leave(key: str, word: str) -> None:
            request.flashed.add(key)
            request.edits.append(
                lambda content: content.flash.update({key: (word, next(self.numbers))})
            )

        if verb == "flash":
            session.flash(key, word)
            leave(key, word)
        elif verb == "now":
            session.now(key, word)
            request.now[key] = word
        else:
            kept = [key] if verb == "keep" else [*"abc"]
            if verb == "keep":
                session.keep(key)
            else:
                session.reflash()
            for one in kept:
                if one not in request.now:
                    request.shown.pop(one, None)  # it is not consumed
                elif one not in request.flashed:
                    leave(one, request.now[one])

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
            request.edited.update("abc")
            request.taken.clear()
            request.flashed.clear()
            request.now.clear()

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
            if request.before_login and not (request.moves or request.ends):
                assert cookie is None  # it would replace the login's
            else:
                self.begun(request, cookie, at_end=self.at_end(request))
        elif found.ended:
            logs_in = found.by_login and (request.moves or request.ends)
            self.begun(request, cookie) if logs_in else self.gone(cookie)
        elif request.ends:
            found.ended = True
            found.by_login = self.begun(request, cookie, at_end="glimr_session=")
        elif request.moves and found.cookie != request.cookie:
            self.begun(request, cookie)  # both logins succeed
        else:
            self.merged(request, found, cookie)

    def at_end(self, request: Request) -> str | None:
        """Return the cookie for a request that found no session and leaves none."""
        ended = request.ends if request.before_login else request.dead
        return "glimr_session=" if ended else None

    def gone(self, cookie: str | None) -> None:
        assert cookie is None  # gone stays gone

    def taken(self, tab: str) -> Request:
        request = self.among(tab)
        self.waiting = {name: one for name, one in self.waiting.items() if one is not request}
        return request

    def begun(self, request: Request, cookie: str | None, at_end: str | None = None) -> bool:
        """A session begins if there is anything to keep; return whether there is."""
        content = Content()
        for edit in request.edits:
            edit(content)
        if content == Content():
            assert cookie == at_end
            return False
        assert cookie is not None
        assert all(cookie not in (one.cookie, *one.former) for one in self.sessions)
        self.sessions.append(Stored(content, cookie))
        return True

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
        counting = "SELECT count(*) FROM Cache WHERE length(value) > 0"  # no tombstone
        ((number,),) = self.database.execute(counting).fetchall()
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
