"""The command ``glimr-session`` in a folder of its own, with settings and a store."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
from click.testing import CliRunner, Result

from glimr_session import DiskStore, SessionConfig, SessionStore, SqlStore
from glimr_session._cli.program import program

KEY: Final = "quae4Thie6ohphoh7ahCheiph1sie3ah"
SETTINGS: Final = f"""\
store = "%s"
secret_keys = ["{KEY}"]
absolute_lifetime = 10080

[disk]
directory = "sessions"

[sql]
url = "sqlite:///sessions.sqlite"
"""

Run = Callable[..., Result]


class Site(NamedTuple):
    """A site's settings, in the working directory, and its store."""

    config: SessionConfig
    store: SessionStore


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory; no variable of the environment is about sessions."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in [name for name in os.environ if name.startswith("GLIMR_")]:
        monkeypatch.delenv(name)
    return tmp_path


@pytest.fixture
def run() -> Run:
    """Run the command in this process."""

    def invoke(*arguments: str, env: Mapping[str, str] | None = None, **options: Any) -> Result:
        return CliRunner().invoke(program, arguments, env=env, **options)

    return invoke


@pytest.fixture(params=["disk", "sql"])
def site(request: pytest.FixtureRequest, folder: Path) -> Iterator[Site]:
    """A site with its sessions on the disk, or in SQLite."""
    with settled(folder, request.param) as site:
        yield site


class settled:  # noqa: N801  # a context manager
    """Write settings into a folder, and make their store."""

    def __init__(self, folder: Path, store: str, more: str = "") -> None:
        file = folder / "session.toml"
        file.write_text(more + SETTINGS % store, "utf-8")
        file.chmod(0o600)
        SqlStore.create_table(f"sqlite:///{folder}/sessions.sqlite")
        self._config = SessionConfig.from_toml(file, {})

    def __enter__(self) -> Site:
        self._site = Site(self._config, self._config.make_store())
        return self._site

    def __exit__(self, *_: object) -> None:
        self._site.store.close()


def stores(folder: Path) -> dict[str, SessionStore]:
    """Return the stores of the settings, by name."""
    return {
        "disk": DiskStore(folder / "sessions"),
        "sql": SqlStore(f"sqlite:///{folder}/sessions.sqlite"),
    }
