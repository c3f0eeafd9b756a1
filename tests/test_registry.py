"""The configured store, the face of the package, and the order of the house."""

from __future__ import annotations

import ast
import functools
import os
import subprocess
import sys
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

# The configured store.


def test_without_a_store_nothing_is_found_and_nothing_is_done() -> None:
    """Every function of the reference is safe at boot; ``cookie_value`` gives the id."""
    session_id = generate_id()
    assert configured_store() is None
    save(session_id, {"a": 1}, {"b": 2})
    assert load(session_id) == ({}, {})
    destroy(session_id)
    assert gc() == 0
    assert cookie_value(session_id, {"a": 1}, {"b": 2}) == session_id


def test_what_is_loaded_without_a_store_belongs_to_the_caller() -> None:
    """Changing it does not change what the next one gets."""
    data, flash = load("x")
    data["a"] = flash["b"] = 1
    assert load("x") == ({}, {})


def test_the_functions_are_those_of_the_configured_store() -> None:
    """Arguments and results go through unchanged, one call each."""
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
    """Saved, loaded and destroyed, as in the reference."""
    start_disk(tmp_path / "sessions")
    store = configured_store()
    assert store is not None
    session_id = generate_id()
    save(session_id, {"a": 1}, {"b": 2})
    assert load(session_id) == ({"a": 1}, {"b": 2})
    destroy(session_id)
    assert load(session_id) == ({}, {})
    store.close()


@pytest.mark.parametrize("store", [None, "disk", CookieStore, object(), {}], ids=repr)
def test_only_a_store_can_be_set_up(store: Any) -> None:
    """Anything else is refused at once, the class of a store too; what was there stays."""
    before = CookieStore()
    setup(before)
    with pytest.raises(TypeError, match=r"SessionStore.*new\(\)") as caught:
        setup(store)
    assert repr(store) in str(caught.value)
    assert configured_store() is before


def test_start_cookie_sets_up_a_cookie_store() -> None:
    """``start_x()`` is ``setup(x_store())``, arguments included."""
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
    """A failure at boot is no half-configured process."""
    start_cookie()
    before = configured_store()
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(glimr_session.ConfigError):
        start_disk(file)
    assert configured_store() is before


# The face of the package.


def test_the_public_names_are_these() -> None:
    """A name more or less is a decision, and this test is where it is written down."""
    assert glimr_session.__all__ == [
        "ConfigError",
        "CookieStore",
        "DiskStore",
        "Json",
        "Session",
        "SessionClosed",
        "SessionConfig",
        "SessionError",
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
        "gc",
        "generate_id",
        "load",
        "new",
        "reset",
        "save",
        "setup",
        "start_cookie",
        "start_disk",
    ]


def test_the_public_names_are_sorted_and_there() -> None:
    """Each can be imported, and has a docstring where it can have one."""
    assert sorted(glimr_session.__all__) == glimr_session.__all__
    public = {name: getattr(glimr_session, name) for name in glimr_session.__all__}
    assert [name for name, thing in public.items() if callable(thing) and not thing.__doc__] == []


def test_the_package_is_marked_as_typed() -> None:
    """Type checkers look for this file."""
    assert (SOURCE / "py.typed").is_file()


def imported_with(path: Path | None = None) -> set[str]:
    """Give the modules that a fresh Python has loaded after ``import glimr_session``."""
    ran = subprocess.run(
        [sys.executable, "-c", "import sys, glimr_session; print(*sys.modules)"],
        capture_output=True,
        text=True,
        env=os.environ if path is None else {**os.environ, "PYTHONPATH": str(path)},
        timeout=60,
        check=True,
    )
    return set(ran.stdout.split())


FOREIGN = {
    "aiohttp", "asgiref", "asyncio", "beaker", "bottle", "cheroot", "concurrent.futures", "django",
    "email", "fastapi", "flask", "ftplib", "gunicorn", "http.client", "http.server", "httpx",
    "jinja2", "mako", "multiprocessing", "psycopg", "pydantic", "pyramid", "redis", "requests",
    "selectors", "smtplib", "socket", "socketserver", "sqlalchemy", "ssl", "starlette", "unittest",
    "urllib.request", "urllib3", "valkey", "waitress", "werkzeug", "wsgiref", "wtforms", "xmlrpc",
}  # fmt: skip


