"""SessionConfig: what the error for each wrong setting says."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from glimr_session import ConfigError, SessionConfig

KEY = "a-key-of-this-test-that-nobody-may-see-printed"


OTHER_KEY = "another-key-of-this-test-nobody-may-see-printed"


SETTINGS = [field.name for field in dataclasses.fields(SessionConfig)]


def message_of(settings: Mapping[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        SessionConfig.from_mapping(settings)
    return str(caught.value)


def always() -> bool:
    """Return True, as a policy."""
    return True


DURATIONS = ["lifetime", "absolute_lifetime", "gc_interval", "rotation_grace"]


IMPOSSIBLE = [float("nan"), float("inf"), float("-inf"), -7, -0.5, 10**400]


@pytest.mark.parametrize("value", [*IMPOSSIBLE, 1e300], ids=lambda value: f"{value!r:.9}")
@pytest.mark.parametrize("setting", DURATIONS)
def test_impossible_numbers_of_minutes_are_refused(setting: str, value: float) -> None:
    """An impossible number of minutes raises ConfigError, which quotes it."""
    message = message_of({setting: value})
    assert setting in message
    assert repr(value) in message


@pytest.mark.parametrize(
    "value", [*IMPOSSIBLE, timedelta(seconds=-1), True, "5", None, [5]], ids=lambda v: f"{v!r:.9}"
)
@pytest.mark.parametrize("setting", DURATIONS)
def test_impossible_durations_in_code_are_refused(setting: str, value: Any) -> None:
    """An impossible duration in Python raises ConfigError, which names the setting."""
    with pytest.raises(ConfigError, match=setting):
        SessionConfig(**{setting: value})


@pytest.mark.parametrize("setting", ["lifetime", "gc_interval"])
@pytest.mark.parametrize("value", [0, 0.0, 1e-12])
def test_a_time_of_nothing_is_refused(setting: str, value: float) -> None:
    """A lifetime or interval of 0 raises ConfigError."""
    assert f"{setting} must be more than 0" in message_of({setting: value})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0, -0.5, 1.5, 10**400])
def test_a_chance_is_above_0_and_at_most_1(value: float) -> None:
    """A chance of 0 or above 1 raises ConfigError, which quotes it."""
    message = message_of({"gc_chance": value})
    assert "gc_chance" in message
    assert repr(value) in message
    assert "above 0" in message


def test_an_absolute_lifetime_below_the_lifetime_is_a_contradiction() -> None:
    """An absolute lifetime below the lifetime raises ConfigError, which names both."""
    message = message_of({"lifetime": 20, "absolute_lifetime": 10})
    assert "absolute_lifetime (600 s)" in message
    assert "lifetime (1200 s)" in message
    SessionConfig.from_mapping({"lifetime": 20, "absolute_lifetime": 20})
    SessionConfig.from_mapping({"lifetime": 20, "absolute_lifetime": 0})


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
    """The error for a misspelt setting names the nearest one and never the value."""
    for message in (message_of({wrong: KEY}), message_of({wrong: [KEY]})):
        assert message.startswith(f"{wrong} is no setting. Did you mean {meant}?")
        assert [name for name in SETTINGS if name not in message] == []
        assert KEY not in message


@pytest.mark.parametrize("wrong", ["", "x", "debug", "\0", "\ud800", "x" * 10_000])
def test_an_unknown_setting_is_named_with_all_there_are(wrong: str) -> None:
    """The error for an unknown setting names it and all settings."""
    message = message_of({wrong: "value"})
    assert message.startswith(f"{wrong} is no setting. There are: store,")
    assert [name for name in SETTINGS if name not in message] == []


def test_a_key_that_is_no_string_is_an_unknown_setting() -> None:
    """A key of a mapping that is not a str is an unknown setting."""
    settings: Mapping[Any, Any] = {True: "value"}
    assert "True is no setting" in message_of(settings)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"disk": {"directori": "x"}}, "disk_directori"),
        ({"redis": {"uri": "x"}}, "redis_uri"),
        ({"valkey": {"url": "x"}}, "valkey_url"),
        ({"valkey": {}}, "valkey"),
        ({"lifetime": {"minutes": 5}}, "lifetime_minutes"),
        ({"lifetime": {}}, "lifetime"),
        ({"store": {}}, "store"),
        ({"secret_keys": {}}, "secret_keys"),
    ],
    ids=str,
)
def test_a_table_that_is_none_of_ours_is_refused(settings: dict[str, Any], name: str) -> None:
    """An unknown table, or a table in place of a value, raises ConfigError with its name."""
    assert name in message_of(settings)


def test_an_empty_table_of_ours_is_fine() -> None:
    """An empty table [disk] is accepted."""
    assert SessionConfig.from_mapping({"disk": {}}) == SessionConfig()


def test_an_unknown_variable_with_our_prefix_is_refused_and_not_quoted() -> None:
    """A misspelt variable with our prefix raises ConfigError, which does not quote its value."""
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
    "flash_until_read": ("true or false", [0, 1, None, "yes"]),
    "commit_on_error": ("true or false", [0, 1, None, "no"]),
    "key": ("a string", [1, None, ["glimr.session"]]),
    "login_key": ("a string", [1, None, ["user_id"]]),
    "owner_from_login": ("true or false", [0, 1, None, "yes"]),
    "encrypt": ("true or false", [0, 1, None, "yes"]),
    "transport": ("a string", [1, None, ["header"]]),
    "metrics": ("a string", [1, None, ["prometheus"]]),
    "cookie_revocations": ("a string", [1, None, ["disk"]]),
    "cookie_overflow": ("a string", [1, None, ["disk"]]),
    "gc": ("a string", [1, None, ["never"]]),
    "gc_chance": ("a number", ["0.5", None, True, [1]]),
    "gc_interval": ("a number of minutes", ["5", None, True]),
    "rotation_grace": ("a number of minutes", ["5", None, True]),
    "secret_keys": ("a list of strings", [KEY, None, 1, [1], [KEY, None], [[KEY]], b"k" * 32]),
    "disk_directory": ("a string", [1, None, ["x"]]),
    "disk_durability": ("a string", [1, None, True]),
    "disk_mode": ('an octal number in quotes, as "0700"', [700, 0o700, None, True]),
    "redis_url": ("a string", [1, None, [KEY], {"url": KEY}.items()]),
    "redis_prefix": ("a string", [1, None, ["a"]]),
    "redis_max_connections": ("a whole number from 0 to 1,000,000", ["50", 1.5, True, None]),
    "sql_url": ("a string", [1, None, [KEY], KEY.encode()]),
    "sql_table": ("a string", [1, None]),
    "sql_max_connections": ("a whole number from 0 to 1,000,000", ["20", 1.5, False, None]),
    "sql_prepare_threshold": ("a whole number from 0 to 1,000,000", ["5", 1.5, True, None]),
    "move_from": ("a string", [1, None, ["disk"]]),
}


@pytest.mark.parametrize(
    ("setting", "allowed", "value"),
    [(name, allowed, value) for name, (allowed, bad) in WRONG_TYPES.items() for value in bad],
    ids=lambda part: f"{part!r:.20}",
)
def test_a_wrong_type_is_told_what_is_allowed(setting: str, allowed: str, value: object) -> None:
    """The error for a wrong type quotes the value and says what is allowed."""
    message = message_of({setting: value})
    assert message.startswith(f"{setting}: ")
    assert message.endswith(f" is not {allowed}")
    assert KEY not in message
    if setting in ("secret_keys", "redis_url", "sql_url"):
        assert f"a {type(value).__name__} is not" in message
    else:
        assert f"{value!r} is not" in message


def test_every_setting_has_a_wrong_type() -> None:
    """The table of wrong types has every setting."""
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
    """The error for an unreadable variable quotes its text."""
    with pytest.raises(ConfigError) as caught:
        SessionConfig.from_env({f"GLIMR_SESSION_{variable}": text})
    assert str(caught.value) == f"{variable.lower()}: {text!r} is not {allowed}"


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"store": "valkey"}, ["store: 'valkey'", '"redis"', '"sql"', "package.module:factory"]),
        ({"store": f"redis://user:{KEY}@host"}, ["store: a URL is not", '"redis"']),
        ({"store": "redis"}, ['store = "redis" needs redis_url', "[redis]", '"redis://127']),
        ({"store": "sql"}, ['store = "sql" needs sql_url', "[sql]", '"postgresql://user:']),
        ({"move_from": "redis"}, ['move_from = "redis" needs redis_url', "[redis]"]),
        ({"move_from": "disk"}, ["move_from: 'disk' is the store itself", "remove move_from"]),
        ({"store": "cookie", "move_from": "disk"}, ["move_from", "into cookies", '"redis"']),
        ({"store": "cookie", "move_from": "cookie"}, ["move_from", "into cookies", '"redis"']),
        ({"move_from": "redys"}, ["move_from: 'redys'", '"redis"', "package.module:factory"]),
        ({"move_from": f"sql://:{KEY}@h"}, ["move_from: a URL is not", '"sql"']),
        ({"sql_max_connections": f"sql://:{KEY}@h"}, ["sql_max_connections: a URL is not"]),
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
        ({"cookie_domain": "localhost"}, ["cookie_domain: 'localhost'", "single label"]),
        ({"key": ""}, ["key: ''", '"glimr.session"']),
        ({"key": "wsgi.input"}, ["key: 'wsgi.input'", "the server", '"glimr.session"']),
        ({"key": "PATH_INFO"}, ["key: 'PATH_INFO'", "the server", '"glimr.session"']),
        ({"secret_keys": ["k" * 40]}, ["secret_keys[0]", "repeats", "secrets.token_hex"]),
        ({"secret_keys": ["tiny"]}, ["secret_keys[0]", "4", "32", "secrets.token_hex"]),
        ({"secret_keys": [KEY, "tiny"]}, ["secret_keys[1]", "secrets.token_hex"]),
    ],
    ids=lambda part: str(part) if isinstance(part, dict) else "",
)
def test_a_wrong_value_is_told_what_is_allowed(settings: dict[str, Any], named: list[str]) -> None:
    """The error for a wrong value or a contradiction says what is allowed."""
    message = message_of(settings)
    assert [word for word in named if word not in message] == []
    assert KEY not in message
    assert "'tiny'" not in message
    with pytest.raises(ConfigError) as caught:
        SessionConfig(**settings)
    assert str(caught.value) == message


FOR_A_SERVICE = {
    "GLIMR_SESSION_SERVICE_HOST": "10.96.0.7",
    "GLIMR_SESSION_SERVICE_PORT": "8000",
    "GLIMR_SESSION_SERVICE_PORT_HTTP": "8000",
    "GLIMR_SESSION_PORT": "tcp://10.96.0.7:8000",
    "GLIMR_SESSION_PORT_8000_TCP": "tcp://10.96.0.7:8000",
    "GLIMR_SESSION_PORT_8000_TCP_PROTO": "tcp",
    "GLIMR_SESSION_PORT_8000_TCP_PORT": "8000",
    "GLIMR_SESSION_PORT_8000_TCP_ADDR": "10.96.0.7",
    "GLIMR_SESSION_PORT_53_UDP_ADDR": "10.96.0.7",
    "GLIMR_SESSION_STORE_SERVICE_HOST": "10.96.0.8",
    "GLIMR_SESSION_STORE_PORT_6379_TCP": "tcp://10.96.0.8:6379",
    "GLIMR_SESSION_NAME": "/web/glimr-session",
    "GLIMR_SESSION_ENV_PATH": "/usr/bin:/bin",
}
"""What Kubernetes sets for services named glimr-session..., and Docker for a link of that name."""


@pytest.mark.parametrize("variable", FOR_A_SERVICE)
def test_what_an_orchestrator_sets_for_a_service_is_no_setting(variable: str) -> None:
    """from_env() ignores the variables that announce a service whose name is glimr-session."""
    environ = {"GLIMR_SESSION_COOKIE": "shop", variable: FOR_A_SERVICE[variable]}
    assert SessionConfig.from_env(environ) == SessionConfig(cookie="shop")


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("GLIMR_SESSION_NAME", "shop"),
        ("GLIMR_SESSION_HOST", "10.96.0.7"),
        ("GLIMR_SESSION_PORTS", "8000"),
        ("GLIMR_SESSION_SERVICE", "disk"),
    ],
)
def test_what_only_looks_like_a_service_is_still_refused(variable: str, text: str) -> None:
    """A variable that no orchestrator sets is an unknown setting, and somebody's mistake."""
    with pytest.raises(ConfigError, match="is no setting"):
        SessionConfig.from_env({variable: text})


