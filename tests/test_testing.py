"""What users' tests are offered does what it says, and says what it lacks."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from glimr_session import (
    CookieStore,
    DiskStore,
    SessionConfig,
    SessionMiddleware,
    SessionStore,
    StoreUnavailable,
)
from glimr_session.testing import Steps, Visitor

from .server_apps import site
from .wsgi_client import Browser

CONFIG = SessionConfig(secret_keys=["a key for tests that is long enough"], gc="never")


@pytest.fixture(params=["cookie", "disk"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> SessionStore:
    return CookieStore() if request.param == "cookie" else DiskStore(tmp_path / "sessions")


@pytest.fixture
def disk(tmp_path: Path) -> DiskStore:
    return DiskStore(tmp_path / "sessions")


def test_a_visitor_keeps_its_cookie(store: SessionStore) -> None:
    """A session goes on from request to request, and ends with a logout."""
    with Visitor(store) as visitor:
        begin = visitor.request()
        begin.session["a"] = 1
        set_cookie = begin.respond()
        assert set_cookie is not None
        assert "HttpOnly" in set_cookie
        assert set_cookie.startswith(visitor.cookie)
        assert visitor.request().session.all() == {"a": 1}
        logout = visitor.request()
        logout.session.invalidate()
        logout.respond()
        assert visitor.cookie == ""
        assert visitor.request().session.all() == {}


def test_the_steps_are_in_the_order_of_the_lines(disk: DiskStore) -> None:
    """Two requests that have opened the same session, the later one first to commit."""
    with Visitor(disk) as visitor:
        begin = visitor.request()
        begin.session["n"] = 1
        begin.respond()
        slow, quick = visitor.request().open(), visitor.request().open()
        assert quick.session.increment("n") == 2
        quick.respond()
        assert slow.session.increment("n") == 2  # it does not see the other one
        slow.respond()
        assert visitor.request().session["n"] == 3


def test_a_response_can_get_lost(disk: DiskStore) -> None:
    """The change is made, and the browser has no cookie for it."""
    with Visitor(disk) as visitor:
        begin = visitor.request()
        begin.session["a"] = 1
        set_cookie = begin.respond(received=False)
        assert visitor.cookie == ""
        assert set_cookie is not None
        with Visitor(disk, set_cookie.partition(";")[0]) as other:
            assert other.request().session["a"] == 1


def test_the_body_can_be_made_after_the_headers(disk: DiskStore) -> None:
    """What is changed meanwhile is committed with the end of the body."""
    with Visitor(disk) as visitor:
        stream = visitor.request()
        stream.session["a"] = 1
        stream.send_headers()
        stream.session["a"] = 2
        assert visitor.request().session["a"] == 1
        stream.close()
        assert visitor.request().session["a"] == 2


def test_a_request_that_breaks_off_changes_nothing(disk: DiskStore) -> None:
    """As one whose handler raised."""
    with Visitor(disk) as visitor:
        broken = visitor.request()
        broken.session["a"] = 1
        broken.break_off()
        assert visitor.cookie == ""
        assert disk.gc() == 0


def test_whoever_has_copied_the_cookie_is_another_visitor(disk: DiskStore) -> None:
    """And finds nothing with it after a login."""
    with Visitor(disk) as visitor:
        begin = visitor.request()
        begin.session["a"] = 1
        begin.respond()
        with Visitor(disk, visitor.cookie) as thief:
            assert thief.request().session.all() == {"a": 1}
            login = visitor.request()
            login.session.regenerate()
            login.respond()
            assert thief.request().session.all() == {}
        assert visitor.request().session.all() == {"a": 1}


class Answers:
    """A site on a store with steps, and a browser with a session."""

    def __init__(self, store: SessionStore, patience: float = 10.0) -> None:
        self.steps = Steps(store, patience=patience)
        self.app = SessionMiddleware(site, CONFIG, store=self.steps)
        self.browser = Browser()
        self.get("/count")

    def get(self, path: str) -> Any:
        response = self.browser.request(self.app, extra={"PATH_INFO": path}).begin().finish()
        return json.loads(response.body)["found"]


def test_requests_to_an_application_wait_for_their_turn(disk: DiskStore) -> None:
    """The same two requests, in two orders with two outcomes."""
    answers = Answers(disk)
    both = {"one": lambda: answers.get("/count"), "other": lambda: answers.get("/count")}
    at_once = answers.steps.run("one opens, other opens, other commits, one commits", **both)
    assert at_once == {"one": 2, "other": 2}
    one_by_one = answers.steps.run("other opens, other commits, one opens, one commits", **both)
    assert one_by_one == {"one": 5, "other": 4}
    assert answers.get("/session") == {"count": 5}


def test_a_step_that_is_not_taken_holds_nobody_up(disk: DiskStore) -> None:
    """A request that only reads commits nothing."""
    answers = Answers(disk)
    found = answers.steps.run(
        "reader opens, writer opens, reader commits, writer commits",
        reader=lambda: answers.get("/session"),
        writer=lambda: answers.get("/count"),
    )
    assert found == {"reader": {"count": 1}, "writer": 2}


def test_a_request_that_waits_in_vain_says_for_what(disk: DiskStore) -> None:
    """An order that cannot be: it does not hang, and nothing is committed."""
    answers = Answers(disk, patience=0.2)
    with pytest.raises(TimeoutError, match=r"count opens: waited 0\.2 s in vain for count commits"):
        answers.steps.run("count commits, count opens", count=lambda: answers.get("/count"))
    assert answers.get("/session") == {"count": 1}


@pytest.mark.parametrize("order", ["", "one", "one leaves", "two opens", "one opens,"])
def test_an_order_with_a_slip_is_refused(disk: DiskStore, order: str) -> None:
    """Before anything runs."""
    steps = Steps(disk)
    with pytest.raises(ValueError, match="is no step: write a request, one"):
        steps.run(order, one=lambda: pytest.fail("it ran"))


def test_what_a_request_raises_is_raised(disk: DiskStore) -> None:
    """And the other request is not left waiting."""
    answers = Answers(disk)

    def fail() -> None:
        raise StoreUnavailable("on purpose")

    with pytest.raises(StoreUnavailable, match="on purpose"):
        answers.steps.run("bad opens, good opens", bad=fail, good=lambda: answers.get("/count"))
    assert answers.get("/session") == {"count": 2}


def test_steps_promises_what_its_store_does(store: SessionStore) -> None:
    """The middleware treats it as it would treat the store."""
    steps = Steps(store)
    for name in ("kind", "server_side", "atomic", "largest", "lifetime", "absolute_lifetime"):
        assert getattr(steps, name) == getattr(store, name)


def test_visitors_need_nothing_for_tests_alone() -> None:
    """Only the contract asks for pytest and Hypothesis, and says how to get them."""
    script = """
