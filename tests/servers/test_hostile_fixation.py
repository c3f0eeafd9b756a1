"""Session fixation, with requests of the attacker's that are on their way during the login."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Final

import pytest

from tests.servers.test_secrecy import Secrets
from tests.support.hostile import (
    KEY,
    SITE,
    Answer,
    ask,
    parts,
    sent,
)
from tests.support.hostile_app import SLOW
from tests.support.servers import PATIENCE, Server, running

FIXED: Final = "FIXED-USER-e61b9a04c7d3"


@pytest.fixture(scope="module", params=["waitress", "gunicorn"])
def crowd(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """Two servers with room for many at once, gunicorn with two processes."""
    directory = tmp_path_factory.mktemp("crowd")
    keys = {"GLIMR_SESSION_SECRET_KEYS": KEY}
    with running(request.param, directory, app=SITE, threads=12, environ=keys) as found:
        yield found


@contextmanager
def waiting(
    pool: ThreadPoolExecutor, port: int, page: str, cookie: str, value: str
) -> Iterator[Future[Answer]]:
    """Have a request open its session and wait; let it go on at the end of the block."""
    with socket.create_server(("127.0.0.1", 0)) as gate:
        gate.settimeout(PATIENCE)
        number = str(gate.getsockname()[1])
        answer = pool.submit(ask, port, page, sent(cookie), value=value, gate=number)
        connection, _ = gate.accept()
        with connection:
            yield answer
        answer.result(PATIENCE)


@pytest.mark.parametrize("store", ["disk", "cookie"])
def test_a_planted_session_gives_its_planter_nothing_of_who_logs_in_with_it(
    crowd: Server, store: str
) -> None:
    """The planter sees nothing of the login in any answer, before, during or after it."""
    port = crowd.port
    planted = ask(port, f"{store}/put", key="cart", value="planted").cookie
    assert ask(port, f"{store}/read", sent(planted)).data == {"cart": "planted"}
    logged_in = threading.Event()
    seen: list[Answer] = []

    def poll() -> None:
        while not logged_in.is_set():
            seen.append(ask(port, f"{store}/read", sent(planted)))

    with ThreadPoolExecutor(12) as pool:
        with ExitStack() as gates:
            slow = {
                value: gates.enter_context(waiting(pool, port, f"{store}/{page}", planted, value))
                for page, value in [*(("slow", what) for what in SLOW), ("late", "late")]
                if value != "logout"
            }
            polling = pool.submit(poll)
            login = ask(port, f"{store}/login", sent(planted), value=FIXED)
        logged_in.set()
        polling.result(PATIENCE)
    seen += [answer.result() for answer in slow.values()]
    assert all(answer.status == 200 for answer in seen)
    after = [ask(port, f"{store}/read", sent(planted)) for _ in range(8)]
    victim = ask(port, f"{store}/read", sent(login.cookie))
    assert victim.id == login.id
    assert victim.data["user"] == FIXED
    if store == "disk":
        assert all(answer.data == {} and answer.id != login.id for answer in after)
        other_login = slow["login"].result()
        answers = (answer for answer in (*seen, *after) if answer is not other_login)
        assert all(answer.set_cookies == [] for answer in answers)
        # It has a session of its own, of what it wrote: neither the victim's nor what was before.
        other = ask(port, f"{store}/read", sent(other_login.cookie))
        assert other.data == {"user": "mallory"}
        assert len({other.id, victim.id}) == 2
    else:  # whoever copied a cookie of this store can go on using the copy
        assert all(answer.data == {"cart": "planted"} for answer in after)
    watched = Secrets()
    watched.hidden = {FIXED, login.id, parts(login.cookie)[-1]}
    watched.shown = [str(part) for answer in (*seen, *after) for part in answer]
    assert watched.seen() == set()


def test_a_slow_logout_of_the_planter_gives_nothing_either(crowd: Server) -> None:
    """A slow logout ends the session under its new id, and its answer tells nothing of it."""
    port = crowd.port
    planted = ask(port, "disk/put", key="cart", value="planted").cookie
    with ThreadPoolExecutor(1) as pool:
        with waiting(pool, port, "disk/slow", planted, "logout") as slow:
            login = ask(port, "disk/login", sent(planted), value=FIXED)
        answer = slow.result()
    assert answer.data == {}
    watched = Secrets()
    watched.hidden = {FIXED, login.id, parts(login.cookie)[-1]}
    watched.shown = [str(part) for part in answer]
    assert watched.seen() == set()
    assert ask(port, "disk/read", sent(login.cookie)).data == {}
