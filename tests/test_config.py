"""The configuration: every way in, and what each wrong setting is told."""

from __future__ import annotations

import contextlib
import dataclasses
import random
import tempfile
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glimr_session import ConfigError, CookieStore, DiskStore, SessionConfig, SessionStore, new
from glimr_session.janitor import Interval, Lottery, make_policy, never

KEY = "a-key-of-this-test-that-nobody-may-see-printed"
OTHER_KEY = "another-key-of-this-test-nobody-may-see-printed"

SETTINGS = [field.name for field in dataclasses.fields(SessionConfig)]


def custom_store() -> SessionStore:
    """A factory that takes nothing."""
    return new(
        load=lambda session_id: ({}, {}),
        save=lambda session_id, data, flash: None,
        destroy=lambda session_id: None,
        gc=lambda: 0,
        cookie_value=lambda session_id, data, flash: session_id,
    )


def store_of_config(config: SessionConfig) -> SessionStore:
    """A factory that takes the configuration."""
    return CookieStore(lifetime=config.lifetime)


def optional_store(lifetime: float = 60.0) -> SessionStore:
    """A factory that can be called with nothing, and so is."""
    return CookieStore(lifetime=lifetime)


class StoreClass(CookieStore):
    """A class is a factory too."""


def no_store() -> str:
    """A factory of something else."""
    return "no store"


def always() -> bool:
    """A policy."""
    return True


not_callable = 42


def message_of(settings: Mapping[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        SessionConfig.from_mapping(settings)
    return str(caught.value)


# Every way in.


def test_the_defaults_are_those_of_the_design() -> None:
    """What nobody sets is as DESIGN, section 10, has it."""
    config = SessionConfig()
    assert config == SessionConfig.from_mapping({}) == SessionConfig.from_env({})
    assert (config.store, config.cookie, config.gc) == ("disk", "glimr_session", "lottery")
    assert config.lifetime == timedelta(minutes=120)
    assert config.absolute_lifetime == timedelta(0)
    assert config.expire_on_close is False
    assert config.secret_keys == ()
    assert config.disk_directory == "var/sessions"
    assert config.disk_durability == "process"
    assert config.gc_chance == 0.02
    assert (config.cookie_path, config.cookie_domain) == ("/", "")
    assert (config.cookie_samesite, config.cookie_secure) == ("Lax", "auto")
    assert config.cookie_partitioned is False


def test_the_file_of_the_design_is_understood(tmp_path: Path) -> None:
    """Every line of DESIGN's session.toml means what it says there."""
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
        disk_directory="some/where",
    )


def test_the_path_of_the_file_can_be_a_string(tmp_path: Path) -> None:
    """``str`` and ``Path`` are the same to it."""
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
        ("GC", "never", "gc", "never"),
        ("GC_CHANCE", "0.5", "gc_chance", 0.5),
        ("GC_INTERVAL", "2", "gc_interval", timedelta(minutes=2)),
        ("SECRET_KEYS", KEY, "secret_keys", (KEY,)),
        ("SECRET_KEYS", f" {KEY} , {OTHER_KEY},", "secret_keys", (KEY, OTHER_KEY)),
        ("DISK_DIRECTORY", "some/where", "disk_directory", "some/where"),
        ("DISK_DURABILITY", "power", "disk_durability", "power"),
    ],
)
def test_each_setting_is_read_from_its_variable(
    variable: str, text: str, setting: str, value: object
) -> None:
    """``GLIMR_SESSION_`` and the setting in capitals, turned into the setting's type."""
    config = SessionConfig.from_env({f"GLIMR_SESSION_{variable}": text})
    assert getattr(config, setting) == value
    assert dataclasses.replace(config, **{setting: getattr(SessionConfig(), setting)}) == (
        SessionConfig()
    )


