"""Session: the mapping and the verbs, empty, unopened, open and closed."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from datetime import date
from enum import IntEnum, StrEnum
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from glimr_session import (
    CookieStore,
    Json,
    Session,
    SessionClosed,
    StoredSession,
    decode_payload,
    empty,
    encode_payload,
    generate_id,
)
from glimr_session._session.actor import SessionActor
from glimr_session._session.state import SessionState
from glimr_session.session import CLOSED, SessionRef
from glimr_session.stores.base import NullStore, SessionStore
from glimr_session.testing import Visitor
from tests.support.actors import living_session_actors
from tests.support.ids import name_of
from tests.support.strategies import contents, keys, numbers, values

ID = "0" * 64


@pytest.fixture
def session() -> Iterator[Session]:
    """An open session with data and with flash from the request before."""
    session = Session.start(ID, {"a": 1, "list": [1, [2]]}, {"notice": "hi", "nothing": ""})
    yield session
    session.stop()


class SessionMachine(RuleBasedStateMachine):
    """Any sequence of operations gives the same on a Session as on plain dicts."""

    @initialize(data=contents, flash=contents)
    def start(self, data: dict[str, Json], flash: dict[str, Json]) -> None:
        self.session = Session.start(ID, data, flash)
        self.data = dict(data)
        self.loaded = dict(flash)
        self.flash: dict[str, Json] = {}

    @rule(key=keys, value=values)
    def put(self, key: str, value: Json) -> None:
        self.session.put(key, value)
        self.data[key] = value

    @rule(key=keys, value=values)
    def set_item(self, key: str, value: Json) -> None:
        self.session[key] = value
        self.data[key] = value

    @rule(more=contents)
    def update(self, more: dict[str, Json]) -> None:
        self.session.update(more)
        self.data.update(more)

    @rule(key=keys)
    def forget(self, key: str) -> None:
        self.session.forget(key)
        self.data.pop(key, None)

    @rule(key=keys)
    def delete(self, key: str) -> None:
        assert raised(KeyError, self.session.__delitem__, key) == (key not in self.data)
        self.data.pop(key, None)

    @rule(key=keys, default=values)
    def pull(self, key: str, default: Json) -> None:
        assert self.session.pull(key, default) == self.data.pop(key, default)

    @rule(key=keys)
    def pop(self, key: str) -> None:
        assert raised(KeyError, self.session.pop, key) == (key not in self.data)
        assert self.session.pop(key, "default") == "default"
        self.data.pop(key, None)

    @rule()
    def popitem(self) -> None:
        if self.data:
            key, value = self.session.popitem()
            assert self.data.pop(key) == value
        else:
            assert raised(KeyError, self.session.popitem)

    @rule(key=keys, default=values)
    def setdefault(self, key: str, default: Json) -> None:
        assert self.session.setdefault(key, default) == self.data.setdefault(key, default)

    @rule(key=keys, by=numbers)
    def increment(self, key: str, by: int | float) -> None:
        current = self.data.get(key, 0)
        if isinstance(current, bool) or not isinstance(current, int | float):
            assert raised(TypeError, self.session.increment, key, by)
        elif math.isfinite(current + by):
            assert self.session.increment(key, by) == current + by
            self.data[key] = current + by

    @rule()
    def clear(self) -> None:
        self.session.clear()
        self.data.clear()

    @rule(key=keys, value=values)
    def set_flash(self, key: str, value: Json) -> None:
        self.session.flash(key, value)
        self.flash[key] = value

    @rule(key=keys, value=values)
    def now(self, key: str, value: Json) -> None:
        self.session.now(key, value)
        self.loaded[key] = value

    @rule(chosen=st.lists(keys, max_size=3))
    def keep(self, chosen: list[str]) -> None:
        self.session.keep(*chosen)
        self.flash |= {
            key: self.loaded[key] for key in chosen if key in self.loaded and key not in self.flash
        }

    @rule()
    def reflash(self) -> None:
        self.session.reflash()
        self.flash = self.loaded | self.flash

    @rule()
    def regenerate(self) -> None:
        before = self.session.id
        self.session.regenerate()
        assert self.session.id != before

    @rule()
    def invalidate(self) -> None:
        before = self.session.id
        self.session.invalidate()
        assert self.session.id != before
        assert self.session.state().invalidated
        for part in (self.data, self.loaded, self.flash):
            part.clear()

    @invariant()
    def reads_alike(self) -> None:
        session, data = self.session, self.data
        assert session.all() == data == dict(session) == session
        assert dict(session.items()) == data
        assert len(session) == len(data)
        assert bool(session) == bool(data)
        assert sorted(session) == sorted(session.keys()) == sorted(data)
        for key in ("", "a", "b", "_flash", "other"):
            assert session.get(key) == data.get(key)
            assert session.get(key, "default") == data.get(key, "default")
            assert session.has(key) == (key in session) == (key in data)
            assert raised(KeyError, session.__getitem__, key) == (key not in data)
            assert session.get_flash(key) == self.loaded.get(key, "")
            assert session.get_flash_or(key) == self.loaded.get(key)
            assert session.has_flash(key) == (key in self.loaded)
        state = session.state()
        assert (state.data, state.loaded_flash, state.flash) == (data, self.loaded, self.flash)
        assert len(session.id) == 64

    def teardown(self) -> None:
        if hasattr(self, "session"):
            self.session.stop()


def raised(error: type[Exception], function: Any, *arguments: Any) -> bool:
    try:
        function(*arguments)
    except error:
        return True
    return False


TestSessionMachine = SessionMachine.TestCase


# What goes in comes out, and stays in.


@given(st.dictionaries(keys, values))
def test_what_is_put_is_what_json_gives_back(content: dict[str, Json]) -> None:
    """Every accepted value survives the way to the store and back, type and all."""
    session = Session.start(ID)
    session.update(content)
    data, _ = decode_payload(encode_payload(session.all(), {}))
    assert repr(data) == repr(session.all()) == repr(content)
    session.stop()


def test_values_are_copied_in_and_out(session: Session) -> None:
    """A change of what was put or read changes nothing in the session."""
    mine: dict[str, Json] = {"inner": [1]}
    session.put("mine", mine)
    mine["inner"] = "changed"
    assert session.get("mine") == {"inner": [1]}
    for read in (
        lambda: session.get("list"),
        lambda: session["list"],
        lambda: session.all()["list"],
        lambda: dict(session.items())["list"],
        lambda: next(value for value in session.values() if isinstance(value, list)),
        lambda: session.setdefault("list", []),
    ):
        got: Any = read()
        got[1].append(3)
        assert session.get("list") == [1, [2]]


def test_tuples_become_lists_at_once(session: Session) -> None:
    """The request that put a tuple reads what the next one will read."""
    session.put("pair", (1, (2, 3)))
    assert session.get("pair") == [1, [2, 3]]


class Colour(StrEnum):
    RED = "red"


class Level(IntEnum):
    LOW = 1


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (date(2026, 1, 1), TypeError),
        (b"bytes", TypeError),
        ({1, 2}, TypeError),
        (object(), TypeError),
        (Colour.RED, TypeError),
        (Level.LOW, TypeError),
        (1j, TypeError),
        ({1: "one"}, TypeError),
        ([{"deep": {None: 1}}], TypeError),
        (math.nan, ValueError),
        (math.inf, ValueError),
        ([1, [2, -math.inf]], ValueError),
        ("\ud800", ValueError),
        ({"\udfff": 1}, ValueError),
        (10**700, ValueError),
    ],
    ids=name_of,
)
@pytest.mark.parametrize("write", ["put", "flash", "now", "__setitem__", "setdefault"])
def test_what_json_would_not_give_back_is_refused_at_once(
    session: Session, write: str, value: Any, error: type[Exception]
) -> None:
    """A write of such a value raises an error that names the key, and changes nothing."""
    before = session.state()
    with pytest.raises(error, match="'the_key'"):
        getattr(session, write)("the_key", value)
    after = session.state()
    assert (after.changes, after.loaded_flash) == (before.changes, before.loaded_flash)


def test_update_sets_all_or_nothing(session: Session) -> None:
    """An update with one bad value sets nothing."""
    with pytest.raises(TypeError, match="'bad'"):
        session.update({"good": 1}, bad=object())  # type: ignore[arg-type]  # that is the point
    assert session.all() == {"a": 1, "list": [1, [2]]}


def test_values_that_hold_themselves_or_are_too_deep_are_refused(session: Session) -> None:
    """A session takes a hundred levels, and refuses more with a clear error."""
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(ValueError, match="'loop' is nested over 100 levels"):
        session.put("loop", loop)
    deep: list[Any] = []
    for _ in range(99):
        deep = [deep]
    session.put("deep", deep)
    with pytest.raises(ValueError, match="nested"):
        session.put("deeper", [deep])


@pytest.mark.parametrize("key", [1, None, b"a", ("a",)])
def test_keys_are_text(session: Session, key: Any) -> None:
    """A write refuses a key that is no str, and ``in`` does not find it."""
    for write in ("put", "flash", "now", "setdefault"):
        with pytest.raises(TypeError, match="keys are str"):
            getattr(session, write)(key, 1)
    for write in ("forget", "increment", "keep"):
        with pytest.raises(TypeError, match="keys are str"):
            getattr(session, write)(key)
    assert key not in session
    with pytest.raises(ValueError, match="surrogate"):
        session.put("\ud800", 1)


@pytest.mark.parametrize("by", [math.nan, math.inf, "1", None, True])
def test_increment_adds_numbers(session: Session, by: Any) -> None:
    """An increment refuses what is no finite number."""
    with pytest.raises(TypeError, match="'a'"):
        session.increment("a", by)
    assert session.get("a") == 1


# The verbs of the reference that the machine above does not name.


def test_an_empty_string_is_there(session: Session) -> None:
    """has and has_flash tell a missing value from an empty one, and get_flash does not."""
    session.put("blank", "")
    assert session.has("blank")
    assert session.has_flash("nothing")
    assert not session.has_flash("missing")
    assert session.get_flash("nothing") == session.get_flash("missing") == ""
    assert session.get_flash_or("nothing") == ""
    assert session.get_flash_or("missing") is None
    assert session.get_flash_or("missing", "default") == "default"


def test_errors_and_old_values_are_flash_with_a_prefix() -> None:
    """error, has_error and old read errors.<field> and old.<field>."""
    session = Session.start(ID, flash={"errors.email": "is taken", "old.email": "a@b.c"})
    assert session.error("email") == "is taken"
    assert session.has_error("email")
    assert session.old("email") == "a@b.c"
    assert session.error("name") == session.old("name") == ""
    assert not session.has_error("name")
    session.stop()


def test_generated_ids_are_64_hex_digits_and_differ() -> None:
    """A thousand ids of 256 random bits are a thousand different ids."""
    ids = {generate_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(len(one) == 64 and int(one, 16) >= 0 for one in ids)


# Empty handles.


def test_an_empty_handle_reads_nothing_and_ignores_writes() -> None:
    """An empty session has every verb, keeps nothing and starts no actor."""
    session = empty()
    session.put("a", 1)
    session["b"] = 2
    session.update(c=3)
    session.flash("d", 4)
    session.now("e", 5)
    session.forget("a")
    session.keep("d")
    session.reflash()
    session.regenerate()
    session.invalidate()
    session.clear()
    assert session.id == ""
    assert session.all() == dict(session) == {}
    assert len(session) == 0
    assert not session
    assert session.get("a") is None
    assert session.get("a", "default") == "default"
    assert session.pull("a", "default") == "default"
    assert session.setdefault("a", 7) == 7
    assert "a" not in session
    assert not session.has("a")
    assert session.get_flash("d") == session.error("d") == session.old("d") == ""
    assert session.get_flash_or("d") is None
    assert not session.has_flash("d")
    assert not session.has_error("d")
    assert not session.state().dirty
    assert session.increment("n") == 1
    assert session.increment("n") == 1
    for missing in (lambda: session["a"], lambda: session.pop("a"), session.popitem):
        with pytest.raises(KeyError):
            missing()
    with pytest.raises(KeyError):
        del session["a"]
    assert living_session_actors() == []
    assert repr(session) == "<Session: empty>"
    with pytest.raises(TypeError):
        session.put("a", object())  # type: ignore[arg-type]  # that is the point


# Opening and closing.


class Owner:
    """A request: it opens its session slowly if told to, and counts how often it was asked to."""

    def __init__(self) -> None:
        self.ref: SessionRef | None = None
        self.sealed = False
        self.finished = False
        self.calls = 0
        self.fails: Exception | None = None
        self.inside = threading.Event()
        self.go = threading.Event()
        self.go.set()

    def open(self) -> SessionRef:
        self.calls += 1
        self.inside.set()
        assert self.go.wait(5)
        if self.fails is not None:
            raise self.fails
        self.ref = self.ref or SessionActor.start(SessionState.new(ID))
        return self.ref

    @property
    def store(self) -> SessionStore:
        return NullStore()

    def new_id(self) -> str:
        return generate_id()

    def abandon(self) -> None:
        ref, self.ref = self.ref, CLOSED
        if ref is not None:
            ref.stop(block=False)


def test_a_session_is_opened_by_its_first_use() -> None:
    """A session asks its owner to open it once, when it is used; a repr is no use."""
    owner = Owner()
    session = Session(owner)
    assert repr(session) == "<Session: not opened>"
    assert owner.calls == 0
    assert session.get("a") is None
    assert repr(session) == "<Session: open>"
    session.put("a", 1)
    assert owner.calls == 1
    session.stop()


def test_two_handles_of_one_request_are_one_session() -> None:
    """Two handles of the same owner read and write the same session."""
    owner = Owner()
    Session(owner)["a"] = 1
    assert Session(owner)["a"] == 1
    assert owner.calls == 1
    Session(owner).stop()


def test_two_threads_that_open_a_session_at_the_same_moment_use_one() -> None:
    """The second thread reads the store too, and both use the same session and one actor."""
    store = SlowStore()
    with Visitor(store) as visitor:
        begin = visitor.request()
        begin.session["a"] = 0
        begin.respond()
        store.go.clear()
        session = visitor.request().session
        first = threading.Thread(target=session.put, args=("a", 1))
        second = threading.Thread(target=session.put, args=("b", 2))
        first.start()
        second.start()
        for _ in range(2):
            assert store.inside.acquire(timeout=5)
        store.go.set()
        first.join(5)
        second.join(5)
        assert session.all() == {"a": 1, "b": 2}
        assert len(living_session_actors()) == 1
    assert living_session_actors() == []


class SlowStore(CookieStore):
    """A store that waits until it may go on, and counts the threads that wait."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = threading.Semaphore(0)
        self.go = threading.Event()

    def open(self, cookie_value: str) -> StoredSession | None:
        self.inside.release()
        assert self.go.wait(5)
        return super().open(cookie_value)


