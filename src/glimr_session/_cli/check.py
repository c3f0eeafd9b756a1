"""The check: whether sessions will work, and what of them is insecure."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Final

import click

from .._ids import generate_id
from .._request.manager import SessionManager
from .._session.changes import Changes
from ..config import SessionConfig
from ..errors import ConfigError, SessionError, StoreUnavailable
from ..stores.base import SessionStore
from .console import count, print_labelled
from .findings import Finding, in_files, in_settings
from .settings import Settings, collected_warnings, configured, directory_of, is_there

__all__ = ["check"]

_TRIED: Final = 60.0  # seconds that a session of a check lives that was killed

_CLOCK_DIFFERENCE: Final = 60.0  # seconds
_LOOKED_AT: Final = 1000  # sessions, for their times

_COLOURS: Final = {"error": "bold red", "warning": "yellow", "note": "cyan"}


@click.command()
@configured
def check(settings: Settings) -> None:
    """Read the settings as the site does, try the store, and say what is insecure.

    A session is begun, read and ended. The exit status is 1 if the site could not work.
    """
    there = _is_there(settings.config)
    findings = [*in_settings(settings.config), *in_files(settings.path), *_store(settings.config)]
    order = list(_COLOURS)
    findings.sort(key=lambda finding: order.index(finding.level))
    made = not there and _is_there(settings.config)
    print_labelled([("settings", "bold", _read_from(settings) + (", made anew" if made else ""))])
    print_labelled((level, _COLOURS[level], text) for level, text in findings)
    numbers = [sum(finding.level == level for finding in findings) for level in order]
    if not numbers[0]:
        click.echo(f"The store {settings.config.store!r} works.")
    click.echo(", ".join(map(count, numbers, order)) + ".")
    if numbers[0]:
        raise SystemExit(1)


def _directory(config: SessionConfig) -> Path | None:
    with suppress(ConfigError):  # the store tells of it
        return directory_of(config)
    return None


def _is_there(config: SessionConfig) -> bool:
    directory = _directory(config)
    return directory is not None and is_there(directory)


def _read_from(settings: Settings) -> str:
    """Return which settings were read, and where they have the sessions on the disk."""
    told, directory = "the environment alone", _directory(settings.config)
    if settings.path is not None:
        told = f"{settings.path.absolute()}, and the environment"
    return told if directory is None else f"{told}; sessions on the disk are in {directory}"


def _store(config: SessionConfig) -> Iterator[Finding]:
    with collected_warnings() as warnings:
        try:
            store = SessionManager.from_config(config).binding.store
            try:
                _try_out(store)
                yield from _judged(config, store)
            finally:
                store.close()
        except SessionError as error:
            yield Finding("error", str(error))
    for warning in dict.fromkeys(warnings):
        yield Finding("warning", warning)


def _try_out(store: SessionStore) -> None:
    """Begin a session, read it, and end it.

    Raises:
        SessionError: the store does not do that.
    """
    begun = Changes(None, generate_id(), edits={"check": True}, lifetime=_TRIED)
    cookie_value = store.commit(begun).cookie_value
    try:
        if store.load(cookie_value) != (begun.edits, {}):
            raise StoreUnavailable("The store does not return a session that it was given.")
    finally:
        store.destroy(cookie_value)
    if store.server_side and store.open(cookie_value) is not None:
        raise StoreUnavailable("The store still has a session that was ended.")


def _judged(config: SessionConfig, store: SessionStore) -> Iterator[Finding]:
    if config.gc == "never" and not store.expires_by_itself:
        yield Finding("note", 'gc = "never": have cron run "glimr-session gc", or the store grows.')
    if store.server_side and os.geteuid() == 0:
        yield Finding(
            "note", "This ran as root. Run it as the user of the site, who may be allowed less."
        )
    if store.lists_sessions:
        limit = time.time() + _CLOCK_DIFFERENCE
        if any(info.last_used_at > limit for info in islice(store.all_sessions(), _LOOKED_AT)):
            yield Finding(
                "warning",
                "The clock of this machine is behind: some sessions were "
                "used in the future. Set the clocks of all machines by NTP.",
            )
