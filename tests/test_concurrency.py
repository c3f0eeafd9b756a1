"""Many requests of one session at once, in many processes: nothing lost, nobody brought back.

Each test plays one scene on each server. Where the order of the steps matters, requests
wait at a gate until the test lets them through; where it does not, many threads ask at
once, each writes down what it was told, and a checker compares that with what is there
in the end.
"""

from __future__ import annotations

import http.client
import json
import socket
import sqlite3
import struct
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import chain
from typing import Any, Final, NamedTuple, Self
from urllib.parse import quote

import pytest

from .concurrency_app import Step
from .servers import PATIENCE, Client, Server, running
from .test_servers import seen_by_all
from .wsgi_client import Cookies

PROCESSES: Final = 4
THREADS: Final = 4
CLIENTS: Final = 12  # threads that ask at once
REQUESTS: Final = 25  # of each client
ROUNDS: Final = 5

USER: Final[Step] = ("put", "user", "ada")
ALL: Final[Step] = ("all",)
SHOWN: Final[Step] = ("shown",)
GATE: Final[Step] = ("gate",)  # where a Slow request waits
OPEN: Final = b"!"  # what the site waits for at the gate
WORK: Final[Step] = ("work",)
NEEDS_USER: Final[Step] = ("needs", "user")  # as an application asks for a login


# The checkers: what was told, and what is there.


def complaints(
    acknowledged: Iterable[Hashable], unacknowledged: Iterable[Hashable], found: Iterable[Hashable]
) -> list[str]:
    """Compare changes with what is found: each of them once, or, unacknowledged, at most once."""
    sure, found_of = Counter(acknowledged), Counter(found)
    possible = sure + Counter(unacknowledged)
    result = []
    for change in possible.keys() | found_of.keys():
        least, most, number = sure[change], possible[change], found_of[change]
        if not most:
            result.append(f"invented: {change}")
        elif number < least:
            result.append(f"lost: {change}, {number} of {least}")
        elif number > most:
            result.append(f"doubled: {change}, {number} of {most}")
    return result


class Visit(NamedTuple):
    """A request that was answered: when it was sent, when it was answered, what it showed."""

    began: float
    ended: float
    shown: Collection[str]


def flash_complaints(flashed: Iterable[str], visits: Iterable[Visit]) -> list[str]:
    """Check what became of flash: all is shown to somebody, and to nobody who came after.

    Those who came before the first one had their answer may have been shown it too. A
    visit at the end shows what was still waiting.
    """
    visits = list(visits)
    over: dict[str, float] = {}
    for visit in visits:
        for message in visit.shown:
            over[message] = min(visit.ended, over.get(message, visit.ended))
    late = {
        message for visit in visits for message in visit.shown if visit.began > over.get(message, 0)
    }
    return complaints(flashed, (), [*over]) + [f"shown again: {message}" for message in late]


def test_the_checker_is_content_with_what_was_promised() -> None:
    """Acknowledged changes once, and those that nobody was told of once or not at all."""
    assert complaints(["a", "a", "b"], ["b", "c", "d"], ["a", "b", "b", "a", "d"]) == []


def test_the_checker_complains_about_a_lost_change() -> None:
    """What was acknowledged must be there, and twice if there were two of it."""
    assert complaints(["a", "b"], ["c"], ["a"]) == ["lost: b, 0 of 1"]
    assert complaints(["a", "a"], ["a"], ["a"]) == ["lost: a, 1 of 2"]


def test_the_checker_complains_about_a_doubled_change() -> None:
    """Nothing may be there more often than it was asked for, acknowledged or not."""
    assert complaints(["a"], ["b"], ["a", "a", "b"]) == ["doubled: a, 2 of 1"]
    assert complaints(["a"], ["b"], ["a", "b", "b"]) == ["doubled: b, 2 of 1"]


def test_the_checker_complains_about_an_invented_change() -> None:
    """Nothing may be there that nobody asked for, be it an old value of a key."""
    new, old = ("key", "new"), ("key", "old")
    assert complaints([new], [], [new, old]) == [f"invented: {old}"]