def test_an_opening_that_failed_is_tried_again() -> None:
    """An outage is raised, and the next use opens the session."""
    owner = Owner()
    owner.fails = OSError("down")
    session = Session(owner)
    with pytest.raises(OSError, match="down"):
        session.get("a")
    assert repr(session) == "<Session: not opened>"
    owner.fails = None
    assert session.get("a") is None
    session.stop()


EVERY_USE: dict[str, Any] = {
    "get": lambda s: s.get("a"),
    "getitem": lambda s: s["a"],
    "setitem": lambda s: s.__setitem__("a", 1),
    "delitem": lambda s: s.__delitem__("a"),
    "in": lambda s: "a" in s,
    "iter": list,
    "len": len,
    "all": lambda s: s.all(),
    "id": lambda s: s.id,
    "put": lambda s: s.put("a", 1),
    "forget": lambda s: s.forget("a"),
    "clear": lambda s: s.clear(),
    "increment": lambda s: s.increment("a"),
    "pull": lambda s: s.pull("a"),
    "flash": lambda s: s.flash("a", 1),
    "get_flash": lambda s: s.get_flash("a"),
    "invalidate": lambda s: s.invalidate(),
    "regenerate": lambda s: s.regenerate(),
    "state": lambda s: s.state(),
}


@pytest.mark.parametrize("use", EVERY_USE.values(), ids=EVERY_USE)
@pytest.mark.parametrize("opened", [True, False])
def test_a_closed_session_refuses_every_use(use: Any, opened: bool) -> None:
    """A closed session refuses every use, whether it had been opened or not."""
    owner = Owner()
    session = Session(owner)
    if opened:
        session.put("a", 1)
    session.stop()
    session.stop()
    with pytest.raises(SessionClosed, match="after its response had left"):
        use(session)
    assert owner.calls == opened
    assert repr(session) == "<Session: closed>"


