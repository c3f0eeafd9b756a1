"""A new configuration: session.toml, and a key in a file of its own."""

from __future__ import annotations

import json
import math
import os
import secrets
import shlex
from contextlib import suppress
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
_OPTIONS: Final = {"directory": ("disk",), "url": tuple(_URLS)}  # and the stores that they are for


class _Minutes(click.FloatRange):
    """A number of minutes, above zero or from it on."""

    def __init__(self, what: str, *, positive: bool) -> None:
        super().__init__(min=0.0, min_open=positive, max=math.inf, max_open=True)
        self._what = what

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        with suppress(click.BadParameter):
            minutes = super().convert(value, param, ctx)
            if math.isfinite(minutes):
                return minutes
        raise click.BadParameter(f"{value} is not {self._what}", ctx, param)


_IDLE: Final = _Minutes("a positive number of minutes", positive=True)
_ABSOLUTE: Final = _Minutes("a number of minutes, or 0 for none", positive=False)


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
    type=_IDLE,
    metavar="MINUTES",
    help="From the last use of a session to its end.",
)
@click.option(
    "--absolute-lifetime",
    type=_ABSOLUTE,
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
    for name, stores in _OPTIONS.items():
        if given[name] is not None and store not in stores:
            raise click.UsageError(f"--{name} is not for --store {store}.")
    settings: dict[str, Any] = {"store": store}
    url = ""
    environ = {"GLIMR_SESSION_SECRET_KEYS": secrets.token_hex(32)}
    if store == "disk":
        directory = answer("directory", "In which directory?", str(SessionConfig.disk_directory))
        settings["disk"] = {"directory": directory}
    elif store in _URLS:
        url = answer("url", "At which URL?", _URLS[store])
        environ[f"GLIMR_SESSION_{store.upper()}_URL"] = url
    settings["lifetime"] = float(
        answer("lifetime", "Minutes from the last use of a session to its end?", 120, type=_IDLE)
    )
    settings["absolute_lifetime"] = float(
        answer(
            "absolute_lifetime",
            "Minutes from the login to the end, however busy (0: none)?",
            10080,
            type=_ABSOLUTE,
        )
    )
    settings["encrypt"] = answer("encrypt", "Encrypt what is stored?", False, type=click.BOOL)
    SessionConfig.from_mapping(settings, environ)  # nothing is written that is not valid
    make_table = _check_url(store, url)
    lines = "".join(f"{name}={shlex.quote(value)}\n" for name, value in environ.items())
    example = "# The URL is an example: edit it.\n" if url and url == _URLS[store] else ""
    if print_key:
        click.echo(lines, nl=False)
    else:
        _write(secret, example + lines, _PRIVATE)
    _write(path, _toml(settings), 0o666)  # less the umask
    click.echo(f"{path} has the settings.", err=True)
    if not print_key:
        click.echo(f"{secret} has the key: keep it out of version control.", err=True)
    if example:
        click.echo(
            f"The URL {'that is printed' if print_key else f'in {secret}'} is an example: edit it.",
            err=True,
        )
    if make_table:
        click.echo(f"Make the table: {make_table}", err=True)
    check = "glimr-session check"
    if str(path) != DEFAULT_FILE:
        check += f" --config {shlex.quote(str(path))}"
    if print_key:
        click.echo(f"Next: put these lines into the environment of the site; {check}", err=True)
    else:
        dot = "" if secret.is_absolute() else "./"
        click.echo(f"Next: set -a; . {shlex.quote(f'{dot}{secret}')}; set +a; {check}", err=True)


def _check_url(store: str, url: str) -> str:
    """Check a URL as the store does; return how to make its table, if it needs one.

    Raises:
        ConfigError: the URL is wrong, or what the store needs is not installed.
    """
    if store == "redis":
        from ..stores.redis.server import Server, Url  # an extra

        Server(Url(url), 1.0)
    if store != "sql":
        return ""
    from ..stores.sql.table import place_of  # an extra

    place: Any = place_of(url, None)
    dialect = place.get_backend_name()
    if dialect == "sqlite":
        return f"glimr-session sql-schema sqlite | sqlite3 {shlex.quote(str(place.database))}"
    client = "psql" if dialect == "postgresql" else dialect
    return f"glimr-session sql-schema {dialect} | {client} ..."


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
