"""Each module of cases runs at each place in a process of its own, one after the other.

Fresh, so that no case finds what the imports, the caches or the threads of another have
left; in the process group of the program, so that Ctrl-C reaches all of them.
"""

from __future__ import annotations

import multiprocessing
import signal
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final, NamedTuple, NoReturn, TypeAlias

from .case import Case, Place, Result

__all__ = ["MODULES", "Begun", "Event", "Failed", "Finished", "Job", "jobs_for", "run"]

MODULES: Final = (
    "conversation",
    "requests",
    "limits",
    "servers",
    "growth",
    "collecting",
    "memory",
    "start",
    "contention",
    "durability",
    "hostile",
)
"""In the order in which they run, and in which their results are told."""

_PACKAGE: Final = f"{__package__}.cases"


class Job(NamedTuple):
    """A module of cases at a place. ``seconds`` is what a full run of it is said to take."""

    module: str
    place: str
    directory: Path
    seconds: float


class Begun(NamedTuple):
    """A case is about to run."""

    name: str


class Finished(NamedTuple):
    """A case has run."""

    result: Result


class Failed(NamedTuple):
    """A case, or a whole module, did not get to its end."""

    trace: str


Event: TypeAlias = Begun | Finished | Failed | None
"""What has happened; None is that some time has passed."""


def jobs_for(only: str, places: dict[str, Path]) -> list[Job]:
    """Give what there is to do.

    ``places`` are directories on the file systems there are. ``only`` is a text that is in
    ``module: case``; up to the colon it says which modules need not even be set up.
    """
    elsewhere = Path(tempfile.gettempdir())
    wanted, colon, _ = only.partition(":")
    jobs = []
    for name in MODULES:
        if colon and not name.endswith(wanted):
            continue
        try:
            module = import_module(f"{_PACKAGE}.{name}")
        except ImportError:  # its process will say so, and the others still run
            jobs.append(Job(name, "memory", elsewhere, 0.0))
            continue
        kinds: Sequence[str] = module.PLACES
        seconds: float = module.SECONDS
        jobs += [
            Job(name, kind, places.get(kind, elsewhere), seconds)
            for kind in kinds
            if kind in places or kind == "memory"
        ]
    return jobs


def run(job: Job, *, only: str = "", quick: bool = False) -> Iterator[Event]:
    """Run the cases of a job; give what happens as it happens.

    If it is not run to its end, the process ends with it.
    """
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="benchmarks-", dir=job.directory) as directory:
        place = Place(job.place, Path(directory), quick)
        pipe, theirs = spawn.Pipe(duplex=False)
        # No daemon, for those may have no children, and some cases do.
        process = spawn.Process(target=_be_child, args=(job.module, place, only, theirs))
        process.start()
        theirs.close()
        try:
            while True:
                while not pipe.poll(_TICK):
                    yield None
                try:
                    event: Begun | Finished | Failed | None = pipe.recv()
                except EOFError:
                    process.join()
                    yield Failed(f"the process ended with exit code {process.exitcode}")
                    return
                if event is None:
                    return
                yield event
        finally:
            pipe.close()
            if process.is_alive():
                process.join(_PATIENCE)
            process.terminate()
            process.join()


_TICK: Final = 0.25  # seconds
_PATIENCE: Final = 5.0  # seconds for a process that has told its last result to end


def _be_child(module: str, place: Place, only: str, pipe: Connection) -> None:
    signal.signal(signal.SIGTERM, _leave)
    try:
        for case in import_module(f"{_PACKAGE}.{module}").cases(place):
            if only in f"{module}: {case.name}":
                pipe.send(Begun(case.name))
                pipe.send(_outcome(case, quick=place.quick))
    except (BrokenPipeError, KeyboardInterrupt):
        return  # the program has ended
    except Exception:  # noqa: BLE001  # it is reported there
        pipe.send(Failed(traceback.format_exc()))
    pipe.send(None)


def _outcome(case: Case, *, quick: bool) -> Finished | Failed:
    """Run a case. If it fails, there are others in the module."""
    try:
        return Finished(case.run(quick=quick))
    except Exception:  # noqa: BLE001  # it is reported there
        return Failed(f"{case.name}\n{traceback.format_exc()}")


def _leave(*_: object) -> NoReturn:
    """End as if by ``sys.exit``, so that what was set up is cleaned up."""
    raise SystemExit(1)