import sys
for name in ("pytest", "hypothesis"):
    sys.modules[name] = None
import glimr_session.testing
assert glimr_session.testing.Visitor
try:
    glimr_session.testing.StoreContract
except ImportError as error:
    print(error)
"""
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert "StoreContract needs pytest" in result.stdout
    assert "pip install 'glimr-session[testing]'" in result.stdout


def test_the_contract_asks_for_a_store(tmp_path: Path) -> None:
    """A suite without one fails with what is to be done, and one with a store passes."""
    (tmp_path / "test_mine.py").write_text(
        """
import pytest
from glimr_session import CookieStore
from glimr_session.testing import StoreContract
from glimr_session.testing.contract import ABSOLUTE, LIFETIME

class TestNothing(StoreContract):
    pass

class TestCookies(StoreContract):
    @pytest.fixture
    def store(self):
        return CookieStore(lifetime=LIFETIME, absolute_lifetime=ABSOLUTE)

    @pytest.fixture
    def broken(self, store):
        return store
"""
    )
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert "override the fixture `store`" in result.stdout
    assert "FAILED test_mine.py::TestNothing" in result.stdout or "ERROR" in result.stdout
    assert "::TestCookies" not in result.stdout
    assert " passed" in result.stdout


def test_an_application_that_answers_an_error_hides_no_order_that_cannot_be(
    disk: DiskStore,
) -> None:
    """Frameworks make a 500 of what a store raises; the run fails all the same."""
    answers = Answers(disk, patience=0.2)

    def count() -> str:
        try:
            return str(answers.get("/count"))
        except TimeoutError:
            return "500"

    with pytest.raises(TimeoutError, match="waited"):
        answers.steps.run("count commits, count opens", count=count)


def test_a_step_that_is_named_twice_is_refused(disk: DiskStore) -> None:
    """A request opens and commits once."""
    with pytest.raises(ValueError, match="names a step twice"):
        Steps(disk).run("one opens, one opens", one=lambda: pytest.fail("it ran"))


def test_a_client_in_another_thread_is_found_out(disk: DiskStore) -> None:
    """Its requests cannot be told apart, and would pass in any order."""
    answers = Answers(disk)

    def elsewhere() -> None:
        thread = threading.Thread(target=answers.get, args=("/count",))
        thread.start()
        thread.join()

    with pytest.raises(ValueError, match="one took none of its steps"):
        answers.steps.run("one opens, one commits", one=elsewhere)