def test_every_setting_can_be_set_in_a_mapping() -> None:
    """No setting is for Python code only."""
    values = {
        "store": "cookie",
        "cookie": "shop",
        "cookie_path": "/shop",
        "cookie_domain": "example.com",
        "cookie_samesite": "None",
        "cookie_secure": True,
        "cookie_partitioned": True,
        "lifetime": 30,
        "absolute_lifetime": 600,
        "expire_on_close": True,
        "gc": "interval",
        "gc_chance": 1,
        "gc_interval": 2,
        "secret_keys": (KEY,),
        "disk_directory": "some/where",
        "disk_durability": "power",
    }
    assert set(values) == set(SETTINGS)
    config = SessionConfig.from_mapping(values)
    durations = {"lifetime", "absolute_lifetime", "gc_interval"}
    assert {name: getattr(config, name) for name in SETTINGS if name not in durations} == {
        name: value for name, value in values.items() if name not in durations
    }
    assert config.lifetime == timedelta(minutes=30)
    assert config.absolute_lifetime == timedelta(minutes=600)
    assert config.gc_interval == timedelta(minutes=2)


def test_a_table_and_its_long_name_are_the_same() -> None:
    """``[disk] directory`` is ``disk_directory``."""
    nested = SessionConfig.from_mapping({"disk": {"directory": "x"}, "gc_chance": 0.5})
    assert nested == SessionConfig.from_mapping({"disk_directory": "x", "gc_chance": 0.5})


def test_a_table_and_its_long_name_together_are_a_contradiction() -> None:
    """Which of the two was meant, nobody can tell."""
    assert "disk_directory" in message_of({"disk": {"directory": "x"}, "disk_directory": "y"})


def test_other_variables_are_left_alone() -> None:
    """Only our prefix is ours."""
    assert SessionConfig.from_env({"LIFETIME": "x", "SESSION_STORE": "y"}) == SessionConfig()


@pytest.mark.parametrize("setting", SETTINGS)
def test_an_empty_variable_counts_as_not_set(setting: str) -> None:
    """``GLIMR_SESSION_LIFETIME=`` is how a shell takes a value back."""
    assert SessionConfig.from_env({f"GLIMR_SESSION_{setting.upper()}": ""}) == SessionConfig()


def test_the_environment_beats_the_file(tmp_path: Path) -> None:
    """What the environment does not say stays as the file has it."""
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


def test_a_file_goes_with_the_environment_of_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys stay out of files: the process's own variables are read without being asked."""
    path = tmp_path / "session.toml"
    path.write_text('store = "cookie"', "utf-8")
    monkeypatch.setenv("GLIMR_SESSION_SECRET_KEYS", KEY)
    assert SessionConfig.from_toml(path).secret_keys == (KEY,)
    assert SessionConfig.from_toml(path, {}).secret_keys == ()


# Durations.


def test_numbers_are_minutes_outside_of_python_and_seconds_in_it() -> None:
    """The same number means another time in a file than in code."""
    outside = SessionConfig.from_mapping({"lifetime": 5, "absolute_lifetime": 10})
    inside = SessionConfig(lifetime=300, absolute_lifetime=600.0)
    as_timedelta = SessionConfig(
        lifetime=timedelta(seconds=300), absolute_lifetime=timedelta(seconds=600)
    )
    for config in (outside, inside, as_timedelta):
        store = dataclasses.replace(config, store="cookie").make_store()
        assert (store.lifetime, store.absolute_lifetime) == (300.0, 600.0)
        assert config.lifetime_with(custom_store()) == 300.0


def test_the_lifetime_reaches_the_disk_store_and_the_cookie(tmp_path: Path) -> None:
    """One setting for the store and for Max-Age."""
    config = SessionConfig(
        lifetime=300, absolute_lifetime=600, disk_directory=tmp_path / "s", secret_keys=[KEY]
    )
    store = config.make_store()
    assert isinstance(store, DiskStore)
    assert (store.lifetime, store.absolute_lifetime) == (300.0, 600.0)
    assert "Max-Age=300;" in config.make_cookie(store).set("x", secure=True)


def test_a_store_with_a_lifetime_of_its_own_decides_on_the_cookie() -> None:
    """The cookie of a store made in code lives as long as its sessions."""
    config = SessionConfig(secret_keys=[KEY])
    assert "Max-Age=60;" in config.make_cookie(CookieStore(lifetime=60)).set("x", secure=True)


