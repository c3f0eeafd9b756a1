"""The configured store, and the public names of the package."""

from __future__ import annotations

import importlib.metadata
import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import glimr_session
from glimr_session import (
    CookieStore,
    DiskStore,
    configured_store,
    cookie_value,
    destroy,
    gc,
    generate_id,
    load,
    new,
    reset,
    save,
    setup,
    start_cookie,
    start_disk,
)
from tests.support.ids import name_of

# The configured store.


def test_without_a_store_nothing_is_found_and_nothing_is_done() -> None:
    """Every function of the reference is safe at boot, and ``cookie_value`` returns the id."""
    session_id = generate_id()
    assert configured_store() is None
    save(session_id, {"a": 1}, {"b": 2})
    assert load(session_id) == ({}, {})
    destroy(session_id)
    assert gc() == 0
    assert cookie_value(session_id, {"a": 1}, {"b": 2}) == session_id


def test_what_is_loaded_without_a_store_belongs_to_the_caller() -> None:
    """A change of what was loaded does not change what is loaded next."""
    data, flash = load("x")
    data["a"] = flash["b"] = 1
    assert load("x") == ({}, {})


def test_the_functions_are_those_of_the_configured_store() -> None:
    """A function calls the store once, with the same arguments, and returns its result."""
    calls: list[tuple[Any, ...]] = []

    def recorded(name: str, result: Any) -> Any:
        def function(*args: Any) -> Any:
            calls.append((name, *args))
            return result

        return function

    store = new(
        load=recorded("load", ({"a": 1}, {})),
        save=recorded("save", None),
        destroy=recorded("destroy", None),
        gc=recorded("gc", 7),
        cookie_value=recorded("cookie_value", "v"),
    )
    setup(store)
    assert configured_store() is store
    assert load("id") == ({"a": 1}, {})
    save("id", {"a": 1}, {"b": 2})
    destroy("id")
    assert gc() == 7
    assert cookie_value("id", {"a": 1}, {"b": 2}) == "v"
    assert calls == [
        ("load", "id"),
        ("save", "id", {"a": 1}, {"b": 2}),
        ("destroy", "id"),
        ("gc",),
        ("cookie_value", "id", {"a": 1}, {"b": 2}),
    ]


def test_the_last_store_that_was_set_up_counts() -> None:
    """A store can be exchanged, and taken away again."""
    first, second = CookieStore(), CookieStore()
    setup(first)
    setup(second)
    assert configured_store() is second
    reset()
    assert configured_store() is None
    assert gc() == 0


def test_a_session_goes_through_the_functions_and_a_real_store(tmp_path: Path) -> None:
    """The functions save, load and destroy a session of the disk store."""
    start_disk(tmp_path / "sessions")
    store = configured_store()
    assert store is not None
    session_id = generate_id()
    save(session_id, {"a": 1}, {"b": 2})
    assert load(session_id) == ({"a": 1}, {"b": 2})
    destroy(session_id)
    assert load(session_id) == ({}, {})
    store.close()


@pytest.mark.parametrize("store", [None, "disk", CookieStore, object(), {}], ids=name_of)
def test_only_a_store_can_be_set_up(store: Any) -> None:
    """``setup`` refuses anything else, the class of a store too, and the store before stays."""
    before = CookieStore()
    setup(before)
    with pytest.raises(TypeError, match=r"SessionStore.*new\(\)") as caught:
        setup(store)
    assert repr(store) in str(caught.value)
    assert configured_store() is before


def test_start_cookie_sets_up_a_cookie_store() -> None:
    """``start_cookie`` passes its arguments on to the store."""
    start_cookie(lifetime=60, absolute_lifetime=timedelta(hours=1))
    store = configured_store()
    assert isinstance(store, CookieStore)
    assert (store.lifetime, store.absolute_lifetime) == (60.0, 3600.0)


def test_start_disk_sets_up_a_disk_store(tmp_path: Path) -> None:
    """The directory and the lifetimes are those that were given."""
    start_disk(tmp_path / "sessions", lifetime=60)
    store = configured_store()
    assert isinstance(store, DiskStore)
    assert (store.directory, store.lifetime) == (tmp_path / "sessions", 60.0)
    store.close()


def test_a_store_that_cannot_be_made_leaves_the_old_one(tmp_path: Path) -> None:
    """A failure at boot leaves the process as it was."""
    start_cookie()
    before = configured_store()
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(glimr_session.ConfigError):
        start_disk(file)
    assert configured_store() is before


# The face of the package.


def test_the_public_names_are_these() -> None:
    """The package exports these names and no others."""
    assert glimr_session.__all__ == [
        "Changes",
        "CommitResult",
        "ConfigError",
        "CookieStore",
        "DiskStore",
        "Json",
        "Session",
        "SessionClosed",
        "SessionConfig",
        "SessionError",
        "SessionInfo",
        "SessionMiddleware",
        "SessionStore",
        "SessionTooLarge",
        "StoreUnavailable",
        "StoredSession",
        "configured_store",
        "cookie_store",
        "cookie_value",
        "decode_payload",
        "destroy",
        "disk_store",
        "empty",
        "encode_payload",
        "flash_errors",
        "flash_old",
        "generate_id",
        "load",
        "new",
        "reset",
        "save",
        "setup",
        "start_cookie",
        "start_disk",
        "start_redis",
        "start_sql",
    ]


def test_gc_is_imported_by_its_name_alone() -> None:
    """A star import does not put ``gc`` in the place of Python's module of that name."""
    namespace: dict[str, Any] = {}
    exec("from glimr_session import *", namespace)
    assert "gc" not in namespace
    assert namespace["Session"] is glimr_session.Session
    assert glimr_session.gc is gc


def test_the_public_names_are_sorted_and_there() -> None:
    """Each name can be imported, and has a docstring where it can have one."""
    assert sorted(glimr_session.__all__) == glimr_session.__all__
    public = {name: getattr(glimr_session, name) for name in glimr_session.__all__}
    assert [name for name, thing in public.items() if callable(thing) and not thing.__doc__] == []


def test_the_package_is_marked_as_typed() -> None:
    """The package has the file that type checkers look for."""
    assert (Path(glimr_session.__file__).parent / "py.typed").is_file()


def test_the_package_knows_its_version() -> None:
    """``__version__`` is what the package index and ``pip show`` say."""
    assert glimr_session.__version__ == importlib.metadata.version("glimr-session")


def test_the_version_is_written_once() -> None:
    """pyproject.toml takes the version from the package, and repeats it nowhere."""
    project = Path(__file__).parents[1] / "pyproject.toml"
    settings = tomllib.loads(project.read_text("utf-8"))
    assert "version" not in settings["project"]
    assert "version" in settings["project"]["dynamic"]
    source = project.parent / settings["tool"]["hatch"]["version"]["path"]
    assert source.samefile(glimr_session.__file__)
    assert source.read_text("utf-8").count(glimr_session.__version__) == 1