def test_a_session_whose_actor_was_stopped_by_others_is_closed() -> None:
    """A session refuses every use once anybody has stopped its actor."""
    owner = Owner()
    session = Session(owner)
    session.put("a", 1)
    owner.open().stop(block=False)
    with pytest.raises(SessionClosed):
        session.get("a")
    with pytest.raises(SessionClosed):
        session.put("a", 1)


def test_a_sealed_session_refuses_regenerate_only() -> None:
    """A session refuses a new id once the headers have left; all else goes on."""
    owner = Owner()
    owner.sealed = True
    session = Session(owner)
    before = session.id
    with pytest.raises(SessionClosed, match="regenerate"):
        session.regenerate()
    assert session.id == before
    session.put("late", 1)
    session.invalidate()
    assert session.id != before
    session.stop()


def test_repr_gives_nothing_away(session: Session) -> None:
    """A repr tells the status and no id, key or value."""
    assert repr(session) == "<Session: open>"
    assert repr(empty()) == "<Session: empty>"


class TestThreads:
    """Any thread of the request may use the session."""

    threads: ClassVar[int] = 8

    def test_no_increment_is_lost(self) -> None:
        """The increments of eight threads add up."""
        session = Session.start(ID)

        def count() -> None:
            for _ in range(200):
                session.increment("n")
                session.put("last", 1)

        workers = [threading.Thread(target=count) for _ in range(self.threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert session.get("n") == self.threads * 200
        session.stop()

    def test_an_item_is_popped_once(self) -> None:
        """Eight threads pop each item once."""
        session = Session.start(ID, {str(number): number for number in range(400)})
        popped: list[Any] = []

        def pop() -> None:
            while raised_or(popped, session.popitem):
                pass

        workers = [threading.Thread(target=pop) for _ in range(self.threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert sorted(value for _, value in popped) == list(range(400))
        session.stop()


def raised_or(results: list[Any], function: Any) -> bool:
    """Append the result; False at a KeyError."""
    try:
        results.append(function())
    except KeyError:
        return False
    return True