def test_a_callable_is_no_policy_outside_of_python() -> None:
    """from_mapping() refuses a callable."""
    assert message_of({"gc": always}).startswith("gc: ")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """The error for a missing file names it and the alternative."""
    path = tmp_path / "session.toml"
    with pytest.raises(ConfigError, match="from_env") as caught:
        SessionConfig.from_toml(path)
    assert str(path) in str(caught.value)
    assert isinstance(caught.value.__cause__, FileNotFoundError)


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    """A directory in place of a file raises ConfigError."""
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
    """The error for a file that is not TOML names the file."""
    path = tmp_path / "session.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="is not TOML") as caught:
        SessionConfig.from_toml(path, {})
    assert str(path) in str(caught.value)


def test_a_wrong_setting_in_a_file_is_named(tmp_path: Path) -> None:
    """A date in place of a number of minutes raises ConfigError."""
    path = tmp_path / "session.toml"
    path.write_text("lifetime = 2026-01-02", "utf-8")
    with pytest.raises(ConfigError, match=r"^lifetime: .* is not a number of minutes$"):
        SessionConfig.from_toml(path, {})


PASSWORD = "the-password-of-this-test-that-nobody-may-see"
URLS = {"redis_url": f"redis://user:{PASSWORD}@host/0", "sql_url": f"postgresql://u:{PASSWORD}@h/d"}


