"""Requests of one browser that run at the same time."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, Final

import pytest
from flask import Flask, session
from flask.testing import FlaskClient

from glimr_session import CookieStore, DiskStore
from glimr_session.testing import Steps
from tests.support.servers import THREADS, Client, running

from .sites import LIFETIME, do, make_app, ours, twin

BOTH: Final = "one opens, two opens, one commits, two commits"


def values(app: Flask, client: FlaskClient) -> dict[str, Any]:
    found: list[dict[str, Any]] = []
    do(app, lambda: found.append(dict(session)), client)
    return found[0]


def start(steps: Steps, **data: Any) -> tuple[Flask, FlaskClient]:
    """Return an application, and a browser that has a session with this data."""
    app = make_app(steps)
    client = app.test_client()
    do(app, lambda: session.update(start=0, **data), client)
    return app, client


def both(steps: Steps, app: Flask, client: FlaskClient, one: Any, two: Any) -> dict[str, Any]:
    """Make two requests at once; return what the browser has then, with the first one's cookie."""
    second = twin(client)
    steps.run(
        BOTH,
        one=lambda: do(app, one, client),
        two=lambda: do(app, two, second),
    )
    return values(app, client)


def test_two_requests_that_change_different_keys_both_survive(disk: DiskStore) -> None:
    """On the disk store."""
    steps = Steps(disk)
    app, client = start(steps)
    found = both(steps, app, client, lambda: session.update(a=1), lambda: session.update(b=(1, 2)))
    assert found == {"start": 0, "a": 1, "b": (1, 2)}


def test_two_requests_that_change_nested_values_both_survive(disk: DiskStore) -> None:
    """Different keys of one dict, and items of one list; ``modified = True`` changes nothing."""
    steps = Steps(disk)
    app, client = start(steps, cart={"books": 1, "list": ["old"]})

    def one() -> None:
        session["cart"]["books"] = 2
        session["cart"]["list"].append("one")
        session.modified = True

    def two() -> None:
        session["cart"]["pens"] = 5
        session["cart"]["list"].append("two")

    assert both(steps, app, client, one, two)["cart"] == {
        "books": 2,
        "pens": 5,
        "list": ["old", "one", "two"],
    }


def test_increments_add_up(disk: DiskStore) -> None:
    """``session.increment`` of two requests."""
    steps = Steps(disk)
    app, client = start(steps)
    found = both(steps, app, client, lambda: ours.increment("n"), lambda: ours.increment("n"))
    assert found["n"] == 2


def test_on_the_cookie_store_the_later_response_wins() -> None:
    """The limit of sessions that live in the cookie: it holds what one request knew."""
    steps = Steps(CookieStore(lifetime=LIFETIME))
    app, client = start(steps)
    found = both(steps, app, client, lambda: session.update(a=1), lambda: session.update(b=2))
    assert found == {"start": 0, "a": 1}


@pytest.mark.parametrize("order", ["slow commits, out commits", "out commits, slow commits"])
def test_a_logout_beside_a_slow_request(disk: DiskStore, order: str) -> None:
    """The slow one brings nobody back, whichever commits last."""
    steps = Steps(disk)
    app, client = start(steps, user="ada")
    slow = twin(client)
    steps.run(
        f"slow opens, out opens, {order}",
        slow=lambda: do(app, lambda: session.update(late=True), slow),
        out=lambda: do(app, lambda: session.clear(), client),
    )
    assert values(app, client) == {}
    assert values(app, slow) == {}


def test_a_login_beside_a_slow_request(disk: DiskStore) -> None:
    """The slow one sends no cookie that would undo the login."""
    steps = Steps(disk)
    app, client = start(steps)
    slow = twin(client)
    answers = steps.run(
        "slow opens, login opens, login commits, slow commits",
        slow=lambda: do(app, lambda: session.update(late=True), slow),
        login=lambda: do(app, lambda: session.update(_user_id="7"), client),
    )
    assert "Set-Cookie" not in answers["slow"].headers
    assert values(app, client)["_user_id"] == "7"


# On a real server.


def site() -> Flask:
    """Return a page whose parts are asked for at once: what the server below serves."""
    app = make_app(None, TESTING=False, GLIMR_SESSION={"gc_chance": 0.5})

    @app.get("/part/<int:number>")
    def part(number: int) -> dict[str, Any]:
        session[f"key {number}"] = (number,)
        session.setdefault("seen", []).append(number)
        ours.increment("parts")
        return {}

    @app.get("/all")
    def all_() -> dict[str, Any]:
        return {**session, "tuple": str(session.get("key 0"))}

    return app


@pytest.mark.parametrize("server", ["gunicorn", "waitress"])
def test_five_requests_at_once_lose_nothing(server: str, tmp_path: Path) -> None:
    """Each puts a key, appends to a list and increments; on processes and threads."""
    with running(server, tmp_path, app=f"{__name__}:site()", threads=THREADS + 1) as served:
        client = Client(served)
        client.get("/part/0")
        threads = [
            threading.Thread(target=client.get, args=(f"/part/{number}",)) for number in range(1, 6)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        found = client.get("/all")
    assert found["parts"] == 6
    assert sorted(found["seen"]) == [*range(6)]
    assert {key for key in found if key.startswith("key")} == {f"key {n}" for n in range(6)}
    assert found["tuple"] == "(0,)"
