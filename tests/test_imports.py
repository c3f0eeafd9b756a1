"""Which module may import which, and what ``import glimr_session`` loads."""

from __future__ import annotations

import ast
import functools
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

import glimr_session

SOURCE: Final = Path(glimr_session.__file__).parent

# From the top to the bottom: a module imports only what stands below it. Modules of one line
# import nothing of each other.
LAYERS: Final = [
    ["__init__"],
    ["testing"],
    ["testing.contract"],
    ["testing.owners"],
    ["testing.requests", "testing.clients", "testing.interleavings", "testing.seeding"],
    ["cli"],
    ["_cli"],
    ["_cli.program"],
    [
        "_cli.backup",
        "_cli.check",
        "_cli.init",
        "_cli.manual",
        "_cli.move",
        "_cli.sessions",
        "_cli.shell",
        "_cli.store",
    ],
    ["_cli.findings", "_cli.settings"],
    ["_cli.console"],
    ["fastapi"],
    ["wsgi", "asgi", "flask", "django", "pyramid"],
    ["starlette"],
    ["django._middleware"],
    ["django._store"],
    ["django._async", "django._live"],
    ["django._setup"],
    ["django._keys"],
    ["_request"],
    ["_request.asgi_session"],
    ["_request.live_session", "_request.manager"],
    ["_request.request_session"],
    ["_request.lookup", "_request.error_page"],
    ["_request.steps"],
    ["_request.asgi_headers", "_request.token"],
    ["_request.cleanup", "_request.cookie"],
    ["_request.cache_headers"],
    ["_request.origin", "_request.signing"],
    ["registry"],
    ["config"],
    ["metrics"],
    ["_metrics"],
    ["_metrics.health"],
    ["_metrics.metered"],
    ["_metrics.opentelemetry", "_metrics.prometheus"],
    ["_metrics.base"],
    ["forms"],
    ["session"],
    ["stores"],
    ["stores.moving"],
    ["stores.overflow", "stores.revocations"],
    ["stores._spilled", "stores._owner_record", "stores._with_server"],
    ["stores.redis", "stores.sql"],
    ["stores.redis.store"],
    ["stores.redis.server"],
    ["stores.redis.connections"],
    ["stores.redis.codec"],
    ["stores.sql.store"],
    ["stores.sql.database"],
    ["stores.sql.loops"],
    ["stores.sql.connections"],
    ["stores.sql.statements", "stores.sql.table", "stores.sql.errors"],
    ["stores._server"],
    ["stores._lines", "stores._places"],
    ["stores._commands"],
    ["stores.disk"],
    ["stores.disk.store"],
    ["stores.disk.database"],
    ["stores.disk.pool"],
    ["stores.disk.queries", "stores.disk.log"],
    ["stores.disk.files"],
    ["stores.disk.directory"],
    ["stores._versions"],
    ["stores.cookie"],
    ["stores.base"],
    ["_session"],
    ["_session.actor"],
    ["_session.messages"],
    ["_session.state"],
    ["_session.changes"],
    ["_session.serialization", "_session.sealing"],
    ["_session.values"],
    ["mailbox"],
    ["_validation"],
    ["_forks"],
    ["_ids"],
    ["_loops"],
    ["_log"],
    ["errors"],
]
MODULES: Final = [name for layer in LAYERS for name in layer]

