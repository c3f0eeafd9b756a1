"""Sessions: list, show and end them."""

from __future__ import annotations

import json
import math
from typing import Any

import click

from .._ids import number_of
from ..errors import ConfigError
from ..stores.base import SessionStore, StoredSession, is_record
from .console import ago, at, count, print_table, size
from .settings import Settings, configured

__all__ = ["destroy", "list_", "logout", "show"]


def _checked(_context: click.Context, _parameter: click.Parameter, handle: str) -> str:
    if number_of(handle) is None:  # not quoted: it may be the value of a cookie
        raise click.BadParameter('a handle is "session-" and 16 hex digits, as "list" prints it')
    return handle


reveal = click.option("--reveal", is_flag=True, help="Print what the application has stored, too.")


@click.command("list")
@click.option("--owner", help="The user, as the application names it to belongs_to.")
@reveal
@configured
def list_(settings: Settings, owner: str | None, reveal: bool) -> None:
    """List the living sessions, those of one owner or all, by their handles."""
    store = settings.listing_store()
    found = store.all_sessions() if owner is None else store.sessions(owner)
    columns = ["handle", "last used", "created", "size", "owner"]
    rows = []
    for info in sorted(found, key=lambda info: -info.last_used_at):
        row = [info.handle, ago(info.last_used_at), at(info.created_at), size(info.size)]
        row.append(info.owner_key[:8])
        rows.append([*row, _shown(info.noted)] if reveal else row)
    if rows:
        print_table([*columns, "noted"] if reveal else columns, rows)
    click.echo(f"{count(len(rows), 'session')}.", err=True)


@click.command()
@click.argument("handle", callback=_checked)
@reveal
@configured
def show(settings: Settings, handle: str, reveal: bool) -> None:
    """Show one session: whose it is, and since when and how long it lives."""
    store = settings.listing_store()
    stored = _found(store, handle)
    owner, lifetime = stored.owner, stored.lifetime or store.lifetime
    end = stored.created_at + (store.absolute_lifetime or math.inf)
    rows = [
        ("owner", "nobody" if owner is None else owner.key[:8]),
        ("created", f"{at(stored.created_at)} ({ago(stored.created_at)})"),
        ("last used", f"{at(stored.last_used_at)} ({ago(stored.last_used_at)})"),
        ("ends", f"{at(min(stored.last_used_at + lifetime, end))}, if nobody uses it"),
        ("holds", f"{count(len(stored.data), 'value')}, {len(stored.flash)} of flash"),
    ]
    if reveal:
        rows += [
            ("data", _shown(stored.data)),
            ("flash", _shown(stored.flash)),
            ("noted", _shown({} if owner is None else owner.noted)),
        ]
    print_table(["", ""], [(handle, ""), *rows])


@click.command()
@click.argument("handle", callback=_checked)
@configured
def destroy(settings: Settings, handle: str) -> None:
    """End one session at once. No request that is at work brings it back."""
    store = settings.listing_store()
    _found(store, handle)
    store.destroy(handle)
    click.echo("1 session ended.")


@click.command()
@click.argument("owner")
@configured
def logout(settings: Settings, owner: str) -> None:
    """End all sessions of an owner: log a user out everywhere."""
    store = settings.make_store()
    ended = store.destroy_all(owner)
    click.echo(f"{count(ended, 'session')} ended.")
    if not ended and store.lists_sessions:
        click.echo("No session belongs to that owner: name it as the application does.", err=True)


def _found(store: SessionStore, handle: str) -> StoredSession:
    found = store.find(handle)[0]
    if found is None or is_record(found):
        raise ConfigError("There is no such session: it has ended, or there was none.")
    return found


def _shown(values: dict[str, Any]) -> str:
    return json.dumps(values, ensure_ascii=True)