def test_expire_on_close_leaves_the_age_out() -> None:
    """The cookie ends with the browser, the session with its lifetime."""
    config = SessionConfig(secret_keys=[KEY], expire_on_close=True)
    assert "Max-Age" not in config.make_cookie(CookieStore()).set("x", secure=True)


DURATIONS = ["lifetime", "absolute_lifetime", "gc_interval"]
IMPOSSIBLE = [float("nan"), float("inf"), float("-inf"), -7, -0.5, 10**400]


@pytest.mark.parametrize("value", [*IMPOSSIBLE, 1e300], ids=lambda value: f"{value!r:.9}")
@pytest.mark.parametrize("setting", DURATIONS)
def test_impossible_numbers_of_minutes_are_refused(setting: str, value: float) -> None:
    """NaN, infinity, what no clock has, and times before now: the error quotes the number."""
    message = message_of({setting: value})
    assert setting in message
    assert repr(value) in message


@pytest.mark.parametrize(
    "value", [*IMPOSSIBLE, timedelta(seconds=-1), True, "5", None, [5]], ids=lambda v: f"{v!r:.9}"
)
@pytest.mark.parametrize("setting", DURATIONS)
def test_impossible_durations_in_code_are_refused(setting: str, value: Any) -> None:
    """In Python code it is a ConfigError too, that names the setting."""
    with pytest.raises(ConfigError, match=setting):
        SessionConfig(**{setting: value})


@pytest.mark.parametrize("setting", ["lifetime", "gc_interval"])
@pytest.mark.parametrize("value", [0, 0.0, 1e-12])
def test_a_time_of_nothing_is_refused(setting: str, value: float) -> None:
    """A session that ends when it begins is a mistake."""
    assert f"{setting} must be more than 0" in message_of({setting: value})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0, -0.5, 1.5, 10**400])
def test_a_chance_is_above_0_and_at_most_1(value: float) -> None:
    """ "never" is how to say 0."""
    message = message_of({"gc_chance": value})
    assert "gc_chance" in message
    assert repr(value) in message
    assert "above 0" in message


def test_an_absolute_lifetime_below_the_lifetime_is_a_contradiction() -> None:
    """The error names both; 0 is none, and as long is fine."""
    message = message_of({"lifetime": 20, "absolute_lifetime": 10})
    assert "absolute_lifetime (600 s)" in message
    assert "lifetime (1200 s)" in message
    SessionConfig.from_mapping({"lifetime": 20, "absolute_lifetime": 20})
    SessionConfig.from_mapping({"lifetime": 20, "absolute_lifetime": 0})


# Wrong settings.


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("stor", "store"),
        ("cookies", "cookie"),
        ("lifetimes", "lifetime"),
        ("Lifetime", "lifetime"),
        ("absolute-lifetime", "absolute_lifetime"),
        ("expire_onclose", "expire_on_close"),
        ("secret_key", "secret_keys"),
        ("cookie_same_site", "cookie_samesite"),
        ("gc_intervall", "gc_interval"),
        ("disk_dir", "disk_directory"),
    ],
)
def test_a_misspelt_setting_is_told_what_was_meant(wrong: str, meant: str) -> None:
    """The error names the wrong key, the right one, and all there are; never the value."""
    for message in (message_of({wrong: KEY}), message_of({wrong: [KEY]})):
        assert message.startswith(f"{wrong} is no setting. Did you mean {meant}?")
        assert [name for name in SETTINGS if name not in message] == []
        assert KEY not in message


@pytest.mark.parametrize("wrong", ["", "x", "debug", "\0", "\ud800", "x" * 10_000])
def test_an_unknown_setting_is_named_with_all_there_are(wrong: str) -> None:
    """Where nothing is near, nothing is guessed."""
    message = message_of({wrong: "value"})
    assert message.startswith(f"{wrong} is no setting. There are: store,")
    assert [name for name in SETTINGS if name not in message] == []


