"""Where the settings of a Flask application's sessions come from."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, session

from glimr_session import ConfigError, CookieStore, DiskStore, SessionConfig, setup
from glimr_session.flask import GlimrSession
from tests.support.wsgi_apps import Recorded

from .sites import KEY, do, make_app, set_cookies, twin

OTHER = "another key for tests - long enough"

COOKIE = {"store": "cookie", "gc": "never"}


def test_several_applications_of_one_object(tmp_path: Path) -> None:
    """Each has its own settings, and cannot read the other's cookies."""
    sessions = GlimrSession()
    apps = [Flask("one"), Flask("two")]
    for app, key in zip(apps, (KEY, OTHER), strict=True):
        app.config.update(SECRET_KEY=key, GLIMR_SESSION=COOKIE, SESSION_COOKIE_NAME=app.name)
        sessions.init_app(app)
    clients = [app.test_client() for app in apps]
    for app, client in zip(apps, clients, strict=True):
        (cookie,) = set_cookies(do(app, lambda: session.update(a=1), client))
        assert cookie.startswith(f"{app.name}=")
    found: list[Any] = []
    for app, client in zip(apps, clients, strict=True):
        do(app, lambda: found.append(dict(session)), client)
    forger = apps[1].test_client()
    of_one = clients[0].get_cookie("one")
    assert of_one is not None
    forger.set_cookie("two", of_one.value)
    do(apps[1], lambda: found.append(dict(session)), forger)
    assert found == [{"a": 1}, {"a": 1}, {}]


@pytest.mark.parametrize("key", ["dev", "a" * 40, "changeme" * 5, b"sixteen bytes ok"])
def test_a_weak_secret_key_is_refused_at_once(key: str | bytes) -> None:
    """The error names SECRET_KEY, not its value, and says how to make one."""
    app = Flask("shop")
    app.config["SECRET_KEY"] = key
    with pytest.raises(ConfigError, match="SECRET_KEY") as refused:
        GlimrSession(app)
    assert "secrets.token_hex(32)" in str(refused.value)
    assert "secret_keys" not in str(refused.value).replace("SECRET_KEY", "")
    assert str(key) not in str(refused.value)


def test_a_weak_fallback_is_refused_by_its_name() -> None:
    """The error says which one it is."""
    with pytest.raises(ConfigError, match=r"SECRET_KEY_FALLBACKS\[1\] has 3 characters"):
        make_app(None, SECRET_KEY_FALLBACKS=[OTHER, "old"])


def test_a_key_of_bytes_signs() -> None:
    """As ``os.urandom(24)`` makes it, in each process the same."""
    cookies = []
    for _ in range(2):
        app = make_app(CookieStore(), SECRET_KEY=bytes(range(200, 224)))
        client = app.test_client()
        do(app, lambda: session.update(a=1), client)
        cookies.append(client)
    fresh = make_app(CookieStore(), SECRET_KEY=bytes(range(200, 224))).test_client()
    cookie = cookies[0].get_cookie("session")
    assert cookie is not None
    fresh.set_cookie("session", cookie.value)
    assert do(fresh.application, lambda: str(session["a"]), fresh).text == "1"


def test_fallback_keys_verify(disk: DiskStore) -> None:
    """After the key was rotated, the sessions of the old key go on."""
    old = make_app(disk).test_client()
    do(old.application, lambda: session.update(a=1), old)
    app = make_app(disk, SECRET_KEY=OTHER, SECRET_KEY_FALLBACKS=[KEY])
    cookie = old.get_cookie("session")
    assert cookie is not None
    client = app.test_client()
    client.set_cookie("session", cookie.value)
    assert do(app, lambda: str(session["a"]), client).text == "1"


def test_without_a_key_flask_s_own_error_explains() -> None:
    """A read sees an empty session, and a write raises RuntimeError: Flask's NullSession."""
    app = make_app(None, SECRET_KEY=None)
    do(app, lambda: session.get("a"))
    with pytest.raises(RuntimeError, match="no secret key was set"):
        do(app, lambda: session.update(a=1))


def test_a_key_that_is_set_after_init_app_is_used() -> None:
    """As a test's factory does it."""
    app = make_app(CookieStore(), SECRET_KEY=None)
    app.config["SECRET_KEY"] = KEY
    assert set_cookies(do(app, lambda: session.update(a=1))) != []


@pytest.mark.parametrize(
    ("change", "prefix"),
    [
        (lambda app: app.config.update(SESSION_COOKIE_NAME="other"), "other="),
        (lambda app: app.config.update(GLIMR_SESSION={"cookie": "other"}), "other="),
        (lambda app: app.config["GLIMR_SESSION"].update(cookie="other"), "other="),
    ],
)
def test_settings_may_change_between_requests(change: Any, prefix: str) -> None:
    """The next request has the new ones, also where the dict of settings was changed in place."""
    app = make_app(CookieStore(), GLIMR_SESSION={"gc": "never"})
    assert set_cookies(do(app, lambda: session.update(a=1)))[0].startswith("session=")
    change(app)
    assert set_cookies(do(app, lambda: session.update(a=1)))[0].startswith(prefix)