def test_the_checker_of_flash_is_content_with_what_was_promised() -> None:
    """Two visits at the same time may be shown the same message; others may wait to the end."""
    visits = [Visit(1, 3, {"a"}), Visit(2, 4, {"a"}), Visit(5, 6, {"b"})]
    assert flash_complaints(["a", "b"], visits) == []


def test_the_checker_of_flash_complains_about_a_lost_message() -> None:
    """What was set must have been shown, if only in the end."""
    assert flash_complaints(["a", "b"], [Visit(1, 2, {"a"})]) == ["lost: b, 0 of 1"]


def test_the_checker_of_flash_complains_about_a_message_that_comes_back() -> None:
    """Nobody who asks after it was shown and answered is shown it once more."""
    visits = [Visit(1, 4, {"a"}), Visit(1, 2, {"a"}), Visit(3, 5, {"a"})]
    assert flash_complaints(["a"], visits) == ["shown again: a"]


def test_the_checker_of_flash_complains_about_an_invented_message() -> None:
    """Nobody is shown what nobody has set."""
    assert flash_complaints([], [Visit(1, 2, {"a"})]) == ["invented: a"]


# The servers, and how to ask them.


@pytest.fixture(scope="module", params=("waitress", "gunicorn", "gunicorn preload"))
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """Each server, with the disk store."""
    with running(
        request.param,
        tmp_path_factory.mktemp("concurrency"),
        app="tests.concurrency_app:site",
        processes=PROCESSES,
        threads=THREADS,
    ) as found:
        everywhere(found, begin(found))  # gunicorn listens before its processes are there
        yield found


class Answer(NamedTuple):
    """What a request was told.

    ``cookie`` is the Cookie header from now on: None if it stays what it was, "" if
    there is to be none.
    """

    pid: int
    found: list[Any]
    cookie: str | None
    began: float
    ended: float


class Request:
    """A request that has been sent, in HTTP/1.0: the body ends when the connection does.

    That is when the server has closed the application's body, and so after the late
    commit of a stream.
    """

    def __init__(self, server: Server, cookie: str, *steps: Step) -> None:
        self.began = time.monotonic()
        self._socket = socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE)
        host = f"127.0.0.1:{server.port}"
        head = f"GET {address(*steps)} HTTP/1.0\r\nHost: {host}\r\nCookie: {cookie}\r\n\r\n"
        self._socket.sendall(head.encode())
        self._response = http.client.HTTPResponse(self._socket)

    def cookie(self) -> str | None:
        """Wait for the headers, and give the cookie as Answer has it."""
        self._response.begin()  # at most once, it sees to that
        if self._response.getheader("Set-Cookie") is None:
            return None
        cookies = Cookies()
        cookies.take(self._response.getheaders())
        return cookies.header()

    def answer(self) -> Answer:
        """Wait for the answer."""
        with self._socket, self._response as response:
            cookie = self.cookie()
            body = response.read()
            ended = time.monotonic()
            assert response.status == 200, body
            told = json.loads(body)
            return Answer(told["pid"], told["found"], cookie, self.began, ended)

    def leave(self, *, abruptly: bool = False) -> None:
        """Leave before the answer, with a goodbye or (RST instead of FIN) without."""
        if abruptly:
            linger = struct.pack("ii", 1, 0)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._response.close()
        self._socket.close()


class Slow:
    """A request that waits at its GATE, while others are served beside it."""

    def __init__(self, server: Server, cookie: str, *steps: Step) -> None:
        self._server = server
        self._gate = socket.create_server(("127.0.0.1", 0))
        self._gate.settimeout(PATIENCE)
        self._request = self._send(cookie, *steps)
        self._knock, self._pid = self._arrival()

    def beside(self, cookie: str, *steps: Step) -> Answer:
        """Have a whole request served, by another process if there is one."""
        deadline = time.monotonic() + PATIENCE
        while True:
            request = self._send(cookie, GATE, *steps)
            knock, pid = self._arrival()
            with knock:
                elsewhere = pid != self._pid or self._server.processes == 1
                if elsewhere:
                    knock.sendall(OPEN)
            answer = request.answer()
            if elsewhere:
                return answer
            assert time.monotonic() < deadline, "one process takes every request"

    def cookie(self) -> str | None:
        """Give the cookie that its headers set, which must have left already."""
        return self._request.cookie()

    def go_on(self) -> Answer:
        """Let it through, and wait for its answer."""
        self._knock.sendall(OPEN)
        return self._request.answer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._gate.close()
        self._knock.close()
        self._request.leave()

    def _send(self, cookie: str, *steps: Step) -> Request:
        port = self._gate.getsockname()[1]
        return Request(
            self._server, cookie, *((*step, port) if step == GATE else step for step in steps)
        )

    def _arrival(self) -> tuple[socket.socket, int]:
        """Wait for a request at the gate; give its connection and its process."""
        knock = self._gate.accept()[0]
        knock.settimeout(PATIENCE)
        with knock.makefile("rb") as words:
            return knock, int(words.readline())


