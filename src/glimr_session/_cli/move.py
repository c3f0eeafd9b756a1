"""Moving all sessions from one store to another."""

from __future__ import annotations

import re
from collections import Counter
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

_STORES: Final = ("disk", "redis", "sql")

# What a session became.
_MOVED: Final = "moved"
_THERE: Final = "was there already"
_ENDED: Final = "ended"

_IN_COOKIES: Final = (
    "Sessions in cookies, or of a framework, cannot be moved by a command: the browsers have them. "
    'Set store = "disk", "redis" or "sql", and move_from to where they are: each is moved when it '
    "is next used."
)


def _named(_context: click.Context, _parameter: click.Parameter, name: str) -> str:
    if name not in (*_STORES, "cookie") and not re.fullmatch(r"[\w.]+:[\w.]+", name):
        stores = ", ".join(f'"{store}"' for store in _STORES)
        raise click.BadParameter(f'it is none of {stores} or "package.module:factory"')
    return name


def _complete(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    return [name for name in _STORES if name.startswith(begun)]


@click.command()
@click.argument("former", metavar="FROM", callback=_named, shell_complete=_complete)
@click.argument("target", metavar="TO", callback=_named, shell_complete=_complete)
@click.option("--site-stopped", is_flag=True, help="Nothing else uses FROM: no site, or a backup.")
@configured
def move(settings: Settings, former: str, target: str, site_stopped: bool) -> None:
    """Move all sessions from one store to another.

    FROM and TO are "disk", "redis", "sql" or "package.module:factory", with their settings. The
    site may run meanwhile, with store = TO and move_from = FROM, and nobody is logged out. After
    ^C or a kill, the same command goes on. A session that TO has already stays as it is there.
    """
    config = settings.config
    if "cookie" in (former, target):
        raise ConfigError(_IN_COOKIES)
    if former == target:
        raise ConfigError("FROM and TO are the same store.")
    if not site_stopped and (config.store, config.move_from) != (target, former):
        raise ConfigError(
            f'The site has to know both stores meanwhile. First set store = "{former}" and '
            f'move_from = "{target}", and start all its processes anew. Then set '
            f'store = "{target}" and move_from = "{former}", start them anew, and run this again. '
            "Where no process of a site uses FROM, add --site-stopped."
        )
    plain = replace(config, move_from="", cookie_revocations="", cookie_overflow="")
    old_config = replace(plain, store=former)
    old = _checked(settings.make_store(old_config))
    new = _checked(settings.make_store(replace(plain, store=target), makes=True))
    moving = MovingStore(new, old)
    became: dict[str, str] = {}  # by handle: some are listed in each pass
    handles: list[str] = []
    with resumable(lambda: f"{count(_number(became, _MOVED), 'session')} moved so far."):
        settings.warn_of_lifetime(old_config)
        for _ in range(_PASSES):
            handles = [info.handle for info in old.all_sessions(records=True)]
            for handle in with_progress("Moving", handles):
                became[handle] = _MOVED if moving.move(handle) else _ENDED
                if became[handle] == _MOVED and old.find(handle)[0] is not None:
                    became[handle] = _THERE
                    if site_stopped:  # else a request may be bringing it back there
                        old.destroy(handle)
            if not handles:
                break
    click.echo(f"{count(_number(became, _MOVED), 'session')} moved.")
    there, ended = _number(became, _THERE), _number(became, _ENDED)
    if there and site_stopped:
        click.echo(f"{count(there, 'session')} in {target} already, and as before there.")
    elif there:
        click.echo(
            f"Warning: {count(there, 'session')} in both stores: those in {former} are copies, as "
            "of a backup. Where no process of a site uses FROM, --site-stopped removes them.",
            err=True,
        )
    if ended:
        click.echo(
            f"{count(ended, 'session')} not moved: ended, meanwhile or in {target} within the last "
            "ten minutes."
        )
    if any(became[handle] != _THERE for handle in handles):
        click.echo(
            f"Warning: sessions still begin in {former}: some process of the site has "
            f'store = "{former}". Start it anew, and run this again.',
            err=True,
        )


def _number(became: dict[str, str], what: str) -> int:
    return Counter(became.values())[what]


def _checked(store: SessionStore) -> SessionStore:
    if not store.server_side:
        raise ConfigError(_IN_COOKIES)
    if not (store.lists_sessions and store.keeps_marks):
        raise ConfigError(f"The store {store.kind!r} cannot be moved from or to by this command.")
    return store