# The modules that may name a library; every other one goes through them.
LIBRARIES: Final = {
    "opentelemetry": {"_metrics.opentelemetry"},
    "prometheus_client": {"_metrics.prometheus"},
    "pykka": {"mailbox", "_request.cleanup"},
    "msgspec": {"_session.serialization", "stores.cookie", "stores._versions"},
    "itsdangerous": {"_request.signing", "flask", "starlette"},
    "click": {"_cli.backup", "_cli.check", "_cli.init", "_cli.manual", "_cli.move",
              "_cli.program", "_cli.sessions", "_cli.settings", "_cli.shell", "_cli.store"},
    "rich": {"_cli.console"},
    "cryptography": {"_session.sealing"},
    "diskcache": {"stores.disk.files"},
    "redis": {"stores.redis", "stores.redis.codec", "stores.redis.connections",
              "stores.redis.server"},
    "sqlalchemy": {"stores.sql", "stores.sql.connections", "stores.sql.database",
                   "stores.sql.statements", "stores.sql.store", "stores.sql.table"},
    "psycopg": {"stores.sql.database"},
    "flask": {"flask"},
    "werkzeug": {"flask"},
    "django": {"django._async", "django._live", "django._middleware", "django._setup",
               "django._store"},
    "asgiref": {"django._middleware", "django._setup"},
    "pyramid": {"pyramid"},
    "zope": {"pyramid"},
    "fastapi": {"fastapi"},
    "anyio": {"_loops"},
    "pytest": {"testing", "testing.contract", "testing.owners"},
    "hypothesis": {"testing.contract", "testing.requests"},
}  # fmt: skip

FRAMEWORKS: Final = {
    "aiohttp", "bottle", "django", "falcon", "fastapi", "flask", "litestar", "pyramid",
    "quart", "sanic", "starlette", "tornado", "webob", "werkzeug",
}  # fmt: skip


# The doors, and the frameworks that each may name.
DOORS: Final = {
    "flask": {"flask", "werkzeug"},
    "django": {"django"},
    "pyramid": {"pyramid"},
    "fastapi": {"fastapi"},
}

# What a framework is itself made of.
MADE_OF: Final = {
    "flask": {"werkzeug"},
    "django": set[str](),
    "pyramid": {"webob"},
    "fastapi": {"starlette"},
}