def test_the_store_is_made_once(tmp_path: Path) -> None:
    """As long as the settings stay the same, all requests share it."""
    made: list[CookieStore] = []
    COUNTED.append(made)
    app = make_app(None, GLIMR_SESSION={"store": f"{__name__}:counted", "gc": "never"})
    client = app.test_client()
    for _ in range(3):
        do(app, lambda: session.update(a=1), client)
    assert len(made) == 1


COUNTED: list[list[CookieStore]] = []


def counted() -> CookieStore:
    """A store, noted: see above."""
    COUNTED[-1].append(CookieStore())
    return COUNTED[-1][-1]


def test_a_wrong_setting_is_refused_at_once() -> None:
    """init_app raises, and no request has to come first."""
    with pytest.raises(ConfigError, match="Did you mean cookie_path"):
        make_app(None, GLIMR_SESSION={"cookie_pth": "/"})


def test_a_cookie_that_scripts_can_read_is_refused() -> None:
    """SESSION_COOKIE_HTTPONLY = False cannot be had, and the error says so."""
    with pytest.raises(ConfigError, match="SESSION_COOKIE_HTTPONLY"):
        make_app(None, SESSION_COOKIE_HTTPONLY=False)


def test_the_configuration_can_be_an_argument() -> None:
    """A dict in place of GLIMR_SESSION; Flask's own settings count beside it."""
    app = Flask("shop")
    app.config.update(SECRET_KEY=KEY, SESSION_COOKIE_PATH="/a", GLIMR_SESSION={"cookie": "no"})
    GlimrSession(app, {**COOKIE, "cookie": "mine"})
    (cookie,) = set_cookies(do(app, lambda: session.update(a=1)))
    assert cookie.startswith("mine=")
    assert "; Path=/a;" in cookie


def test_a_complete_configuration_reads_nothing_of_flask_s_but_the_key() -> None:
    """A SessionConfig is used as it is; without keys of its own it takes SECRET_KEY."""
    app = Flask("shop")
    app.config.update(SECRET_KEY=KEY, SESSION_COOKIE_PATH="/a")
    GlimrSession(app, SessionConfig(store="cookie", cookie="mine"))
    (cookie,) = set_cookies(do(app, lambda: session.update(a=1)))
    assert cookie.startswith("mine=")
    assert "; Path=/;" in cookie
    assert "; Max-Age=" in cookie


def test_keys_of_ours_beat_the_secret_key() -> None:
    """SECRET_KEY may then be what it was."""
    app = make_app(CookieStore(), SECRET_KEY="dev", GLIMR_SESSION={"secret_keys": [KEY]})
    assert set_cookies(do(app, lambda: session.update(a=1))) != []


def test_the_environment_beats_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """GLIMR_SESSION_COOKIE and GLIMR_SESSION_SECRET_KEYS: how a deployment changes settings."""
    monkeypatch.setenv("GLIMR_SESSION_COOKIE", "deployed")
    monkeypatch.setenv("GLIMR_SESSION_SECRET_KEYS", OTHER)
    app = make_app(CookieStore(), SECRET_KEY="dev", GLIMR_SESSION={"cookie": "mine"})
    assert set_cookies(do(app, lambda: session.update(a=1)))[0].startswith("deployed=")


@pytest.mark.parametrize("settings", [{}, {"disk": {"directory": "{}/mine"}}])
def test_the_disk_store_s_directory(tmp_path: Path, settings: dict[str, Any]) -> None:
    """It is in Flask's instance folder, unless the settings name another one."""
    table = {name: {"directory": str(tmp_path / "mine")} for name in settings}
    app = Flask("shop", instance_path=str(tmp_path))
    app.config.update(SECRET_KEY=KEY, GLIMR_SESSION={"gc": "never", **table})
    GlimrSession(app)
    do(app, lambda: session.update(a=1))
    directory = tmp_path / ("mine" if settings else "sessions")
    assert (directory / "cache.db").exists()


def test_the_store_of_setup_is_used() -> None:
    """As every door does, where no store was passed in."""
    recorded = Recorded()
    setup(recorded.store)
    app = make_app(None)
    do(app, lambda: session.update(a=1))
    assert len(recorded.sessions) == 1


def test_init_app_again_replaces_what_was_there() -> None:
    """The store of the last call counts."""
    recorded = Recorded()
    app = make_app(CookieStore())
    client = app.test_client()
    do(app, lambda: session.update(a=1), client)
    app._got_first_request = False
    GlimrSession(app, store=recorded.store)
    do(app, lambda: session.update(a=1), twin(client))
    assert len(recorded.sessions) == 1


def test_importing_the_package_does_not_load_flask() -> None:
    """Only glimr_session.flask does."""
    code = "import sys, glimr_session, glimr_session.wsgi; print('flask' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
