"""Fork safety: work that a fork must not interrupt holds it off.

A lock would not do. Whatever releases it can be interrupted by a signal handler that raises,
and the lock would be lost: a ``with`` statement has such a moment too. So what holds a fork off
is an object, and it does so for as long as somebody references it. An exception takes the
references with it.

uWSGI's master forks without running the hooks of ``os.register_at_fork``; see
``forks_without_hooks``.
"""

from __future__ import annotations

import logging
import os
import sys
import time
import weakref
from functools import partial
from typing import Final, Protocol

__all__ = [
    "ForkAware",
    "ForkHold",
    "before_forks",
    "fork_is_near",
    "forks_without_hooks",
    "hold_off_forks",
]

logger = logging.getLogger("glimr_session")

_PAUSE: Final = 0.0005  # seconds between two looks at what another thread holds

_MAX_WAIT: Final = 10.0  # seconds that a fork waits at most, whatever the holds say


class ForkAware(Protocol):
    """An object that can let go of what holds a fork off."""

    def before_fork(self) -> None:
        """Let go of what is not in use. Is called again until nothing holds the fork off."""


class ForkHold:
    """Holds off the forks of its process for as long as somebody references it.

    Args:
        timeout: seconds that a fork waits for it at most: a signal handler may fork while its
            own thread has the hold.
    """

    __slots__ = ("__weakref__", "pid", "timeout")

    def __init__(self, timeout: float) -> None:
        self.pid: Final = os.getpid()  # a child inherits the object; it means nothing there
        self.timeout: Final = min(timeout, _MAX_WAIT)


# Each reference removes itself when its object is gone. Sets and lists change in one step.
_holds: Final[set[weakref.ref[ForkHold]]] = set()
_aware: Final[set[weakref.ref[ForkAware]]] = set()
_under_way: Final[list[None]] = []  # an entry for each thread that forks at this moment
_in_vain: Final[list[None]] = []  # an entry if a fork has waited for too long


def hold_off_forks(timeout: float) -> ForkHold:
    """Return an object that holds off forks; wait while one is under way.

    Args:
        timeout: seconds to wait for the fork, and that a fork waits for the object.

    Raises:
        TimeoutError: the fork takes longer.
    """
    deadline = time.monotonic() + timeout
    while True:
        # First hold, then look; a fork first announces itself, then looks for holds. So at
        # least one of them sees the other.
        hold = ForkHold(timeout)
        _holds.add(weakref.ref(hold, _holds.discard))
        if not _under_way:
            return hold
        del hold
        if time.monotonic() >= deadline:
            raise TimeoutError("a fork of this process takes too long")
        time.sleep(_PAUSE)


def before_forks(aware: ForkAware) -> None:
    """Have an object let go before each fork, for as long as it exists."""
    _aware.add(weakref.ref(aware, _aware.discard))


def forks_without_hooks() -> bool:
    """Whether this process forks without running Python's hooks.

    The master of uWSGI does, unless its option py-call-uwsgi-fork-hooks is set. Threads it
    starts and connections it opens before are useless to its workers.
    """
    uwsgi = sys.modules.get("uwsgi")  # exists in uWSGI's processes only
    return uwsgi is not None and uwsgi.worker_id() == 0


def fork_is_near() -> bool:
    """Whether a fork is under way, or can come at any moment without a hook."""
    return bool(_under_way) or forks_without_hooks()


def _before_fork() -> None:
    started = time.monotonic()
    while _is_held_off(time.monotonic() - started):
        time.sleep(_PAUSE)


def _is_held_off(waited: float) -> bool:
    # A function of its own: its variables would keep the holds alive.
    for reference in list(_aware):
        aware = reference()
        if aware is not None:
            aware.before_fork()
    pid = os.getpid()
    holds = [hold for reference in list(_holds) if (hold := reference()) and hold.pid == pid]
    if holds and all(waited >= hold.timeout for hold in holds):
        _in_vain.append(None)
        return False
    return bool(holds)


def _tell() -> None:
    # After the fork: a log filter may use a session, and would wait for the fork.
    if _in_vain:
        _in_vain.clear()
        logger.warning(
            "The process forks while the session store is in use; the child may not see the "
            "locks of its parent. Fork before the first request."
        )


# The hooks that count forks are no Python functions, and so no signal handler can run in one:
# for each entry that is made one is removed. An exception in _before_fork ends it, and Python
# forks all the same; therefore it comes twice. The hooks before a fork run from last to first.
os.register_at_fork(
    before=_before_fork, after_in_parent=_under_way.pop, after_in_child=_under_way.clear
)
os.register_at_fork(before=_before_fork, after_in_parent=_tell, after_in_child=_in_vain.clear)
os.register_at_fork(before=partial(_under_way.append, None))
