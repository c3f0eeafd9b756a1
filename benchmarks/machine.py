"""Where it was measured: the machine, its file systems, and the versions of everybody."""

from __future__ import annotations

import os
import platform
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

__all__ = ["IN_MEMORY", "Machine", "file_system"]

IN_MEMORY: Final = frozenset({"tmpfs", "ramfs"})
"""File systems that are no disk."""

_UNKNOWN: Final = "an unknown file system"

_PACKAGES: Final = (
    "glimr-session",
    "pykka",
    "diskcache",
    "itsdangerous",
    "msgspec",
    "Beaker",
    "Django",
    "Flask",
    "Flask-Session",
    "cachelib",
    "starlette",
    "starsessions",
    "waitress",
    "gunicorn",
)


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What figures depend on. ``places`` has the file system of each place."""

    python: str
    system: str
    sqlite: str
    processors: int
    model: str
    load: float
    date: str
    places: Mapping[str, str]
    versions: Mapping[str, str]

    @classmethod
    def here(cls, places: Mapping[str, Path]) -> Machine:
        """Look around."""
        return cls(
            python=f"{platform.python_implementation()} {platform.python_version()}",
            system=f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}",
            sqlite=sqlite3.sqlite_version,
            processors=os.cpu_count() or 0,
            model=_model(),
            load=os.getloadavg()[0],
            date=datetime.now(UTC).date().isoformat(),
            places={name: file_system(directory) for name, directory in places.items()},
            versions=_versions(),
        )

    def __str__(self) -> str:
        places = ", ".join(f"{name}: {kind}" for name, kind in self.places.items())
        return (
            f"{self.python}, SQLite {self.sqlite}, {self.system}, {self.processors} x "
            f"{self.model}, load average {self.load:.1f} before; {places}; {self.date}"
        )


def file_system(directory: Path) -> str:
    """Give the type of file system a directory is on, where Linux tells."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text("utf-8").splitlines()
    except OSError:
        return _UNKNOWN
    best, kind = -1, _UNKNOWN
    for mount in mounts:
        # Of two mounts on one point, the later one is what is seen (proc(5)).
        before, _, after = mount.partition(" - ")
        point = before.split(" ")[4]
        if directory.resolve().is_relative_to(point) and len(point) >= best:
            best, kind = len(point), after.split(" ")[0]
    return kind


def _model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _versions() -> dict[str, str]:
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return versions
