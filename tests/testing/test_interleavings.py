"""Steps: requests to a whole application, in a given order of steps."""

from __future__ import annotations

import json
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
from glimr_session.testing import Steps
from tests.support.server_apps import site
from tests.support.wsgi_client import Browser

CONFIG = SessionConfig(secret_keys=["a key for tests that is long enough"], gc="never")


@pytest.fixture(params=["cookie", "disk"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> SessionStore:
    return CookieStore() if request.param == "cookie" else DiskStore(tmp_path / "sessions")


@pytest.fixture
def disk(tmp_path: Path) -> DiskStore:
    return DiskStore(tmp_path / "sessions")


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
    """The same two requests have two outcomes in two orders."""
    answers = Answers(disk)
    both = {"one": lambda: answers.get("/count"), "other": lambda: answers.get("/count")}
    at_once = answers.steps.run("one opens, other opens, other commits, one commits", **both)
    assert at_once == {"one": 2, "other": 2}
    one_by_one = answers.steps.run("other opens, other commits, one opens, one commits", **both)
    assert one_by_one == {"one": 5, "other": 4}
    assert answers.get("/session") == {"count": 5}


def test_a_step_that_is_not_taken_holds_nobody_up(disk: DiskStore) -> None:
    """A request that only reads commits nothing, and the others go on."""
    answers = Answers(disk)
    found = answers.steps.run(
        "reader opens, writer opens, reader commits, writer commits",
        reader=lambda: answers.get("/session"),
        writer=lambda: answers.get("/count"),
    )
    assert found == {"reader": {"count": 1}, "writer": 2}


def test_a_request_that_waits_in_vain_says_for_what(disk: DiskStore) -> None:
    """An order that cannot be raises an error, and commits nothing."""
    answers = Answers(disk, patience=0.2)
    with pytest.raises(TimeoutError, match=r"count opens: waited 0\.2 s in vain for count commits"):
        answers.steps.run("count commits, count opens", count=lambda: answers.get("/count"))
    assert answers.get("/session") == {"count": 1}


@pytest.mark.parametrize("order", ["", "one", "one leaves", "two opens", "one opens,"])
def test_an_order_with_a_slip_is_refused(disk: DiskStore, order: str) -> None:
    """A slip is refused before any request runs."""
    steps = Steps(disk)
    with pytest.raises(ValueError, match="is no step: write a request, one"):
        steps.run(order, one=lambda: pytest.fail("it ran"))


def test_what_a_request_raises_is_raised(disk: DiskStore) -> None:
    """An error of one request is raised, and the other request goes on."""
    answers = Answers(disk)

    def fail() -> None:
        raise StoreUnavailable("on purpose")

    with pytest.raises(StoreUnavailable, match="on purpose"):
        answers.steps.run("bad opens, good opens", bad=fail, good=lambda: answers.get("/count"))
    assert answers.get("/session") == {"count": 2}


def test_steps_promises_what_its_store_does(store: SessionStore) -> None:
    """Steps declares the same limits and lifetimes as its store."""
    steps = Steps(store)
    for name in (
        "kind",
        "server_side",
        "atomic",
        "max_cookie_size",
        "expires_by_itself",
        "lifetime",
        "absolute_lifetime",
    ):
        assert getattr(steps, name) == getattr(store, name)


def test_an_application_that_answers_an_error_hides_no_order_that_cannot_be(
    disk: DiskStore,
) -> None:
    """The run fails even if the application has made a 500 of the error."""
    answers = Answers(disk, patience=0.2)

    def count() -> str:
        try:
            return str(answers.get("/count"))
        except TimeoutError:
            return "500"

    with pytest.raises(TimeoutError, match="waited"):
        answers.steps.run("count commits, count opens", count=count)


def test_a_step_that_is_named_twice_is_refused(disk: DiskStore) -> None:
    """A step that is named twice is refused before any request runs."""
    with pytest.raises(ValueError, match="names a step twice"):
        Steps(disk).run("one opens, one opens", one=lambda: pytest.fail("it ran"))


def test_a_client_in_another_thread_is_found_out(disk: DiskStore) -> None:
    """A client that calls the application in another thread raises an error."""
    answers = Answers(disk)

    def elsewhere() -> None:
        thread = threading.Thread(target=answers.get, args=("/count",))
        thread.start()
        thread.join()

    with pytest.raises(ValueError, match="one took none of its steps"):
        answers.steps.run("one opens, one commits", one=elsewhere)