def test_importing_the_package_loads_nothing_that_is_not_used() -> None:
    """No framework, no network client, no template engine, no event loop."""
    assert imported_with() & FOREIGN == set()


def test_importing_the_package_does_not_load_django_where_it_is_installed(tmp_path: Path) -> None:
    """diskcache imports it where it can, and that would be our users' start-up time."""
    package = tmp_path
    for name in ("django", "core", "cache", "backends"):
        package /= name
        package.mkdir()
        (package / "__init__.py").touch()
    base = "DEFAULT_TIMEOUT = object()\nclass BaseCache: pass\n"
    (package / "base.py").write_text(base, "utf-8")
    assert "django" not in imported_with(tmp_path)


# The order of the house.

SOURCE = Path(glimr_session.__file__).parent

# DESIGN, section 2, from the top to the bottom: a module imports what stands below it.
# errors.py stands beside the list: everything may raise one, and it imports nothing.
# state.py stands above payload.py, which says what values it is made of.
HOUSE = [
    "testing.__init__",
    "testing.contract",
    "testing.steps",
    "testing.visits",
    "__init__",
    "wsgi",
    "forms",
    "lifecycle",
    "janitor",
    "config",
    "session",
    "actor",
    "messages",
    "mailbox",
    "registry",
    "stores.cookie",
    "stores.disk",
    "stores.lending",
    "stores.database",
    "stores.rows",
    "store",
    "cookies",
    "state",
    "payload",
    "ids",
    "forks",
    "errors",
]

HOMES = {
    "pykka": {"mailbox", "janitor"},
    "itsdangerous": {"cookies"},
    "diskcache": {"stores.database"},
    "msgspec": {"payload"},
    "pytest": {"testing.__init__", "testing.contract"},
    "hypothesis": {"testing.contract"},
}


@functools.cache
def modules() -> dict[str, ast.Module]:
    """Give the syntax tree of every module with something in it, by its name."""
    trees = {
        ".".join(path.relative_to(SOURCE).with_suffix("").parts): ast.parse(path.read_bytes())
        for path in sorted(SOURCE.rglob("*.py"))
    }
    return {name: tree for name, tree in trees.items() if name != "stores.__init__"}


def imports_of(name: str, tree: ast.Module) -> set[str]:
    """Give what a module imports, wherever in it and for types alone too.

    Modules of the package are given as in HOUSE, with a dot before them.
    """
    package = ["glimr_session", *name.split(".")[:-1]]
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*start, *([node.module] if node.module else [])])
            # "from . import janitor" imports a module, "from .janitor import never" from one.
            for alias in node.names:
                inner = f"{source}.{alias.name}"
                found.add(inner if inner.removeprefix("glimr_session.") in HOUSE else source)
    return {module.removeprefix("glimr_session") for module in found}


def test_every_module_has_its_place_in_the_house() -> None:
    """A new module is put into the list above, between those it uses and those that use it."""
    assert set(modules()) == set(HOUSE)


@pytest.mark.parametrize("name", HOUSE)
def test_imports_run_down_the_house(name: str) -> None:
    """No module imports one that stands above it."""
    below = HOUSE[HOUSE.index(name) + 1 :]
    ours = {module[1:] for module in imports_of(name, modules()[name]) if module.startswith(".")}
    assert ours <= set(below), f"{name} imports upwards: {ours - set(below)}"


@pytest.mark.parametrize("library", HOMES)
def test_each_library_has_one_home(library: str) -> None:
    """Who replaces a library changes this room and no other."""
    homes = {
        name
        for name, tree in modules().items()
        if any(module.partition(".")[0] == library for module in imports_of(name, tree))
    }
    assert homes == HOMES[library]


def test_no_other_library_is_used() -> None:
    """What is imported is the standard library, ourselves, or has a home."""
    foreign = {
        module.partition(".")[0]
        for name, tree in modules().items()
        for module in imports_of(name, tree)
    }
    # _typeshed is for type checkers alone; "" is what begins with a dot.
    assert foreign - set(sys.stdlib_module_names) - {"", "_typeshed"} == set(HOMES)
