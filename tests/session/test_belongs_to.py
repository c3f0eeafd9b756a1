"""belongs_to: the verb that gives a session to its owner."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from glimr_session import Json, Session, generate_id
from glimr_session._ids import owner_key
from glimr_session._session.serialization import Owner


@pytest.fixture
def session() -> Iterator[Session]:
    session = Session.start(generate_id(), {"n": 1})
    yield session
    session.stop()


def owner_of(session: Session) -> Owner | None:
    changes = session.state().changes
    return changes.owner_on(changes.base)


def test_it_keeps_a_hash_of_the_owner_and_what_was_noted(session: Session) -> None:
    """Nothing else tells who it is; a number and its digits are one owner."""
    noted: dict[str, Json] = {"device": "phone", "place": ["Turin", None]}
    session.belongs_to(7, **noted)
    owner = owner_of(session)
    assert owner is not None
    assert (owner.key, owner.noted) == (
        owner_key("7"),
        {"device": "phone", "place": ["Turin", None]},
    )
    assert owner.since > 0
    assert session.all() == {"n": 1}
    assert session.state().dirty


def test_the_last_owner_counts(session: Session) -> None:
    """What was noted of the one before is gone with it; None is nobody."""
    session.belongs_to(7, device="phone")
    session.belongs_to("ada")
    owner = owner_of(session)
    assert owner is not None
    assert (owner.key, owner.noted) == (owner_key("ada"), {})
    session.belongs_to(None)
    assert owner_of(session) is None


def test_a_session_after_a_logout_is_nobody_s(session: Session) -> None:
    """It belongs to somebody again when it is told so afterwards."""
    session.belongs_to(7)
    session.invalidate()
    assert owner_of(session) is None
    session.belongs_to(8)
    owner = owner_of(session)
    assert owner is not None
    assert owner.key == owner_key(8)


def test_a_new_id_changes_no_owner(session: Session) -> None:
    """``regenerate()`` keeps it, before and after."""
    session.belongs_to(7, device="phone")
    before = owner_of(session)
    session.regenerate()
    assert owner_of(session) == before


@pytest.mark.parametrize("owner", ["", 7.0, True, b"7", ["ada"], object], ids=repr)
def test_what_is_no_id_of_a_user_is_refused(owner: Any, session: Session) -> None:
    """At once, and nothing has changed."""
    with pytest.raises((TypeError, ValueError), match="an owner is the id of a user"):
        session.belongs_to(owner)
    assert not session.state().dirty


def test_what_json_does_not_have_cannot_be_noted(session: Session) -> None:
    """The error names the key, and nothing has changed."""
    with pytest.raises(TypeError, match="device"):
        session.belongs_to(7, device=object())  # type: ignore[arg-type]
    assert not session.state().dirty
