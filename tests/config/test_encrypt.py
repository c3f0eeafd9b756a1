"""The setting ``encrypt``: which stores get the keys, and what happens while it is changed."""

from __future__ import annotations

import itertools
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from glimr_session import (
    CommitResult,
    ConfigError,
    CookieStore,
    DiskStore,
    SessionConfig,
    SessionMiddleware,
    SessionStore,
    StoredSession,
    asgi,
    setup,
)
from glimr_session._session.changes import Changes
from glimr_session._session.sealing import SEALED
from glimr_session.stores.sql import SqlStore
from glimr_session.testing import read_session, seed_session
from tests.conftest import Clock
from tests.support.disk import query
from tests.support.documents import blocks_of
from tests.support.memory import InMemory
from tests.support.wsgi_client import Browser

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

OLD = "the old key of this test, long enough"

NEW = "the new key of this test, long enough"


def count(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer with the number of the visit."""
    start_response("200 OK", [])
    return [str(environ["glimr.session"].increment("visits")).encode()]


class Strangers(SessionStore):
    """A store that knows nothing of encryption."""

    def open(self, cookie_value: str) -> StoredSession | None:
        return None

    def commit(self, changes: Changes, *, wait: bool = True) -> CommitResult:
        return CommitResult.GONE

    def gc(self) -> int:
        return 0


def functions() -> SessionStore:
    """Return a store made of five functions, as a factory."""
    return InMemory().store()


# Who gets the keys.


def test_encryption_needs_keys() -> None:
    """The error says how to make one."""
    with pytest.raises(ConfigError, match=r"encrypt = true needs secret_keys.*token_hex"):
        SessionConfig(encrypt=True)


def test_a_store_that_does_not_encrypt_is_refused() -> None:
    """Where encryption was asked for, nothing is kept in the clear."""
    config = SessionConfig(store=f"{__name__}:Strangers", secret_keys=[NEW], encrypt=True)
    with pytest.raises(ConfigError, match="'custom' does not encrypt"):
        config.make_store()
    with pytest.raises(ConfigError, match="'custom' does not encrypt"):
        SessionMiddleware(count, SessionConfig(secret_keys=[NEW], encrypt=True), store=Strangers())
    SessionMiddleware(count, SessionConfig(secret_keys=[NEW]), store=Strangers())


@pytest.mark.parametrize("name", ["disk", "cookie", "sql", f"{__name__}:functions"])
@pytest.mark.parametrize("encrypt", [True, False])
def test_a_configured_store_has_the_keys(tmp_path: Path, name: str, *, encrypt: bool) -> None:
    """To open what is sealed, whether it seals or not."""
    url = f"sqlite:///{tmp_path / 'sessions.db'}"
    SqlStore.create_table(url)
    config = SessionConfig(
        store=name,
        secret_keys=[NEW],
        encrypt=encrypt,
        disk_directory=tmp_path / "sessions",
        sql_url=url,
    )
    with closing(config.make_store()) as store:
        assert store.sealer is not None
        assert store.sealer.seals is encrypt


Door = Callable[[SessionConfig, SessionStore], object]


def wsgi_with_setup(config: SessionConfig, store: SessionStore) -> object:
    """Wrap an application before its store is set up."""
    app = SessionMiddleware(count, config)
    setup(store)
    return app


DOORS: Mapping[str, Door] = {
    "wsgi": lambda config, store: SessionMiddleware(count, config, store=store),
    "wsgi, setup()": wsgi_with_setup,
    "asgi": lambda config, store: asgi.SessionMiddleware(no_app, config, store=store),
}


async def no_app(*_: object) -> None:
    """Stand where an ASGI application would."""


@pytest.mark.parametrize("door", DOORS)
def test_a_store_that_was_made_by_hand_gets_the_keys_from_its_door(
    tmp_path: Path, door: str
) -> None:
    """What an application writes, and what its tests seed, is sealed."""
    config = SessionConfig(secret_keys=[NEW], encrypt=True)
    with closing(DiskStore(tmp_path / "sessions")) as store:
        app = DOORS[door](config, store)
        cookie = seed_session(app, {"user": 7})
        assert values_of(tmp_path / "sessions") == [True]
        assert read_session(app, cookie.value).data == {"user": 7}


def values_of(directory: Path) -> list[bool]:
    """Return of each stored session whether it is sealed."""
    return [value.startswith(SEALED) for (value,) in query(directory, "SELECT value FROM Cache")]


def test_equip_gives_a_store_the_keys(tmp_path: Path) -> None:
    """As a script does that makes its store by hand."""
    config = SessionConfig(secret_keys=[NEW], encrypt=True)
    with closing(DiskStore(tmp_path / "sessions")) as store:
        config.equip(store)
        store.save("0" * 64, {"n": 1}, {})
        assert values_of(store.directory) == [True]


# While it is changed.


@contextmanager
def workers(directory: Path, *settings: Mapping[str, Any]) -> Iterator[list[WSGIApplication]]:
    """Return an application for each of the settings, as of workers that share a store."""
    with ExitStack() as stack:
        apps: list[WSGIApplication] = []
        for given in settings:
            config = SessionConfig.from_mapping({"gc": "never", **given})
            store: SessionStore = CookieStore()
            if config.store == "disk":
                store = stack.enter_context(closing(DiskStore(directory / "sessions")))
            apps.append(SessionMiddleware(count, config, store=store))
        yield apps


@pytest.mark.parametrize("store", ["disk", "cookie"])
def test_encryption_is_turned_on_and_off_worker_by_worker(tmp_path: Path, store: str) -> None:
    """A browser that meets plain and encrypting workers in turn stays logged in."""
    shared = {"store": store, "secret_keys": [NEW]}
    with workers(tmp_path, {**shared, "encrypt": False}, {**shared, "encrypt": True}) as apps:
        browser = Browser()
        for number, app in enumerate([*apps, *apps, *reversed(apps), *apps], 1):
            assert browser.get(app).body == str(number).encode()
        if store == "disk":
            assert values_of(tmp_path / "sessions") == [True]
            browser.get(apps[0])
            assert values_of(tmp_path / "sessions") == [False]


@pytest.mark.parametrize("store", ["disk", "cookie"])
def test_keys_of_encrypted_sessions_are_rotated_in_three_steps(
    tmp_path: Path, clock: Clock, store: str
) -> None:
    """At each step workers before and behind it answer one browser, and it stays logged in."""
    steps = [[OLD], [OLD, NEW], [NEW, OLD], [NEW]]
    settings = [{"store": store, "secret_keys": keys, "encrypt": True} for keys in steps]
    with workers(tmp_path, *settings) as apps:
        browser, number = Browser(), 0
        for one, other in itertools.pairwise(apps):
            for app in (one, other, one, other):
                number += 1
                clock.advance(1200)  # more than a tenth of the lifetime, so the cookie is renewed
                assert browser.get(app).body == str(number).encode()


# Without the package.


def run(tmp_path: Path, program: str, **files: str) -> list[str]:
    """Return the lines that a program prints in a process of its own."""
    for name, text in files.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(text, "utf-8")
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


PROGRAM = f"""
import sys
from glimr_session import ConfigError, SessionConfig, StoreUnavailable
from glimr_session.stores.disk import DiskStore

store = SessionConfig(store="cookie", secret_keys=[{NEW!r}]).make_store()
value = store.cookie_value("0" * 64, {{"n": 1}}, {{}})
print(store.load(value), "cryptography" in sys.modules)
for make in (
    lambda: SessionConfig(store="cookie", secret_keys=[{NEW!r}], encrypt=True).make_store(),
    lambda: store.load("czEAAAAAAAAA"),
):
    try:
        print(make())
    except (ConfigError, StoreUnavailable) as error:
        print(type(error).__name__, error)
"""


def test_plain_sessions_load_no_cryptography(tmp_path: Path) -> None:
    """Neither the package nor plain sessions import it, and encrypted ones do."""
    plain, encrypted, sealed = run(tmp_path, PROGRAM)
    assert plain == "({'n': 1}, {}) False"
    assert "CookieStore" in encrypted
    assert sealed == "({}, {})"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "raise ModuleNotFoundError('no', name='cryptography')",
            "cryptography is not installed. Run: pip install 'glimr-session[encrypt]'",
        ),
        (
            "raise ImportError('libssl.so.3: cannot open shared object file')",
            "cryptography cannot be imported: libssl.so.3: cannot open shared object file",
        ),
    ],
    ids=["missing", "broken"],
)
def test_without_cryptography_nothing_is_lost_silently(
    tmp_path: Path, text: str, told: str
) -> None:
    """Encryption is refused at start; a sealed session is an outage, and no absent one."""
    plain, encrypted, sealed = run(tmp_path, PROGRAM, cryptography=text)
    assert plain == "({'n': 1}, {}) False"
    assert encrypted == f"ConfigError encrypt = true: {told}"
    assert sealed == f"StoreUnavailable the sessions are encrypted, and {told}"


def test_the_page_on_encryption_is_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its setting encrypts, and its script reads what a site has written."""
    settings, script = blocks_of("docs/encryption.md")
    (tmp_path / "session.toml").write_text(settings.code, "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GLIMR_SESSION_SECRET_KEYS", secrets.token_hex(32))
    app = SessionMiddleware(count, SessionConfig.from_toml("session.toml"))
    cookie = seed_session(app, {"user": 7})
    assert values_of(tmp_path / "var" / "sessions") == [True]
    names: dict[str, Any] = {}
    exec(script.code, names)
    with closing(names["store"]) as store:
        assert store.load(cookie.value.partition(".")[0]) == ({"user": 7}, {})
