"""Owners of the sessions that doors of frameworks hand out: ``owner_from_login``."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Final

import pytest

from glimr_session import ConfigError, DiskStore, Session, SessionStore
from glimr_session._ids import owner_key
from glimr_session._request.live_session import LiveSession, owner_keys
from glimr_session._request.manager import SessionManager
from tests.request.test_live_session import respond
from tests.support.wsgi_apps import CONFIG, Recorded

pytestmark = pytest.mark.usefixtures("no_session_left")

KEYS: Final = ("_user_id", "member")  # a framework's, and the setting login_key


def begin(store: SessionStore, cookie: str = "") -> LiveSession:
    request = SessionManager.from_config(CONFIG, store).begin(cookie)
    return LiveSession(request, set(KEYS), KEYS)


def owner_after(store: DiskStore, *requests: Callable[[LiveSession], object]) -> str:
    """Return which of the owners the only session belongs to after some requests."""
    cookie = ""
    for request in requests:
        session = begin(store, cookie)
        request(session)
        cookie = respond(session) or cookie
    (info,) = store.all_sessions()
    known = {owner_key(name): name for name in ("ada", "eve", "7", "1", "tenant")}
    return known[info.owner_key] if info.owner_key else ""


def put(**values: Any) -> Callable[[LiveSession], object]:
    return lambda session: session.update(values)


def then(*changes: Callable[[LiveSession], object]) -> Callable[[LiveSession], object]:
    """Return a request that makes several changes."""
    return lambda session: [change(session) for change in changes]


@pytest.mark.parametrize(
    ("requests", "owner"),
    [
        ([put(member="ada")], "ada"),
        ([put(member=7)], "7"),
        ([put(member=1)], "1"),
        ([put(member="", n=1)], ""),
        ([put(_user_id=True, member="ada")], "ada"),
        ([put(_user_id="ada", member="eve")], "ada"),
        ([put(member="eve"), put(_user_id="ada")], "ada"),
        ([put(_user_id="ada", member="eve"), lambda s: s.pop("_user_id")], "eve"),
        ([put(member="ada"), put(member="eve")], "eve"),
        ([put(member="ada", n=1), lambda s: s.pop("member")], ""),
        ([put(member="ada"), then(LiveSession.clear, put(n=1))], ""),
        ([put(member="ada"), then(LiveSession.clear, put(member="eve"))], "eve"),
        ([put(member="ada"), then(LiveSession.invalidate, put(n=1))], ""),
        ([put(member="ada"), then(LiveSession.invalidate, put(member="ada"))], "ada"),
        ([put(member="ada"), put(n=1)], "ada"),
        ([put(member="ada"), then(lambda s: s.belongs_to("tenant"), put(n=1)), put(n=2)],
         "tenant"),
        ([then(put(member="ada"), lambda s: s.belongs_to(None))], ""),
    ],
    ids=[
        "a login", "a number", "the number 1", "nobody", "a flag", "the framework's key first",
        "a second login",
        "a login that another one was behind", "another user", "a logout", "clear",
        "clear, and a login", "invalidate", "invalidate, and a login", "another key",
        "another owner of the application's", "nobody, by the application",
    ],
)  # fmt: skip
def test_the_key_that_names_the_user_names_the_owner(
    requests: list[Callable[[LiveSession], object]], owner: str, disk: DiskStore
) -> None:
    """A login, a logout and a change of users do; what the application says comes first."""
    assert owner_after(disk, *requests) == owner


def test_a_value_that_is_no_id_is_refused_at_the_login(disk: DiskStore) -> None:
    """Else nobody would be in the lists; what is there from before the setting stays usable."""
    user = {"id": 7, "name": "Ada"}
    session = begin(disk)
    session["member"] = user
    with pytest.raises(TypeError, match=r"session\['member'\] is a dict.*belongs_to"):
        session.write()
    session.belongs_to(7)
    cookie = respond(session)
    assert len(disk.sessions(7)) == 1
    manager = SessionManager.from_config(CONFIG, disk)
    before = LiveSession(manager.begin(""), set(KEYS))
    before["member"] = user
    cookie = respond(before)
    session = begin(disk, cookie)
    assert session["member"] == user
    respond(session)


def test_the_owner_is_told_in_the_commit_of_the_login(disk: DiskStore) -> None:
    """There is no moment at which somebody is logged in whom no list shows."""
    before = begin(disk)
    before["cart"] = ["book"]
    session = begin(disk, respond(before))
    session["member"] = "ada"
    session.write()
    changes = session.session.state().changes
    assert changes.owner is not None
    assert (changes.id_changed, changes.owner.key) == (True, owner_key("ada"))
    assert changes.edits == {"member": "ada"}
    respond(session)


def test_a_store_that_keeps_no_owners_is_not_written_for_them() -> None:
    """It is told of the owner at each login, and at no request that only reads."""
    recorded = Recorded()
    before = begin(recorded.store)
    before["member"] = "ada"
    session = begin(recorded.store, respond(before))
    assert session["member"] == "ada"
    session.write()
    assert not session.session.state().dirty
    respond(session)


def test_a_request_that_only_reads_gives_an_older_session_to_its_user(disk: DiskStore) -> None:
    """Once, for the sessions from before the setting; after that it writes nothing."""
    manager = SessionManager.from_config(CONFIG, disk)
    before = LiveSession(manager.begin(""), set(KEYS))
    before["member"] = "ada"
    cookie = respond(before)
    session = begin(disk, cookie)
    assert session["member"] == "ada"
    respond(session)
    assert len(disk.sessions("ada")) == 1
    again = begin(disk, cookie)
    assert again["member"] == "ada"
    again.write()
    assert not again.session.state().dirty
    respond(again)


@pytest.mark.parametrize("owner_from_login", [False, True])
def test_the_setting_says_whether_a_login_names_the_owner(owner_from_login: bool) -> None:
    """Off by default, for a list of sessions is personal data."""
    config = dataclasses.replace(CONFIG, login_key="member", owner_from_login=owner_from_login)
    assert owner_keys(config, "_user_id") == (KEYS if owner_from_login else ())
    assert not CONFIG.owner_from_login


def test_a_session_has_its_store(disk: DiskStore) -> None:
    """A handler reaches the store by the session that it has, however it has it."""
    session = begin(disk)
    assert session.store is session.session.store is disk
    assert not session.request.used
    session.request.abandon()
    alone = Session.start("an id")
    with pytest.raises(ConfigError, match="belongs to no request"):
        alone.store  # noqa: B018
    alone.stop()
