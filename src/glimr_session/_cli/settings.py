"""Settings: the configuration as the application would read it, and its store."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import click

from .._log import logger
from ..config import CONFIG_VARIABLE, SessionConfig
from ..errors import ConfigError
from ..stores.base import SessionStore

__all__ = ["DEFAULT_FILE", "Settings", "collected_warnings", "configured", "resumable"]

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_FILE: Final = "session.toml"


class Settings(NamedTuple):
    """A configuration.

    Attributes:
        path: the file that it is from; None: the environment alone.
        config: the settings.
    """

    path: Path | None
    config: SessionConfig

    def make_store(self, config: SessionConfig | None = None) -> SessionStore:
        """Return the store, and print what its start warns of; it is closed with the command.

        Args:
            config: another configuration than this one.
        """
        with collected_warnings() as warnings:
            store = (config or self.config).make_store()
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


def _read(_context: click.Context, _parameter: click.Parameter, name: str | None) -> Settings:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)  # for package.module:factory, as the site's server has it
    path = Path(name or DEFAULT_FILE)
    if name or path.exists():
        return Settings(path, SessionConfig.from_toml(path))
    if not any(variable.startswith("GLIMR_SESSION_") for variable in os.environ):
        raise ConfigError(
            f"There is no {DEFAULT_FILE} here, and no GLIMR_SESSION_ variable is set. Name the "
            "file with --config, or make one with: glimr-session init"
        )
    return Settings(None, SessionConfig.from_env(os.environ))


def configured(command: F) -> F:
    """Give a command the option --config, and the settings as ``settings``."""
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
    """Say at ^C how much is done, and that the same command goes on."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo(f"{done()} The same command goes on.", err=True)
        raise
