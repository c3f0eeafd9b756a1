"""Whose session it is: cookies that were planted, copied, made up or meant for others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from glimr_session import (
    CookieStore,
    DiskStore,
    SessionStore,
)
from tests.conftest import Clock
from tests.support.hostile import (
    KEY,
    NAME,
    OLD_KEY,
    SITE,
    Answer,
    World,
    ask,
    check_anonymous,
    check_ended,
    inside,
    parts,
    sent,
    sign,
)
from tests.support.servers import running


@pytest.fixture(scope="module")
def served_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The disk store on a real server."""
    directory = tmp_path_factory.mktemp("world")
    keys = {"GLIMR_SESSION_SECRET_KEYS": KEY}
    with (
        running("waitress", directory, app=SITE, environ=keys) as found,
        closing(DiskStore(directory / "sessions")) as store,
    ):

        def ask_there(page: str, cookies: str, asked: dict[str, str]) -> Answer:
            return ask(found.port, f"disk/{page}", sent(cookies), **asked)

        yield World(ask_there, store)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[DiskStore]:
    with closing(DiskStore(tmp_path / "sessions")) as store:
        yield store


@pytest.fixture(params=["disk", "waitress"])
def disk_world(request: pytest.FixtureRequest) -> World:
    """The disk store, inside the test and on a real server."""
    if request.param == "disk":
        return inside(request.getfixturevalue("disk"))
    found: World = request.getfixturevalue("served_world")
    return found


@pytest.fixture(params=["disk", "cookie", "waitress"])
def world(request: pytest.FixtureRequest) -> World:
    """Both stores, inside of the test, and the one of them on a real server too."""
    if request.param == "cookie":
        return inside(CookieStore())
    name = {"disk": "disk", "waitress": "served_world"}[request.param]
    found = request.getfixturevalue(name)
    return inside(found) if isinstance(found, SessionStore) else found


UNKNOWN: Final = "0123456789abcdef" * 4

Header = Callable[[World, str, str], str]

# Each holds nothing by which to tell whose session it is.
NOBODY: Final[dict[str, Header]] = {
    "planted before": lambda world, victim, mallory: f"{mallory}; {victim}",
    "planted behind": lambda world, victim, mallory: f"{victim}; {mallory}",
    "planted on both sides": lambda world, victim, mallory: f"{mallory}; {victim}; {mallory}",
    "planted, and a forged one": lambda world, victim, mallory: (
        f"{NAME}=forged; {victim}; {mallory}"
    ),
    "an id of one's own choice": lambda world, victim, mallory: f"{NAME}={UNKNOWN}",
    "a word of one's own choice": lambda world, victim, mallory: f"{NAME}=mallory",
    "a path as an id": lambda world, victim, mallory: f"{NAME}=../../etc/passwd",
    "the value of a cookie that is good, unsigned": lambda world, victim, mallory: (
        f"{NAME}={parts(victim)[0]}"
    ),
    "the value of one, signed as another": lambda world, victim, mallory: (
        f"{NAME}={'.'.join([parts(victim)[0], *parts(mallory)[1:]])}"
    ),
    "the value of one, with another key": lambda world, victim, mallory: sign(
        world.store, parts(victim)[0], key=OLD_KEY
    ),
    "from an application of another name": lambda world, victim, mallory: sign(
        world.store, parts(victim)[0], name="other"
    ).replace("other", NAME, 1),
    "from an application on another store": lambda world, victim, mallory: sign(
        CookieStore() if world.store.server_side else _Elsewhere(), parts(victim)[0]
    ),
}


# Each is signed by us, and leads to no session.
DEAD: Final[dict[str, Header]] = {
    "an id that was never issued, signed": lambda world, victim, mallory: sign(
        world.store, UNKNOWN
    ),
    "nothing, signed": lambda world, victim, mallory: sign(world.store, ""),
    "two that were never issued, signed": lambda world, victim, mallory: (
        f"{sign(world.store, UNKNOWN)}; {sign(world.store, UNKNOWN[1:])}"
    ),
    "one that was never issued, and a forged one": lambda world, victim, mallory: (
        f"{sign(world.store, UNKNOWN)}; {NAME}={UNKNOWN}"
    ),
}


class _Elsewhere(CookieStore):
    kind = "elsewhere"


@pytest.mark.parametrize("header", NOBODY.values(), ids=NOBODY.keys())
def test_a_cookie_that_is_nobody_s_finds_nothing_and_becomes_nobody_s(
    world: World, header: Header
) -> None:
    """Such a cookie finds no data, writes nothing and gets a fresh id at a login."""
    victim, mallory = world.begin("victim"), world.begin("mallory")
    ids = [world.get("read", cookie).id for cookie in (victim, mallory)]
    check_anonymous(world, header(world, victim, mallory), *ids, UNKNOWN)
    assert world.get("read", victim).data == {"owner": "victim"}
    assert world.get("read", mallory).data == {"owner": "mallory"}


@pytest.mark.parametrize("header", DEAD.values(), ids=DEAD.keys())
def test_a_cookie_whose_session_is_unknown_finds_nothing_and_is_ended(
    world: World, header: Header
) -> None:
    """Such a cookie is nobody's, and the browser is told to forget it when it is used."""
    victim, mallory = world.begin("victim"), world.begin("mallory")
    check_anonymous(world, header(world, victim, mallory), UNKNOWN, dead=True)
    assert world.get("read", victim).data == {"owner": "victim"}


