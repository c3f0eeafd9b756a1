"""Moving all sessions from one store to another."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import click

from ..errors import ConfigError
from ..stores.base import SessionStore
from ..stores.moving import MovingStore
from .console import count, with_progress
from .settings import Settings, configured, resumable

__all__ = ["move"]

_PASSES: Final = 3  # sessions may begin in the former store while the first one runs

_IN_COOKIES: Final = (
    "Sessions in cookies, or of a framework, cannot be moved by a command: the browsers have them. "
    'Set store = "disk", "redis" or "sql", and move_from to where they are: each is moved when it '
    "is next used."
)


def _complete(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    return [name for name in ("disk", "redis", "sql") if name.startswith(begun)]


@click.command()
@click.argument("former", metavar="FROM", shell_complete=_complete)
@click.argument("target", metavar="TO", shell_complete=_complete)
@click.option("--site-stopped", is_flag=True, help="Nothing else uses FROM: no site, or a backup.")
@configured
def move(settings: Settings, former: str, target: str, site_stopped: bool) -> None:
    """Move all sessions from one store to another.

    FROM and TO are "disk", "redis", "sql" or "package.module:factory", with their settings. The
    site may run meanwhile, with store = TO and move_from = FROM, and nobody is logged out. After
    ^C or a kill, the same command goes on.
    """
    config = settings.config
    if "cookie" in (former, target):
        raise ConfigError(_IN_COOKIES)
    if former == target:
        raise ConfigError("FROM and TO are the same store.")
    if not site_stopped and (config.store, config.move_from) != (target, former):
        raise ConfigError(
            f'The site has to know both stores meanwhile: set store = "{target}" and move_from = '
            f'"{former}", start all its processes anew, and run this again. Where no process '
            "of a site uses FROM, add --site-stopped."
        )
    plain = replace(config, move_from="", cookie_revocations="", cookie_overflow="")
    old = _checked(settings.make_store(replace(plain, store=former)))
    new = _checked(settings.make_store(replace(plain, store=target)))
    moving, moved, left = MovingStore(new, old), 0, 0
    with resumable(lambda: f"{count(moved, 'session')} moved so far."):
        for _ in range(_PASSES):
            handles = [info.handle for info in old.all_sessions()]
            for handle in with_progress("Moving", handles):
                moved += moving.move(handle)
            left = len(handles)
            if not left:
                break
    click.echo(f"{count(moved, 'session')} moved.")
    if left:
        click.echo(
            f"Warning: sessions still begin in {former}: some process of the site has "
            f'store = "{former}". Start it anew, and run this again.',
            err=True,
        )


def _checked(store: SessionStore) -> SessionStore:
    if not store.server_side:
        raise ConfigError(_IN_COOKIES)
    if not (store.lists_sessions and store.keeps_marks):
        raise ConfigError(f"The store {store.kind!r} cannot be moved from or to by this command.")
    return store
