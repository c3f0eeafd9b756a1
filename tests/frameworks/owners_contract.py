"""What the doors of all frameworks do with owners, asked by each framework's own test client."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar

import pytest

from glimr_session import DiskStore

USER = "ada"


class Browser:
    """A browser of a site: call it with a path for what the page answers."""

    def __init__(self, contract: OwnersContract, client: Any) -> None:
        self._contract, self.client = contract, client

    def __call__(self, path: str) -> str:
        return self._contract.ask(self.client, path)


Site = Callable[[], Browser]


class OwnersContract(ABC):
    """A test case for each door: subclass it as ``TestFlask`` and the like.

    The site has a page for each of these paths:
        /begin: puts something into the session.
        /login, /logout: with what the framework has for it.
        /device: logs in, and calls ``belongs_to`` with ``device="phone"``.
        /other: logs in, and calls ``belongs_to("tenant")``.
        /who: answers who is logged in, or "".
        /all: calls ``destroy_all`` for the user, but for the session of this request as a
            handler has it, and answers how many have ended.
    """

    user: ClassVar[str] = USER
    """The id of the user."""

    @abstractmethod
    def make_site(self, store: DiskStore, *, owner_from_login: bool) -> Callable[[], Any]:
        """Return what makes a test client of a site on this store."""

    @abstractmethod
    def ask(self, client: Any, path: str) -> str:
        """Return the text of a page."""

    @abstractmethod
    def copy_cookies(self, client: Any, other: Any) -> None:
        """Give a client the cookies of another one."""

    def open_site(self, store: DiskStore, *, owner_from_login: bool = True) -> Site:
        make_client = self.make_site(store, owner_from_login=owner_from_login)
        return lambda: Browser(self, make_client())

    def noted(self, store: DiskStore) -> list[object]:
        """Return what was noted of the user's sessions."""
        return [info.noted for info in store.sessions(self.user)]

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[DiskStore]:
        with closing(DiskStore(tmp_path / "sessions", lifetime=1000.0)) as disk:
            yield disk

    @pytest.fixture
    def site(self, store: DiskStore) -> Site:
        return self.open_site(store)

    def test_a_login_gives_the_session_to_its_user(self, site: Site, store: DiskStore) -> None:
        """It is in the user's list from the login on, and in no list after a logout."""
        get = site()
        get("/begin")
        assert store.sessions(self.user) == []
        get("/login")
        (info,) = store.sessions(self.user)
        get("/begin")
        assert [other.handle for other in store.sessions(self.user)] == [info.handle]
        get("/logout")
        assert (get("/who"), store.sessions(self.user)) == ("", [])
        get("/login")
        assert self.noted(store) == [{}]

    def test_a_login_without_a_session_before(self, site: Site, store: DiskStore) -> None:
        """The session begins as its user's."""
        site()("/login")
        assert self.noted(store) == [{}]

    def test_what_the_application_says_stays(self, site: Site, store: DiskStore) -> None:
        """What it has noted is there after more requests, and another owner is not replaced."""
        get = site()
        get("/device")
        assert self.noted(store) == [{"device": "phone"}]
        get("/begin")
        assert get("/who") == self.user
        assert self.noted(store) == [{"device": "phone"}]
        other = site()
        other("/other")
        other("/begin")
        assert len(store.sessions("tenant")) == 1
        assert len(store.sessions(self.user)) == 1

    def test_one_browser_logs_out_all_others(self, site: Site, store: DiskStore) -> None:
        """The session that a handler has in its hands is the one that stays."""
        browsers = [site() for _ in range(3)]
        for get in browsers:
            get("/login")
        assert browsers[1]("/all") == "2"
        assert [get("/who") for get in browsers] == ["", self.user, ""]
        assert len(store.sessions(self.user)) == 1

    def test_a_session_from_before_the_setting_is_found_too(self, store: DiskStore) -> None:
        """From its next request on it belongs to the user who is logged in there."""
        before = self.open_site(store, owner_from_login=False)()
        before("/login")
        assert store.sessions(self.user) == []
        get = self.open_site(store)()
        self.copy_cookies(get.client, before.client)
        assert get("/who") == self.user
        get("/begin")
        assert self.noted(store) == [{}]
