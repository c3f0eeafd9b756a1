"""Files of an earlier version: every session in one is read exactly, and goes on."""

from __future__ import annotations

import gzip
import json
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, Final

import diskcache
import pytest

from glimr_session import ConfigError, DiskStore
from glimr_session.testing.contract import (
    Clock,
    Request,
    begin,
    content,
    expire_after,
    flash,
    increment,
    invalidate,
    put,
    regenerate,
)
from tests.support.disk import query

from .storage import refusal, soon

DATA: Final = Path(__file__).parent.parent / "data"
EARLIER: Final = json.loads((DATA / "sessions-0.1.0.json").read_text())
SESSIONS: Final[dict[str, dict[str, Any]]] = EARLIER["sessions"]

SHIFT: Final = """
    UPDATE Cache SET store_time = store_time + ?1, access_time = access_time + ?1,
        expire_time = expire_time + ?1
"""


@pytest.fixture
def earlier(directory: Path, clock: Clock) -> Path:
    """Return a directory as the earlier version has left it, a moment ago."""
    directory.mkdir(mode=0o700)
    file = directory / "cache.db"
    file.touch(mode=0o600)
    file.write_bytes(gzip.decompress((DATA / "sessions-0.1.0.db.gz").read_bytes()))
    query(directory, SHIFT, clock.now - EARLIER["made_at"])
    return directory


def cookie_value(name: str) -> str:
    found: str = SESSIONS[name]["cookie_value"]
    return found


def problems(directory: Path) -> list[str]:
    """Return what diskcache itself finds wrong."""
    with closing(diskcache.Cache(str(directory))) as cache:
        return [str(warning.message) for warning in cache.check()]


def format_of(directory: Path) -> int:
    ((version,),) = query(directory, "PRAGMA user_version")
    return int(version)


@pytest.mark.parametrize("name", SESSIONS)
def test_every_session_of_an_earlier_version_is_read_exactly(name: str, earlier: Path) -> None:
    """Data and flash are as they were, and a session that had ended has ended."""
    with closing(DiskStore(earlier)) as store:
        session = SESSIONS[name]
        wanted = None if session["data"] is None else (session["data"], session["flash"])
        assert content(store, session["cookie_value"]) == wanted


def test_a_session_of_an_earlier_version_expires_when_it_would_have(
    earlier: Path, clock: Clock
) -> None:
    """A session that had seconds left then has as many now; another one that is used goes on."""
    with closing(DiskStore(earlier)) as store:
        assert store.touch(cookie_value("data"))
        clock.advance(190)
        assert store.open(cookie_value("expiring")) is not None
        clock.advance(20)
        assert store.open(cookie_value("expiring")) is None
        clock.advance(store.lifetime - 300)
        assert store.open(cookie_value("data")) is not None


def test_sessions_of_an_earlier_version_go_on(earlier: Path) -> None:
    """Sessions are changed, logged in and logged out, beside new ones, and the file is clean."""
    with closing(DiskStore(earlier)) as store:
        changed = Request(store, cookie_value("data")).commit(
            increment("visits"), flash("message", "Hello."), expire_after(60)
        )
        assert content(store, changed) == (
            {**SESSIONS["data"]["data"], "visits": 1},
            {"message": "Hello."},
        )
        again = Request(store, cookie_value("flash"))
        assert content(store, again.commit(put("b", 2))) == ({"a": 1, "b": 2}, {})

        moved = Request(store, cookie_value("expiring")).commit(regenerate, put("user", "dee"))
        assert content(store, moved) == ({"user": "dee"}, {})
        assert store.open(cookie_value("expiring")) is None

        assert Request(store, cookie_value("after the login")).commit(invalidate) == ""
        assert store.open(cookie_value("after the login")) is None
        assert content(store, begin(store)) == ({"a": 1}, {})
    assert problems(earlier) == []
    with closing(DiskStore(earlier)) as store:
        assert content(store, moved) == ({"user": "dee"}, {})
        assert store.open(cookie_value("after the login")) is None


def test_expired_sessions_of_an_earlier_version_are_collected(earlier: Path, clock: Clock) -> None:
    """Collecting removes every session that nobody has used for long."""
    with closing(DiskStore(earlier)) as store:
        clock.advance(store.lifetime + 6 * 3600)
        assert store.gc() == sum(session["data"] is not None for session in SESSIONS.values())
        assert query(earlier, "SELECT count(*) FROM Cache") == [(0,)]
    assert problems(earlier) == []


def test_a_file_says_its_format(directory: Path, earlier: Path) -> None:
    """A new file is of format 1; one without a format is of an earlier version, and is left so."""
    new = directory.with_name("new")
    DiskStore(new).close()
    assert format_of(new) == 1
    with closing(DiskStore(earlier)) as store:
        begin(store)
    assert format_of(earlier) == 0  # so that the earlier version can go on with it


def test_a_later_format_is_refused_at_the_start_and_later(directory: Path) -> None:
    """A file of a later version is an error that says so, also if it comes while it is in use."""
    with closing(DiskStore(directory)) as store:
        kept = begin(store)
        query(directory, "PRAGMA user_version = 2")
        with pytest.raises(ConfigError, match=r"later version .*its format is 2.*knows 1"):
            DiskStore(directory)
        message = soon(partial(refusal, lambda: store.open(kept)))
        assert "later version of glimr_session" in message
        query(directory, "PRAGMA user_version = 1")
        assert soon(lambda: content(store, kept)) == ({"a": 1}, {})
