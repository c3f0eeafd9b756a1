"""When to remove expired sessions, and the actor that does."""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import pykka

from .._forks import forks_without_hooks
from .._validation import Duration, check_chance, import_string, to_seconds
from ..config import SessionConfig
from ..stores.base import SessionStore

__all__ = [
    "CleanupWorker",
    "Interval",
    "Lottery",
    "Policy",
    "collect",
    "make_policy",
    "maybe_collect",
    "never",
]

logger = logging.getLogger("glimr_session")

Policy: TypeAlias = Callable[[], bool]
"""Called after each request that committed something; returns whether to collect now."""


class Lottery:
    """Collects by chance: in one of ``1 / chance`` committed requests on average.

    The reference collects on 2 % of its requests.
    """

    def __init__(self, chance: float = 0.02) -> None:
        check_chance(chance)
        self._chance = chance

    def __call__(self) -> bool:
        return random.random() < self._chance  # noqa: S311  # not a secret


class Interval:
    """Collects at most once per interval in each process, on a committed request."""

    def __init__(self, every: Duration = 300.0) -> None:
        self._every = to_seconds("gc_interval", every)
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
    """Return the policy that a configuration asks for."""
    if not isinstance(config.gc, str):
        return config.gc
    if config.gc == "lottery":
        return Lottery(config.gc_chance)
    if config.gc == "interval":
        return Interval(config.gc_interval)
    return never if config.gc == "never" else import_string("gc", config.gc)


class CleanupWorker(pykka.ThreadingActor):
    """Removes, in a thread of its own, the expired sessions of each store it is sent."""

    use_daemon_thread = True

    def on_receive(self, message: Any) -> None:
        """Collect one store. A failure is logged, and a later request tries again."""
        store, done = message
        started = time.monotonic()
        try:
            removed = store.gc()
        except BaseException:  # Pykka would stop every actor of the process for some of them
            logger.exception("Collecting expired sessions failed; it will be tried again.")
        else:
            logger.info(
                "Collected %d expired sessions in %.3f s.", removed, time.monotonic() - started
            )
        finally:
            done()


class _WorkerSlot:
    """The cleanup worker of one process, and whether it is busy."""

    def __init__(self) -> None:
        self.pid: Final = os.getpid()
        self._lock = threading.Lock()
        self._busy = threading.Lock()
        self._ref: pykka.ActorRef[CleanupWorker] | None = None

    def collect(self, store: SessionStore) -> bool:
        with self._lock:
            if self._ref is None or not self._ref.is_alive():
                # New worker, new lock: the dead worker never releases the old one.
                self._busy = threading.Lock()
                self._ref = _start_worker()
            ref, busy = self._ref, self._busy
        if not busy.acquire(blocking=False):
            return False
        try:
            ref.tell((store, busy.release))
        except BaseException:
            busy.release()
            raise
        return True


def _start_worker() -> pykka.ActorRef[CleanupWorker]:
    """Start a worker that Pykka's registry does not know.

    Its thread belongs to this process: a child that finds the worker in the registry would
    wait for it for ever in ``stop_all()``. And the registry's lock may be locked for ever in
    a child, if another thread of the parent was starting an actor at the fork.
    """
    worker = CleanupWorker()
    worker._start_actor_loop()
    return worker.actor_ref


_slot = _WorkerSlot()


def _forget_after_fork() -> None:
    global _slot
    _slot = _WorkerSlot()


os.register_at_fork(after_in_child=_forget_after_fork)


def collect(store: SessionStore) -> bool:
    """Have a store collected in the background; return whether that was begun.

    False if this process is collecting already.
    """
    if _slot.pid != os.getpid():  # uWSGI forks without telling Python
        _forget_after_fork()
    return _slot.collect(store)


def maybe_collect(policy: Policy, store: SessionStore) -> None:
    """Collect if the policy says so. Failures are logged: the request goes on."""
    try:
        # A master of uWSGI starts no thread: its workers would not have it.
        if not store.expires_by_itself and policy() and not forks_without_hooks():
            collect(store)
    except Exception:
        logger.exception("Expired sessions could not be collected; it will be tried again.")
