"""SessionConfig: every way to read settings, and what a configuration holds."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import tempfile
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glimr_session import ConfigError, SessionConfig, SessionStore, new

KEY = "a-key-of-this-test-that-nobody-may-see-printed"


OTHER_KEY = "another-key-of-this-test-nobody-may-see-printed"


SETTINGS = [field.name for field in dataclasses.fields(SessionConfig)]


def custom_store() -> SessionStore:
    """Return a store; a factory without parameters."""
    return new(
        load=lambda session_id: ({}, {}),
        save=lambda session_id, data, flash: None,
        destroy=lambda session_id: None,
        gc=lambda: 0,
        cookie_value=lambda session_id, data, flash: session_id,
    )


def message_of(settings: Mapping[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        SessionConfig.from_mapping(settings)
    return str(caught.value)


def test_the_defaults_are_those_of_the_design() -> None:
    """A configuration without settings has the documented defaults."""
    config = SessionConfig()
    assert config == SessionConfig.from_mapping({}) == SessionConfig.from_env({})
    assert (config.store, config.cookie, config.gc) == ("disk", "glimr_session", "lottery")
    assert config.lifetime == timedelta(minutes=120)
    assert config.absolute_lifetime == timedelta(0)
    assert config.expire_on_close is False
    assert (config.flash_until_read, config.commit_on_error) == (False, False)
    assert (config.key, config.login_key) == ("glimr.session", "")
    assert config.secret_keys == ()
    assert config.rotation_grace == timedelta(0)
    assert config.disk_directory == "var/sessions"
    assert config.disk_durability == "process"
    assert config.disk_mode == "0700"
    assert (config.redis_url, config.redis_prefix) == ("", "glimr_session:")
    assert (config.sql_url, config.sql_table) == ("", "glimr_sessions")
    assert (config.redis_max_connections, config.sql_max_connections) == (50, 20)
    assert config.sql_prepare_threshold == 5
    assert config.move_from == ""
    assert config.gc_chance == 0.02
    assert (config.cookie_path, config.cookie_domain) == ("/", "")
    assert (config.cookie_samesite, config.cookie_secure) == ("Lax", "auto")
    assert config.cookie_partitioned is False


def test_the_file_of_the_design_is_understood(tmp_path: Path) -> None:
    """from_toml() reads every line of the documented session.toml."""
    path = tmp_path / "session.toml"
    path.write_text(
        f"""
        store = "cookie"
        cookie = "shop"
        lifetime = 30
        absolute_lifetime = 600
        expire_on_close = true
        gc = "never"
        secret_keys = ["{KEY}", "{OTHER_KEY}"]

        [disk]
        directory = "some/where"
        """,
        "utf-8",
    )
    assert SessionConfig.from_toml(path, {}) == SessionConfig(
        store="cookie",
        cookie="shop",
        lifetime=timedelta(minutes=30),
        absolute_lifetime=timedelta(minutes=600),
        expire_on_close=True,
        gc="never",
        secret_keys=[KEY, OTHER_KEY],
        disk_directory=str(tmp_path / "some/where"),
    )


def test_the_path_of_the_file_can_be_a_string(tmp_path: Path) -> None:
    """from_toml() takes a str as well as a Path."""
    path = tmp_path / "session.toml"
    path.write_text('cookie = "shop"  # the café is closed', "utf-8")
    assert SessionConfig.from_toml(str(path), {}).cookie == "shop"


@pytest.mark.parametrize(
    ("variable", "text", "setting", "value"),
    [
        ("STORE", "cookie", "store", "cookie"),
        ("COOKIE", "shop", "cookie", "shop"),
        ("COOKIE_PATH", "/shop", "cookie_path", "/shop"),
        ("COOKIE_DOMAIN", "example.com", "cookie_domain", "example.com"),
        ("COOKIE_SAMESITE", "Strict", "cookie_samesite", "Strict"),
        ("COOKIE_SECURE", "false", "cookie_secure", False),
        ("COOKIE_SECURE", "1", "cookie_secure", True),
        ("COOKIE_SECURE", "auto", "cookie_secure", "auto"),
        ("COOKIE_PARTITIONED", "TRUE", "cookie_partitioned", True),
        ("LIFETIME", "30", "lifetime", timedelta(minutes=30)),
        ("LIFETIME", "0.5", "lifetime", timedelta(seconds=30)),
        ("ABSOLUTE_LIFETIME", "600", "absolute_lifetime", timedelta(minutes=600)),
        ("EXPIRE_ON_CLOSE", "1", "expire_on_close", True),
        ("EXPIRE_ON_CLOSE", "0", "expire_on_close", False),
        ("FLASH_UNTIL_READ", "true", "flash_until_read", True),
        ("COMMIT_ON_ERROR", "1", "commit_on_error", True),
        ("KEY", "shop.session", "key", "shop.session"),
        ("LOGIN_KEY", "user_id", "login_key", "user_id"),
        ("GC", "never", "gc", "never"),
        ("GC_CHANCE", "0.5", "gc_chance", 0.5),
        ("GC_INTERVAL", "2", "gc_interval", timedelta(minutes=2)),
        ("SECRET_KEYS", KEY, "secret_keys", (KEY,)),
        ("SECRET_KEYS", f" {KEY} , {OTHER_KEY},", "secret_keys", (KEY, OTHER_KEY)),
        ("ROTATION_GRACE", "5", "rotation_grace", timedelta(minutes=5)),
        ("DISK_DIRECTORY", "some/where", "disk_directory", "some/where"),
        ("DISK_DURABILITY", "power", "disk_durability", "power"),
        ("DISK_MODE", "2770", "disk_mode", "2770"),
        ("REDIS_URL", "redis://:a,b@h/0", "redis_url", "redis://:a,b@h/0"),
        ("REDIS_PREFIX", "shop:", "redis_prefix", "shop:"),
        ("REDIS_MAX_CONNECTIONS", "7", "redis_max_connections", 7),
        ("SQL_URL", "sqlite:///x.db", "sql_url", "sqlite:///x.db"),
        ("SQL_TABLE", "shop_sessions", "sql_table", "shop_sessions"),
        ("SQL_MAX_CONNECTIONS", "7", "sql_max_connections", 7),
        ("SQL_PREPARE_THRESHOLD", "0", "sql_prepare_threshold", 0),
        ("MOVE_FROM", "cookie", "move_from", "cookie"),
    ],
)
def test_each_setting_is_read_from_its_variable(
    variable: str, text: str, setting: str, value: object
) -> None:
    """from_env() reads each setting from its variable and converts it to its type."""
    config = SessionConfig.from_env({f"GLIMR_SESSION_{variable}": text})
    assert getattr(config, setting) == value
    assert dataclasses.replace(config, **{setting: getattr(SessionConfig(), setting)}) == (
        SessionConfig()
    )


def test_the_environment_beats_a_mapping_that_is_given_one() -> None:
    """from_mapping() reads no variable unless it is asked to."""
    environ = {"GLIMR_SESSION_STORE": "cookie", "GLIMR_SESSION_LIFETIME": "5"}
    mapping = {"store": "disk", "cookie": "shop"}
    assert SessionConfig.from_mapping(mapping).store == "disk"
    config = SessionConfig.from_mapping(mapping, environ)
    assert (config.store, config.cookie) == ("cookie", "shop")
    assert config.lifetime == timedelta(minutes=5)


def test_defaults_are_beaten_by_a_mapping_and_both_by_the_environment() -> None:
    """A setting of a table counts as the same one outside of it; a directory may be a Path."""
    config = SessionConfig.from_mapping(
        {"disk": {"directory": Path("mine")}},
        {"GLIMR_SESSION_COOKIE": "environment"},
        defaults={"disk_directory": "default", "cookie": "default", "store": "cookie"},
    )
    assert (config.disk_directory, config.cookie, config.store) == ("mine", "environment", "cookie")


def test_every_setting_can_be_set_in_a_mapping() -> None:
    """from_mapping() takes every setting there is."""
    values = {
        "store": "redis",
        "cookie": "shop",
        "cookie_path": "/shop",
        "cookie_domain": "example.com",
        "cookie_samesite": "None",
        "cookie_secure": True,
        "cookie_partitioned": True,
        "lifetime": 30,
        "absolute_lifetime": 600,
        "expire_on_close": True,
        "flash_until_read": True,
        "commit_on_error": True,
        "owner_from_login": True,
        "transport": "header",
        "encrypt": True,
        "metrics": "prometheus",
        "cookie_revocations": "redis",
        "cookie_overflow": "sql",
        "key": "shop.session",
        "login_key": "user_id",
        "gc": "interval",
        "gc_chance": 1,
        "gc_interval": 2,
        "secret_keys": (KEY,),
        "rotation_grace": 5,
        "disk_directory": "some/where",
        "disk_durability": "power",
        "disk_mode": "0750",
        "redis_url": "redis://127.0.0.1",
        "redis_prefix": "shop:",
        "redis_max_connections": 7,
        "sql_url": "sqlite:///x.db",
        "sql_table": "shop_sessions",
        "sql_max_connections": 7,
        "sql_prepare_threshold": 0,
        "move_from": "cookie",
    }
    assert set(values) == set(SETTINGS)
    config = SessionConfig.from_mapping(values)
    durations = {"lifetime", "absolute_lifetime", "gc_interval", "rotation_grace"}
    assert {name: getattr(config, name) for name in SETTINGS if name not in durations} == {
        name: value for name, value in values.items() if name not in durations
    }
    assert config.lifetime == timedelta(minutes=30)
    assert config.absolute_lifetime == timedelta(minutes=600)
    assert config.gc_interval == timedelta(minutes=2)
    assert config.rotation_grace == timedelta(minutes=5)


def test_a_table_and_its_long_name_are_the_same() -> None:
    """A key of the table [disk] is the same setting as its long name."""
    nested = SessionConfig.from_mapping({"disk": {"directory": "x"}, "gc_chance": 0.5})
    assert nested == SessionConfig.from_mapping({"disk_directory": "x", "gc_chance": 0.5})


def test_a_table_and_its_long_name_together_are_a_contradiction() -> None:
    """A setting in a table and under its long name raises ConfigError."""
    assert "disk_directory" in message_of({"disk": {"directory": "x"}, "disk_directory": "y"})


def test_other_variables_are_left_alone() -> None:
    """from_env() ignores variables without our prefix."""
    assert SessionConfig.from_env({"LIFETIME": "x", "SESSION_STORE": "y"}) == SessionConfig()


@pytest.mark.parametrize("setting", SETTINGS)
def test_an_empty_variable_counts_as_not_set(setting: str) -> None:
    """from_env() takes an empty variable for one that is not set."""
    assert SessionConfig.from_env({f"GLIMR_SESSION_{setting.upper()}": ""}) == SessionConfig()


def test_the_environment_beats_the_file(tmp_path: Path) -> None:
    """Variables of the environment beat the file, and the file keeps the rest."""
    path = tmp_path / "session.toml"
    path.write_text('cookie = "file"\nlifetime = 10\n[disk]\ndirectory = "file"', "utf-8")
    environ = {
        "GLIMR_SESSION_COOKIE": "environment",
        "GLIMR_SESSION_LIFETIME": "",
        "GLIMR_SESSION_DISK_DIRECTORY": "environment",
    }
    config = SessionConfig.from_toml(path, environ)
    assert config.cookie == "environment"
    assert config.lifetime == timedelta(minutes=10)
    assert config.disk_directory == "environment"


@pytest.mark.parametrize(
    ("content", "below"),
    [
        ('[disk]\ndirectory = "some/where"', "some/where"),
        ('disk_directory = "../elsewhere"', "../elsewhere"),
        ('[disk]\ndirectory = "some/$WHERE"', "some/$WHERE"),
        ('store = "cookie"', "var/sessions"),
        ("[disk]", "var/sessions"),
    ],
)
def test_a_relative_directory_is_relative_to_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, below: str
) -> None:
    """A relative directory is below the file's, wherever the process stands; so is the default."""
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    site.mkdir()
    elsewhere.mkdir()
    (site / "session.toml").write_text(content, "utf-8")
    monkeypatch.chdir(elsewhere)
    for path in (site / "session.toml", "../site/session.toml"):
        config = SessionConfig.from_toml(path, {})
        assert isinstance(config.disk_directory, str)
        assert Path(config.disk_directory).is_absolute()
        assert os.path.normpath(config.disk_directory) == os.path.normpath(site / below)


