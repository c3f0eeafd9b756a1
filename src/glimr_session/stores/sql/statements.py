"""The SQL of the commands, for a dialect and a table."""

# ruff: noqa: S608 -- the names in the statements are checked and quoted

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

import sqlalchemy as sa

from .._commands import (
    MADE,
    Command,
    Entry,
    Extend,
    Find,
    Insert,
    Lock,
    Made,
    Owned,
    Read,
    Swap,
)

__all__ = [
    "COMMIT",
    "FAR_FUTURE",
    "ROLLBACK",
    "Found",
    "Plan",
    "Statements",
    "entry_of",
    "found_in",
    "result_of",
    "stays_locked",
]

_LOWEST: Final = -1e300  # in place of -inf, which MySQL does not have
FAR_FUTURE: Final = 1e300

Plan: TypeAlias = Sequence[tuple[str, tuple[Any, ...], bool]]
"""Statements, their parameters, and whether each reads rows.

They are run in turn until one has found a row, or has changed one.
"""

Found: TypeAlias = Entry | Made | list[int] | None
"""What a plan comes to: the row that was found, ``MADE`` for one that was changed, the numbers of
several, or None."""

COMMIT: Final[Plan] = [("COMMIT", (), False)]
ROLLBACK: Final[Plan] = [("ROLLBACK", (), False)]


class Statements:
    """The statements, and which of them each command needs."""

    note: Callable[[str], object] = staticmethod(lambda event: None)  # noqa: ARG005
    """See SessionStore.note."""

    def __init__(self, dialect: sa.Dialect, table: sa.Table) -> None:
        preparer = dialect.identifier_preparer
        mark = "?" if dialect.paramstyle == "qmark" else "%s"
        name = preparer.format_table(table)
        number, key, created, last_used, revision, expires, commits, owner, value = (
            preparer.quote(column.name) for column in table.columns
        )
        columns = (number, key, created, last_used, revision, expires, commits, value, owner)
        listed, changed = ", ".join(columns), f" = {mark}, ".join(columns[1:])
        self._read = f"SELECT {listed} FROM {name} WHERE {number} = {mark}"
        self._owned = f"SELECT {number} FROM {name} WHERE {owner} = {mark}"
        self.scan = (
            f"SELECT {listed} FROM {name} WHERE {number} > {mark} ORDER BY {number} LIMIT {mark}"
        )
        self._find = f"SELECT {listed} FROM {name} WHERE {key} = {mark}"
        at_revision = f"WHERE {number} = {mark} AND {revision} = {mark} AND {last_used} > {mark}"
        self._update = f"UPDATE {name} SET {changed} = {mark} {at_revision}"
        self._delete = f"DELETE FROM {name} {at_revision}"
        self._extend = (
            f"UPDATE {name} SET {last_used} = {mark}, {expires} = {mark} "
            f"WHERE {number} = {mark} AND {key} = {mark}"
        )
        # Not by an error of the driver: in a transaction of PostgreSQL that would end it.
        ignore = " IGNORE" if dialect.name in ("mysql", "mariadb") else ""
        nothing = "" if ignore else " ON CONFLICT DO NOTHING"
        marks = ", ".join([mark] * len(columns))
        self._insert = f"INSERT{ignore} INTO {name} ({listed}) VALUES ({marks}){nothing}"
        # A committed row is to be seen, and gaps between rows are not to be locked, whatever
        # the isolation of the connection is.
        begin = ["BEGIN IMMEDIATE"]
        for_update = skip_locked = ""
        if dialect.name != "sqlite":
            for_update, skip_locked = " FOR UPDATE", " FOR UPDATE SKIP LOCKED"
            begin = ["SET TRANSACTION ISOLATION LEVEL READ COMMITTED", "BEGIN"]
        if dialect.name == "postgresql":
            begin = ["BEGIN ISOLATION LEVEL READ COMMITTED"]
        self.begin: Plan = [(statement, (), False) for statement in begin]
        self._lock = self._read + for_update
        self.expired = (
            f"SELECT {number}, {created}, {last_used} FROM {name} WHERE {expires} < {mark} "
            f"ORDER BY {expires} LIMIT {mark}{skip_locked}"
        )
        self.correct = f"UPDATE {name} SET {expires} = {mark} WHERE {number} = {mark}"
        self.remove = f"DELETE FROM {name} WHERE {number} = {mark}"
        # They change nothing, and fail where the store would.
        self.trials: Sequence[str] = (
            f"SELECT {listed} FROM {name} WHERE {number} = -1",
            f"UPDATE {name} SET {expires} = 0 WHERE {number} = -1",
            f"INSERT INTO {name} ({listed}) SELECT {listed} FROM {name} WHERE {number} = -1",
            f"DELETE FROM {name} WHERE {number} = -1",
            f"SELECT {number} FROM {name} WHERE {number} = -1{skip_locked}",
        )

    def plan(self, command: Command) -> Plan:
        """Return what a command runs."""
        if isinstance(command, Read):
            return ((self._read, (command.number,), True),)
        if isinstance(command, Swap):
            return self._swap(command)
        if isinstance(command, Insert):
            entry = command.entry
            return (
                (self._insert, (entry.number, *_content(entry)), False),
                (self._read, (entry.number,), True),
                (self._find, (entry.key,), True),
            )
        if isinstance(command, Extend):
            parameters = (
                command.last_used_at, command.purge_after, command.number, command.key,
            )  # fmt: skip
            return ((self._extend, parameters, False),)
        if isinstance(command, Find):
            return ((self._find, (command.key,), True),)
        if isinstance(command, Owned):
            return ((self._owned, (command.owner,), True),)
        return (*self.begin, (self._lock, (command.number,), True))

    def _swap(self, swap: Swap) -> Plan:
        unchanged = (swap.number, swap.revision, max(swap.used_after, _LOWEST))
        present = self._read, (swap.number,), True
        if swap.after is None:
            return (self._delete, unchanged, False), present
        return (self._update, (*_content(swap.after), *unchanged), False), present


def stays_locked(command: Command, held: bool) -> bool:
    """Whether the transaction of a ``Lock`` goes on: until the first command that writes."""
    return isinstance(command, Lock) or (held and isinstance(command, Read | Find))


def result_of(command: Command, found: Found, *, again: bool) -> Any:
    """Return the result of a command whose plan has come to this.

    ``again`` says that the answer to an earlier attempt was lost.
    """
    if type(command) is Extend:
        return found is MADE
    if type(command) is Owned:
        return found or []
    if again and found is None and type(command) is Swap and command.after is None:
        return MADE
    return found


def found_in(rows: Sequence[Sequence[Any]]) -> Found:
    """Return what was found: the first row as an entry, or the numbers of all."""
    if len(rows[0]) == 1:
        return [number for (number,) in rows]
    return entry_of(rows[0])


def entry_of(row: Sequence[Any]) -> Entry:
    """Return a row as an entry; some drivers have memoryviews in it."""
    number, key, created, last_used, revision, expires, commits, value, owner = row
    return Entry(
        number,
        bytes(key),
        created,
        last_used,
        revision,
        expires,
        bytes(commits),
        bytes(value),
        b"" if owner is None else bytes(owner),
    )


def _content(entry: Entry) -> tuple[Any, ...]:
    """Return the columns of an entry but for its number."""
    return (
        entry.key,
        entry.created_at,
        entry.last_used_at,
        entry.revision,
        entry.purge_after,
        entry.commits,
        entry.value,
        entry.owner or None,
    )
