"""How the door is configured: settings of an ini file, the environment, and code."""

from __future__ import annotations

import configparser
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from pyramid.config import Configurator
from pyramid.session import SignedCookieSessionFactory
from webtest import TestApp

import glimr_session
from glimr_session import ConfigError, CookieStore, SessionConfig
from glimr_session._log import forget_warnings
from glimr_session.pyramid import session_factory
from tests.support.wsgi_apps import CONFIG

from .sites import SETTINGS, configure, putting

ONE: Final = "the-first-key-of-these-tests-is-long"
TWO: Final = "the-other-key-of-these-tests-as-well"


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment has no settings of its own."""
    for name in ("STORE", "SECRET_KEYS", "COOKIE", "LIFETIME"):
        monkeypatch.delenv(f"GLIMR_SESSION_{name}", raising=False)


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A directory for a disk store."""
    return tmp_path / "kept"


def site(settings: Mapping[str, object], more: Any = lambda config: None) -> TestApp:
    return TestApp(configure(settings, {"put": putting("a", 1)}, more))


def cookie_of(settings: Mapping[str, object]) -> str:
    """Return the Set-Cookie header that an application with these settings sends."""
    return str(site({**SETTINGS, **settings}).get("/put").headers["Set-Cookie"])


def test_settings_are_text_as_in_an_ini_file(kept: Path) -> None:
    """Numbers, flags and tables are read from text; what is empty is not set."""
    parser = configparser.ConfigParser()
    parser.read_string(
        f"""
[app:main]
pyramid.includes = glimr_session.pyramid
glimr_session.store = disk
glimr_session.disk.directory = {kept}
glimr_session.secret_keys =
    {ONE}
    {TWO}
glimr_session.lifetime = 10
glimr_session.expire_on_close = false
glimr_session.cookie_domain =
glimr_session.cookie_samesite = Strict
"""
    )
    settings = dict(parser["app:main"])
    del settings["pyramid.includes"]  # the site includes it by itself
    cookie = cookie_of(settings)
    assert "; SameSite=Strict" in cookie
    assert "; Max-Age=600" in cookie
    assert "Domain" not in cookie
    assert (kept / "cache.db").exists()


def test_pyramid_includes_is_enough() -> None:
    """The line ``pyramid.includes = glimr_session.pyramid`` replaces ``config.include``."""
    with Configurator(settings={**SETTINGS, "pyramid.includes": "glimr_session.pyramid"}) as config:
        config.add_route("put", "/put")
        config.add_view(putting("a", 1), route_name="put", renderer="json")
    assert "Set-Cookie" in TestApp(config.make_wsgi_app()).get("/put").headers


@pytest.mark.parametrize(
    "keys",
    [f"{TWO} {ONE}", f"\n{TWO}\n{ONE}\n", f"{TWO}, {ONE}", f"{TWO},{ONE}", [TWO, ONE]],
    ids=["spaces", "lines", "comma and space", "commas", "list"],
)
def test_secret_keys_are_separated(keys: object) -> None:
    """By spaces, lines or commas; a list in code is one, too. All of them verify."""
    before = site({**SETTINGS, "glimr_session.secret_keys": ONE})
    cookie = before.get("/put").headers["Set-Cookie"].partition(";")[0]
    after = site({**SETTINGS, "glimr_session.secret_keys": keys})
    assert after.get("/all", headers={"Cookie": cookie}).json == {"a": 1}


def test_values_of_code_are_taken_as_they_are() -> None:
    """A setting may be a number, a flag or a table."""
    cookie = cookie_of(
        {
            "glimr_session.lifetime": 5,
            "glimr_session.cookie_secure": True,
            "glimr_session.disk": {"mode": "0700"},
        }
    )
    assert "; Max-Age=300" in cookie
    assert "; Secure" in cookie