def address(*steps: Step) -> str:
    return "/?" + quote(json.dumps(steps))


def ask(server: Server, cookie: str, *steps: Step) -> Answer:
    return Request(server, cookie, *steps).answer()


def begin(server: Server) -> str:
    """Begin a session of a user; give its cookie."""
    cookie = ask(server, "", USER).cookie
    assert cookie
    return cookie


def everywhere(server: Server, cookie: str) -> dict[str, Any]:
    """Give the data that a cookie finds: the same in every process."""
    answers = seen_by_all(server, lambda: Client(server, cookie).get(address(ALL)))
    assert all(answer == answers[0] for answer in answers)
    (data,) = answers[0]
    assert isinstance(data, dict)
    return data


def rows(server: Server) -> int:
    """Count what is in the store, whatever session it is of."""
    file = server.log.parent / "sessions" / "cache.db"
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=rw", uri=True)) as database:
        (number,) = database.execute("SELECT count(*) FROM Cache").fetchone()
    assert isinstance(number, int)
    return number


def at_once(work: Callable[[int], list[Answer]]) -> list[list[Answer]]:
    """Let all clients, who have a number each, do some work at the same time."""
    start = threading.Barrier(CLIENTS)

    def begin(client: int) -> list[Answer]:
        start.wait(PATIENCE)
        return work(client)

    with ThreadPoolExecutor(CLIENTS) as pool:
        return list(pool.map(begin, range(CLIENTS)))


def served_by_many(server: Server, answers: Iterable[Answer]) -> bool:
    """Whether several processes had a part in it, if there are several."""
    return len({answer.pid for answer in answers}) > 1 or server.processes == 1


def rounds(server: Server, answers: list[Answer]) -> Iterator[None]:
    """Go on for some rounds, and until several processes have answered, if there are several.

    Of gunicorn's processes, one may take all that comes at the same moment.
    """
    deadline = time.monotonic() + PATIENCE
    number = 0
    while number < ROUNDS or not served_by_many(server, answers):
        assert time.monotonic() < deadline, "one process takes every request"
        yield
        number += 1


def leaves(number: int) -> bool:
    """Whether the client leaves this request of its own before the answer."""
    return number % 5 == 4


# Nothing is lost.


