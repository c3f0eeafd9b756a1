"""Settings: the configuration as the application would read it, and its store."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import click

from .._log import logger
from .._validation import to_seconds
from ..config import CONFIG_VARIABLE, SessionConfig
from ..errors import ConfigError
from ..stores._versions import CLOCK_GRACE, EXPIRY_MARGIN, Marks
from ..stores.base import SessionStore

__all__ = [
    "DEFAULT_FILE",
    "Settings",
    "collected_warnings",
    "configured",
    "directory_of",
    "is_there",
    "resumable",
]

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_FILE: Final = "session.toml"

_LOOKED_AT: Final = 200  # sessions, for the lifetime that they were kept with
_CENTURY: Final = timedelta(days=36500)


class Settings(NamedTuple):
    """A configuration.

    Attributes:
        path: the file that it is from; None: the environment alone.
        config: the settings.
    """

    path: Path | None
    config: SessionConfig

    def make_store(
        self, config: SessionConfig | None = None, *, makes: bool = False
    ) -> SessionStore:
        """Return the store, and print what its start warns of; it is closed with the command.

        Args:
            config: another configuration than this one.
            makes: whether a database that is not on the disk is made.

        Raises:
            ConfigError: the database is not there.
        """
        config = config or self.config
        directory = directory_of(config)
        if not (makes or directory is None or is_there(directory)):
            raise ConfigError(
                f"There is no database in {directory}. Check --config, or directory in the table "
                "[disk]. The site makes the database when it starts."
            )
        with collected_warnings() as warnings:
            store = config.make_store()
        click.get_current_context().call_on_close(store.close)
        for warning in warnings:
            click.echo(f"Warning: {warning}", err=True)
        return store

    def listing_store(self) -> SessionStore:
        """As ``make_store``.

        Raises:
            ConfigError: the store keeps no list of its sessions.
        """
        store = self.make_store()
        if not store.lists_sessions:
            raise ConfigError(
                f"The store {store.kind!r} keeps no list of its sessions; this works with "
                'store = "disk", "redis" or "sql".'
            )
        return store

    def warn_of_lifetime(self, config: SessionConfig | None = None) -> None:
        """Warn if sessions were stored for longer than the lifetime of these settings.

        Args:
            config: another configuration than this one.
        """
        config = config or self.config
        all_kept = replace(config, lifetime=_CENTURY, absolute_lifetime=timedelta(0))
        store = self.make_store(all_kept)
        lifetime = to_seconds("lifetime", config.lifetime)
        longest = (1 + EXPIRY_MARGIN) * lifetime + CLOCK_GRACE
        for info in islice(store.all_sessions(), _LOOKED_AT):
            stored = store.find(info.handle)[0]
            if stored is None or stored.lifetime or not isinstance(stored.marks, Marks):
                continue
            if stored.marks.purge_after > stored.last_used_at + longest:
                click.echo(
                    f"Warning: the site keeps sessions for longer than lifetime says here, "
                    f"{lifetime / 60:g} minutes. Those that nobody has used for that long are "
                    "left out: give this command the lifetime of the site.",
                    err=True,
                )
                return


def _read(_context: click.Context, _parameter: click.Parameter, name: str | None) -> Settings:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)  # for package.module:factory, as the site's server has it
    path = Path(name or DEFAULT_FILE)
    if name and not os.path.lexists(path):
        raise ConfigError(
            f"There is no file {path.absolute()}. Correct --config or {CONFIG_VARIABLE}, or make "
            "one with: glimr-session init --config FILE"
        )
    if name or path.exists():
        return Settings(path, SessionConfig.from_toml(path))
    if not any(variable.startswith("GLIMR_SESSION_") for variable in os.environ):
        raise ConfigError(
            f"There is no {DEFAULT_FILE} here, and no GLIMR_SESSION_ variable is set. Name the "
            "file with --config, or make one with: glimr-session init"
        )
    return Settings(None, SessionConfig.from_env(os.environ))


def directory_of(config: SessionConfig) -> Path | None:
    """Return the absolute directory of the disk store, or None if no setting names that store."""
    stores = (config.store, config.move_from, config.cookie_overflow, config.cookie_revocations)
    if "disk" not in stores:
        return None
    from ..stores.disk.directory import expand_directory  # diskcache loads Django if it is there

    return expand_directory(config.disk_directory)


def is_there(directory: Path) -> bool:
    """Whether a directory has the database of a disk store, or nobody may look into it."""
    try:
        (directory / "cache.db").stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True  # the store says what is wrong
    return True


def configured(command: F) -> F:
    """Add to a command the option --config, and the settings as ``settings``."""
    return click.option(
        "--config",
        "settings",
        metavar="FILE",
        envvar=CONFIG_VARIABLE,
        callback=_read,
        type=click.Path(dir_okay=False),
        help=f"The file of settings. Default: {CONFIG_VARIABLE}, or {DEFAULT_FILE} if it is here, "
        "or else the environment alone. Variables of the environment beat the file.",
    )(command)


class _Collector(logging.Handler):
    def __init__(self, messages: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._messages = messages

    def emit(self, record: logging.LogRecord) -> None:
        # What is logged as an error at the start is raised again at the first use.
        if record.levelno < logging.ERROR:
            self._messages.append(record.getMessage())


@contextmanager
def collected_warnings() -> Iterator[list[str]]:
    """Yield a list that takes what is logged as a warning meanwhile."""
    messages: list[str] = []
    handler = _Collector(messages)
    logger.addHandler(handler)
    try:
        yield messages
    finally:
        logger.removeHandler(handler)


@contextmanager
def resumable(done: Callable[[], str]) -> Iterator[None]:
    """Print at ^C how much is done, and that the same command goes on."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo(f"{done()} The same command goes on.", err=True)
        raise