def test_a_key_that_is_no_string_is_an_unknown_setting() -> None:
    """Other formats than TOML have such keys; they get the same error."""
    settings: Mapping[Any, Any] = {True: "value"}
    assert "True is no setting" in message_of(settings)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"disk": {"directori": "x"}}, "disk_directori"),
        ({"redis": {"url": "x"}}, "redis_url"),
        ({"redis": {}}, "redis"),
        ({"lifetime": {"minutes": 5}}, "lifetime_minutes"),
        ({"lifetime": {}}, "lifetime"),
        ({"store": {}}, "store"),
        ({"secret_keys": {}}, "secret_keys"),
    ],
    ids=str,
)
def test_a_table_that_is_none_of_ours_is_refused(settings: dict[str, Any], name: str) -> None:
    """An unknown table, or a table where a value belongs, is named; an empty one too."""
    assert name in message_of(settings)


def test_an_empty_table_of_ours_is_fine() -> None:
    """``[disk]`` with nothing below it is a file whose lines were commented out."""
    assert SessionConfig.from_mapping({"disk": {}}) == SessionConfig()


def test_an_unknown_variable_with_our_prefix_is_refused_and_not_quoted() -> None:
    """A misspelt variable would otherwise be a setting that nobody made."""
    with pytest.raises(ConfigError) as caught:
        SessionConfig.from_env({"GLIMR_SESSION_SECRET_KEY": KEY})
    assert "secret_key is no setting. Did you mean secret_keys?" in str(caught.value)
    assert KEY not in str(caught.value)


WRONG_TYPES: dict[str, tuple[str, list[object]]] = {
    "store": ("a string", [1, True, None, ["disk"]]),
    "cookie": ("a string", [1, None, ["a"]]),
    "cookie_path": ("a string", [1, None]),
    "cookie_domain": ("a string", [1, None, False]),
    "cookie_samesite": ("a string", [None, True]),
    "cookie_secure": ('true, false or "auto"', [0, 1, None, "yes", "Auto", "true", []]),
    "cookie_partitioned": ("true or false", [0, 1, None, "auto", "true"]),
    "lifetime": ("a number of minutes", ["5", None, True, [5], "5 minutes"]),
    "absolute_lifetime": ("a number of minutes", ["5", None, False]),
    "expire_on_close": ("true or false", [0, 1, None, "yes", "false"]),
    "gc": ("a string", [1, None, ["never"]]),
    "gc_chance": ("a number", ["0.5", None, True, [1]]),
    "gc_interval": ("a number of minutes", ["5", None, True]),
    "secret_keys": ("a list of strings", [KEY, None, 1, [1], [KEY, None], [[KEY]], b"k" * 32]),
    "disk_directory": ("a string", [1, None, ["x"]]),
    "disk_durability": ("a string", [1, None, True]),
}


@pytest.mark.parametrize(
    ("setting", "allowed", "value"),
    [(name, allowed, value) for name, (allowed, bad) in WRONG_TYPES.items() for value in bad],
    ids=lambda part: f"{part!r:.20}",
)
def test_a_wrong_type_is_told_what_is_allowed(setting: str, allowed: str, value: object) -> None:
    """Setting, value and what is allowed; of a secret only the type."""
    message = message_of({setting: value})
    assert message.startswith(f"{setting}: ")
    assert message.endswith(f" is not {allowed}")
    assert KEY not in message
    if setting == "secret_keys":
        assert f"a {type(value).__name__} is not" in message
    else:
        assert f"{value!r} is not" in message


def test_every_setting_has_a_wrong_type() -> None:
    """The table above is complete."""
    assert set(WRONG_TYPES) == set(SETTINGS)


