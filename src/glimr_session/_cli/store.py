"""The store as a whole: how much is in it, what has expired, and its table."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

import click

from ..config import SessionConfig
from ..stores.base import SessionInfo
from .console import count, print_table, size
from .settings import Settings, configured

__all__ = ["gc", "sql_schema", "stats"]

_AGES: Final = {"hour": 3600.0, "day": 86400.0, "week": 7 * 86400.0}

_MOST: Final = 5  # owners that are named


@click.command()
@configured
def gc(settings: Settings) -> None:
    """Remove the sessions that have expired, as cron may do it."""
    store = settings.make_store()
    removed = store.gc()
    if store.expires_by_itself:
        click.echo(f"The store {store.kind!r} removes expired sessions by itself.")
    else:
        click.echo(f"{count(removed, 'expired session')} removed.")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@configured
def stats(settings: Settings, as_json: bool) -> None:
    """Count the living sessions: their ages, their sizes, and their owners."""
    store = settings.listing_store()
    found = _counted(store.all_sessions(), time.time())
    if as_json:
        click.echo(json.dumps({"store": store.kind, **found}, indent=2))
        return
    owners, sizes = found["owners"], found["bytes"]
    most = ", ".join(f"{each['owner']} has {each['sessions']}" for each in owners["most"])
    rows = [
        ("sessions", f"{found['sessions']:,}"),
        (
            "size",
            f"{size(sizes['all'])}; mean {size(sizes['mean'])}, largest {size(sizes['largest'])}",
        ),
        ("last used", _ages(found["last_used"])),
        ("created", _ages(found["created"])),
        ("owners", f"{owners['number']:,}, with {count(owners['sessions'], 'session')}"),
        *([("most", most)] if most else []),
    ]
    print_table(["", ""], rows)


@click.command()
@click.argument("dialect", type=click.Choice(["postgresql", "mysql", "mariadb", "sqlite"]))
@click.option(
    "--table", default=SessionConfig.sql_table, show_default=True, help="The name of the table."
)
def sql_schema(dialect: str, table: str) -> None:
    """Print the SQL that makes the table of the SQL store."""
    from ..stores.sql import schema  # an extra

    click.echo(schema(dialect, table=table))


def _counted(sessions: Iterable[SessionInfo], now: float) -> dict[str, Any]:
    used, created = dict.fromkeys(_AGES, 0), dict.fromkeys(_AGES, 0)
    owners = Counter[str]()
    number = total = largest = 0
    for info in sessions:
        number += 1
        total += info.size
        largest = max(largest, info.size)
        for name, seconds in _AGES.items():
            used[name] += now - info.last_used_at < seconds
            created[name] += now - info.created_at < seconds
        if info.owner_key:
            owners[info.owner_key] += 1
    return {
        "sessions": number,
        "bytes": {"all": total, "mean": round(total / (number or 1)), "largest": largest},
        "last_used": used,
        "created": created,
        "owners": {
            "number": len(owners),
            "sessions": owners.total(),
            "most": [{"owner": key[:8], "sessions": its} for key, its in owners.most_common(_MOST)],
        },
    }


def _ages(found: dict[str, int]) -> str:
    return ", ".join(f"{number:,} in the last {name}" for name, number in found.items())
