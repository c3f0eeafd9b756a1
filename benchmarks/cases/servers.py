"""Requests per second through real servers, with sessions and without.

wrk requests a rendered page that reads and writes its session, over eight connections that stay
open. The servers of all sides run at the same time and take turns of a second. Five requests in
a row bring the same cookie. wrk does not store cookies: a cookie store is always sent the session
as it was in the beginning.
"""

import re
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final

from glimr_session import CookieStore, DiskStore

from ..measure import in_turn
from ..results import Place, Result, Target
from ..serving import SERVERS, render, served
from ..sites import begin, glimr_site
from ..worker import VISITORS

_WITHOUT: Final = "without sessions"
_STORES: Final = {"disk store": "disk", "cookie store": "cookie", _WITHOUT: ""}
_LOCK: Final = (
    "each call of SQLite gives up the interpreter lock, and the thread has to wait for it again"
)
_TARGETS: Final = [
    Target(side="disk store", against=_WITHOUT, limit=0.9, at_least=True, known_miss=_LOCK),
    Target(side="cookie store", against=_WITHOUT, limit=0.9, at_least=True),
]

_SCRIPT: Final = """\
local visitors, position = {}, 0

function init(arguments)
   for line in io.lines(arguments[1]) do
      local headers = {["Host"] = "example.org", ["X-Forwarded-Proto"] = "https"}
      if line ~= "" then headers["Cookie"] = line end
      visitors[#visitors + 1] = wrk.format("GET", nil, headers)
   end
   math.randomseed(os.time())
   position = math.random(5 * #visitors)
end

function request()
   position = position + 1
   return visitors[math.floor(position / 5) % #visitors + 1]
end
"""


def run(place: Place) -> Iterator[Result]:
    """Yield the requests per second of each server."""
    script = place.directory / "visit.lua"
    script.write_text(_SCRIPT, "utf-8")
    for number, server in enumerate(list(SERVERS)[: 1 if place.quick else None]):
        with ExitStack() as stack:
            loads: dict[str, Callable[[], float]] = {}
            for name, store in _STORES.items():
                directory = place.directory / f"{number}-{store}"
                address = stack.enter_context(served(server, store, directory))
                cookies = _cookies(store, directory / "sessions")
                (directory / "cookies").write_text("".join(f"{cookie}\n" for cookie in cookies))
                _require_counting(address, cookies[0])
                loads[name] = partial(_load, f"{address}/visit", directory / "cookies", script)
            yield Result(
                case=f"servers, {server}",
                unit="requests/s",
                rounds=in_turn(loads, rounds=1 if place.quick else 8),
                targets=_TARGETS,
            )


def _cookies(store: str, directory: Path) -> list[str]:
    """Begin the sessions of the visitors in this process, in the store of the server."""
    if not store:
        return [""]
    opened = CookieStore() if store == "cookie" else DiskStore(directory)
    return begin(glimr_site(opened).client, visitors=VISITORS)


def _require_counting(address: str, cookie: str) -> None:
    """Raise RuntimeError unless the server knows the session and counts the visit."""
    headers = {"Cookie": cookie} if cookie else {}
    request = urllib.request.Request(f"{address}/visit", headers=headers)
    with urllib.request.urlopen(request) as response:
        if response.read().decode() != render("100000"):
            raise RuntimeError(f"{address} does not know the session {cookie!r}")


def _load(url: str, cookies: Path, script: Path) -> float:
    """Load a page for a second, and return the requests per second."""
    done = subprocess.run(
        ["wrk", "-t1", "-c8", "-d1s", "-s", script, url, "--", cookies],
        check=True,
        capture_output=True,
        text=True,
    )
    rate = re.search(r"Requests/sec: +([\d.]+)", done.stdout)
    if rate is None or "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        raise RuntimeError(f"{url} failed under load: {done.stdout}")
    return float(rate[1])
