"""Hostile settings: none of them reaches a header."""

from __future__ import annotations

import dataclasses
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from glimr_session import (
    ConfigError,
    SessionConfig,
)
from tests.support.hostile import (
    ATTACKS,
    KEY,
    SITE,
)
from tests.support.servers import PATIENCE, ROOT, command

# What is a good value of each, as a variable of the environment has it.
IN_A_HEADER: Final = {
    "cookie": "shop",
    "cookie_path": "/shop",
    "cookie_domain": "example.com",
    "cookie_samesite": "Lax",
    "cookie_secure": "true",
    "cookie_partitioned": "true",
    "lifetime": "120",
    "expire_on_close": "true",
}
IN_NO_HEADER: Final = {
    "store", "absolute_lifetime", "commit_on_error", "flash_until_read", "gc", "gc_chance",
    "gc_interval", "key", "login_key", "secret_keys", "rotation_grace",
    "disk_directory", "disk_durability", "disk_mode", "move_from",
    "redis_url", "redis_prefix", "redis_max_connections",
    "sql_url", "sql_table", "sql_max_connections", "sql_prepare_threshold",
    "owner_from_login", "transport", "encrypt", "metrics", "cookie_revocations", "cookie_overflow",
}  # fmt: skip

every_attack = pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())


def test_every_setting_that_reaches_a_header_is_attacked() -> None:
    """Every setting is in one of the two lists."""
    settings = {field.name for field in dataclasses.fields(SessionConfig)}
    assert settings == IN_A_HEADER.keys() | IN_NO_HEADER


@every_attack
@pytest.mark.parametrize("setting", IN_A_HEADER)
def test_a_setting_that_would_break_a_header_is_refused_at_start(
    setting: str, attack: str, tmp_path: Path
) -> None:
    """Every way to read a setting refuses it, with an error of one line that names it."""
    hostile: Any = IN_A_HEADER[setting] + attack
    file = tmp_path / "session.toml"
    escaped = "".join(f"\\U{ord(character):08x}" for character in hostile)
    file.write_text(f'{setting} = "{escaped}"\n')
    ways: list[Callable[[], object]] = [
        lambda: SessionConfig.from_mapping({setting: hostile}),
        lambda: SessionConfig.from_env({f"GLIMR_SESSION_{setting.upper()}": hostile}),
        lambda: SessionConfig.from_toml(file, {}),
        lambda: SessionConfig(**{setting: hostile}),
    ]
    for read in ways:
        with pytest.raises(ConfigError) as caught:
            read()
        assert str(caught.value).startswith(setting)
        assert str(caught.value).isprintable()  # nor does it begin a line of its own in a log


@pytest.mark.parametrize(
    ("server", "setting"),
    [
        ("gunicorn preload", "cookie"),
        ("waitress", "cookie"),
        ("waitress", "cookie_path"),
        ("waitress", "cookie_domain"),
        ("waitress", "cookie_samesite"),
    ],
)
def test_a_server_does_not_start_with_such_a_setting(
    server: str, setting: str, tmp_path: Path
) -> None:
    """The process ends with the ConfigError, and never listens."""
    ended = subprocess.run(
        command(server, tmp_path, app=SITE, processes=1, threads=1, settings=""),
        cwd=ROOT,
        env={
            **os.environ,
            "GLIMR_SESSION_STORE": "cookie",
            "GLIMR_SESSION_SECRET_KEYS": KEY,
            f"GLIMR_SESSION_{setting.upper()}": IN_A_HEADER[setting] + ATTACKS["CRLF"],
        },
        stderr=subprocess.PIPE,
        text=True,
        timeout=3 * PATIENCE,
        check=False,
    )
    assert ended.returncode != 0
    assert f"ConfigError: {setting}: " in ended.stderr
    assert "Listening at" not in ended.stderr
