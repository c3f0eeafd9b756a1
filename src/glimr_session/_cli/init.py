"""A new configuration: session.toml, and a key in a file of its own."""

from __future__ import annotations

import json
import os
import secrets
import shlex
from pathlib import Path
from typing import Any, Final

import click

from ..config import SessionConfig
from ..errors import ConfigError
from .settings import DEFAULT_FILE

__all__ = ["init", "key"]

_PRIVATE: Final = 0o600

_URLS: Final = {
    "redis": "redis://127.0.0.1:6379/0",
    "sql": "postgresql://user:password@127.0.0.1/shop",
}
_MAKE_TABLE: Final = "Make the table: glimr-session sql-schema postgresql | psql ... (or mysql)"


@click.command()
def key() -> None:
    """Print a new key for secret_keys: 256 random bits."""
    click.echo(secrets.token_hex(32))


@click.command()
@click.option(
    "--config",
    "path",
    default=DEFAULT_FILE,
    show_default=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The file to write.",
)
@click.option(
    "--store",
    type=click.Choice(["disk", "redis", "sql", "cookie"]),
    help="Where sessions are kept.",
)
@click.option("--directory", help='The directory of store = "disk".')
@click.option("--url", help='The server of store = "redis" or "sql".')
@click.option(
    "--lifetime",
    type=click.FLOAT,
    metavar="MINUTES",
    help="From the last use of a session to its end.",
)
@click.option(
    "--absolute-lifetime",
    type=click.FLOAT,
    metavar="MINUTES",
    help="From the login to the end, however busy; 0: no such end.",
)
@click.option("--encrypt/--no-encrypt", default=None, help="Whether what is stored is encrypted.")
@click.option("--yes", is_flag=True, help="Ask nothing: take the defaults for what is not given.")
@click.option(
    "--print-key",
    is_flag=True,
    help="Print the lines with the key instead of writing them to a file.",
)
def init(path: Path, yes: bool, print_key: bool, **given: Any) -> None:
    """Write the settings of a site, and a key for it.

    Asks for what the options do not say. The key, and the URL of a server, go into a file beside
    the settings that only you can read: session.env, lines for the environment of the site. A file
    that exists is never overwritten.
    """  # fmt: skip
    secret = path.with_suffix(".env")
    for file in (path, *([] if print_key else [secret])):
        if os.path.lexists(file):
            raise ConfigError(f"{file} exists, and is not overwritten. Move it, or name another.")

    def answer(name: str, question: str, default: Any, **options: Any) -> Any:
        if given[name] is not None or yes:
            return default if given[name] is None else given[name]
        return click.prompt(question, default, **options)

    store = answer(
        "store",
        "Where are sessions kept?",
        "disk",
        type=click.Choice(["disk", "redis", "sql", "cookie"]),
    )
    settings: dict[str, Any] = {"store": store}
    environ = {"GLIMR_SESSION_SECRET_KEYS": secrets.token_hex(32)}
    if store == "disk":
        directory = answer("directory", "In which directory?", str(SessionConfig.disk_directory))
        settings["disk"] = {"directory": directory}
    elif store in _URLS:
        environ[f"GLIMR_SESSION_{store.upper()}_URL"] = answer("url", "At which URL?", _URLS[store])
    settings["lifetime"] = answer(
        "lifetime", "Minutes from the last use of a session to its end?", 120.0
    )
    settings["absolute_lifetime"] = answer(
        "absolute_lifetime", "Minutes from the login to the end, however busy (0: none)?", 10080.0
    )
    settings["encrypt"] = answer("encrypt", "Encrypt what is stored?", False, type=click.BOOL)
    SessionConfig.from_mapping(settings, environ)  # nothing is written that is not valid
    lines = "".join(f"{name}={shlex.quote(value)}\n" for name, value in environ.items())
    if print_key:
        click.echo(lines, nl=False)
    else:
        _write(secret, lines, _PRIVATE)
    _write(path, _toml(settings), 0o666)  # less the umask
    click.echo(f"{path} has the settings.", err=True)
    if not print_key:
        click.echo(f"{secret} has the key: keep it out of version control.", err=True)
    if store == "sql":
        click.echo(_MAKE_TABLE, err=True)
    click.echo(f"Next: set -a; . ./{secret}; set +a; glimr-session check", err=True)


def _toml(settings: dict[str, Any]) -> str:
    tables = {name: value for name, value in settings.items() if isinstance(value, dict)}
    lines = [_line(name, settings[name]) for name in settings if name not in tables]
    for name, table in tables.items():
        lines += ["", f"[{name}]", *(_line(*item) for item in table.items())]
    return "\n".join([*lines, ""])


def _line(name: str, value: str | bool | float) -> str:
    text = f"{value:g}" if type(value) is float else json.dumps(value, ensure_ascii=False)
    return f"{name} = {text}{'  # minutes' if type(value) is float else ''}"


def _write(path: Path, text: str, mode: int) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}.") from error
