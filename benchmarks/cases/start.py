"""What the start of a process takes more because of sessions.

Fresh interpreters run one program each, in turns, and are timed from outside, from their
start to their end. One that does nothing is what the others are counted against: an
import minus ``pass``, and a first request minus the same application without a session.
The requests bring the cookie of a session that an earlier process has begun, read it and
write it, so that everything is done once: modules, keys, connections, statements.

diskcache imports Django if that is installed, as it is here for the benchmarks: most of
what the disk store takes is that. Where there is no Django, it takes a fraction.

What these cases do not show: the first start after an installation, when nothing has been
compiled and no file is in the memory of the system.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from ..case import Case, Place, Result, Target, require_equal
from ..measure import Times
from ..ours import SECRET

__all__ = ["PLACES", "SECONDS", "cases"]

PLACES: Final = ("memory",)
SECONDS: Final = 25

_SLOW: Final = (
    "75 to 80 ms when the machine is calm, up to 110 when it is not; 50 of them are msgspec, "
    "Pykka, itsdangerous and what of the standard library they import"
)

_ROUNDS: Final = 20
_ROUNDS_QUICK: Final = 1

_PASS: Final = "pass"

_IMPORTS: Final = {
    "glimr_session": "import glimr_session",
    "glimr_session and its disk store": "from glimr_session import DiskStore",
    "Flask": "import flask",
    "Django's sessions": "import django.contrib.sessions.middleware",
    "Beaker": "import beaker.middleware",
}

_REQUEST: Final = """\
import sys
from wsgiref.util import setup_testing_defaults

_, kind, directory, secret, cookie, expected = sys.argv

def app(environ, start_response):
    session = environ["glimr.session"]
    visits = session.get("visits", 0) + 1
    session["visits"] = visits
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(visits).encode()]

if kind == "nothing":
    shared = {"visits": int(expected) - 1}

    def application(environ, start_response):
        environ["glimr.session"] = shared
        return app(environ, start_response)

else:
    from glimr_session import SessionConfig, SessionMiddleware

    config = SessionConfig(secret_keys=[secret], store=kind, disk_directory=directory)
    application = SessionMiddleware(app, config)

environ = {"HTTP_COOKIE": cookie}
setup_testing_defaults(environ)
body = b"".join(application(environ, lambda status, headers: started.extend(headers)))
"""
_REQUEST_BEGINS: Final = f"""\
started = []
{_REQUEST}
print(dict(started).get("Set-Cookie", "").partition(";")[0], body.decode())
"""
_REQUEST_GOES_ON: Final = f"""\
started = []
{_REQUEST}
if int(body) < int(expected):
    raise SystemExit("the session was not found again")
"""


class _Program(NamedTuple):
    """What an interpreter is to run, and with which arguments."""

    code: str
    arguments: tuple[str, ...] = ()


def cases(place: Place) -> Iterator[Case]:
    """Yield the imports, then the first requests."""
    nothing = _Program(_PASS)
    yield _Processes(
        name="import, more than bare Python",
        bare=nothing,
        sides={name: _Program(code) for name, code in _IMPORTS.items()},
        targets=[
            Target(
                "import glimr_session: at most 80 ms more than bare Python",
                yardstick="",
                limit=80_000,
                known_miss=_SLOW,
            )
        ],
    )
    bare, cookie, disk = (
        _begun(kind, place.directory / kind) for kind in ("nothing", "cookie", "disk")
    )
    yield _Processes(
        name="first request of a process, more than without a session",
        bare=bare,
        sides={"glimr_session, cookie store": cookie, "glimr_session, disk store": disk},
    )


def _begun(kind: str, directory: Path) -> _Program:
    """Begin a session; give the program of a process that goes on with it."""
    arguments = (kind, str(directory), SECRET)
    done = subprocess.run(
        [sys.executable, "-c", _REQUEST_BEGINS, *arguments, "", "1"],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    cookie, _, visits = done.stdout.strip("\n").rpartition(" ")
    require_equal(f"a first request, {kind}", visits=visits, expected="1")
    require_equal(f"a cookie, {kind}", set=bool(cookie), expected=kind != "nothing")
    return _Program(_REQUEST_GOES_ON, (*arguments, cookie, "2"))


@dataclass(frozen=True, kw_only=True)
class _Processes:
    """A case of what processes take, from their start to their end, more than a bare one."""

    name: str
    bare: _Program
    sides: Mapping[str, _Program]
    targets: Sequence[Target] = ()
    group: str = "start"

    def run(self, *, quick: bool) -> Result:
        """Run all of them in turns."""
        programs = [self.bare, *self.sides.values()]
        for program in programs:
            _run(program)  # compiles what has not been compiled
        figures: dict[str, dict[str, list[float]]] = {
            name: {"wall": [], "cpu": []} for name in self.sides
        }
        for _ in range(_ROUNDS_QUICK if quick else _ROUNDS):
            taken = {program: _run(program) for program in programs}
            programs.reverse()
            bare = taken[self.bare]
            for name, program in self.sides.items():
                figures[name]["wall"].append(taken[program].wall - bare.wall)
                figures[name]["cpu"].append(taken[program].cpu - bare.cpu)
        return Result.of(self, figures)


def _run(program: _Program) -> Times:
    """Give what a process took; RuntimeError if it failed."""
    arguments = [sys.executable, "-c", program.code, *program.arguments]
    start = time.perf_counter_ns()
    process = os.posix_spawn(sys.executable, arguments, os.environ)
    _, status, used = os.wait4(process, 0)
    taken = time.perf_counter_ns() - start
    if status:
        raise RuntimeError(f"a process failed: {os.waitstatus_to_exitcode(status)}, {program.code}")
    return Times(taken / 1000, (used.ru_utime + used.ru_stime) * 1e6)
