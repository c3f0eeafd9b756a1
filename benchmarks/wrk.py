"""Load from wrk: keep-alive connections that ask a server for one page, with cookies.

As many visitors are at it as there are connections. Each sends five requests in a row,
then another takes its turn.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["CONNECTIONS", "Batch", "Wrk", "found"]

CONNECTIONS: Final = 8

_IN_A_ROW: Final = 5

_PATIENCE: Final = 10.0  # seconds for it to end

_SCRIPT: Final = f"""\
local visitors, position = {{}}, 0

function init(arguments)
   for line in io.lines(arguments[1]) do
      local headers = {{["Host"] = "example.org", ["X-Forwarded-Proto"] = "https"}}
      if line ~= "" then headers["Cookie"] = line end
      visitors[#visitors + 1] = wrk.format("GET", nil, headers)
   end
   position = tonumber(arguments[2])
end

function request()
   local group = math.floor(position / {CONNECTIONS * _IN_A_ROW})
   local visitor = (group * {CONNECTIONS} + position % {CONNECTIONS}) % #visitors
   position = position + 1
   return visitors[visitor + 1]
end

function done(summary, latency)
   local errors = summary.errors
   io.write(string.format(
      '\\n{{"requests": %d, "microseconds": %d, "p99": %d, "refused": %d, "broken": %d}}',
      summary.requests, summary.duration, latency:percentile(99), errors.status,
      errors.connect + errors.read + errors.write + errors.timeout))
end
"""


class Batch(NamedTuple):
    """What came out of some tenths of a second of load."""

    requests: int
    per_second: float
    p99: float
    """Microseconds that one request in a hundred took longer than."""


def found() -> bool:
    """Whether wrk is installed."""
    return shutil.which("wrk") is not None


@dataclass
class Wrk:
    """The load on one page of one server. ``cookies`` has one for each visitor, or "" for none."""

    url: str
    cookies: Sequence[str]
    directory: Path
    _sent: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.directory.mkdir(parents=True)
        self._script = self.directory / "visit.lua"
        self._script.write_text(_SCRIPT, "utf-8")
        self._visitors = self.directory / "cookies.txt"
        self._visitors.write_text("".join(f"{cookie}\n" for cookie in self.cookies), "utf-8")

    def run(self, seconds: float) -> Batch:
        """Let it run so long, and go on where it stopped the last time.

        Raises RuntimeError if a single answer was an error.
        """
        process = subprocess.Popen(
            [
                *("wrk", "-t1", f"-c{CONNECTIONS}", "-d60s", "-s", self._script, self.url),
                *("--", self._visitors, str(self._sent)),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                # It counts whole seconds by itself. Interrupted, it tells what it has done.
                process.send_signal(signal.SIGINT)
            output, _ = process.communicate(timeout=_PATIENCE)
        finally:
            process.kill()
            process.wait()
        told = output.rpartition("\n")[2]
        if not told.startswith("{"):
            raise RuntimeError(f"wrk told nothing of {self.url}: {output}")
        counts: dict[str, int] = json.loads(told)
        if counts["refused"] or counts["broken"] or not counts["requests"]:
            raise RuntimeError(f"{self.url} failed under load: {counts}")
        self._sent += counts["requests"]
        return Batch(
            counts["requests"], counts["requests"] / counts["microseconds"] * 1e6, counts["p99"]
        )
