"""What a run has told, as JSON: written, and read again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from .case import Result, Verdict
from .machine import Machine

__all__ = ["Failure", "Report", "Told", "read", "write"]

_FILE: Final = "results.json"


@dataclass(frozen=True)
class Told:
    """The result of a case, and of which module and at which place it ran."""

    module: str
    place: str
    result: Result


@dataclass(frozen=True)
class Failure:
    """What did not get to its end."""

    module: str
    place: str
    trace: str


@dataclass(frozen=True)
class Report:
    """A run: where, how, and what came out of it."""

    machine: Machine
    quick: bool
    seconds: float
    results: Sequence[Told]
    failures: Sequence[Failure] = ()

    @property
    def verdicts(self) -> Iterator[tuple[Told, Verdict]]:
        """What became of each target."""
        return ((told, verdict) for told in self.results for verdict in told.result.verdicts)

    @property
    def failed(self) -> bool:
        """Whether something did not get to its end, or missed a target it should not."""
        return bool(self.failures) or any(verdict.failed for _, verdict in self.verdicts)


def write(report: Report, directory: Path) -> Path:
    """Write it into a directory; give the file."""
    file = directory / _FILE
    file.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
    return file


def read(file: Path) -> Report:
    """Read what was written; msgspec.DecodeError if it is something else."""
    return msgspec.json.decode(file.read_bytes(), type=Report)
