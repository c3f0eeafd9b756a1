"""Backups: the sessions copied into a directory, as a disk store that can be used as one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from ..errors import ConfigError
from ..stores.base import SessionStore
from .console import count, with_progress
from .settings import Settings, configured, resumable

if TYPE_CHECKING:
    from ..stores.disk import DiskStore

__all__ = ["backup"]

_MARK: Final = "BACKUP"
_MARK_SAYS: Final = (
    "This directory is a backup by glimr-session: its next run removes the sessions here that have "
    "ended in the site. To use it as the store of a site, copy it without this file.\n"
)


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@configured
def backup(settings: Settings, directory: Path) -> None:
    """Copy all living sessions into a directory.

    The directory is a disk store afterwards, and can be used as one. The site may run meanwhile.
    When run again, only what has changed is copied, and what has ended is removed; so it goes on
    after ^C too.
    """
    store = settings.listing_store()
    copies = _open(directory, store, settings)
    copied = 0
    click.get_current_context().call_on_close(copies.close)
    with resumable(lambda: f"{count(copied, 'session')} copied so far."):
        settings.warn_of_lifetime()
        handles = [info.handle for info in store.all_sessions(records=True)]
        for handle in with_progress("Copying", handles):
            stored = store.find(handle)[0]
            copied += stored is not None and copies.copy(stored)
        removed = 0
        copied_before = [info.handle for info in copies.all_sessions(records=True)]
        for handle in with_progress("Comparing", copied_before):
            if store.find(handle)[0] is None:
                copies.destroy(handle)
                removed += 1
        removed += copies.gc()
    click.echo(
        f"{count(len(handles), 'session')}: {copied:,} copied, "
        f"{len(handles) - copied:,} as before; {removed:,} removed that have ended."
    )


def _open(directory: Path, store: SessionStore, settings: Settings) -> DiskStore:
    from ..stores.disk import DiskStore  # diskcache loads Django where there is one

    config = settings.config
    if (directory / "cache.db").exists() and not (directory / _MARK).exists():
        raise ConfigError(
            f"{directory} is the directory of a store, and no backup of this command. Name another "
            "one, or one that does not exist yet."
        )
    try:
        directory.mkdir(0o700, parents=True, exist_ok=True)
        (directory / _MARK).write_text(_MARK_SAYS, "utf-8")
    except OSError as error:
        raise ConfigError(f"{directory} cannot be written: {error.strerror}.") from error
    copies = DiskStore(
        directory,
        lifetime=store.lifetime or config.lifetime,
        absolute_lifetime=store.absolute_lifetime or config.absolute_lifetime,
        durability=config.disk_durability,
    )
    config.equip(copies)
    return copies
