"""The cases. Each module has ``run(place)``, which yields one result after the other."""

import shutil
import traceback
from importlib import import_module
from typing import Final

from ..databases import NotInstalled
from ..results import Place, Result

CASES: Final = (
    "requests",
    "encryption",
    "revocations",
    "frameworks",
    "limits",
    "conversation",
    "contention",
    "growth",
    "servers",
    "collecting",
    "process",
    "event_loops",
    "redis",
    "postgresql",
)
"""The modules, in the order in which they run."""


def run_module(module: str, place: Place) -> tuple[list[Result], str, str]:
    """Return the results of a module, the traceback if it failed, and what it lacks, if it does."""
    results: list[Result] = []
    directory = place.directory / module
    directory.mkdir()
    try:
        run = import_module(f"{__package__}.{module}").run
        results.extend(run(place._replace(directory=directory)))
    except NotInstalled as error:
        return results, "", f"the case `{module}`, because {error}"
    except Exception:  # noqa: BLE001  # the other modules can still run
        return results, traceback.format_exc(), ""
    finally:
        shutil.rmtree(directory)
    return results, "", ""
