"""Hand a target to atheris: ``python -m fuzz.harness NAME [options of libFuzzer]``."""

from __future__ import annotations

import importlib
import logging
import sys
from random import Random
from typing import Any


def main() -> None:
    """Fuzz until something is found or time is up; libFuzzer ends the process."""
    # Imported by name, so that the types can be checked where it is not installed.
    atheris: Any = importlib.import_module("atheris")
    name, *options = sys.argv[1:]
    logging.disable()  # forged cookies would fill the screen
    with atheris.instrument_imports(
        include=["glimr_session", "itsdangerous", "tomllib"], enable_loader_override=False
    ):
        target = importlib.import_module(f"fuzz.{name}")
    atheris.Setup([name, *options], target.run, **_mutator(atheris, target))
    atheris.Fuzz()


def _mutator(atheris: Any, target: Any) -> dict[str, Any]:
    """Return the mutator: in turns the target's own and libFuzzer's."""
    if not hasattr(target, "mutated"):
        return {}

    def mutate(data: bytes, longest: int, seed: int) -> bytes:
        changed = target.mutated(data, Random(seed)) if seed % 4 else data
        if changed == data or len(changed) > longest:
            changed = atheris.Mutate(data, longest)
        return bytes(changed)

    return {"custom_mutator": mutate}


if __name__ == "__main__":
    main()