@pytest.mark.parametrize(
    ("variable", "text", "allowed"),
    [
        ("LIFETIME", "two hours", "a number of minutes"),
        ("LIFETIME", "1,5", "a number of minutes"),
        ("GC_CHANCE", "2%", "a number"),
        ("EXPIRE_ON_CLOSE", "yes", "true or false"),
        ("COOKIE_SECURE", "sometimes", 'true, false or "auto"'),
        ("COOKIE_PARTITIONED", "2", "true or false"),
    ],
)
def test_a_variable_that_cannot_be_read_is_quoted(variable: str, text: str, allowed: str) -> None:
    """The error shows the text as it stands in the environment."""
    with pytest.raises(ConfigError) as caught:
        SessionConfig.from_env({f"GLIMR_SESSION_{variable}": text})
    assert str(caught.value) == f"{variable.lower()}: {text!r} is not {allowed}"


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"store": "redis"}, ["store: 'redis'", '"disk"', '"cookie"', "package.module:factory"]),
        ({"store": ""}, ["store: ''", '"disk"', '"cookie"', "package.module:factory"]),
        ({"store": "Disk"}, ["store: 'Disk'", '"disk"']),
        ({"store": "a.b"}, ["store: 'a.b'", "package.module:factory"]),
        ({"store": "a b:c"}, ["store: 'a b:c'", "package.module:factory"]),
        ({"store": "a:b:c"}, ["store: 'a:b:c'", "package.module:factory"]),
        ({"store": ":b"}, ["store: ':b'", "package.module:factory"]),
        ({"store": "a:"}, ["store: 'a:'", "package.module:factory"]),
        ({"gc": "sometimes"}, ["gc: 'sometimes'", '"lottery"', '"interval"', '"never"']),
        ({"gc": ""}, ["gc: ''", '"lottery"', '"interval"', '"never"', "package.module:policy"]),
        ({"cookie": "my session"}, ["cookie: 'my session'", "glimr_session"]),
        ({"cookie": ""}, ["cookie: ''"]),
        ({"cookie_path": "shop"}, ["cookie_path: 'shop'", "/"]),
        ({"cookie_domain": "a b"}, ["cookie_domain: 'a b'", "example.com"]),
        ({"cookie_samesite": "lax"}, ["cookie_samesite: 'lax'", "Lax", "Strict", "None"]),
        (
            {"cookie_samesite": "None", "cookie_secure": False},
            ["cookie_secure: false", 'cookie_samesite = "None"'],
        ),
        (
            {"cookie_partitioned": True, "cookie_secure": False},
            ["cookie_secure: false", "cookie_partitioned = true"],
        ),
        (
            {"cookie": "__Secure-s", "cookie_secure": False},
            ["cookie_secure: false", "__Secure-s"],
        ),
        (
            {"cookie": "__Host-s", "cookie_path": "/shop"},
            ["cookie: '__Host-s'", "cookie_path", "'/shop'"],
        ),
        (
            {"cookie": "__Host-s", "cookie_domain": "example.com"},
            ["cookie: '__Host-s'", "cookie_domain", "'example.com'"],
        ),
        ({"secret_keys": ["tiny"]}, ["secret_keys[0]", "4", "32", "secrets.token_hex"]),
        ({"secret_keys": [KEY, "tiny"]}, ["secret_keys[1]", "secrets.token_hex"]),
    ],
    ids=lambda part: str(part) if isinstance(part, dict) else "",
)
def test_a_wrong_value_is_told_what_is_allowed(settings: dict[str, Any], named: list[str]) -> None:
    """Each wrong value and each contradiction has a message of its own, when it is read."""
    message = message_of(settings)
    assert [word for word in named if word not in message] == []
    assert KEY not in message
    assert "'tiny'" not in message
    with pytest.raises(ConfigError) as caught:
        SessionConfig(**settings)
    assert str(caught.value) == message


def test_a_key_that_is_no_text_is_refused_and_not_quoted() -> None:
    """Bytes that are no UTF-8 come out of the environment as lone surrogates."""
    binary = b"\xff\xfe".decode("utf-8", "surrogateescape") + KEY
    with pytest.raises(ConfigError, match="secret_keys") as caught:
        SessionConfig(secret_keys=[binary]).make_cookie(CookieStore())
    assert KEY not in repr(caught.value)


