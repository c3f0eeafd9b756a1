"""SessionActor: a session that belongs to its request, and to nobody else."""

from __future__ import annotations

import gc
import weakref

import pytest
from pykka import ActorDeadError, ActorRegistry

from glimr_session import CookieStore, Session
from glimr_session._session.actor import SessionActor
from glimr_session._session.messages import Finish, Get, GetAll, GetState, Increment, Put
from glimr_session._session.state import SessionState
from glimr_session.testing import Visitor
from tests.support.actors import living_session_actors

ID = "0" * 64


def test_an_actor_applies_messages_to_its_state() -> None:
    """Each message finds the state that the one before it has left."""
    ref = SessionActor.start(SessionState.new(ID))
    ref.tell(Put("a", 1))
    assert ref.ask(Increment("a", 2)) == 3
    assert ref.ask(GetAll()) == {"a": 3}
    ref.stop()


def test_a_message_that_fails_leaves_the_state_and_the_actor() -> None:
    """An error is raised in the asking thread, and the session goes on as it was."""
    ref = SessionActor.start(SessionState.new(ID))
    ref.tell(Put("a", "text"))
    before = ref.ask(GetState())
    with pytest.raises(TypeError, match="'a'"):
        ref.ask(Increment("a", 1))
    assert repr(ref.ask(GetState())) == repr(before)
    ref.stop()


def test_finish_replies_with_the_state_and_stops() -> None:
    """Nothing can come after the state that is committed last."""
    ref = SessionActor.start(SessionState.new(ID))
    ref.tell(Put("a", 1))
    assert ref.ask(Finish()).data == {"a": 1}
    assert not ref.is_alive()
    with pytest.raises(ActorDeadError):
        ref.tell(Put("a", 2))
    with pytest.raises(ActorDeadError):
        ref.ask(Get("a", None))


# Sessions are not in Pykka's registry.


def test_stop_all_does_not_end_a_request() -> None:
    """A request goes on, and commits, after the application has stopped all its actors."""
    with Visitor(CookieStore()) as visitor:
        request = visitor.request()
        request.session["a"] = 1
        assert ActorRegistry.stop_all() == []
        assert request.session.increment("a") == 2
        assert request.respond() is not None
        assert visitor.request().session.all() == {"a": 2}


def test_a_broadcast_reaches_no_session() -> None:
    """A broadcast of the application to all its actors is no message to a session."""
    session = Session.start(ID)
    before = session.state()
    ActorRegistry.broadcast(Put("a", 1))
    ActorRegistry.broadcast(Put("a", 1), target_class=SessionActor)
    assert repr(session.state()) == repr(before)
    session.stop()


def test_ten_thousand_open_sessions_are_not_in_the_registry() -> None:
    """The registry knows no session, however many are open."""
    sessions = [Session.start(ID, {"number": number}) for number in range(10_000)]
    assert ActorRegistry.get_all() == []
    assert ActorRegistry.get_by_class(SessionActor) == []
    assert len(living_session_actors()) == 10_000
    assert [session["number"] for session in sessions] == list(range(10_000))
    for session in sessions:
        session.stop()
    assert living_session_actors() == []


def test_a_session_that_nobody_holds_is_collected() -> None:
    """Python collects a session that was abandoned without a stop, and its actor."""
    session = Session.start(ID, {"a": 1})
    (actor,) = living_session_actors()
    gone = weakref.ref(actor)
    del actor
    gc.collect()
    assert gone() is not None
    del session
    gc.collect()
    assert gone() is None
    assert living_session_actors() == []
