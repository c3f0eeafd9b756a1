"""When to collect expired sessions, and the actor that collects them."""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import pykka

from .config import SessionConfig, check_chance, referred
from .forks import may_fork_unseen
from .store import Duration, SessionStore, seconds

__all__ = [
    "Interval",
    "Janitor",
    "Lottery",
    "Policy",
    "collect",
    "consider",
    "make_policy",
    "never",
]

logger = logging.getLogger("glimr_session")

Policy: TypeAlias = Callable[[], bool]
"""Called after each request that committed something; True: it is time to collect."""


class Lottery:
    """Collects by chance: once in ``1 / chance`` committed requests on average.

    The reference collects on 2 % of its requests.
    """

    def __init__(self, chance: float = 0.02) -> None:
        check_chance(chance)
        self._chance = chance

    def __call__(self) -> bool:
        return random.random() < self._chance  # noqa: S311  # not a secret


class Interval:
    """Collects at most every so many seconds in each process, on a committed request."""

    def __init__(self, every: Duration = 300.0) -> None:
        self._every = seconds("gc_interval", every)
        self._last = time.monotonic()
        self._lock = threading.Lock()

    def __call__(self) -> bool:
        now = time.monotonic()
        if now - self._last < self._every or not self._lock.acquire(blocking=False):
            return False
        try:  # of two requests at once, one collects
            due = now - self._last >= self._every
            if due:
                self._last = now
            return due
        finally:
            self._lock.release()


def never() -> bool:
    """Never collect: a cron job calls ``gc()``."""
    return False


def make_policy(config: SessionConfig) -> Policy:
    """Make what a configuration asks for."""
    if not isinstance(config.gc, str):
        return config.gc
    if config.gc == "lottery":
        return Lottery(config.gc_chance)
    if config.gc == "interval":
        return Interval(config.gc_interval)
    return never if config.gc == "never" else referred("gc", config.gc)


class Janitor(pykka.ThreadingActor):
    """Collects, in a thread of its own, the expired sessions of each store it is told."""

    use_daemon_thread = True

    def on_receive(self, message: Any) -> None:
        """Collect one store. A failure is logged, and the next request tries again."""
        store, done = message
        started = time.monotonic()
        try:
            number = store.gc()
        except BaseException:  # Pykka would stop every actor of the process for some of them
            logger.exception("Collecting expired sessions failed; it will be tried again.")
        else:
            logger.info(
                "Collected %d expired sessions in %.3f s.", number, time.monotonic() - started
            )
        finally:
            done()


class _Office:
    """The janitor of one process, and whether it is at work."""

    def __init__(self) -> None:
        self.pid: Final = os.getpid()
        self._lock = threading.Lock()
        self._busy = threading.Lock()
        self._ref: pykka.ActorRef[Janitor] | None = None

    def collect(self, store: SessionStore) -> bool:
        with self._lock:
            if self._ref is None or not self._ref.is_alive():
                # Its own lock: a job that the one before left lying is never done.
                self._busy = threading.Lock()
                self._ref = Janitor.start()
            ref, busy = self._ref, self._busy
        if not busy.acquire(blocking=False):
            return False
        try:
            ref.tell((store, busy.release))
        except BaseException:
            busy.release()
            raise
        return True

    def leave(self) -> None:
        """Forget the janitor: it is a thread of the parent's, and nobody may wait for it."""
        if self._ref is not None:
            pykka.ActorRegistry.unregister(self._ref)


_office = _Office()


def _leave_in_child() -> None:
    global _office
    _office.leave()
    _office = _Office()


os.register_at_fork(after_in_child=_leave_in_child)


def collect(store: SessionStore) -> bool:
    """Have a store collected in the background, and come back at once.

    Gives False, and does nothing, while this process is collecting already.
    """
    if _office.pid != os.getpid():  # uWSGI forks without telling Python
        _leave_in_child()
    return _office.collect(store)


def consider(policy: Policy, store: SessionStore) -> None:
    """Collect if the policy says so. What fails here is logged: the request goes on."""
    try:
        if policy() and not may_fork_unseen():  # its workers would not have the thread
            collect(store)
    except Exception:
        logger.exception("Expired sessions could not be collected; it will be tried again.")
