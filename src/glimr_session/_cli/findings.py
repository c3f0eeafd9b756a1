"""What is wrong, insecure or worth knowing in a configuration, without its store."""

from __future__ import annotations

import importlib.util
import stat
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Literal, NamedTuple

from .._validation import to_seconds
from ..config import SessionConfig

__all__ = ["Finding", "in_files", "in_settings"]

_LONG: Final = 30 * 86400.0  # seconds

_METRICS: Final = {"prometheus": "prometheus_client", "opentelemetry": "opentelemetry"}

_Level = Literal["error", "warning", "note"]

# What settings mean that are allowed.
_RULES: Final[tuple[tuple[_Level, Callable[[SessionConfig], bool], str], ...]] = (
    (
        "warning",
        lambda config: config.cookie_secure is False and config.transport == "cookie",
        (
            "cookie_secure = false: browsers send the cookie over plain HTTP too, where others can "
            'read it. Set "auto" or true.'
        ),
    ),
    (
        "warning",
        lambda config: config.cookie_samesite == "None" and config.transport == "cookie",
        (
            'cookie_samesite = "None": other sites can make browsers send requests with the '
            'session. Set "Lax", unless pages of yours are embedded in other sites.'
        ),
    ),
    (
        "warning",
        lambda config: to_seconds("lifetime", config.lifetime) > _LONG,
        (
            "lifetime is over 30 days: a forgotten browser, or a stolen cookie, is logged in for "
            "that long."
        ),
    ),
    (
        "warning",
        lambda config: config.store == "disk" and config.disk_mode not in ("0700", "700"),
        "[disk] mode: other users of this machine may come into the directory of the sessions.",
    ),
    (
        "note",
        lambda config: not to_seconds("", config.absolute_lifetime, allow_zero=True),
        "absolute_lifetime is not set: a session that is in use never ends, a stolen one too.",
    ),
    (
        "note",
        lambda config: not config.encrypt and config.store != "cookie",
        "encrypt is not set: whoever can read the store can read what is in the sessions.",
    ),
    (
        "note",
        lambda config: not config.encrypt and config.store == "cookie",
        "encrypt is not set: users can read what is in their sessions.",
    ),
    (
        "note",
        lambda config: config.store == "cookie" and not config.cookie_revocations,
        (
            "[cookie] revocations is not set: a copy of a cookie is valid until it expires, after "
            "a logout too."
        ),
    ),
    (
        "note",
        lambda config: bool(config.move_from),
        "move_from is set: remove it when no session is left in that store.",
    ),
)


class Finding(NamedTuple):
    """Something that is wrong (error), insecure (warning), or worth knowing (note)."""

    level: _Level
    text: str


def in_settings(config: SessionConfig) -> Iterator[Finding]:
    """Look at the settings."""
    for level, applies, text in _RULES:
        if applies(config):
            yield Finding(level, text)
    package = _METRICS.get(config.metrics)
    if package is not None and importlib.util.find_spec(package) is None:
        extra = "otel" if config.metrics == "opentelemetry" else config.metrics
        text = f"metrics: {package} is not installed. Run: pip install 'glimr-session[{extra}]'"
        yield Finding("error", text)


def in_files(path: Path | None) -> Iterator[Finding]:
    """Look at the file of settings, and at the one with the key that ``init`` puts beside it."""
    if path is None:
        return
    for file in filter(Path.exists, (path, path.with_suffix(".env"))):
        mode = file.stat().st_mode
        if mode & stat.S_IWOTH:
            text = f"Everybody on this machine can change {file}. Run: chmod o-rw {file}"
            yield Finding("error", text)
        elif mode & stat.S_IROTH and (file != path or _has_secrets(path)):
            text = f"{file} has keys or passwords, and everybody on this machine can read it."
            yield Finding("warning", f"{text} Run: chmod o-r {file}")


def _has_secrets(path: Path) -> bool:
    found = tomllib.loads(path.read_text("utf-8"))
    urls = [found.get(f"{name}_url") or found.get(name, {}).get("url") for name in ("redis", "sql")]
    return bool(found.get("secret_keys")) or any("@" in url for url in urls if url)
