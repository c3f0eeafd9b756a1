"""Fork safety: one lock for work that must not straddle a fork, and what to do around one.

uWSGI's master forks without running the hooks of ``os.register_at_fork``; see
``forks_without_hooks``.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from typing import Final, Protocol

__all__ = ["ForkAware", "around_forks", "fork_lock", "forks_without_hooks"]

fork_lock: Final = threading.Lock()
"""Held while this process forks. Hold it for work that a child must not find half done."""

_LONGEST_WAIT: Final = 10.0  # seconds: a signal handler may fork while its thread holds it


class ForkAware(Protocol):
    """An object that has to act before and after a fork."""

    def before_fork(self) -> None:
        """Prepare; runs in the parent while ``fork_lock`` is held."""

    def after_fork(self) -> None:
        """Recover; runs in the parent and in the child."""


_objects: Final[weakref.WeakSet[ForkAware]] = weakref.WeakSet()
_prepared: Final[list[ForkAware]] = []
_acquired: Final[list[bool]] = []  # whether fork_lock was acquired, for each fork under way


def around_forks(aware: ForkAware) -> None:
    """Call the object's two methods around each fork, for as long as it exists."""
    _objects.add(aware)


def forks_without_hooks() -> bool:
    """Whether this process forks without running Python's hooks.

    The master of uWSGI does, unless its option py-call-uwsgi-fork-hooks is set. Threads it
    starts and connections it opens before are useless to its workers.
    """
    uwsgi = sys.modules.get("uwsgi")  # exists in uWSGI's processes only
    return uwsgi is not None and uwsgi.worker_id() == 0


def _before_fork() -> None:
    _acquired.append(fork_lock.acquire(timeout=_LONGEST_WAIT))  # two threads may fork at once
    for aware in list(_objects):
        _prepared.append(aware)  # first: a signal may interrupt the call
        aware.before_fork()


def _after_fork() -> None:
    while _prepared:
        _prepared.pop().after_fork()
    if _acquired and _acquired.pop():  # uWSGI can be told to call this hook alone
        fork_lock.release()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