def test_requests_that_write_different_keys_leave_each_other_alone(server: Server) -> None:
    """Each client finds its own last write in each of its requests, and all are there at last."""
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
    """The counter comes to the number of answers; who left before may have been counted.

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
    """Every entry is there once, with its value; of those who left some may be; and no other.

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
    """What was flashed is shown to somebody, and not to who comes after that was answered.

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
    """What others consume meanwhile is gone, and what the slow one leaves is there."""
    cookie = begin(server)
    ask(server, cookie, ("flash", "notice", "saved"))
    with Slow(server, cookie, ("flash", "late", "done"), GATE) as slow:
        assert slow.beside(cookie, SHOWN).found == [{"notice": "saved"}]
        slow.go_on()
    assert ask(server, cookie, SHOWN).found == [{"late": "done"}]


# The session goes on under a new id.


@pytest.mark.parametrize("moves", [1, 2])
def test_a_slow_put_follows_its_session_to_the_new_id(server: Server, moves: int) -> None:
    """It is there under the new id, and its answer tells nothing of that id; the old is dead."""
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
    """What changes after the headers have left is saved under the new id as well."""
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
    """The browser has had the cookie, and so the session may have moved on from there."""
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
    """What was acknowledged is counted, under whichever id the request came."""
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
def test_of_two_regenerates_the_first_wins(server: Server, more: tuple[Step, ...]) -> None:
    """The second finds its session gone: it writes nothing, then or later, and sends no cookie."""
    before = rows(server)
    old = begin(server)
    second = ("regenerate",), ("put", "by", "second")
    with Slow(server, old, NEEDS_USER, GATE, *second, *more) as slow:
        new = slow.beside(old, ("regenerate",), ("put", "by", "first")).cookie
        assert new
        assert slow.go_on().cookie is None
    assert everywhere(server, new) == {"user": "ada", "by": "first"}
    assert everywhere(server, old) == {}
    assert rows(server) == before + 1


def test_of_many_regenerates_one_wins(server: Server) -> None:
    """One of all who ask at once gets a cookie, and what it wrote is what is there."""
    before = rows(server)
    cookie = begin(server)
    answers: list[Answer] = []

    def regenerate(client: int) -> list[Answer]:
        return [ask(server, cookie, NEEDS_USER, WORK, ("regenerate",), ("put", "by", client))]

    for _ in rounds(server, answers):
        told = list(chain(*at_once(regenerate)))
        ((winner, new),) = [
            (client, answer.cookie)
            for client, answer in enumerate(told)
            if answer.cookie is not None
        ]
        assert ask(server, cookie, ALL).found == [{}]
        cookie = new
        assert ask(server, cookie, ALL).found == [{"user": "ada", "by": winner}]
        answers += told
    assert rows(server) == before + 1


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
    """After a logout nothing is there for the old cookie, and no answer makes a new one."""
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
    """A logout that says goodbye begins a session, and that is another user's."""
    before = rows(server)
    old = begin(server)
    with Slow(server, old, NEEDS_USER, *late) as slow:
        new = slow.beside(old, ("invalidate",), ("flash", "notice", "goodbye")).cookie
        assert new
        assert slow.go_on().cookie is None
    assert ask(server, new, ALL, SHOWN).found == [{}, {"notice": "goodbye"}]
    assert everywhere(server, old) == {}
    assert rows(server) == before + 1


@pytest.mark.parametrize("late", LATE.values(), ids=LATE)
def test_a_slow_request_brings_nobody_back_under_the_new_id(
    server: Server, late: tuple[Step, ...]
) -> None:
    """A session that has moved since it was opened, and was ended there, is as gone."""
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
    """Who asks with the old cookie after the answer to a logout finds no user, to write for."""
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
        assert all(answer.cookie is None for answer in written)
        assert all(answer.found == [] for answer in written if answer.began > logout.ended)
        assert everywhere(server, cookie) == {}
        assert rows(server) == before
        answers += written


@pytest.mark.parametrize("late", [(GATE,), (("stream",), GATE)], ids=["headers", "stream"])
def test_a_logout_follows_its_session_to_the_new_id(server: Server, late: tuple[Step, ...]) -> None:
    """It was asked for, so it ends the session, though that has another id by now."""
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
    """The second finds nothing to end, and sends no cookie."""
    before = rows(server)
    cookie = begin(server)
    with Slow(server, cookie, NEEDS_USER, GATE, ("invalidate",)) as slow:
        assert slow.beside(cookie, ("invalidate",)).cookie == ""
        assert slow.go_on().cookie is None
    assert everywhere(server, cookie) == {}
    assert rows(server) == before


def test_many_logouts_end_the_session(server: Server) -> None:
    """All are answered, one of them ends the cookie, and none makes a new one."""
    before = rows(server)
    answers: list[Answer] = []
    cookie = ""

    def log_out(client: int) -> list[Answer]:
        return [ask(server, cookie, NEEDS_USER, WORK, ("invalidate",))]

    for _ in rounds(server, answers):
        cookie = begin(server)
        told = list(chain(*at_once(log_out)))
        assert [answer.cookie for answer in told if answer.cookie is not None] == [""]
        assert ask(server, cookie, ALL).found == [{}]
        assert rows(server) == before
        answers += told