def test_no_keys_are_an_error_when_the_cookie_is_made() -> None:
    """A configuration without keys can be read, and signs nothing."""
    with pytest.raises(ConfigError, match=r"secret_keys is empty.*secrets\.token_hex"):
        SessionConfig().make_cookie(CookieStore())


# Wrong files.


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """The error says what to do instead."""
    path = tmp_path / "session.toml"
    with pytest.raises(ConfigError, match="from_env") as caught:
        SessionConfig.from_toml(path)
    assert str(path) in str(caught.value)
    assert isinstance(caught.value.__cause__, FileNotFoundError)


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    """Whatever the system says of it becomes a ConfigError."""
    with pytest.raises(ConfigError, match="cannot be read") as caught:
        SessionConfig.from_toml(tmp_path)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        b"store: disk",
        b"store = disk",
        b'store = "disk',
        b'store = "disk"\nstore = "cookie"',
        b'store = "\xff"',
        b"\xff\xfes\0t\0",
        b"\0",
    ],
)
def test_a_file_that_is_no_toml_is_named(tmp_path: Path, content: bytes) -> None:
    """Neither TOML nor UTF-8: the error names the file and the place in it."""
    path = tmp_path / "session.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="is not TOML") as caught:
        SessionConfig.from_toml(path, {})
    assert str(path) in str(caught.value)


def test_a_wrong_setting_in_a_file_is_named(tmp_path: Path) -> None:
    """A date is TOML, and no number of minutes."""
    path = tmp_path / "session.toml"
    path.write_text("lifetime = 2026-01-02", "utf-8")
    with pytest.raises(ConfigError, match=r"^lifetime: .* is not a number of minutes$"):
        SessionConfig.from_toml(path, {})


# Stores and policies by name.


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("custom_store", "custom"),
        ("store_of_config", "cookie"),
        ("optional_store", "cookie"),
        ("StoreClass", "cookie"),
    ],
)
def test_a_factory_makes_the_store(name: str, kind: str) -> None:
    """``package.module:factory`` is called with nothing or with the configuration."""
    store = SessionConfig(store=f"{__name__}:{name}").make_store()
    assert store.kind == kind


def test_a_factory_of_one_argument_gets_the_configuration() -> None:
    """So it can read the lifetime, as the stores of the package do."""
    config = SessionConfig(store=f"{__name__}:store_of_config", lifetime=77)
    assert config.make_store().lifetime == 77.0


def test_a_factory_in_a_package_of_ones_own_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The module is imported when the store is made, from wherever Python finds it."""
    package = tmp_path / "shop_of_this_test"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "sessions.py").write_text(
        "from glimr_session import CookieStore as make_store\n", "utf-8"
    )
    monkeypatch.syspath_prepend(tmp_path)
    config = SessionConfig.from_mapping({"store": "shop_of_this_test.sessions:make_store"})
    assert isinstance(config.make_store(), CookieStore)


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("no_such_module_here:factory", "No module named 'no_such_module_here'"),
        ("glimr_session.nowhere:factory", "No module named 'glimr_session.nowhere'"),
        (f"{__name__}:no_such_function", "no_such_function"),
        (f"{__name__}:not_callable", "of type int, which cannot be called"),
        (f"{__name__}:no_store", "'no store', which is no SessionStore"),
    ],
)
def test_a_factory_that_gives_no_store_is_named(reference: str, reason: str) -> None:
    """Missing module, missing attribute, nothing to call, no store: a ConfigError each."""
    with pytest.raises(ConfigError, match=r"^store: ") as caught:
        SessionConfig(store=reference).make_store()
    assert reference in str(caught.value)
    assert reason in str(caught.value)


@pytest.mark.parametrize("reference", [".stores:factory", "..:factory", "a..b:factory"])
@pytest.mark.parametrize(
    ("setting", "make"),
    [
        ("store", lambda reference: SessionConfig(store=reference).make_store()),
        ("gc", lambda reference: make_policy(SessionConfig(gc=reference))),
    ],
)
def test_a_reference_that_is_relative_is_named(
    setting: str, make: Callable[[str], object], reference: str
) -> None:
    """There is no package that it could be relative to, and that is a ConfigError too."""
    with pytest.raises(ConfigError, match=rf"^{setting}: ") as caught:
        make(reference)
    assert reference in str(caught.value)


def test_an_exception_of_a_factory_goes_through() -> None:
    """What a factory of one's own raises is its own business."""
    with pytest.raises(ZeroDivisionError):
        SessionConfig(store=f"{__name__}:failing_factory").make_store()