def test_a_configuration_shows_no_url() -> None:
    """The repr of a configuration shows neither URL: each may have a password in it."""
    config = SessionConfig.from_mapping(URLS)
    for text in (repr(config), str(config), f"{config}"):
        assert PASSWORD not in text


@pytest.mark.parametrize("setting", URLS)
@pytest.mark.parametrize(
    "other",
    [
        {"lifetime": "x"},
        {"store": "sql3"},
        {"move_from": "cookies"},
        {"store": "cookie", "move_from": "redis"},
        {"stor": "x"},
        {"redis": {"url": "x"}, "sql": {"url": "x"}},
    ],
    ids=str,
)
def test_no_other_mistake_shows_a_url(setting: str, other: dict[str, Any]) -> None:
    """An error for another setting says nothing of the URL, from a mapping or a variable."""
    assert PASSWORD not in message_of({setting: URLS[setting], **other})
    variables = {f"GLIMR_SESSION_{setting.upper()}": URLS[setting], "GLIMR_SESSION_LIFETIME": "x"}
    with pytest.raises(ConfigError) as caught:
        SessionConfig.from_env(variables)
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize(
    "line",
    [
        'redis_url = "{}"\nx = [',
        "redis_url = {}",
        '[redis]\nurl = "{}\n',
        "[redis]\nurl = '{}",
        'sql_url = "\\q{}"',
        'sql_url = ["{}"]',
        'sql_url = "{0}"\nsql_url = "{0}"',
        '[sql]\nuri = "{}"',
        'sql_url = "{}" trailing',
    ],
)
def test_no_mistake_in_a_file_shows_a_url(tmp_path: Path, line: str) -> None:
    """The error for a file that is not TOML, or has a URL in the wrong place, quotes none."""
    path = tmp_path / "session.toml"
    path.write_text(line.format(URLS["redis_url"]), "utf-8")
    with pytest.raises(ConfigError) as caught:
        SessionConfig.from_toml(path, {})
    assert PASSWORD not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    ("settings", "missing", "extra"),
    [
        ({"store": "redis", "redis_url": URLS["redis_url"]}, "redis", "redis"),
        ({"store": "sql", "sql_url": "sqlite:///x.db"}, "sqlalchemy", "sql"),
        ({"store": "sql", "sql_url": URLS["sql_url"]}, "psycopg", "postgresql"),
        ({"store": "sql", "sql_url": f"mysql://u:{PASSWORD}@h/d"}, "pymysql", "mysql"),
        (
            {"store": "disk", "move_from": "redis", "redis_url": URLS["redis_url"]},
            "redis",
            "redis",
        ),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_a_missing_extra_says_what_to_install(
    tmp_path: Path, settings: dict[str, Any], missing: str, extra: str
) -> None:
    """Without its packages a store raises ConfigError with the command that installs them."""
    pytest.importorskip("redis" if extra == "redis" else "sqlalchemy")
    code = (
        "import sys\n"
        f"sys.modules[{missing!r}] = None\n"
        "from glimr_session import ConfigError, SessionConfig\n"
        "try:\n"
        f"    SessionConfig.from_mapping({settings!r}).make_store()\n"
        "except ConfigError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert f"pip install 'glimr-session[{extra}]'" in done.stdout
    assert PASSWORD not in done.stdout + done.stderr


@pytest.mark.parametrize("settings", ["disk", ["disk"], None])
def test_settings_that_are_no_mapping_say_what_they_are_to_be(settings: Any) -> None:
    """As ``GLIMR_SESSION = "disk"``."""
    assert '{"store": "disk"}' in message_of(settings)


@pytest.mark.parametrize("table", ["disk", "redis", "sql"])
def test_a_table_that_is_none_says_how_it_looks(table: str) -> None:
    """As ``{"disk": "/var/lib/shop"}``."""
    assert f'{table} is a table of settings, as {{"{table}": {{"' in message_of({table: "x"})


def test_a_variable_that_is_no_setting_is_named() -> None:
    """Whoever sets it looks for it in the environment, and not in a file."""
    with pytest.raises(ConfigError, match=r"GLIMR_SESSION_STROE in the environment.*mean store\?"):
        SessionConfig.from_env({"GLIMR_SESSION_STROE": "disk"})
