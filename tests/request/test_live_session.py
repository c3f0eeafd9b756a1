"""LiveSession: a dict that is read when it is used, and whose values change in place."""

from __future__ import annotations

import gc
import json
import pickle
import sys
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glimr_session import (
    CookieStore,
    DiskStore,
    Json,
    SessionClosed,
    SessionStore,
    StoreUnavailable,
)
from glimr_session._request.live_session import LiveSession
from glimr_session._request.manager import SessionManager
from glimr_session._request.origin import Origin
from tests.support.actors import living_session_actors
from tests.support.wsgi_apps import CONFIG, TEXT, Recorded
from tests.support.wsgi_client import Cookies

pytestmark = pytest.mark.usefixtures("no_session_left")

HTTPS = Origin(https=True, host="testserver")
DATA: dict[str, Json] = {"cart": {"books": ["Emma"]}, "n": 1, "empty": None}


def begin(store: SessionStore, cookie: str = "") -> LiveSession:
    request = SessionManager.from_config(CONFIG, store).begin(cookie)
    return LiveSession(request, ("user",))


def respond(session: LiveSession) -> str:
    """End a request as a door does; return the cookie that its browser sends from then on."""
    headers = session.response_headers(200, [TEXT], origin=lambda: HTTPS, last=False)
    session.request.close()
    cookies = Cookies()
    cookies.take(headers)
    return cookies.header()


@pytest.fixture
def cookie(disk: DiskStore) -> str:
    """The cookie of a session with DATA."""
    session = begin(disk)
    session.update(DATA)
    return respond(session)


# As a dict.


