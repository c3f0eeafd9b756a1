"""What the disk store works on: a directory, and a database that is lent, and looked after."""

from __future__ import annotations

import functools
import logging
import math
import os
import sqlite3
import stat
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Concatenate, Final, ParamSpec, TypeVar

from ..errors import ConfigError, StoreUnavailable
from ..forks import forking
from ..store import Duration, SessionStore, check_durability, seconds
from .database import LOG, OUTAGES, Database, is_damage, is_locked
from .rows import Connection

__all__ = ["Lender", "lent"]

logger = logging.getLogger("glimr_session")

S = TypeVar("S", bound="Lender")
P = ParamSpec("P")
R = TypeVar("R")

# Seconds between two attempts at a database that another process is writing to: at first, and
# at most. A commit takes half of the former, a step of collecting half of the latter; SQLite's own
# pauses begin at 1 ms, and grow to a hundred times as much.
_FIRST_PAUSE: Final = 0.0001
_PAUSE: Final = 0.0005

# How often, in seconds, to see whether the database is still there and private: each
# time would take a tenth of what it takes to open a session.
_LOOK_EVERY: Final = 1.0


def lent(
    doing: str,
) -> Callable[[Callable[Concatenate[S, Connection, P], R]], Callable[Concatenate[S, P], R]]:
    """Lend an operation a connection, and turn what it fails with into StoreUnavailable.

    Threads of this process write one at a time, so that only one of them asks SQLite; if
    it finds that another process has the lock, the operation is repeated. It must have
    done nothing by then.
    """
    writes = doing == "write"

    def decorate(
        operation: Callable[Concatenate[S, Connection, P], R],
    ) -> Callable[Concatenate[S, P], R]:
        @functools.wraps(operation)
        def borrowing(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
            database = self._database
            connection = turn = None
            self._operations += 1
            try:
                if time.monotonic() >= self._next_look:
                    database = self._look()
                connection = database.borrow()
                deadline, pause = 0.0, _FIRST_PAUSE
                if writes:
                    deadline = time.monotonic() + self._timeout
                    turn = database.take_turn(deadline)
                while True:
                    try:
                        result = operation(self, connection, *args, **kwargs)
                        break
                    except sqlite3.OperationalError as error:
                        now = time.monotonic()
                        deadline = deadline or now + self._timeout
                        if not is_locked(error) or connection.in_transaction or now >= deadline:
                            raise
                        time.sleep(pause)
                        pause = min(1.5 * pause, _PAUSE)
            except BaseException as error:
                self._next_look = 0.0
                if connection is not None:
                    database.drop(connection)
                # Ids are among the variables of this frame, and of the operation's: some
                # log them with a traceback.
                del args, kwargs
                if isinstance(error, OUTAGES):
                    raise self._outage(doing, error) from error.with_traceback(None)
                raise
            finally:
                if turn is not None:
                    turn.release()
            if writes:
                self._logged += 1
                if self._logged >= LOG:
                    self._checkpoint(database, connection)
            database.give_back(connection)
            return result

        return borrowing

    return decorate


class Lender(SessionStore):
    """A store in a directory of its own, whose operations are lent connections.

    Makes the directory, with mode 0700, and the database; see DiskStore for the settings
    and for what is raised.
    """

    def __init__(
        self, directory: str | os.PathLike[str], *, timeout: Duration, durability: str
    ) -> None:
        self.directory = Path(os.path.expandvars(directory)).expanduser().absolute()
        self._timeout = seconds("timeout", timeout)
        check_durability("durability", durability)
        self._durability = durability
        with forking:  # or a child would have its connection
            self._database = self._open_database()
        self._next_look = time.monotonic() + _LOOK_EVERY
        self._operations = 0  # of this process, so that who collects knows when it is alone
        self._logged = 0  # pages in the log, as far as this process knows
        self._checkpointing = threading.Lock()
        self._reopening = (-math.inf, "")  # when that failed last, and with what

    def close(self) -> None:
        self._database.close_idle()

    def _checkpoint(self, database: Database, connection: Connection) -> None:
        """Move what is in the log to where it belongs, while others go on reading and writing.

        SQLite would have that commit do it which comes to a thousand pages, for some 20 ms,
        and the whole process would stand in line behind it.
        """
        if not self._checkpointing.acquire(blocking=False):
            return
        try:
            self._logged = 0
            connection.checkpoint()
        except sqlite3.Error as error:  # the commit is done all the same; the next one tells
            logger.warning("The log of the session store could not be put away: %s", error)
        except BaseException:
            database.drop(connection)
            raise
        finally:
            self._checkpointing.release()

    def _open_database(self, instead_of: Database | None = None) -> Database:
        _check_directory(self.directory)
        try:
            return Database(
                self.directory,
                timeout=self._timeout,
                durability=self._durability,
                instead_of=instead_of,
            )
        except OUTAGES as error:
            raise StoreUnavailable(
                f"the session store in {self.directory} cannot be opened: {error}. "
                f"If another process holds it, end that; {_WHEN_DAMAGED}"
            ) from error

    def _look(self) -> Database:
        """See that the database is still there, and private, or make it anew; give it."""
        try:
            mode = stat.S_IMODE(self.directory.stat().st_mode)
            if mode & 0o077:
                raise StoreUnavailable(_open_to_others(self.directory, mode))
            in_place = self._database.is_in_place()
        except FileNotFoundError:
            in_place = False
        except OUTAGES as error:
            raise self._outage("be used", error) from error
        if not in_place:
            self._reopen(self._database)
        self._next_look = time.monotonic() + _LOOK_EVERY
        return self._database

    def _reopen(self, gone: Database) -> None:
        """Open what is there now; of the threads that need it one tries, once a second."""
        started = time.monotonic()
        if not forking.acquire(timeout=self._timeout):  # and no child begins halfway
            raise self._outage("be reopened", TimeoutError("it takes too long"))
        try:
            if self._database is not gone:
                return
            tried, failure = self._reopening
            if started < tried + _LOOK_EVERY:
                raise StoreUnavailable(failure)
            try:
                self._database = self._open_database(instead_of=gone)
            except (ConfigError, StoreUnavailable) as error:
                self._reopening = (time.monotonic(), str(error))
                raise StoreUnavailable(str(error)) from error
        finally:
            forking.release()
        logger.warning(
            "The session database in %s was deleted or replaced while it was in use. What is "
            "there now is used; the sessions that are not in it are lost.",
            self.directory,
        )
        gone.close_idle()

    def _outage(self, doing: str, error: Exception) -> StoreUnavailable:
        if is_locked(error):
            reason = f"another writer has held it for {self._timeout:g} s"
        elif is_damage(error):
            reason = f"{error}. {_WHEN_DAMAGED.capitalize()}"
        else:
            reason = str(error)
        return StoreUnavailable(
            f"the session store in {self.directory} could not {doing}: {reason}"
        )


_WHEN_DAMAGED: Final = (
    "if the file cache.db is damaged, move it away, and a new one is begun "
    "(the sessions in it are lost)."
)


def _check_directory(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = stat.S_IMODE(directory.stat().st_mode)
    except OSError as error:
        raise ConfigError(
            f"directory: {directory} cannot be made: {error.strerror}. Name one that can."
        ) from error
    if mode & 0o077:
        raise ConfigError(f"directory: {_open_to_others(directory, mode)}")
    try:
        if mode & 0o300 != 0o300:  # root may write all the same, and nobody meant it to
            raise PermissionError(13, f"mode {mode:04o}")
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise ConfigError(
            f"directory: {directory} cannot be written: {error.strerror}. "
            f"Run: chmod 700 {directory}, or name another one."
        ) from error


def _open_to_others(directory: Path, mode: int) -> str:
    return (
        f"{directory} is open to others (mode {mode:04o}), and who reads or "
        f"writes it can read or forge sessions. Run: chmod 700 {directory}"
    )
