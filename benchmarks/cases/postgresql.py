"""Sessions on PostgreSQL: beside bare statements, beside other libraries, many threads on one.

The least that keeps a session there is psycopg's SELECT and UPDATE of the same rows, in
autocommit mode: as psycopg's manual has it, with ``connection.execute``, and with a cursor that is
kept and takes binary values, which is faster. Requests are counted as in the module ``requests``.
Threads increment a counter in one session; beside them, in a transaction that locks a row.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from typing import Any, Final

import psycopg

from glimr_session.stores.sql import SqlStore

from ..databases import postgresql_server, started
from ..measure import Arm, time_arms
from ..one_session import InSession, Locked, contend
from ..results import OURS, Place, Result, Target
from ..rivals import django, flask
from ..sites import cycled, glimr_site
from ..stores import committing, populate
from ..worker import VISITORS
from .requests import compare

_BARE: Final = "psycopg: SELECT and UPDATE"
_CACHES: Final = (
    "1.05 to 1.6, by how busy the host is: beside its statements a commit runs the code of the "
    "store and of the pool, which takes twice as long between waits for the server as in a loop "
    "of its own, most likely since others have taken the processor's caches meanwhile"
)
_TARGETS: Final[Mapping[str, Sequence[Target]]] = {
    "read and write": [
        Target(against="Django (db)", limit=0.4),
        Target(against="Flask-Session (SQLAlchemy)", limit=0.35),
    ]
}
_COLUMNS: Final = "number, key, created, last_used, revision, expires, commits, value"


def run(place: Place) -> Iterator[Result]:
    """Yield an open and commit, then requests, then many threads on one session."""
    with ExitStack() as stack:
        server = stack.enter_context(started(postgresql_server(place.directory / "postgresql")))
        SqlStore.create_table(server.url)
        store = stack.enter_context(closing(SqlStore(server.url)))
        visitors = VISITORS // 20 if place.quick else VISITORS
        values = populate(store, visitors, sample=visitors)
        bare = stack.enter_context(psycopg.connect(server.url, autocommit=True))
        arms = {OURS: committing(store, values), **_select_and_update(server.url, bare)}
        yield Result(
            case="PostgreSQL: open and commit",
            unit="us",
            rounds=time_arms(arms, 0.3 if place.quick else 12),
            targets=[Target(against=_BARE, limit=1.3, known_miss=_CACHES)],
        )
        sites = [
            glimr_site(store),
            stack.enter_context(django.on_postgresql(server.url)),
            stack.enter_context(flask.on_postgresql(server.url)),
        ]
        yield from compare("PostgreSQL", sites, _TARGETS, ("read only", "read and write"), place)
        locked = stack.enter_context(closing(Locked(server.url)))
        counters = {OURS: InSession(store), "psycopg: SELECT FOR UPDATE": locked}
        yield from contend("PostgreSQL", counters, 100, quick=place.quick)


def _select_and_update(url: str, connection: psycopg.Connection[Any]) -> dict[str, Arm]:
    """Return arms that read a row and write what changes in it, with both kinds of cursor."""
    SqlStore.create_table(url, table="bare")
    connection.execute(f"INSERT INTO bare ({_COLUMNS}) SELECT {_COLUMNS} FROM glimr_sessions")
    found = connection.execute("SELECT number FROM bare").fetchall()
    numbers = cycled([number for (number,) in found])
    select = f"SELECT {_COLUMNS} FROM bare WHERE number = %s"
    update = (
        "UPDATE bare SET last_used = %s, revision = %s, commits = %s, value = %s WHERE number = %s"
    )

    def documented() -> None:
        number = next(numbers)
        row = connection.execute(select, (number,)).fetchone()
        connection.execute(update, _changed(row))

    cursor = connection.cursor(binary=True)

    def kept() -> None:
        number = next(numbers)
        cursor.execute(select, (number,))
        cursor.execute(update, _changed(cursor.fetchone()))

    return {_BARE: documented, "psycopg, a kept binary cursor": kept}


def _changed(row: Any) -> tuple[Any, ...]:
    number, _, _, last_used, revision, _, commits, value = row
    return last_used + 1, revision + 1, commits, value, number
