"""Fuzz the targets one after the other; the exit status is 1 if something is found."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

_TARGETS: Final = ("cookies", "payload", "config")

_ROOT: Final = Path(__file__).parent.parent

_OPTIONS: Final = (
    "-max_len=8192",  # bytes: enough to get past every limit on nesting and on digits
    "-timeout=5",  # seconds for one input
    "-rss_limit_mb=1024",
    "-print_final_stats=1",
)

_SHOWN: Final = 40  # lines of what is said of a find


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz or replay as the arguments say; return the exit status."""
    options = _options(arguments)
    names = options.names or _TARGETS
    if options.replay is not None:
        for name in names:
            importlib.import_module(f"fuzz.{name}").run(options.replay.read_bytes())
        return 0
    if importlib.util.find_spec("atheris") is None:
        print("atheris is not installed; run: pip install --group fuzz")
        return 2
    found_nothing = [_fuzz(name, options.seconds) for name in names]
    return 0 if all(found_nothing) else 1


def _fuzz(name: str, seconds: int) -> bool:
    """Run a harness for some seconds, print a summary and return whether it found nothing."""
    directory = Path(tempfile.mkdtemp(prefix=f"fuzz-{name}-"))
    target = importlib.import_module(f"fuzz.{name}")
    corpus = directory / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(target.seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)
    words = directory / "words"
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in target.WORDS), "ascii")
    print(f"{name}: {seconds} s ...", flush=True)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "fuzz.harness", name, str(corpus)),
            *(*_OPTIONS, f"-max_total_time={seconds}", f"-dict={words}"),
            f"-artifact_prefix={directory}/",
        ],
        cwd=_ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=10 * seconds + 600,
    )
    executions = _last(r"number_of_executed_units: *(\d+)", done.stdout)
    branches = _last(r"cov: (\d+)", done.stdout)
    memory = _last(r"peak_rss_mb: *(\d+)", done.stdout)
    print(f"{name}: {executions} executions, {branches} branches, at most {memory} MB", flush=True)
    if done.returncode == 0:
        shutil.rmtree(directory)
        return True
    told = [line for line in done.stdout.splitlines() if not line.startswith(("#", "INFO"))]
    print("\n".join(line[:200] for line in told[-_SHOWN:]))
    for path in directory.glob("*-*"):  # libFuzzer's crash-, timeout- and oom-
        print(f"{name}: found {path.read_bytes()!r:.2000}")
        print(f"{name}: to see it again: python -m fuzz {name} --replay {path}")
    return False


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


def _last(pattern: str, text: str) -> str:
    found: list[str] = re.findall(pattern, text)
    return found[-1] if found else "no"


def _target(name: str) -> str:
    if name not in _TARGETS:
        raise argparse.ArgumentTypeError(f"there is no {name}, only {', '.join(_TARGETS)}")
    return name


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument(
        "names", nargs="*", type=_target, metavar="NAME",
        help=f"what to fuzz: {', '.join(_TARGETS)} (default: all)",
    )  # fmt: skip
    parser.add_argument("--seconds", type=int, default=60, help="how long each (default: 60)")
    parser.add_argument(
        "--replay", type=Path, metavar="FILE", help="run on the bytes of this file, once"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