READS: dict[str, Callable[[LiveSession], object]] = {
    "session[key]": lambda session: session["cart"],
    "get": lambda session: session.get("cart"),
    "in": lambda session: ("n" in session, "m" in session),
    "list": list,
    "reversed": lambda session: [*reversed(session)],
    "len": len,
    "bool": bool,
    "==": lambda session: (session == DATA, session == {}, session == {}),
    "!=": lambda session: (session != DATA, session != {}),
    "keys": lambda session: [*session.keys()],
    "values": lambda session: [*session.values()],
    "items": lambda session: [*session.items()],
    "copy": lambda session: session.copy(),
    "dict": dict,
    "**": lambda session: {**session},
    "|": lambda session: session | {"m": 2},
    "| behind a dict": lambda session: {"m": 2} | session,
    "json": json.dumps,
    "json, indented": lambda session: json.dumps(session, indent=1, sort_keys=True),
    "repr": repr,
    "update": lambda session: (kept := {"m": 2}, kept.update(session)),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_each_way_to_read_a_dict_reads_the_session(
    disk: DiskStore, cookie: str, read: Callable[[Any], object]
) -> None:
    """It is not read before, and gives what a dict with the same content gives."""
    session = begin(disk, cookie)
    assert not session.accessed
    assert read(session) == read(dict(DATA))
    assert session.accessed
    session.request.abandon()


def test_no_method_of_dict_is_forgotten() -> None:
    """Each method that reads or changes a dict is one of LiveSession's own."""
    of_the_class = {"__class_getitem__", "__getattribute__", "__init__", "__new__", "fromkeys"}
    by_default = {"__ge__", "__gt__", "__le__", "__lt__", "__sizeof__"}  # dicts have no order
    inherited = {
        name for name in vars(dict) if getattr(LiveSession, name) is getattr(dict, name)
    } - {"__hash__", "__doc__"}
    assert inherited <= of_the_class | by_default


ONE_KEY = st.sampled_from(["a", "b", "c"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.floats(0, 2) | st.text(max_size=2),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(ONE_KEY, inner, max_size=2),
    max_leaves=4,
)
CHANGES: st.SearchStrategy[Callable[[dict[str, Any]], object]] = st.one_of(
    st.builds(lambda key, value: lambda it: it.__setitem__(key, value), ONE_KEY, VALUES),
    st.builds(lambda key: lambda it: it.__delitem__(key), ONE_KEY),
    st.builds(lambda key, value: lambda it: it.setdefault(key, value), ONE_KEY, VALUES),
    st.builds(lambda key: lambda it: it.pop(key, None), ONE_KEY),
    st.builds(lambda key: lambda it: it.pop(key), ONE_KEY),
    st.builds(lambda values: lambda it: it.update(values), st.dictionaries(ONE_KEY, VALUES)),
    st.builds(lambda values: lambda it: it.__ior__(values), st.dictionaries(ONE_KEY, VALUES)),
    st.builds(lambda key, value: lambda it: it[key].append(value), ONE_KEY, VALUES),
    st.builds(lambda key, value: lambda it: it[key].update(x=value), ONE_KEY, VALUES),
    st.builds(lambda key, other: lambda it: it.__setitem__(key, it[other]), ONE_KEY, ONE_KEY),
    st.builds(lambda key: lambda it: it[key].clear(), ONE_KEY),
    st.just(lambda it: it.popitem()),
    st.just(lambda it: it.clear()),
)
WRITES = st.just(lambda it: it.write() if isinstance(it, LiveSession) else None)


def do(what: Callable[[Any], object], it: dict[str, Any]) -> object:
    """Return what it raises, if it does."""
    try:
        what(it)
    except (KeyError, AttributeError, TypeError) as error:
        return type(error)
    return None


@given(st.dictionaries(ONE_KEY, VALUES), st.lists(CHANGES | WRITES, max_size=8))
def test_a_live_session_is_the_dict_that_the_next_request_finds(
    data: dict[str, Json], changes: list[Callable[[Any], object]]
) -> None:
    """Whatever is done to it, and whenever it was written, it holds what a dict would."""
    store = CookieStore()
    begun = begin(store)
    begun.update(json.loads(json.dumps(data)))
    live, plain = begin(store, respond(begun)), json.loads(json.dumps(data))
    for change in changes:
        assert do(change, live) == do(change, plain)
    assert repr(live) == repr(plain)
    live.write()
    assert live.session.all() == plain
    assert encoded(live.session.all()) == encoded(plain)
    live.request.abandon()


def encoded(data: dict[str, Any]) -> dict[str, str]:
    """Return the values as text: True is not 1."""
    return {key: json.dumps(value) for key, value in data.items()}


def test_nothing_is_read_before_it_is_used() -> None:
    """Making one, writing it and answering ask nothing of the store."""
    recorded = Recorded()
    begun = begin(recorded.store)
    begun["n"] = 1
    cookie = respond(begun)
    recorded.calls.clear()
    session = begin(recorded.store, cookie)
    assert (session.accessed, session.modified) == (False, False)
    respond(session)
    assert recorded.calls == []


def test_an_outage_is_raised_at_each_use() -> None:
    """A read that fails leaves the session unread, and nothing is written over it."""
    recorded = Recorded()
    begun = begin(recorded.store)
    begun["n"] = 1
    cookie = respond(begun)
    session = begin(recorded.store, cookie)
    recorded.down = True
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            session.get("n")
        with pytest.raises(StoreUnavailable):
            session["n"] = 2
    recorded.down = False
    assert session == {"n": 1}
    session.request.abandon()


# What is written.


def test_only_what_has_changed_is_written(disk: DiskStore, cookie: str) -> None:
    """A read, and a key that is given what it has, change nothing."""
    session = begin(disk, cookie)
    session["cart"] = {"books": ["Emma"]}
    session["n"] = session["n"]
    assert session.get("list", []) == []
    session.write()
    assert not session.session.state().dirty
    session.request.abandon()


@pytest.mark.parametrize("other", [True, 1.0, "1"])
def test_a_value_of_another_type_is_a_change(disk: DiskStore, cookie: str, other: Json) -> None:
    """True, 1.0 and 1 are equal in Python, and not the same JSON."""
    session = begin(disk, cookie)
    session["n"] = other
    session["cart"]["books"].append(other)
    respond(session)
    session = begin(disk, cookie)
    assert repr(session["n"]) == repr(session["cart"]["books"][1]) == repr(other)
    session.request.abandon()


def test_two_requests_that_change_one_value_in_place_both_survive(
    disk: DiskStore, cookie: str
) -> None:
    """Items that are appended and keys that are set, at any depth."""
    one, other = begin(disk, cookie), begin(disk, cookie)
    one["cart"]["books"].append("Persuasion")
    one["cart"]["paid"] = False
    other["cart"]["books"].append("Sanditon")
    other["cart"]["gift"] = True
    respond(one)
    respond(other)
    session = begin(disk, cookie)
    assert session["cart"] == {
        "books": ["Emma", "Persuasion", "Sanditon"],
        "paid": False,
        "gift": True,
    }
    session.request.abandon()


def append_to_a_default(session: LiveSession) -> None:
    session.setdefault("notes", []).append(session["me"])


def append_and_assign(session: LiveSession) -> None:
    notes = session.get("notes", [])
    notes.append(session["me"])
    session["notes"] = notes


@pytest.mark.parametrize("append", [append_to_a_default, append_and_assign])
def test_two_requests_that_begin_one_list_both_survive(
    disk: DiskStore, cookie: str, append: Callable[[LiveSession], None]
) -> None:
    """Both found none, and each appended to an empty one."""
    requests = [begin(disk, cookie) for _ in range(2)]
    for number, request in enumerate(requests):
        request["me"] = number
        append(request)
    for request in requests:
        respond(request)
    session = begin(disk, cookie)
    assert session["notes"] == [0, 1]
    session.request.abandon()


def test_what_is_assigned_replaces_what_was_there(disk: DiskStore, cookie: str) -> None:
    """A new object is put: the later commit wins, and nothing of the other one is mixed in."""
    one, other = begin(disk, cookie), begin(disk, cookie)
    one["cart"]["books"].append("Persuasion")
    other["cart"] = {"books": []}
    respond(one)
    respond(other)
    session = begin(disk, cookie)
    assert session["cart"] == {"books": []}
    session.request.abandon()


@pytest.mark.parametrize("order", ["pay first", "put first"])
def test_what_is_taken_leaves_what_came_after_it(disk: DiskStore, cookie: str, order: str) -> None:
    """A list that is paid for does not take along a book that another tab puts in."""
    pay, put = begin(disk, cookie), begin(disk, cookie)
    assert pay["cart"].pop("books") == ["Emma"]
    put["cart"]["books"].append("Persuasion")
    for request in (pay, put) if order == "pay first" else (put, pay):
        respond(request)
    assert begin(disk, cookie).all()["cart"] == {"books": ["Persuasion"]}


@pytest.mark.parametrize("order", ["removed first", "changed first"])
def test_a_dict_that_one_request_removes_is_gone(disk: DiskStore, cookie: str, order: str) -> None:
    """What another request changes in it leaves no part of it behind."""
    remove, change = begin(disk, cookie), begin(disk, cookie)
    del remove["cart"]
    change["cart"]["seen"] = True
    for request in (remove, change) if order == "removed first" else (change, remove):
        respond(request)
    assert "cart" not in begin(disk, cookie)


def test_two_requests_that_read_a_queue_and_add_to_it_both_survive(
    disk: DiskStore, cookie: str
) -> None:
    """Each took what was there, and began another list; what it began is a default or new."""
    begun = begin(disk, cookie)
    begun["queue"] = ["old"]
    respond(begun)
    requests = [begin(disk, cookie), begin(disk, cookie)]
    for session in requests:
        assert session.pop("queue", []) == ["old"]
        session.increment("n")
    for name, session in zip(("one", "other"), requests, strict=True):
        queue = session.get("queue", [])
        queue.append(name)
        session["queue"] = queue
        respond(session)
    assert begin(disk, cookie).all()["queue"] == ["one", "other"]


def test_a_default_of_pop_is_begun_by_both(disk: DiskStore, cookie: str) -> None:
    """As one of ``get``; a verb in between does not make another object of it."""
    requests = [begin(disk, cookie) for _ in range(2)]
    for session in requests:
        session.read()
    for number, session in enumerate(requests):
        queue = session.pop("queue", [])
        session.increment("n")
        queue.append(number)
        session["queue"] = queue
        respond(session)
    assert begin(disk, cookie).all()["queue"] == [0, 1]


def test_a_key_that_is_removed_written_and_put_back_is_there(disk: DiskStore, cookie: str) -> None:
    """Whatever the session was told in between."""
    session = begin(disk, cookie)
    cart = session.pop("cart")
    session.increment("n")
    session["cart"] = cart
    respond(session)
    assert begin(disk, cookie).all() == {**DATA, "n": 2}


def test_a_default_number_that_is_incremented_adds_up(disk: DiskStore, cookie: str) -> None:
    """Two first requests at once count to two."""
    requests = [begin(disk, cookie) for _ in range(2)]
    for session in requests:
        session.read()
    for session in requests:
        session.setdefault("count", 0)
        session.increment("count")
        respond(session)
    assert begin(disk, cookie)["count"] == 2


def test_a_number_put_again_wins_over_another_request_s_default(
    disk: DiskStore, cookie: str
) -> None:
    """``setdefault`` and an assignment of the same number is an assignment."""
    one, other = begin(disk, cookie), begin(disk, cookie)
    other["count"] = 5
    one.setdefault("count", 0)
    one["count"] = 0
    respond(other)
    respond(one)
    assert begin(disk, cookie)["count"] == 0


def test_threads_of_a_request_lose_nothing(disk: DiskStore, cookie: str) -> None:
    """Its first use, changes, and verbs, at once."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(60):
            session = begin(disk, cookie)

            def use(number: int, session: LiveSession = session) -> None:
                session[f"key {number}"] = number
                session.increment("sum")
                session.setdefault("list", []).append(number)

            with ThreadPoolExecutor(4) as pool:
                for job in [pool.submit(use, number) for number in range(4)]:
                    job.result()
            session.write()
            found = session.session.all()
            assert [found[f"key {number}"] for number in range(4)] == [0, 1, 2, 3]
            assert (found["sum"], sorted(found["list"])) == (4, [0, 1, 2, 3])
    finally:
        sys.setswitchinterval(before)


def test_increments_beside_changes_in_place_add_up(disk: DiskStore, cookie: str) -> None:
    """The verb counts from what the dict holds, and leaves other objects as they are."""
    one, other = begin(disk, cookie), begin(disk, cookie)
    for session in (one, other):
        books = session["cart"]["books"]
        session["n"] += 0
        assert session.increment("n") == session["n"] == 2
        books.append("Persuasion")  # the object that was handed out before
        assert session["cart"]["books"] is books
    respond(one)
    respond(other)
    session = begin(disk, cookie)
    assert (session["n"], session["cart"]["books"]) == (3, ["Emma", "Persuasion", "Persuasion"])
    session.request.abandon()


def test_a_verb_before_the_first_read_is_seen(disk: DiskStore, cookie: str) -> None:
    """What the actor did is in the dict when that is read."""
    session = begin(disk, cookie)
    assert session.increment("n", 5) == 6
    assert session["n"] == 6
    assert session.pull("n") == 6
    assert session.has("n") is False
    session.put("m", 1)
    session.forget("empty")
    session.forget("empty")
    assert session.all() == {"cart": {"books": ["Emma"]}, "m": 1}
    respond(session)
    session = begin(disk, cookie)
    assert session == {"cart": {"books": ["Emma"]}, "m": 1}
    session.request.abandon()


@pytest.mark.parametrize(
    ("key", "value", "error"),
    [
        ("when", object(), TypeError),
        ("when", {1: "one"}, TypeError),
        ("when", [float("nan")], ValueError),
        (1, "one", TypeError),
    ],
)
def test_what_json_does_not_give_back_is_refused(
    disk: DiskStore, cookie: str, key: Any, value: Any, error: type[Exception]
) -> None:
    """The error names the key, and nothing of the request is written."""
    session = begin(disk, cookie)
    session["n"] = 7
    session[key] = value
    with pytest.raises(error, match=str(key)):
        session.write()
    assert session.session.get("n") == 1
    del session[key]
    session.write()
    assert session.session.get("n") == 7
    session.request.abandon()


# Login, logout, the end.


def test_a_login_and_a_logout_change_the_id(disk: DiskStore, cookie: str) -> None:
    """Whenever the value of the key that names the user changes, the old cookie is dead."""
    for user in ("ada", "grace", None):
        session = begin(disk, cookie)
        session["n"] += 1
        if user:
            session["user"] = user
        else:
            del session["user"]
        after = respond(session)
        assert after not in ("", cookie)
        late = begin(disk, cookie)
        assert late == {}
        late.request.abandon()
        cookie = after
    session = begin(disk, cookie)
    session["n"] += 1
    assert respond(session) == ""  # the id is the same
    assert begin(disk, cookie).all()["n"] == 5


def test_a_change_in_what_is_known_of_a_user_is_no_login(disk: DiskStore, cookie: str) -> None:
    """Two pages that note something there keep the session, and a logout beside them is one."""
    session = begin(disk, cookie)
    session["user"] = {"id": 7}
    cookie = respond(session)
    one, other, logout = (begin(disk, cookie) for _ in range(3))
    one["user"]["seen"] = 1
    other["user"]["page"] = 2
    assert respond(one) == respond(other) == ""
    assert begin(disk, cookie)["user"] == {"id": 7, "seen": 1, "page": 2}
    late = begin(disk, cookie)
    late["user"]["seen"] = 3
    logout.pop("user")
    after = respond(logout)
    assert respond(late) == ""
    assert "user" not in begin(disk, after)


def test_a_login_beside_another_one_keeps_all_that_it_has_put(disk: DiskStore, cookie: str) -> None:
    """Also what it has put as it was: the session that begins has nothing else."""
    session = begin(disk, cookie)
    session.update(user=1, role="member", fresh=True)
    cookie = respond(session)
    logout, login = begin(disk, cookie), begin(disk, cookie)
    del logout["user"]
    login.update(user=2, role="member", fresh=True)
    respond(logout)
    after = respond(login)
    assert begin(disk, after).all() == {"user": 2, "role": "member", "fresh": True}


def test_clear_changes_the_id_of_who_was_logged_in(disk: DiskStore, cookie: str) -> None:
    """The cookie from before is dead."""
    session = begin(disk, cookie)
    session["user"] = 7
    cookie = respond(session)
    session = begin(disk, cookie)
    session.clear()
    session["after"] = 1
    after = respond(session)
    assert begin(disk, cookie).all() == {}
    assert begin(disk, after).all() == {"after": 1}


def test_clear_removes_all_data(disk: DiskStore, cookie: str) -> None:
    """What another request puts beside it goes too, as with ``Session.clear``."""
    session, other = begin(disk, cookie), begin(disk, cookie)
    other["beside"] = 1
    respond(other)
    session.clear()
    assert session == {}
    session["after"] = 2
    respond(session)
    assert begin(disk, cookie).all() == {"after": 2}


def test_invalidate_ends_the_session(disk: DiskStore, cookie: str) -> None:
    """What is put after it belongs to another session."""
    session = begin(disk, cookie)
    session["n"] = 2
    session.invalidate()
    assert session == {}
    session["after"] = 3
    after = respond(session)
    assert begin(disk, cookie).all() == {}
    assert begin(disk, after).all() == {"after": 3}


CHANGING: dict[str, Callable[[LiveSession], object]] = {
    "set": lambda session: session.__setitem__("n", 2),
    "put": lambda session: session.put("n", 2),
    "del": lambda session: session.__delitem__("n"),
    "pop": lambda session: session.pop("n"),
    "popitem": lambda session: session.popitem(),
    "setdefault": lambda session: session.setdefault("m", 2),
    "update": lambda session: session.update(n=2),
    "clear": lambda session: session.clear(),
    "increment": lambda session: session.increment("n"),
    "invalidate": lambda session: session.invalidate(),
    "flash": lambda session: session.flash("text", "late"),
}


@pytest.mark.parametrize("change", CHANGING.values(), ids=CHANGING)
def test_a_change_after_the_last_commit_is_refused(
    disk: DiskStore, cookie: str, change: Callable[[LiveSession], object]
) -> None:
    """It would be lost. What was read can still be read."""
    session = begin(disk, cookie)
    assert session["n"] == 1
    respond(session)
    with pytest.raises(SessionClosed):
        change(session)
    assert session == DATA


def test_the_flash_verbs_are_those_of_the_session(disk: DiskStore) -> None:
    """They are in the actor, and not among the data."""
    session = begin(disk)
    session.flash("text", "Saved.")
    session.flash_errors({"email": ["Not an address."]})
    session.flash_old({"email": "me@", "password": "secret"})
    session.now("here", 1)
    assert session.get_flash("here") == 1
    assert session == {}
    cookie = respond(session)
    session = begin(disk, cookie)
    assert session.get_flash("text") == session.get_flash_or("text") == "Saved."
    assert session.has_flash("text")
    assert session.has_error("email")
    assert (session.error("email"), session.old("email")) == ("Not an address.", "me@")
    assert session.old("password") == ""
    session.keep("text")
    respond(session)
    session = begin(disk, cookie)
    assert (session.get_flash("text"), session.error("email")) == ("Saved.", "")
    session.reflash()
    respond(session)
    session = begin(disk, cookie)
    assert session.has_flash("text")
    session.request.abandon()


def test_an_age_of_its_own_reaches_the_cookie(disk: DiskStore) -> None:
    """Both verbs are those of the session."""
    session = begin(disk)
    session["n"] = 1
    session.expire_after(500)
    headers = session.response_headers(200, [TEXT], origin=lambda: HTTPS, last=False)
    assert "Max-Age=500" in dict(headers)["Set-Cookie"]
    session.request.close()
    session = begin(disk)
    session["n"] = 1
    session.expire_on_close()
    headers = session.response_headers(200, [TEXT], origin=lambda: HTTPS, last=False)
    assert "Max-Age" not in dict(headers)["Set-Cookie"]
    session.request.close()


@pytest.mark.parametrize("status", [500, 200])
def test_nothing_is_written_for_a_failed_response(
    disk: DiskStore, cookie: str, status: int
) -> None:
    """What JSON does not have cannot make another failure of it; a change in the body neither."""
    session = begin(disk, cookie)
    session["n"] = 2
    session["when"] = object()
    refused = pytest.raises(TypeError, match="when") if status == 200 else nullcontext()
    with refused:
        session.response_headers(status, [TEXT], origin=lambda: HTTPS, last=False)
    with refused:
        session.flush()
    session.request.abandon()
    assert begin(disk, cookie).all() == DATA


def test_a_change_while_the_body_is_sent_is_kept(disk: DiskStore, cookie: str) -> None:
    """What was handed out before the headers may be changed after them."""
    session = begin(disk, cookie)
    books = session["cart"]["books"]
    session.response_headers(200, [TEXT], origin=lambda: HTTPS, last=False)
    books.append("Persuasion")
    session.flush()
    session.request.close()
    assert begin(disk, cookie).all()["cart"] == {"books": ["Emma", "Persuasion"]}


def test_it_cannot_be_pickled(disk: DiskStore, cookie: str) -> None:
    """It belongs to its request."""
    session = begin(disk, cookie)
    with pytest.raises(TypeError, match=r"dict\(session\)"):
        pickle.dumps(session)
    with pytest.raises(TypeError, match="unhashable"):
        hash(session)
    session.request.abandon()


def test_one_that_is_never_closed_leaves_no_actor(disk: DiskStore, cookie: str) -> None:
    """Nothing refers back to it, so it goes with its last user, and stops its actor."""
    gc.disable()
    try:
        session = begin(disk, cookie)
        session["n"] += 1
        session.write()
        request = weakref.ref(session.request)
        assert living_session_actors() != []
        del session
        assert request() is None
        assert living_session_actors() == []
    finally:
        gc.enable()


def test_modified_is_true_once_a_key_was_set(disk: DiskStore, cookie: str) -> None:
    """A change in place is found by ``write``, and does not set it."""
    session = begin(disk, cookie)
    session["cart"]["books"].append("Persuasion")
    with suppress(KeyError):
        session["missing"]
    assert not session.modified
    session["n"] = 1
    assert session.modified
    session.request.abandon()
