"""When to remove expired sessions, and the actor that does."""

from __future__ import annotations

import atexit
import logging
import os
import queue
import random
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import pykka

from .._forks import forks_without_hooks
from .._loops import in_thread
from .._validation import Duration, check_chance, import_string, to_seconds
from ..config import SessionConfig
from ..stores.base import SessionStore

__all__ = [
    "CleanupWorker",
    "Interval",
    "Lottery",
    "Policy",
    "amaybe_collect",
    "collect",
    "make_policy",
    "maybe_collect",
    "never",
]

logger = logging.getLogger("glimr_session")

_RETRY: Final = 60.0  # seconds until a store that could not be asked is asked again, at most

_PATIENCE: Final = 1.0  # seconds that the end of the interpreter waits for a collection

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
    """Collects about once per interval in all processes together, on a committed request.

    The store remembers when that was, so that it does not begin anew with each process. It is
    asked at the first committed request of a process, and then only when the interval may have
    passed. If a collection fails, or its process is killed, the next interval tries again. A
    store that could not be asked is asked again a minute later at most.
    """

    def __init__(self, every: Duration, store: SessionStore) -> None:
        self._every = to_seconds("gc_interval", every)
        self._store = store
        self._turn = _Turn(time.monotonic())

    @property
    def is_due(self) -> bool:
        """Whether a call asks the store."""
        return time.monotonic() >= self._turn.due

    def __call__(self) -> bool:
        now = time.monotonic()
        last = self._turn
        if now < last.due or forks_without_hooks():  # a master of uWSGI could not collect
            return False
        # Of two requests at once, one asks: setdefault is one step. If a signal handler
        # raises after it, the next request goes on to the turn that was taken in vain.
        turn = _Turn(now + min(self._every, _RETRY))
        self._turn = current = last.__dict__.setdefault("next", turn)
        if current is not turn:
            return False
        wait = self._store.claim_gc(self._every)
        turn.due = now + (min(wait, self._every) if wait > 0 else self._every)
        return wait <= 0


class _Turn:
    """When a store has to be asked, by ``time.monotonic``; and, once it was, the next turn."""

    def __init__(self, due: float) -> None:
        self.due = due


def never() -> bool:
    """Never collect: a cron job calls ``gc()``."""
    return False


def make_policy(config: SessionConfig, store: SessionStore) -> Policy:
    """Return the policy that a configuration asks for, for one store."""
    if not isinstance(config.gc, str):
        return config.gc
    if config.gc == "lottery":
        return Lottery(config.gc_chance)
    if config.gc == "interval":
        return Interval(config.gc_interval, store)
    return never if config.gc == "never" else import_string("gc", config.gc)


class _Job:
    """A store to collect. While it exists, it is about to be collected or being collected."""

    def __init__(self, store: SessionStore) -> None:
        self.store = store


class CleanupWorker(pykka.ThreadingActor):
    """Removes, in a thread of its own, the expired sessions of the store it is sent, and ends.

    Pykka's registry does not know it. Its thread belongs to this process: a child that finds
    the worker in the registry would wait for it for ever in ``stop_all()``. And the registry's
    lock may be locked for ever in a child, if another thread of the parent was starting an
    actor at the fork.

    The message is a list of one job, which is taken out: whoever keeps the message does not
    keep the job.
    """

    def __init__(self, threads: deque[threading.Thread]) -> None:
        super().__init__()
        self._threads = threads

    @staticmethod
    def _create_actor_inbox() -> queue.SimpleQueue[Any]:
        return queue.SimpleQueue()  # has no lock that a signal handler could leave locked

    def _start_actor_loop(self) -> None:
        thread = threading.Thread(target=self._actor_loop, name=type(self).__name__, daemon=True)
        thread.start()
        self._threads.append(thread)

    def on_receive(self, message: list[_Job]) -> None:
        """Collect one store. A failure is logged, and a later request tries again."""
        self.actor_stopped.set()  # after this message; stop() would take the registry's lock
        try:
            job = message.pop()
        except IndexError:  # the request was interrupted, and has taken it back
            return
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
        # One collects at a time, but a job is gone a moment before its thread.
        self._threads: deque[threading.Thread] = deque(maxlen=4)
        self._ended = False

    def collect(self, store: SessionStore) -> bool:
        message = [_Job(store)]
        try:
            self._jobs.append(weakref.ref(message[0], self._jobs.remove))
            begins = self._jobs[0]() is message[0] and not self._ended
            if begins:  # one thread at a time comes here: the first job's
                worker = CleanupWorker(self._threads)
                worker.actor_ref.tell(message)
                worker._start_actor_loop()
            else:
                message.clear()
        except BaseException:
            message.clear()  # a traceback that somebody keeps would keep the job
            raise
        return begins

    def end(self) -> None:
        """Have the collection at work stopped, and wait for its thread, a second at most."""
        self._ended = True
        deadline = time.monotonic() + _PATIENCE
        for job in [reference() for reference in list(self._jobs)]:
            if job is not None:
                job.store.stop_gc()
        for thread in list(self._threads):
            thread.join(max(deadline - time.monotonic(), 0.0))


_slot = _WorkerSlot()


def _forget_after_fork() -> None:
    global _slot
    _slot = _WorkerSlot()


os.register_at_fork(after_in_child=_forget_after_fork)


@atexit.register
def _end() -> None:
    """End the worker with its interpreter.

    A thread that is left when a sub-interpreter ends, as those of mod_wsgi do, aborts the whole
    process. At the end of the main one it is cut off wherever it is.
    """
    if _slot.pid == os.getpid():
        _slot.end()


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


async def amaybe_collect(policy: Policy, store: SessionStore) -> None:
    """As ``maybe_collect``; a store that has to be asked first is asked in a thread."""
    if isinstance(policy, Interval) and policy.is_due:
        await in_thread(maybe_collect, policy, store)
    else:
        maybe_collect(policy, store)
