# pyright: strict
"""What users write by mistake. Both checkers report each line marked as an error, and no other.

See ``test_typing.py``.
"""

from __future__ import annotations

import datetime

from glimr_session import (
    CommitResult,
    Json,
    Session,
    SessionConfig,
    SessionMiddleware,
    SessionStore,
    StoredSession,
    encode_payload,
    flash_errors,
    new,
    save,
    setup,
)
from glimr_session._session.changes import Changes


def write(session: Session) -> None:
    """A session holds only what JSON has."""
    session.put("set", {1, 2})  # error
    session.put("object", object())  # error
    session.put("bytes as keys", {b"a": 1})  # error
    session.put("numbers as keys", {1: "one"})  # error
    session.put("date", datetime.date(2026, 1, 1))  # error
    session.put("deep", [{"a": {1, 2}}])  # error
    session.put("complex", 1j)  # error
    session["set"] = {1, 2}  # error
    session["object"] = object()  # error
    session.flash("set", {1, 2})  # error
    session.now("set", {1, 2})  # error
    session.setdefault("set", {1, 2})  # error
    session.update(a={1, 2})  # error
    session.increment("n", "1")  # error
    encode_payload({"a": {1, 2}}, {})  # error
    Session.start("1" * 64, {"a": {1, 2}})  # error


def keys(session: Session) -> None:
    """Keys are str."""
    session.put(1, "one")  # error
    session[1] = "one"  # error
    session.get(b"a")  # error
    session.forget(None)  # error
    session.keep(["a", "b"])  # error
    print(session[1])  # error


def gone(session: Session) -> None:
    """A session has no more verbs than the documented ones."""
    session.save()  # error
    session.id = "1" * 64  # error


def configure() -> None:
    """Settings have types."""
    SessionConfig(store=None)  # error
    SessionConfig(lifetime="60")  # error
    SessionConfig(secret_keys="one long string")  # error
    SessionConfig(cookie_partitioned="yes")  # error
    SessionConfig(gc=lambda: "now")  # error
    SessionConfig(disk_directory=b"var")  # error
    SessionConfig(cookie_secured=True)  # error
    SessionConfig("cookie")  # error
    SessionConfig().store = "cookie"  # error
    SessionConfig.from_env([("GLIMR_SESSION_STORE", "cookie")])  # error


def stores(store: SessionStore, session: Session) -> None:
    """Stores are objects, and functions have the types of the reference."""
    setup("disk")  # error
    setup(SessionStore)  # error
    SessionStore()  # error
    SessionMiddleware("app")  # error
    save("id", {"a": {1, 2}}, {})  # error
    store.load(1)  # error
    flash_errors(session, ["wrong"])  # error
    new(load=lambda _: None, save=save, destroy=str, gc=int, cookie_value=str)  # error
    StoredSession("1" * 64)  # error
    CommitResult("lost")  # error


class Store(SessionStore):
    """A store whose methods return something else."""

    def open(self, cookie_value: str) -> dict[str, Json]:  # error
        """Return the data alone."""
        return {}

    def commit(self, changes: Changes, *, wait: bool = True) -> str:  # error
        """Return the cookie's value alone."""
        return changes.id

    def gc(self) -> int:
        """Return a number, as it has to."""
        return "0"  # error
