"""Hostile settings: each is a configuration, or a ConfigError that quotes no key."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fuzz import config as configuration
from glimr_session import ConfigError, SessionConfig
from tests.fuzz.inputs import any_text, damaged, words, wrapped

KEY = configuration.KEY


CODE_SETTINGS = [*SessionConfig.__dataclass_fields__]


names = st.sampled_from([*CODE_SETTINGS, "disk", "directory", "secret", "keys"]) | any_text


numbers = st.integers() | st.floats() | st.just(10**400)


settings = st.recursive(
    st.none() | st.booleans() | st.binary() | st.datetimes() | numbers | words,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(names | numbers | st.none(), inner, max_size=3)
    ),
    max_leaves=6,
)


right = st.fixed_dictionaries(
    {},
    optional={
        "store": st.sampled_from(["disk", "cookie", "a.b:c"]),
        "cookie": st.sampled_from(["shop", "__Host-shop", "__Secure-shop"]),
        "cookie_path": st.sampled_from(["/", "/shop"]),
        "cookie_domain": st.sampled_from(["", "example.com"]),
        "cookie_samesite": st.sampled_from(["Lax", "Strict", "None"]),
        "cookie_secure": st.booleans() | st.just("auto"),
        "lifetime": st.floats(0.1, 600),
        "absolute_lifetime": st.floats(0, 6_000),
        "gc": st.sampled_from(["lottery", "interval", "never", "a:b"]),
        "gc_chance": st.floats(0, 1),
        "disk_directory": st.sampled_from(["var/sessions", "~", "$HOME"]),
        "disk_durability": st.sampled_from(["process", "power"]),
        "disk_mode": st.sampled_from(["0700", "2770"]),
    },
)


# Every way to write a key down, right or wrong, and nobody may quote it.
with_key = st.sampled_from(
    [KEY, [KEY], (KEY, KEY), [KEY, "short"], [KEY, 5], [[KEY]], {KEY}, {"first": KEY}, {KEY: None}]
)


@pytest.fixture
def nothing_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail the test if it makes a file or a directory where it stands."""
    monkeypatch.chdir(tmp_path)
    yield
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("nothing_made")
@given(right, st.dictionaries(names | numbers, settings, max_size=2), with_key)
@example({}, {}, {KEY: None})  # a colon in place of a dash, in YAML
def test_any_mapping_is_a_configuration_or_a_config_error(
    right: dict[str, Any], wrong: dict[str, Any], keys: object
) -> None:
    """Any mapping is a configuration or a ConfigError that quotes no key."""
    mapping = {**right, **wrong, "secret_keys": keys}
    configuration.check(lambda: SessionConfig.from_mapping(mapping))


@pytest.mark.usefixtures("nothing_made")
@given(right, st.dictionaries(st.sampled_from(CODE_SETTINGS), settings, max_size=2), with_key)
def test_any_arguments_are_a_configuration_or_a_config_error(
    right: dict[str, Any], wrong: dict[str, Any], keys: object
) -> None:
    """Any arguments are a configuration or a ConfigError that quotes no key."""
    arguments = {**right, **wrong, "secret_keys": keys}
    configuration.check(lambda: SessionConfig(**arguments))


# Python itself refuses to show these.
UNSHOWABLE: list[Any] = [
    10**5_000,
    -(10**5_000),
    wrapped(100_000, lambda inner: [inner]),
    wrapped(100_000, lambda inner: {"a": inner}),
]


@pytest.mark.parametrize("name", [*CODE_SETTINGS, "unknown"])
def test_what_cannot_be_shown_is_a_config_error(name: str) -> None:
    """A value that has no repr is a ConfigError, in a list and in a table too."""
    for value in UNSHOWABLE:
        for mapping in ({name: value}, {name: [value]}, {"disk": {name: value}}):
            with pytest.raises(ConfigError):
                SessionConfig.from_mapping(mapping)
        if name in CODE_SETTINGS:
            with pytest.raises(ConfigError):
                SessionConfig(**{name: value})


def test_a_name_that_cannot_be_shown_is_a_config_error() -> None:
    """A name that has no repr is a ConfigError."""
    mappings: list[dict[Any, Any]] = [
        {10**5_000: 1}, {"disk": {10**5_000: 1}}, {10**5_000: {"a": 1}},
    ]  # fmt: skip
    for mapping in mappings:
        with pytest.raises(ConfigError, match="is no setting"):
            SessionConfig.from_mapping(mapping)


@pytest.mark.usefixtures("nothing_made")
@given(
    right,
    st.dictionaries(
        names,
        words | numbers.map(str) | st.sampled_from(["9" * 100_000, "1_0", "\u0661"]),
        max_size=2,
    ),
    st.dictionaries(any_text, any_text, max_size=1),
    st.sampled_from([KEY, f"{KEY},short", f" ,{KEY}, \ud800{'x' * 40}"]),
)
def test_any_environment_is_a_configuration_or_a_config_error(
    right: dict[str, Any], wrong: dict[str, str], others: dict[str, str], keys: str
) -> None:
    """Any environment is a configuration or a ConfigError that quotes no key."""
    settings = {**right, **wrong, "secret_keys": keys}
    environ = {f"GLIMR_SESSION_{name.upper()}": str(text) for name, text in settings.items()}
    configuration.check(lambda: SessionConfig.from_env({**others, **environ}))


toml_values = (
    st.sampled_from(
        ["0x" + "f" * 5_000, "9" * 5_000, "1e999", "-nan", "1979-05-27", "07:32:00", "[1, {a = 1}]",
         "[" * 3_000, "{a = " * 3_000, "[" * 600 + "]" * 600, '"\\ud800"', "'''x'''", "0b1", "true"]
    )
    | st.text().map(json.dumps)
    | st.integers().map(str)
    | st.floats().map(str)
)  # fmt: skip


bare_keys = st.lists(
    st.sampled_from([*CODE_SETTINGS, "disk", "directory", "a", '"a.b"', "''"]),
    min_size=1,
    max_size=3,
).map(".".join)


toml_lines = (
    st.builds("{} = {}".format, bare_keys, toml_values)
    | st.builds("[{}]".format, bare_keys)
    | st.builds("[[{}]]".format, bare_keys)
    | st.text()
)


right_lines = right.map(lambda found: [f"{name} = {json.dumps(found[name])}" for name in found])


toml = st.builds(
    lambda right, wrong: "\n".join([*right, *wrong]).encode(),
    right_lines,
    st.lists(toml_lines, max_size=2),
)


@pytest.mark.usefixtures("nothing_made")
@given(toml | damaged(toml) | st.binary())
@example(b"store = " + b"[" * 3_000)  # deeper than tomllib goes
@example(b"disk.directory" + b".a" * 3_000 + b" = 1")  # and than repr does
@example(b"lifetime = 0x" + b"f" * 5_000)
def test_any_file_is_a_configuration_or_a_config_error(content: bytes) -> None:
    """Any file is a configuration or a ConfigError that quotes no key."""
    configuration.check(lambda: configuration.from_file(content))
