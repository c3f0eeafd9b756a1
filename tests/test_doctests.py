"""The examples in the docstrings of the package do what they say."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import warnings
from pathlib import Path
from typing import Final

import pytest

import glimr_session

MODULES: Final = sorted(
    module.name
    for module in pkgutil.walk_packages(glimr_session.__path__, f"{glimr_session.__name__}.")
)

# The names that people begin with. SessionStore is subclassed; ``new`` makes one at once.
FIRST_NAMES: Final = [
    "Session", "SessionMiddleware", "SessionConfig", "new", "CookieStore", "DiskStore", "setup",
    "flash_errors", "flash_old", "generate_id",
]  # fmt: skip


@pytest.mark.parametrize("name", [glimr_session.__name__, *MODULES])
def test_the_examples_of_a_module_are_right(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every example of the module gives what is written under it."""
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # WebOb imports cgi
        warnings.filterwarnings("ignore", "pkg_resources is deprecated")  # Pyramid imports it
        assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_every_module_is_found() -> None:
    """The modules below packages are among those whose examples are run."""
    assert {"glimr_session._session.changes", "glimr_session.stores.disk.store"} <= set(MODULES)


@pytest.mark.parametrize("name", FIRST_NAMES)
def test_the_names_that_people_begin_with_have_an_example(name: str) -> None:
    """The docstring of the name holds an example that can be run."""
    thing = getattr(glimr_session, name)
    assert doctest.DocTestParser().get_examples(thing.__doc__ or "") != []
