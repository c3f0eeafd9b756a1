"""Many requests of one session at once, in many processes: nothing lost, nobody brought back.

Each test plays one scene on each server. Where the order of the steps matters, requests
wait at a gate until the test lets them through; where it does not, many threads ask at
once, each writes down what it was told, and a checker compares that with what is there
in the end.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import chain
from typing import Final

import pytest

from tests.support.checkers import Visit, complaints, flash_complaints
from tests.support.concurrency import (
    ALL,
    CLIENTS,
    GATE,
    NEEDS_USER,
    REQUESTS,
    ROUNDS,
    SHOWN,
    USER,
    WORK,
    Answer,
    Request,
    Slow,
    ask,
    at_once,
    begin,
    everywhere,
    leaves,
    rounds,
    rows,
    served_by_many,
)
from tests.support.concurrency_app import Step
from tests.support.servers import Server, running

PROCESSES: Final = 4
THREADS: Final = 4
WRITERS: Final = 16


@pytest.fixture(scope="module", params=("waitress", "gunicorn", "gunicorn preload"))
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """Each server, with the disk store."""
    with running(
        request.param,
        tmp_path_factory.mktemp("concurrency"),
        app="tests.support.concurrency_app:site",
        processes=PROCESSES,
        threads=THREADS,
    ) as found:
        everywhere(found, begin(found))  # gunicorn listens before its processes are there
        yield found


# Nothing is lost.


def test_requests_that_write_different_keys_leave_each_other_alone(server: Server) -> None:
    """Each client finds its own last write, and in the end all writes are there."""
    cookie = begin(server)

    def work(client: int) -> list[Answer]:
        key = f"client {client}"
        return [
            ask(server, cookie, ("get", key), WORK, ("put", key, number))
            for number in range(REQUESTS)
        ]

    answers = at_once(work)
    for told in answers:
        assert [answer.found[0] for answer in told] == [None, *range(REQUESTS - 1)]
    assert served_by_many(server, chain(*answers))
    last = {f"client {client}": REQUESTS - 1 for client in range(CLIENTS)}
    assert everywhere(server, cookie) == {"user": "ada", **last}


def test_increments_of_one_counter_add_up(server: Server) -> None:
    """The counter comes to the number of answers, and may count clients that left before.

    Those add a thousand each, so that they make up for no answer that was lost.
    """
    cookie = begin(server)
    left: list[int] = []

    def work(client: int) -> list[Answer]:
        answers = []
        for number in range(REQUESTS):
            if leaves(number):
                request = Request(server, cookie, ("increment", "count", 1000), WORK)
                request.leave(abruptly=client % 2 == 0)
                left.append(1000)
            else:
                answers.append(ask(server, cookie, ("increment", "count"), WORK))
        return answers

    answers = at_once(work)
    for told in answers:
        numbers = [answer.found[0] for answer in told]
        assert numbers == sorted(set(numbers))  # each is more than the one before
    assert served_by_many(server, chain(*answers))
    acknowledged = [1] * sum(map(len, answers))
    (count,) = ask(server, cookie, ("get", "count")).found
    thousands, ones = divmod(count, 1000)
    assert complaints(acknowledged, left, [1000] * thousands + [1] * ones) == []


def test_a_history_keeps_every_entry(server: Server) -> None:
    """Every acknowledged entry is there once, and no entry that nobody has sent.

    Each request adds an entry and counts it, in one commit: there are as many as counted.
    """
    cookie = begin(server)
    left: list[tuple[str, str]] = []
    written: list[tuple[str, str]] = []

    def work(client: int) -> list[Answer]:
        answers = []
        for number in range(REQUESTS):
            entry = (uuid.uuid4().hex, f"client {client}, request {number}")
            request = Request(server, cookie, ("put", *entry), ("increment", "entries"), WORK)
            if leaves(number):
                request.leave(abruptly=client % 2 == 0)
                left.append(entry)
            else:
                answers.append(request.answer())
                written.append(entry)
        return answers

    answers = at_once(work)
    assert served_by_many(server, chain(*answers))
    (found,) = ask(server, cookie, ALL).found
    assert found.pop("user") == "ada"
    assert found.pop("entries") == len(found)
    assert complaints(written, left, found.items()) == []


def test_flash_is_shown_and_shown_once(server: Server) -> None:
    """Every flash is shown to somebody, and to nobody who comes after that was answered.

    Nobody leaves before the answer here: what was shown to such a one may be lost.
    """
    cookie = begin(server)
    flashed: list[str] = []

    def work(client: int) -> list[Answer]:
        answers = []
        for _ in range(REQUESTS):
            if client % 2:
                answers.append(ask(server, cookie, SHOWN, WORK))
            else:
                message = uuid.uuid4().hex
                answers.append(ask(server, cookie, SHOWN, WORK, ("flash", message, client)))
                flashed.append(message)
        return answers

    answers = [answer for told in at_once(work) for answer in told]
    assert served_by_many(server, answers)
    answers += [ask(server, cookie, SHOWN) for _ in range(2)]
    visits = [Visit(answer.began, answer.ended, answer.found[0]) for answer in answers]
    assert visits[-1].shown == {}
    assert flash_complaints(flashed, visits) == []


def test_flash_set_beside_the_one_who_is_shown_other_flash_is_kept(server: Server) -> None:
    """A slow request consumes what it was shown, and nothing that was set since.

    Not even the same words under the same key: they were said a second time.
    """
    cookie = begin(server)
    notice: Step = ("flash", "notice", "saved")
    ask(server, cookie, notice)
    with Slow(server, cookie, SHOWN, GATE) as slow:
        assert slow.beside(cookie, SHOWN, notice).found == [{"notice": "saved"}, None]
        assert slow.go_on().found == [{"notice": "saved"}]
    assert ask(server, cookie, SHOWN).found == [{"notice": "saved"}]
    assert ask(server, cookie, SHOWN).found == [{}]


def test_flash_set_by_a_slow_request_outlives_who_consumes_beside_it(server: Server) -> None:
    """Flash that others consume meanwhile is gone, and flash of the slow request is there."""
    cookie = begin(server)
    ask(server, cookie, ("flash", "notice", "saved"))
    with Slow(server, cookie, ("flash", "late", "done"), GATE) as slow:
        assert slow.beside(cookie, SHOWN).found == [{"notice": "saved"}]
        slow.go_on()
    assert ask(server, cookie, SHOWN).found == [{"late": "done"}]


# The session goes on under a new id.


@pytest.mark.parametrize("moves", [1, 2])
def test_a_slow_put_follows_its_session_to_the_new_id(server: Server, moves: int) -> None:
    """A slow put is made under the new id, and its answer tells nothing of that id."""
    before = rows(server)
    old = new = begin(server)
    late = ("put", "late", 1), ("increment", "number"), ("flash", "notice", "saved")
    with Slow(server, old, NEEDS_USER, GATE, *late) as slow:
        for _ in range(moves):
            moved = slow.beside(new, ("regenerate",), ("increment", "number")).cookie
            assert moved
            assert moved != new
            new = moved
        assert everywhere(server, old) == {}
        assert slow.go_on().cookie is None
    assert ask(server, new, SHOWN).found == [{"notice": "saved"}]
    assert everywhere(server, new) == {"user": "ada", "late": 1, "number": moves + 1}
    assert everywhere(server, old) == {}
    assert rows(server) == before + 1


@pytest.mark.parametrize("early", [("get", "early"), ("put", "early", 1)], ids=["read", "written"])
def test_a_put_late_in_a_stream_follows_its_session_to_the_new_id(
    server: Server, early: Step
) -> None:
    """A change after the headers is saved under the new id."""
    old = begin(server)
    with Slow(server, old, early, ("stream",), GATE, ("put", "late", 1)) as slow:
        assert slow.cookie() is None
        new = slow.beside(old, ("regenerate",)).cookie
        assert new
        slow.go_on()
    assert everywhere(server, new).get("late") == 1
    assert everywhere(server, old) == {}


@pytest.mark.parametrize("early", [USER, ("regenerate",)], ids=["begun", "moved"])
@pytest.mark.parametrize("late", [("put", "late", 1), ("invalidate",)], ids=["put", "logout"])
def test_a_stream_follows_the_session_that_came_with_its_headers(
    server: Server, early: Step, late: Step
) -> None:
    """A stream that has begun or moved a session follows it to the next id."""
    before = rows(server)
    old = "" if early == USER else begin(server)
    with Slow(server, old, early, ("stream",), GATE, late) as slow:
        cookie = slow.cookie()
        assert cookie
        new = slow.beside(cookie, ("regenerate",)).cookie
        assert new
        slow.go_on()
    ended = late == ("invalidate",)
    assert everywhere(server, new) == ({} if ended else {"user": "ada", "late": 1})
    assert everywhere(server, cookie) == {}
    assert rows(server) == before + (not ended)


def test_increments_beside_regenerate_add_up(server: Server) -> None:
    """Every acknowledged increment is counted, under whichever id the request came."""
    before = rows(server)
    current = begin(server)
    old: list[str] = []

    def work(client: int) -> list[Answer]:
        nonlocal current
        answers = []
        for _ in range(REQUESTS):
            if client == 0:
                answer = ask(server, current, NEEDS_USER, ("regenerate",))
                assert answer.cookie
                old.append(current)
                current = answer.cookie
            else:
                answers.append(ask(server, current, NEEDS_USER, WORK, ("increment", "count")))
                assert answers[-1].cookie is None
        return answers

    answers = [answer for told in at_once(work) for answer in told]
    assert served_by_many(server, answers)
    acknowledged = sum(len(answer.found) for answer in answers)
    assert acknowledged
    assert everywhere(server, current) == {"user": "ada", "count": acknowledged}
    assert all(ask(server, cookie, ALL).found == [{}] for cookie in old)
    assert rows(server) == before + 1


@pytest.mark.parametrize("more", [(), (("stream",), ("put", "late", 1))], ids=["headers", "stream"])
def test_of_two_logins_the_second_begins_a_session_of_its_own(
    server: Server, more: tuple[Step, ...]
) -> None:
    """The second of two logins has what it wrote itself, then and later, and nothing it read."""
    before = rows(server)
    old = begin(server)
    second = ("regenerate",), ("put", "by", "second")
    with Slow(server, old, NEEDS_USER, GATE, *second, *more) as slow:
        new = slow.beside(old, ("regenerate",), ("put", "by", "first")).cookie
        assert new
        own = slow.go_on().cookie
        assert own
        assert own != new
    assert everywhere(server, new) == {"user": "ada", "by": "first"}
    assert everywhere(server, own) == {"by": "second", **({"late": 1} if more else {})}
    assert everywhere(server, old) == {}
    assert rows(server) == before + 2


def test_of_many_logins_one_goes_on_and_the_others_begin_anew(server: Server) -> None:
    """One of many logins has what was there before, and each has what it wrote itself."""
    before = rows(server)
    begun = 1
    cookie = begin(server)
    answers: list[Answer] = []

    def regenerate(client: int) -> list[Answer]:
        return [ask(server, cookie, NEEDS_USER, WORK, ("regenerate",), ("put", "by", client))]

    for _ in rounds(server, answers):
        told = list(chain(*at_once(regenerate)))
        cookies = {
            client: answer.cookie for client, answer in enumerate(told) if answer.cookie is not None
        }
        assert len({*cookies.values(), cookie}) == len(cookies) + 1
        found = {client: ask(server, new, ALL).found for client, new in cookies.items()}
        (winner,) = [client for client in found if "user" in found[client][0]]
        assert found.pop(winner) == [{"user": "ada", "by": winner}]
        assert all(found[client] == [{"by": client}] for client in found)
        begun += len(found)
        assert ask(server, cookie, ALL).found == [{}]
        cookie = cookies[winner]
        answers += told
    assert rows(server) == before + begun


# The session ends.


LATE: Final[dict[str, tuple[Step, ...]]] = {
    "put": (GATE, ("put", "late", 1)),
    "increment": (GATE, ("increment", "late")),
    "flash": (GATE, ("flash", "late", 1)),
    "clear": (GATE, ("clear",), ("put", "late", 1)),
    "login": (GATE, ("regenerate",), ("put", "late", 1)),
    "stream": (("stream",), GATE, ("put", "late", 1)),
}


@pytest.mark.parametrize("late", LATE.values(), ids=LATE)
def test_a_slow_request_brings_nobody_back(server: Server, late: tuple[Step, ...]) -> None:
    """A slow request writes nothing after a logout, and its answer sets no cookie."""
    before = rows(server)
    cookie = begin(server)
    with Slow(server, cookie, NEEDS_USER, *late) as slow:
        assert slow.beside(cookie, ("invalidate",)).cookie == ""
        assert everywhere(server, cookie) == {}
        assert rows(server) == before
        assert slow.go_on().cookie is None
    assert everywhere(server, cookie) == {}
    assert rows(server) == before


@pytest.mark.parametrize("late", LATE.values(), ids=LATE)
def test_a_slow_request_does_not_reach_the_session_after_the_logout(
    server: Server, late: tuple[Step, ...]
) -> None:
    """A slow request writes nothing into the session that the logout has begun.

    A login begins one of its own, of what it wrote.
    """
    before = rows(server)
    login = late == LATE["login"]
    old = begin(server)
    with Slow(server, old, NEEDS_USER, *late) as slow:
        new = slow.beside(old, ("invalidate",), ("flash", "notice", "goodbye")).cookie
        assert new
        own = slow.go_on().cookie
    if login:
        assert own
        assert own != new
        assert everywhere(server, own) == {"late": 1}
    else:
        assert own is None
    assert ask(server, new, ALL, SHOWN).found == [{}, {"notice": "goodbye"}]
    assert everywhere(server, old) == {}
    # The row that has ended stays for a while: late requests are known by it.
    assert rows(server) == before + 2 + login


@pytest.mark.parametrize("late", LATE.values(), ids=LATE)
def test_a_slow_request_brings_nobody_back_under_the_new_id(
    server: Server, late: tuple[Step, ...]
) -> None:
    """A slow request writes nothing into a session that has moved and ended since."""
    before = rows(server)
    old = begin(server)
    with Slow(server, old, NEEDS_USER, *late) as slow:
        new = slow.beside(old, ("regenerate",)).cookie
        assert new
        assert slow.beside(new, ("invalidate",)).cookie == ""
        assert slow.go_on().cookie is None
    assert everywhere(server, old) == {}
    assert everywhere(server, new) == {}
    assert rows(server) == before


def test_requests_after_a_logout_find_nothing_whoever_writes_beside_it(server: Server) -> None:
    """A request with the old cookie finds no user after a logout, and is told to forget it."""
    before = rows(server)
    answers: list[Answer] = []
    cookie = ""

    def work(client: int) -> list[Answer]:
        put: Step = ("put", f"client {client}", 0)
        if client == 0:
            ask(server, cookie, put)
            return [ask(server, cookie, ("invalidate",))]
        return [ask(server, cookie, NEEDS_USER, WORK, put) for _ in range(ROUNDS)]

    for _ in rounds(server, answers):
        cookie = begin(server)
        (logout,), *told = at_once(work)
        written = list(chain(*told))
        assert all(answer.cookie in (None, "") for answer in written)
        after = [answer for answer in written if answer.began > logout.ended]
        assert all((answer.found, answer.cookie) == ([], "") for answer in after)
        assert everywhere(server, cookie) == {}
        assert rows(server) == before
        answers += written


@pytest.mark.parametrize("late", [(GATE,), (("stream",), GATE)], ids=["headers", "stream"])
def test_a_logout_follows_its_session_to_the_new_id(server: Server, late: tuple[Step, ...]) -> None:
    """A logout ends the session, though that has another id by now."""
    before = rows(server)
    old = begin(server)
    with Slow(server, old, NEEDS_USER, *late, ("invalidate",)) as slow:
        new = slow.beside(old, ("regenerate",)).cookie
        assert new
        slow.go_on()
    assert everywhere(server, new) == {}
    assert everywhere(server, old) == {}
    assert rows(server) == before


def test_two_logouts_end_the_session_once(server: Server) -> None:
    """The second logout finds nothing to end, and sends no cookie."""
    before = rows(server)
    cookie = begin(server)
    with Slow(server, cookie, NEEDS_USER, GATE, ("invalidate",)) as slow:
        assert slow.beside(cookie, ("invalidate",)).cookie == ""
        assert slow.go_on().cookie is None
    assert everywhere(server, cookie) == {}
    assert rows(server) == before


def test_many_logouts_end_the_session(server: Server) -> None:
    """Every logout is answered, at least one of them ends the cookie, and none sets one."""
    before = rows(server)
    answers: list[Answer] = []
    cookie = ""

    def log_out(client: int) -> list[Answer]:
        return [ask(server, cookie, NEEDS_USER, WORK, ("invalidate",))]

    for _ in rounds(server, answers):
        cookie = begin(server)
        told = list(chain(*at_once(log_out)))
        assert {"", None} >= {answer.cookie for answer in told} >= {""}
        assert ask(server, cookie, ALL).found == [{}]
        assert rows(server) == before
        answers += told


# All sessions of an owner.


def test_nobody_is_left_beside_requests_that_write(server: Server) -> None:
    """Sixteen threads write to the sessions of an owner while one request ends all but its own.

    Some give their session a new id meanwhile, and some write while their body streams. Afterwards
    every cookie that any of them was given is anonymous, in every process.
    """
    owner = str(uuid.uuid4())
    cookies = [begin(server) for _ in range(5)]
    for number, cookie in enumerate(cookies):
        ask(server, cookie, ("put", "number", number), ("belongs_to", owner))
    keeper, *others = cookies
    ended = threading.Event()

    def write(client: int) -> list[str]:
        cookie = others[client % len(others)]
        given = [cookie]
        steps: list[Step] = [NEEDS_USER, ("increment", "n"), WORK]
        if client // 4 == 1:
            steps.insert(1, ("regenerate",))
        elif client // 4 == 2:
            steps += [("stream",), ("increment", "n")]
        late = 0
        while late < 3:  # and a few more when they have ended
            late += ended.is_set()
            answer = ask(server, cookie, *steps)
            cookie = answer.cookie or cookie
            given.append(cookie)
        return given

    with ThreadPoolExecutor(WRITERS) as pool:
        writers = [pool.submit(write, client) for client in range(WRITERS)]
        wait(writers, timeout=0.2)
        try:
            number_ended = ask(server, keeper, ("end_others", owner)).found
        finally:
            ended.set()
        given = set(chain(*(writer.result() for writer in writers)))
    assert number_ended == [len(others)]
    known = [ask(server, cookie, ("has", "user")).found for cookie in given]
    assert known == [[False]] * len(given)
    for cookie in others:
        assert everywhere(server, cookie) == {}
    assert everywhere(server, keeper) == {"user": "ada", "number": 0}
    assert ask(server, keeper, ("end_others", owner)).found == [0]
