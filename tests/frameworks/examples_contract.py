"""What every example of a WSGI framework does, asked by the framework's own test client."""

from __future__ import annotations

import gc
import os
import sqlite3
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import closing
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple
from urllib.request import urlopen

import pytest

import glimr_session
from glimr_session import CookieStore, DiskStore, SessionStore
from tests.support.actors import living_session_actors
from tests.support.browser import EXAMPLES, environment
from tests.support.documents import blocks_of
from tests.support.servers import PATIENCE, listening
from tests.support.wsgi_apps import KEY, LIFETIME, Recorded
from tests.support.wsgi_client import Cookies

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

USER: Final = "ada"


class Answer(NamedTuple):
    """A response of the framework's client."""

    status: int
    text: str
    headers: list[tuple[str, str]]


class Request(NamedTuple):
    """A request for the framework's client; the text is what a form or the JSON holds."""

    method: str
    path: str
    text: str = ""


class Visitor:
    """Somebody with a browser, who asks an application."""

    def __init__(self, contract: ExampleContract, app: WSGIApplication) -> None:
        self._contract, self._app = contract, app
        self.cookies = Cookies()

    def send(self, request: Request) -> Answer:
        answer = self._contract.send(self._app, request, self.cookies.header())
        self.cookies.take(answer.headers)
        return answer

    def count(self) -> Answer:
        return self.send(self._contract.count)

    @property
    def counted(self) -> int:
        """Count once more; return how often this session has."""
        self.count()
        return self._contract.count_in(self.send(self._contract.show).text)

    @property
    def is_known(self) -> bool:
        return self._contract.known in self.send(self._contract.show).text

    def copy(self) -> Visitor:
        """Return somebody who has copied the cookies."""
        copied = Visitor(self._contract, self._app)
        copied.cookies = Cookies(self.cookies.header())
        return copied