GOOD: Final[dict[str, Header]] = {
    "twice": lambda world, victim, mallory: f"{victim}; {victim}",
    "signed twice": lambda world, victim, mallory: (
        f"{victim}; {sign(world.store, parts(victim)[0])}"
    ),
    "a forged one before": lambda world, victim, mallory: f"{NAME}={UNKNOWN}; {victim}",
    "a forged one behind": lambda world, victim, mallory: f"{victim}; {NAME}={UNKNOWN}",
    "one that was never issued before": lambda world, victim, mallory: (
        f"{sign(world.store, UNKNOWN)}; {victim}"
    ),
    "one that was never issued behind": lambda world, victim, mallory: (
        f"{victim}; {sign(world.store, UNKNOWN)}"
    ),
    "in quotes": lambda world, victim, mallory: f'{NAME}="{victim.partition("=")[2]}"',
    "in quotes, and a forged one": lambda world, victim, mallory: (
        f'{NAME}="{UNKNOWN}"; {NAME}="{victim.partition("=")[2]}"'
    ),
    "an empty one before": lambda world, victim, mallory: f"{NAME}=; {victim}",
    "another's, changed": lambda world, victim, mallory: f"{mallory[:-1]}; {victim}; {mallory}x",
    "another's, with another key": lambda world, victim, mallory: (
        f"{sign(world.store, parts(mallory)[0], key=OLD_KEY)}; {victim}"
    ),
    "another's, under other names": lambda world, victim, mallory: (
        f"other={mallory.partition('=')[2]}; x{mallory}; {victim}; {mallory.capitalize()}"
    ),
}


@pytest.mark.parametrize("header", GOOD.values(), ids=GOOD.keys())
def test_a_good_cookie_is_used_whatever_is_planted_beside_it(world: World, header: Header) -> None:
    """A good cookie finds its session beside duplicates, and cookies that lead to none."""
    victim, mallory = world.begin("victim"), world.begin("mallory")
    before = world.rows()
    found = world.get("read", header(world, victim, mallory))
    assert found.data == {"owner": "victim"}
    assert found.set_cookies == []
    assert world.rows() == before


def test_a_cookie_from_before_a_login_finds_nothing_after_it(disk_world: World) -> None:
    """The old cookie finds nothing after a login, beside the new one neither; that goes on."""
    world = disk_world
    planted = world.begin("planted")
    before = world.get("read", planted).id
    login = world.get("login", planted, value="ada")
    assert login.data == {"owner": "planted", "user": "ada"}
    check_anonymous(world, planted, before, login.id)
    for header in (f"{planted}; {login.cookie}", f"{login.cookie}; {planted}"):
        found = world.get("read", header)
        assert (found.id, found.data, found.set_cookies) == (login.id, login.data, [])
    assert world.get("read", login.cookie).data == login.data


def test_a_cookie_from_before_a_login_is_not_logged_in_by_it() -> None:
    """An old cookie of the cookie store holds what it held, and nothing of the login."""
    world = inside(CookieStore())
    planted = world.begin("planted")
    login = world.get("login", planted, value="ada")
    assert login.id != world.get("read", planted).id
    assert world.get("read", planted).data == {"owner": "planted"}


def test_a_cookie_from_before_a_logout_finds_nothing_after_it(disk_world: World) -> None:
    """A copy of the cookie finds nothing after a logout."""
    world = disk_world
    copy = world.begin("victim")
    before = world.get("read", copy).id
    check_ended(world.get("logout", copy), True)
    check_anonymous(world, copy, before, dead=True)


def test_a_cookie_for_another_directory_finds_nothing(disk: DiskStore, tmp_path: Path) -> None:
    """Two applications with one key, name and kind of store do not share their sessions."""
    with closing(DiskStore(tmp_path / "other")) as other:
        cookie = inside(other).begin("other")
        known = inside(other).get("read", cookie).id
        check_anonymous(inside(disk), cookie, known, dead=True)
        assert inside(other).get("read", cookie).data == {"owner": "other"}


@pytest.fixture(params=["disk", "cookie"])
def store(request: pytest.FixtureRequest) -> SessionStore:
    if request.param == "cookie":
        return CookieStore()
    found: SessionStore = request.getfixturevalue("disk")
    return found


def test_keys_are_rotated_and_removed_without_a_logout(store: SessionStore, clock: Clock) -> None:
    """Old cookies are read and signed anew with the new key, and then the old key can go."""
    old = inside(store, secret_keys=[OLD_KEY])
    both = inside(store, secret_keys=[KEY, OLD_KEY])
    new = inside(store, secret_keys=[KEY])
    first, last = old.begin("ada"), old.begin("bob")
    assert both.get("read", first).data == {"owner": "ada"}
    clock.advance(store.lifetime / 10)
    renewed = both.get("read", first).cookie
    assert new.get("read", renewed).data == {"owner": "ada"}
    login = both.get("login", last, value="bob").cookie
    assert new.get("read", login).data == {"owner": "bob", "user": "bob"}
    check_anonymous(old, renewed, new.get("read", renewed).id)
    check_anonymous(new, first, both.get("read", first).id)
