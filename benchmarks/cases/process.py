"""What a process takes because of sessions: the time of an import, memory, threads.

Fresh interpreters run one import each, and are timed minus one that imports nothing. diskcache
imports Django if that is installed, which is most of the time that the disk store takes here.

The memory is what Python has allocated for ten thousand requests that have used their session
and not ended yet.
"""

import gc
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Iterator
from functools import partial
from typing import Any, Final

from glimr_session import CookieStore
from glimr_session.testing import Visitor

from ..measure import in_turn, minus
from ..results import OURS, Place, Result, Target
from ..worker import SAMPLE

_IMPORTS: Final = {
    OURS: "import glimr_session",
    "glimr_session and its disk store": "from glimr_session import DiskStore",
    "Flask": "import flask",
    "nothing": "pass",
}
_AT_THE_LIMIT: Final = (
    "75 to 80 ms on a calm machine and up to 150 on a busy one, of which 50 are msgspec, Pykka, "
    "itsdangerous and what of the standard library they import"
)
_SESSIONS: Final = 10_000


def run(place: Place) -> Iterator[Result]:
    """Yield the imports, then the memory and the threads of open sessions."""
    yield _imports(2 if place.quick else 20)
    yield from _open_sessions()


def _imports(rounds: int) -> Result:
    runs = {name: partial(_milliseconds, statement) for name, statement in _IMPORTS.items()}
    taken = in_turn(runs, rounds=rounds)
    nothing = taken.pop("nothing")
    return Result(
        case="import, more than bare Python",
        unit="ms",
        rounds={name: minus(figures, nothing) for name, figures in taken.items()},
        targets=[Target(limit=80, known_miss=_AT_THE_LIMIT)],
    )


def _milliseconds(statement: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return (time.perf_counter() - start) * 1000


def _open_sessions() -> Iterator[Result]:
    threads = threading.active_count()
    with Visitor(CookieStore()) as visitor:
        first = visitor.request()
        first.session.update(SAMPLE)
        first.respond()
        gc.collect()
        tracemalloc.start()
        for _ in range(_SESSIONS):
            session: Any = visitor.request().session
            session["visits"] = session["visits"] + 1
        gc.collect()
        memory, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        more_threads = threading.active_count() - threads
    for what, unit, value, limit in (
        ("memory of each", "bytes", memory / _SESSIONS, 8_192),
        ("threads", "threads", more_threads, 0),
    ):
        yield Result(
            case=f"{_SESSIONS:,} open sessions, {what}",
            unit=unit,
            rounds={OURS: [value]},
            targets=[Target(limit=limit)],
        )
