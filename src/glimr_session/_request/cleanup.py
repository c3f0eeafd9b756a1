"""When to remove expired sessions, and the actor that does."""

from __future__ import annotations

import logging
import os
import queue
import random
import time
import weakref
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
        self._last = _Turn(time.monotonic())

    def __call__(self) -> bool:
        now = time.monotonic()
        last = self._last
        if now - last.time < self._every:
            return False
        # Of two requests at once, one collects: setdefault is one step. If a signal handler
        # raises after it, the next request goes on to the turn that was taken in vain.
        turn = _Turn(now)
        self._last = last.__dict__.setdefault("next", turn)
        return self._last is turn


class _Turn:
    """When an interval was last due; and, once it is due again, the next turn."""

    def __init__(self, time: float) -> None:
        self.time = time


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


class _Job:
    """A store to collect. While it exists, it is queued or being collected."""

    def __init__(self, store: SessionStore) -> None:
        self.store = store


class CleanupWorker(pykka.ThreadingActor):
    """Removes, in a thread of its own, the expired sessions of each store it is sent.

    A message is a list of one job, which is taken out: the actor's thread keeps the last message
    while it waits for the next one.
    """

    use_daemon_thread = True

    def __init__(self, slot: _WorkerSlot) -> None:
        super().__init__()
        self._slot = slot

    @staticmethod
    def _create_actor_inbox() -> queue.SimpleQueue[Any]:
        return queue.SimpleQueue()  # has no lock that a signal handler could leave locked

    def on_start(self) -> None:
        """Take the place of the process's worker; it has its first job already."""
        self._slot._ref = self.actor_ref  # pyright: ignore[reportAttributeAccessIssue]  # Self

    def on_receive(self, message: list[_Job]) -> None:
        """Collect one store. A failure is logged, and a later request tries again."""
        job = message.pop()
        started = time.monotonic()
        try:
            removed = job.store.gc()
        except BaseException:  # Pykka would stop every actor of the process for some of them
            logger.exception("Collecting expired sessions failed; it will be tried again.")
        else:
            logger.info(
                "Collected %d expired sessions in %.3f s.", removed, time.monotonic() - started
            )
        finally:
            del job  # a traceback that somebody keeps would keep it too


class _WorkerSlot:
    """The cleanup worker of one process, and its job.

    There are no locks: a signal handler that raises could leave one locked.
    """

    def __init__(self) -> None:
        self.pid: Final = os.getpid()
        self._jobs: list[weakref.ref[_Job]] = []  # each removes itself when its job is gone
        self._ref: pykka.ActorRef[CleanupWorker] | None = None

    def collect(self, store: SessionStore) -> bool:
        if self._ref is not None and not self._ref.is_alive():
            self._ref = None  # and with it what was queued too late
        message = [_Job(store)]
        try:
            self._jobs.append(weakref.ref(message[0], self._jobs.remove))
            is_first = self._jobs[0]() is message[0]
            if not is_first:
                message.clear()
            elif self._ref is None:  # one thread at a time comes here: the first job's
                _start_worker(self, message)
            else:
                self._ref.tell(message)
        except BaseException:
            message.clear()  # a traceback that somebody keeps would keep the job
            raise
        return is_first


def _start_worker(slot: _WorkerSlot, message: list[_Job]) -> None:
    """Start a worker that Pykka's registry does not know.

    Its thread belongs to this process: a child that finds the worker in the registry would
    wait for it for ever in ``stop_all()``. And the registry's lock may be locked for ever in
    a child, if another thread of the parent was starting an actor at the fork.
    """
    worker = CleanupWorker(slot)
    worker.actor_ref.tell(message)
    worker._start_actor_loop()


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