def failing_factory() -> SessionStore:
    raise ZeroDivisionError


def test_gc_names_a_policy() -> None:
    """The three names of the design."""
    assert isinstance(make_policy(SessionConfig(gc="lottery")), Lottery)
    assert isinstance(make_policy(SessionConfig(gc="interval")), Interval)
    assert make_policy(SessionConfig(gc="never")) is never


def test_gc_can_be_any_callable() -> None:
    """In Python code a function is the policy itself."""
    assert make_policy(SessionConfig(gc=always)) is always


def test_gc_can_be_a_reference() -> None:
    """From a file a function is named as a store is."""
    config = SessionConfig.from_mapping({"gc": f"{__name__}:always"})
    assert make_policy(config) is always


@pytest.mark.parametrize("reference", ["no_such_module_here:policy", f"{__name__}:not_callable"])
def test_a_reference_to_no_policy_is_named(reference: str) -> None:
    """As for a store."""
    with pytest.raises(ConfigError, match=r"^gc: ") as caught:
        make_policy(SessionConfig(gc=reference))
    assert reference in str(caught.value)


def test_a_callable_is_no_policy_outside_of_python() -> None:
    """A mapping has the shape of a file, and a file has no functions."""
    assert message_of({"gc": always}).startswith("gc: ")


def test_the_chance_of_the_lottery_is_the_configured_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """``gc_chance`` reaches the policy: below it is a prize, at it is none."""
    policy = make_policy(SessionConfig(gc_chance=0.25))
    monkeypatch.setattr(random, "random", lambda: 0.249)
    assert policy()
    monkeypatch.setattr(random, "random", lambda: 0.25)
    assert not policy()


def test_the_interval_is_the_configured_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """``gc_interval`` reaches the policy, in minutes from a file."""
    now = 1_000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    policy = make_policy(SessionConfig.from_mapping({"gc": "interval", "gc_interval": 2}))
    now += 119
    assert not policy()
    now += 1
    assert policy()


# A configuration.


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_configuration_is_frozen(setting: str) -> None:
    """It is checked once, and cannot become wrong after."""
    config = SessionConfig()
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(config, setting, getattr(config, setting))


def test_the_list_of_keys_is_copied() -> None:
    """Whoever made the list cannot change the configuration with it."""
    keys = [KEY]
    config = SessionConfig(secret_keys=keys)
    keys.append("tiny")
    assert config.secret_keys == (KEY,)


def test_a_configuration_shows_no_key() -> None:
    """Not in its repr nor its str, while other settings are there to be read."""
    config = SessionConfig(secret_keys=[KEY, OTHER_KEY], cookie="shop")
    for text in (repr(config), str(config), f"{config}"):
        assert "shop" in text
        assert KEY not in text
        assert OTHER_KEY not in text


@pytest.mark.parametrize("directory", ["some/where", Path("some/where")])
def test_the_directory_can_be_a_path(directory: str | Path) -> None:
    """In Python code a directory is a string or a path."""
    assert SessionConfig(disk_directory=directory).disk_directory == directory


# Any input at all: nothing but a configuration or a ConfigError comes of it.

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
    """Nothing that JSON or TOML can say makes it fail in another way."""
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
    """Nothing that a shell can export makes it fail in another way."""
    with contextlib.suppress(ConfigError):
        assert isinstance(SessionConfig.from_env(environ), SessionConfig)


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_file_gives_a_configuration_or_a_config_error(content: bytes) -> None:
    """Nothing that a file can hold makes it fail in another way."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        with contextlib.suppress(ConfigError):
            assert isinstance(SessionConfig.from_toml(file.name, {}), SessionConfig)