@functools.cache
def sources() -> dict[str, tuple[Path, ast.Module]]:
    """Return the file and the syntax tree of every module, by its name in ``LAYERS``."""
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        name = ".".join(path.relative_to(SOURCE).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = path, ast.parse(path.read_bytes())
    return found


@functools.cache
def imports_of(name: str) -> frozenset[str]:
    """Return all that a module imports: anywhere in it, in functions and for types too.

    Modules of the package have a dot before the name that ``LAYERS`` has for them.
    """
    path, tree = sources()[name]
    package = ("glimr_session", *path.relative_to(SOURCE).parts[:-1])
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            source = ".".join([*start, *([node.module] if node.module else [])])
            # "from . import cookie" imports a module, "from .cookie import x" from one.
            for alias in node.names:
                inner = f"{source}.{alias.name}"
                found.add(inner if inner.removeprefix("glimr_session.") in MODULES else source)
    return frozenset(
        ".__init__" if module == "glimr_session" else module.removeprefix("glimr_session")
        for module in found
    )


def test_every_module_has_its_place() -> None:
    """The list above has each module of the package once."""
    assert sorted(MODULES) == sorted(sources())


@pytest.mark.parametrize("name", MODULES)
def test_no_import_goes_up(name: str) -> None:
    """A module imports modules of the layers below its own, and no others."""
    number = next(number for number, layer in enumerate(LAYERS) if name in layer)
    below = {module for layer in LAYERS[number + 1 :] for module in layer}
    ours = {module[1:] for module in imports_of(name) if module.startswith(".")}
    assert ours <= below, f"{name} imports upwards: {ours - below}"


def test_imports_at_every_level_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above sees imports in functions, for types, and of the package itself."""
    code = """
import glimr_session.wsgi
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from ..session import Session
def function():
    from . import cookie
    from glimr_session import Session
    class Inner:
        from .._session.messages import Get
        import flask.globals
"""
    module = {"_request.spoilt": (SOURCE / "_request" / "spoilt.py", ast.parse(code))}
    monkeypatch.setattr(sys.modules[__name__], "sources", lambda: module)
    assert imports_of("_request.spoilt") == {
        ".wsgi", "typing", ".session", "._request.cookie", ".__init__", "._session.messages",
        "flask.globals",
    }  # fmt: skip


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_library_is_named_where_it_may_be(library: str) -> None:
    """These modules import the library, and no others do."""
    homes = {
        name
        for name in MODULES
        if any(module.partition(".")[0] == library for module in imports_of(name))
    }
    assert homes == LIBRARIES[library]


def test_no_other_library_is_used() -> None:
    """A module imports the standard library, the package, and the libraries above."""
    roots = {module.partition(".")[0] for name in MODULES for module in imports_of(name)}
    # _typeshed is for type checkers alone; "" is what begins with a dot.
    assert roots - set(sys.stdlib_module_names) - {"", "_typeshed"} == set(LIBRARIES)


@pytest.mark.parametrize("name", MODULES)
def test_no_module_names_a_web_framework(name: str) -> None:
    """A module names no framework but a door its own, be it in a string that could be imported."""
    named = {module.partition(".")[0] for module in imports_of(name)}
    for node in ast.walk(sources()[name][1]):
        if isinstance(node, ast.Name):
            named.add(node.id)
        elif isinstance(node, ast.Attribute):
            named.add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            named.add(node.value.partition(".")[0])
    assert named & FRAMEWORKS <= DOORS.get(name.partition(".")[0], set())


# What is loaded.

UNUSED: Final = FRAMEWORKS | {
    "asgiref", "asyncio", "beaker", "cheroot", "click", "concurrent.futures", "cryptography",
    "diskcache", "email",
    "ftplib", "gunicorn", "http.client", "http.server", "httpx", "hypothesis", "jinja2", "mako",
    "multiprocessing", "opentelemetry", "prometheus_client", "psycopg", "pydantic", "pytest",
    "redis", "requests", "rich", "selectors",
    "smtplib", "socket", "socketserver", "sqlalchemy", "sqlite3", "ssl", "unittest",
    "urllib.request", "urllib3", "valkey", "waitress", "wsgiref", "wtforms", "xmlrpc",
}  # fmt: skip


def loaded_by(code: str, path: Path | None = None) -> set[str]:
    """Return the modules that a fresh Python has loaded after this code."""
    ran = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        env=os.environ if path is None else {**os.environ, "PYTHONPATH": str(path)},
        timeout=60,
        check=True,
    )
    return set(ran.stdout.split())


def test_importing_the_package_loads_nothing_that_is_not_used() -> None:
    """The import loads no framework, no database, no network client and no event loop."""
    before = loaded_by("")  # what a .pth file of this environment may load
    assert "glimr_session" not in before
    assert (loaded_by("import glimr_session") - before) & UNUSED == set()


@pytest.mark.parametrize("door", DOORS)
def test_a_door_loads_its_own_framework_and_no_other(door: str) -> None:
    """Who uses one framework need not have another one installed."""
    loaded = {name.partition(".")[0] for name in loaded_by(f"import glimr_session.{door}")}
    assert door in loaded
    assert loaded & FRAMEWORKS <= {door, *MADE_OF[door]}


def test_no_other_module_needs_a_framework() -> None:
    """All modules but the doors can be imported where no framework is installed."""
    modules = [f"glimr_session.{name}" for name in MODULES if name.partition(".")[0] not in DOORS]
    code = f"import sys\nsys.modules.update(dict.fromkeys({sorted(FRAMEWORKS)!r}))\n"
    loaded = loaded_by(code + "\n".join(f"import {module}" for module in modules))
    assert "glimr_session.stores.disk.store" in loaded


def test_the_disk_store_is_loaded_when_it_is_asked_for() -> None:
    """The first use of DiskStore imports diskcache."""
    assert "diskcache" in loaded_by("import glimr_session; glimr_session.DiskStore")


def test_importing_the_package_does_not_load_django_where_it_is_installed(tmp_path: Path) -> None:
    """The import does not load diskcache, which would load Django for every user of it."""
    package = tmp_path
    for name in ("django", "core", "cache", "backends"):
        package /= name
        package.mkdir()
        (package / "__init__.py").touch()
    base = "DEFAULT_TIMEOUT = object()\nclass BaseCache: pass\n"
    (package / "base.py").write_text(base, "utf-8")
    assert "django" not in loaded_by("import glimr_session", tmp_path)
    assert "django" in loaded_by("import glimr_session; glimr_session.DiskStore", tmp_path)