def test_a_process_that_stands_elsewhere_finds_the_same_sessions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store made from a file is the same for a server in its directory and a cron job in /."""
    path = tmp_path / "session.toml"
    path.write_text('[disk]\ndirectory = "sessions"', "utf-8")
    monkeypatch.chdir(tmp_path)
    SessionConfig.from_toml("session.toml", {}).make_store().save("0" * 64, {"a": 1}, {})
    monkeypatch.chdir("/")
    assert SessionConfig.from_toml(path, {}).make_store().load("0" * 64) == ({"a": 1}, {})


@pytest.mark.parametrize("directory", ["/some/where", "~/where", "~nobody/where", "$WHERE/it"])
def test_a_directory_that_is_not_relative_is_left_as_it_is(tmp_path: Path, directory: str) -> None:
    """What begins with /, ~ or a variable does not depend on where the file is."""
    path = tmp_path / "session.toml"
    path.write_text(f'[disk]\ndirectory = "{directory}"', "utf-8")
    assert SessionConfig.from_toml(path, {}).disk_directory == directory


def test_a_directory_of_the_environment_is_not_relative_to_the_file(tmp_path: Path) -> None:
    """A variable is set by whoever starts the process, and is relative to where it stands."""
    path = tmp_path / "session.toml"
    path.write_text('[disk]\ndirectory = "some/where"', "utf-8")
    environ = {"GLIMR_SESSION_DISK_DIRECTORY": "there"}
    assert SessionConfig.from_toml(path, environ).disk_directory == "there"


def test_a_file_goes_with_the_environment_of_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """from_toml() reads the environment of the process unless it gets another one."""
    path = tmp_path / "session.toml"
    path.write_text('store = "cookie"', "utf-8")
    monkeypatch.setenv("GLIMR_SESSION_SECRET_KEYS", KEY)
    assert SessionConfig.from_toml(path).secret_keys == (KEY,)
    assert SessionConfig.from_toml(path, {}).secret_keys == ()


def test_numbers_are_minutes_outside_of_python_and_seconds_in_it() -> None:
    """A number is minutes in a file or a mapping and seconds in Python."""
    outside = SessionConfig.from_mapping({"lifetime": 5, "absolute_lifetime": 10})
    inside = SessionConfig(lifetime=300, absolute_lifetime=600.0)
    as_timedelta = SessionConfig(
        lifetime=timedelta(seconds=300), absolute_lifetime=timedelta(seconds=600)
    )
    for config in (outside, inside, as_timedelta):
        store = dataclasses.replace(config, store="cookie").make_store()
        assert (store.lifetime, store.absolute_lifetime) == (300.0, 600.0)
        assert config.lifetime_with(custom_store()) == 300.0


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_configuration_is_frozen(setting: str) -> None:
    """No setting of a configuration can be changed."""
    config = SessionConfig()
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(config, setting, getattr(config, setting))


def test_the_list_of_keys_is_copied() -> None:
    """A configuration copies the list of keys."""
    keys = [KEY]
    config = SessionConfig(secret_keys=keys)
    keys.append("tiny")
    assert config.secret_keys == (KEY,)


def test_a_configuration_shows_no_key() -> None:
    """The repr of a configuration shows other settings and no key."""
    config = SessionConfig(secret_keys=[KEY, OTHER_KEY], cookie="shop")
    for text in (repr(config), str(config), f"{config}"):
        assert "shop" in text
        assert KEY not in text
        assert OTHER_KEY not in text


@pytest.mark.parametrize("directory", ["some/where", Path("some/where")])
def test_the_directory_can_be_a_path(directory: str | Path) -> None:
    """disk_directory takes a str or a Path."""
    assert SessionConfig(disk_directory=directory).disk_directory == directory


any_text = st.text(st.characters(categories=None), max_size=40)  # lone surrogates too


any_name = st.sampled_from([*SETTINGS, "disk", "directory"]) | st.text(max_size=20)


any_value = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.just(10**400)
    | st.floats()
    | any_text
    | st.sampled_from(["disk", "cookie", "a:b", "lottery", "never", "auto", "None", "/", KEY]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(any_name, inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(any_name, any_value, max_size=5))
def test_any_mapping_gives_a_configuration_or_a_config_error(mapping: dict[str, Any]) -> None:
    """Any mapping makes a configuration or raises ConfigError."""
    with contextlib.suppress(ConfigError):
        assert isinstance(SessionConfig.from_mapping(mapping), SessionConfig)


@given(
    st.dictionaries(
        any_name.map(lambda name: f"GLIMR_SESSION_{name.upper()}") | st.text(max_size=20),
        any_text | st.sampled_from(["nan", "1e999", "-inf", "0", "1", "true"]),
        max_size=4,
    )
)
def test_any_environment_gives_a_configuration_or_a_config_error(environ: dict[str, str]) -> None:
    """Any environment makes a configuration or raises ConfigError."""
    with contextlib.suppress(ConfigError):
        assert isinstance(SessionConfig.from_env(environ), SessionConfig)


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_file_gives_a_configuration_or_a_config_error(content: bytes) -> None:
    """Any file makes a configuration or raises ConfigError."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        with contextlib.suppress(ConfigError):
            assert isinstance(SessionConfig.from_toml(file.name, {}), SessionConfig)
