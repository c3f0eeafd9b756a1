"""The cases. Each module has ``run(place)``, which yields one result after the other."""

import shutil
import traceback
from importlib import import_module
from typing import Final

from ..results import Place, Result

CASES: Final = (
    "requests",
    "limits",
    "conversation",
    "contention",
    "growth",
    "servers",
    "collecting",
    "process",
)
"""The modules, in the order in which they run."""


def run_module(module: str, place: Place) -> tuple[list[Result], str]:
    """Return the results of a module, and the traceback if it failed."""
    results: list[Result] = []
    directory = place.directory / module
    directory.mkdir()
    try:
        run = import_module(f"{__package__}.{module}").run
        results.extend(run(place._replace(directory=directory)))
    except Exception:  # noqa: BLE001  # the other modules can still run
        return results, traceback.format_exc()
    finally:
        shutil.rmtree(directory)
    return results, ""