def test_the_environment_beats_the_settings(monkeypatch: pytest.MonkeyPatch, kept: Path) -> None:
    """One variable puts all sessions on disk; an empty one counts as not set."""
    monkeypatch.setenv("GLIMR_SESSION_STORE", "disk")
    monkeypatch.setenv("GLIMR_SESSION_DISK_DIRECTORY", str(kept))
    monkeypatch.setenv("GLIMR_SESSION_COOKIE", "")
    assert cookie_of({"glimr_session.cookie": "shop"}).startswith("shop=")
    assert (kept / "cache.db").exists()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"glimr_session.liftime": "10"}, "Did you mean lifetime?"),
        ({"glimr_session.lifetime": "long"}, "lifetime: 'long' is not a number of minutes"),
        ({"glimr_session.secret_keys": ""}, "secret_keys"),
        ({"glimr_session.secret_keys": "short"}, "secret_keys[0] has 5 characters"),
    ],
)
def test_a_wrong_setting_is_an_error_at_the_start(settings: dict[str, str], says: str) -> None:
    """The application does not start, and the message names the setting."""
    with pytest.raises(ConfigError) as caught:
        site(SETTINGS | settings)
    assert says in str(caught.value)


def test_settings_of_others_are_not_read() -> None:
    """Only those that begin with ``glimr_session.`` are ours."""
    assert cookie_of({"session.lifetime": "x", "glimr_sessions.x": "y"})


@pytest.mark.parametrize("kind", ["config", "mapping", "environment"])
def test_a_factory_by_itself(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes a SessionConfig, a mapping of the shape of session.toml, or the environment."""
    configs: dict[str, SessionConfig | dict[str, Any] | None] = {
        "config": SessionConfig(store="cookie", cookie="shop", secret_keys=[ONE]),
        "mapping": {"store": "cookie", "secret_keys": [ONE]},
        "environment": None,
    }
    if kind != "config":
        monkeypatch.setenv("GLIMR_SESSION_COOKIE", "shop")
    if kind == "environment":
        monkeypatch.setenv("GLIMR_SESSION_STORE", "cookie")
        monkeypatch.setenv("GLIMR_SESSION_SECRET_KEYS", ONE)
    made = session_factory(configs[kind])
    found = site(SETTINGS, lambda config: config.set_session_factory(made)).get("/put")
    assert found.headers["Set-Cookie"].startswith("shop=")


def test_which_store_is_taken() -> None:
    """An argument beats the store of ``setup()``, which beats that of the configuration."""
    stores = {name: CookieStore(lifetime=seconds) for name, seconds in (("setup", 60), ("own", 30))}
    glimr_session.setup(stores["setup"])
    assert "; Max-Age=60" in cookie_of({})
    own = session_factory(CONFIG, store=stores["own"])
    found = site(SETTINGS, lambda config: config.set_session_factory(own)).get("/put")
    assert "; Max-Age=30" in found.headers["Set-Cookie"]


def test_another_session_factory_is_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    """It wins over the included one, and its sessions would go on as before."""
    forget_warnings()
    with Configurator(settings=SETTINGS) as config:
        config.include("glimr_session.pyramid")
    config.make_wsgi_app()
    assert caplog.messages == []
    with Configurator(settings=SETTINGS) as config:
        config.include("glimr_session.pyramid")
        config.set_session_factory(SignedCookieSessionFactory("a secret"))
    config.make_wsgi_app()
    (message,) = caplog.messages
    assert "Remove its set_session_factory()" in message


def test_several_applications_in_a_process() -> None:
    """Each has its own cookie, keys and sessions, also with one browser."""
    first = site({**SETTINGS, "glimr_session.cookie": "first"})
    other = site({**SETTINGS, "glimr_session.cookie": "other", "glimr_session.secret_keys": ONE})
    first.get("/put")
    other.cookiejar = first.cookiejar
    assert other.get("/all").json == {}
    other.get("/put")
    assert {cookie.name for cookie in first.cookiejar} == {"first", "other"}
    assert first.get("/all").json == other.get("/all").json == {"a": 1}


def test_our_package_does_not_load_pyramid() -> None:
    """``import glimr_session`` imports neither Pyramid nor what it stands on."""
    program = (
        "import sys, glimr_session, glimr_session.wsgi\n"
        "print({'pyramid', 'webob', 'zope.interface'} & sys.modules.keys())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"