class ExampleContract(ABC):
    """A test case for each example: subclass it as ``TestBottle`` and the like."""

    example: ClassVar[str]
    show: ClassVar[Request]
    count: ClassVar[Request]
    login: ClassVar[Request]
    logout: ClassVar[Request]
    block: ClassVar[int]
    """Which block of ``docs/wsgi.md`` shows the framework."""
    known: ClassVar[str]
    """What an answer to ``show`` says to somebody who is logged in."""

    def make_app(self, store: SessionStore) -> WSGIApplication:
        """Return the application of the example, with this store."""
        spec = spec_from_file_location(self.example, EXAMPLES / self.example)
        assert spec is not None
        assert spec.loader is not None
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        app: WSGIApplication = module.make_app(store)
        return app

    @abstractmethod
    def send(self, app: WSGIApplication, request: Request, cookie: str) -> Answer:
        """Send a request by the framework's test client; no error of a status is raised."""

    @abstractmethod
    def begin(self, app: WSGIApplication, request: Request) -> object:
        """Send a request; return the response, whose body was neither read nor closed."""

    @abstractmethod
    def count_in(self, text: str) -> int:
        """Return the count that an answer to ``show`` tells."""

    @pytest.fixture(autouse=True)
    def _no_session_left(
        self, _nothing_left: None, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[None]:
        """Fail the test if it leaves a session actor running; the environment sets nothing."""
        for name in [name for name in os.environ if name.startswith("GLIMR_SESSION_")]:
            monkeypatch.delenv(name)
        yield
        assert living_session_actors() == []

    @pytest.fixture(params=["disk", "cookie"])
    def store(self, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SessionStore]:
        if request.param == "cookie":
            yield CookieStore(lifetime=LIFETIME)
            return
        with closing(DiskStore(tmp_path / "sessions", lifetime=LIFETIME)) as disk:
            yield disk

    @pytest.fixture
    def visitor(self, store: SessionStore) -> Visitor:
        return Visitor(self, self.make_app(store))

    def test_a_session_is_kept_across_requests(self, visitor: Visitor) -> None:
        """It counts this browser's requests, and not those of another one."""
        assert [visitor.counted, visitor.counted] == [1, 2]
        stranger = visitor.copy()
        stranger.cookies = Cookies()
        assert stranger.counted == 1

    def test_a_login_gives_a_new_id(self, visitor: Visitor, store: SessionStore) -> None:
        """The count stays, and the cookie from before the login is not logged in."""
        visitor.count()
        before = visitor.copy()
        visitor.send(self.login)
        assert visitor.cookies.header() != before.cookies.header()
        assert visitor.is_known
        assert visitor.counted == 2
        assert not before.is_known

    def test_an_old_cookie_is_dead_after_a_logout(
        self, visitor: Visitor, store: SessionStore
    ) -> None:
        """The visitor is unknown, and so is who has copied the cookie.

        On the cookie store a copied cookie lives on: its documented limit.
        """
        visitor.send(self.login)
        copied = visitor.copy()
        assert copied.is_known
        visitor.send(self.logout)
        assert not visitor.is_known
        assert copied.is_known == isinstance(store, CookieStore)

    def test_a_session_that_cannot_be_read(self) -> None:
        """An outage is answered with 503 and no cookie, and the session is there after it."""
        recorded = Recorded()
        visitor = Visitor(self, self.make_app(recorded.store))
        visitor.count()
        recorded.down = True
        answer = visitor.count()
        assert answer.status == 503
        assert "set-cookie" not in {name.lower() for name, _ in answer.headers}
        recorded.down = False
        assert visitor.counted == 2

    def test_a_session_that_cannot_be_committed(self, tmp_path: Path) -> None:
        """It is answered with 503 and no cookie, and nothing was counted."""
        with (
            closing(DiskStore(tmp_path / "held", timeout=0.02)) as store,
            closing(sqlite3.connect(store.directory / "cache.db")) as other,
        ):
            visitor = Visitor(self, self.make_app(store))
            visitor.count()
            other.execute("BEGIN IMMEDIATE")
            answer = visitor.count()
            other.rollback()
            assert answer.status == 503
            assert "set-cookie" not in {name.lower() for name, _ in answer.headers}
            assert visitor.counted == 2

    def test_a_response_that_is_never_closed(self, store: SessionStore) -> None:
        """It leaves no actor, without the garbage collector."""
        app = self.make_app(store)
        gc.disable()
        try:
            response = self.begin(app, self.count)
            del response
            assert living_session_actors() == []
        finally:
            gc.enable()

    def visitor_of_page(self, monkeypatch: pytest.MonkeyPatch) -> Visitor:
        """Run the program in the documentation; return a visitor of what it makes."""
        monkeypatch.setenv("GLIMR_SESSION_SECRET_KEYS", KEY)
        shown = blocks_of("docs/wsgi.md")[self.block]
        names: dict[str, Any] = {}
        exec(compile(shown.code, f"{shown.page}:{shown.line}", "exec"), names)
        return Visitor(self, names["application"])

    def test_the_page_shows_how(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The program in the documentation counts visits, configured by the environment."""
        monkeypatch.setenv("GLIMR_SESSION_STORE", "cookie")
        visitor = self.visitor_of_page(monkeypatch)
        texts = [visitor.send(Request("GET", "/")).text for _ in range(2)]
        assert [text.strip('}"{')[-1] for text in texts] == ["1", "2"]

    def test_the_page_s_program_in_an_outage(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A session that cannot be read is answered with 503 there, too."""
        recorded = Recorded()
        glimr_session.setup(recorded.store)
        visitor = self.visitor_of_page(monkeypatch)
        visitor.send(Request("GET", "/"))
        recorded.down = True
        assert visitor.send(Request("GET", "/")).status == 503

    def test_it_runs_as_a_script(self, tmp_path: Path) -> None:
        """``python examples/...`` serves it, with the sessions that the environment asks for."""
        log, directory = tmp_path / "log", tmp_path / "sessions"
        with (
            log.open("wb") as output,
            subprocess.Popen(
                [sys.executable, EXAMPLES / self.example],
                env=environment(
                    PORT="0",
                    PYTHONUNBUFFERED="1",
                    GLIMR_SESSION_STORE="disk",
                    GLIMR_SESSION_DISK_DIRECTORY=str(directory),
                ),
                stdout=output,
                stderr=output,
            ) as process,
        ):
            try:
                url = f"http://127.0.0.1:{listening(process, log)}{self.show.path}"
                with urlopen(url, timeout=PATIENCE) as answer:
                    assert answer.status == 200
                assert (directory / "cache.db").exists()
            finally:
                process.terminate()
                process.wait(PATIENCE)
        assert "Traceback" not in log.read_text("utf-8")
