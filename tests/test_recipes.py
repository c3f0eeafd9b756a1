"""Every recipe of the README, the guide and the pages of stores, run as it stands there."""

from __future__ import annotations

import configparser
import importlib
import os
import re
import secrets
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx
import jinja2
import pytest
import werkzeug.test

from glimr_session import (
    CookieStore,
    DiskStore,
    RedisStore,
    Session,
    SessionConfig,
    SessionMiddleware,
    SessionTooLarge,
    SqlStore,
)
from glimr_session.flask import session as ours
from glimr_session.testing import Visitor, read_session, seed_session
from tests.conftest import Clock
from tests.support.browser import program
from tests.support.commands import run_shell
from tests.support.disk import query
from tests.support.documents import BLOCKS, ROOT, Block, block
from tests.support.services import redis_server
from tests.support.wsgi_client import Browser

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # WebOb imports cgi
    import webtest

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

GUIDE: Final = (ROOT / "docs/guide.md").read_text("utf-8")
CONFIG: Final = SessionConfig(secret_keys=["a key for tests that is long enough"], gc="never")

APP: Final = block("# app.py")  # and this, as a server runs it: tests/test_docs.py
SETTINGS: Final = block('# session.toml\nstore = "disk"')
ON_DISK: Final = block("# session.toml: all settings of the disk store")
ON_REDIS: Final = block('# session.toml\nstore = "redis"')
REDIS_USER: Final = block("redis-cli ACL")
ON_SQL: Final = block('# session.toml\nstore = "sql"')
TABLE: Final = block("from glimr_session import SqlStore")
IN_FLASK: Final = block("from flask import Flask")
VERBS: Final = block('session["cart"] = ["book"]  # a tell')
COPIES: Final = block('session["cart"] = [*session.get')
FORM: Final = block("from glimr_session import Session, flash_errors")
TEMPLATE: Final = block("<input name")
CRON: Final = block("/srv/shop/.venv/bin/python -c")
BACKUP: Final = block("umask 077")
UNIT: Final = block("# /etc/systemd/system/shop.service")
A_SESSION: Final = block("from glimr_session import Session\n\n\ndef test_")
A_VISITOR: Final = block("from pathlib import Path\n\nfrom glimr_session import DiskStore")
IN_ORDER: Final = block("from glimr_session import SessionMiddleware\nfrom glimr_session.testing")
SEEDED: Final = block("from werkzeug.test import Client")
RUN_HERE: Final = {
    APP, SETTINGS, VERBS, COPIES, FORM, TEMPLATE, CRON, BACKUP, UNIT, A_SESSION, A_VISITOR,
    IN_ORDER, SEEDED, ON_DISK, ON_REDIS, REDIS_USER, ON_SQL, TABLE, IN_FLASK,
}  # fmt: skip


def test_every_block_of_code_is_run_here() -> None:
    """A new block needs a test below."""
    assert set(BLOCKS) == RUN_HERE


def run(code: Block, **names: Any) -> dict[str, Any]:
    """Run a block with what its reader has; return all names it leaves."""
    exec(compile(code.code, f"{code.page}:{code.line}", "exec"), names)
    return names


@pytest.fixture
def session() -> Iterator[Session]:
    session = Session.start("0" * 64)
    yield session
    session.stop()


def shop(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    """A shop with one book, and a logout."""
    session: Session = environ["glimr.session"]
    if environ["PATH_INFO"] == "/buy":
        session["cart"] = [*session.get("cart", []), "book"]
    elif environ["PATH_INFO"] == "/logout":
        session.invalidate()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "0")])
    return []


# Stores.


@pytest.mark.parametrize("settings", [ON_REDIS, ON_SQL], ids=["redis", "sql"])
def test_the_settings_of_a_store_on_a_server(settings: Block, tmp_path: Path) -> None:
    """The files are settings, and name a server."""
    file = tmp_path / "session.toml"
    file.write_text(settings.code, "utf-8")
    config = SessionConfig.from_toml(file, {})
    assert getattr(config, f"{config.store}_url")


def test_the_settings_of_the_disk_store_are_its_defaults(tmp_path: Path) -> None:
    """The file of the page says what holds without it."""
    file = tmp_path / "session.toml"
    file.write_text(ON_DISK.code, "utf-8")
    config, default = SessionConfig.from_toml(file, {}), SessionConfig()
    assert config.disk_directory == str(tmp_path / default.disk_directory)
    assert replace(config, disk_directory=default.disk_directory) == default


def test_a_user_of_redis_has_the_rights_that_it_needs(tmp_path: Path) -> None:
    """After the command of the page the store can do everything: owners and lists too."""
    cli = program("redis-cli")
    with redis_server(tmp_path) as server:
        run_shell(REDIS_USER.code, tmp_path, {"redis-cli": f"{cli} -p {server.port}"})
        store = RedisStore(f"redis://shop:password@127.0.0.1:{server.port}/0")
        with Visitor(store) as first, Visitor(store) as second:
            for visitor in (first, second):
                request = visitor.request()
                request.session["user"] = 7
                request.session.belongs_to(7, device="phone")
                request.respond()
            kept = first.request().session
            kept.increment("visits")
            assert len(store.sessions(7)) == len(list(store.all_sessions())) == 2
            assert store.destroy_all(7, except_=kept) == 1
            assert second.request().session.get("user") is None
        assert store.gc() == 0
        store.close()


def test_the_table_is_made_as_the_page_says(tmp_path: Path) -> None:
    """With the URL of a real database in the place of the page's."""
    url = f"sqlite:///{tmp_path}/sessions.sqlite"
    code = re.sub(r'"postgresql://.*?"', repr(url), TABLE.code)
    run(TABLE._replace(code=code))
    run(TABLE._replace(code=code))
    SqlStore(url).close()


# The session, and forms.


def test_the_verbs_of_the_readme(session: Session) -> None:
    """Each line does what it says; in the end everything is gone."""
    lines = VERBS.code.splitlines()
    run(VERBS._replace(code="\n".join(lines[:-1])), session=session)
    state = session.state()
    assert state.data == {"cart": ["book"], "visits": 1}
    assert state.flash == {"notice": "Saved."}
    assert state.id != "0" * 64
    run(VERBS._replace(code=lines[-1]), session=session)
    assert session.state().data == {}


def test_a_list_is_changed_by_putting_it(session: Session) -> None:
    """What is changed in a copy is not in the session."""
    run(COPIES, session=session)
    assert session.all() == {"cart": ["book"]}


def test_a_form_comes_back_as_it_was_typed(session: Session) -> None:
    """Errors and old values reach the template of the next request, and the password does not."""
    sign_up = run(FORM)["sign_up"]
    assert sign_up(session, {"email": "ada@example.org"}) == "/welcome"
    assert session.state().flash == {}
    assert sign_up(session, {"email": "ada", "password": "tell nobody"}) == "/sign-up"
    flash = dict(session.state().flash)
    assert "tell nobody" not in str(flash)
    following = Session.start("1" * 64, {}, flash)
    html = jinja2.Template(TEMPLATE.code).render(session=following)
    assert '<input name="email" value="ada">' in html
    assert '<p class="error">Write an e-mail address.</p>' in html
    following.stop()


# Frameworks. Their pages are tested in tests/frameworks.


def test_flask_has_its_sessions_with_the_lines_of_the_readme(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``flask.session`` is ours from then on, on the disk beside the application."""
    (tmp_path / "shop.py").write_text(IN_FLASK.code, "utf-8")
    monkeypatch.setenv("FLASK_SECRET_KEY", secrets.token_hex(32))
    monkeypatch.syspath_prepend(tmp_path)
    app = importlib.import_module("shop").app
    app.add_url_rule("/", view_func=lambda: str(ours.increment("visits")))
    client = app.test_client()
    assert [client.get("/").text for _ in range(3)] == ["1", "2", "3"]
    assert (tmp_path / "instance" / "sessions" / "cache.db").exists()


# Settings.


def test_a_second_session_has_a_key_and_a_cookie_of_its_own() -> None:
    """A site and its admin: two sessions in one request, and neither sees the other's values."""
    admin = SessionConfig(
        secret_keys=CONFIG.secret_keys, gc="never", key="admin.session", cookie="admin"
    )

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        found = [environ[key].get("visits", 0) for key in ("glimr.session", "admin.session")]
        environ["glimr.session"].increment("visits")
        environ["admin.session"].increment("visits", 10)
        shop(environ, start_response)
        return [str(found).encode()]

    store = CookieStore()
    site = SessionMiddleware(SessionMiddleware(app, admin, store=store), CONFIG, store=store)
    browser = Browser()
    assert [browser.get(site).body for _ in range(3)] == [b"[0, 0]", b"[1, 10]", b"[2, 20]"]


# Deploying.


def test_cron_collects_what_has_expired(tmp_path: Path, clock: Clock) -> None:
    """The command removes expired sessions of the server's store, wherever cron stands."""
    (tmp_path / "session.toml").write_text('gc = "never"\n[disk]\ndirectory = "sessions"', "utf-8")
    store = DiskStore(tmp_path / "sessions")
    store.save("0" * 64, {"a": 1}, {})
    clock.advance(-24 * 3600)
    store.save("1" * 64, {"a": 1}, {})
    store.close()
    command = CRON.code.replace("/srv/shop/.venv/bin/python", sys.executable)
    command = command.replace("/srv/shop", str(tmp_path))
    done = subprocess.run(
        ["/bin/sh", "-c", command], cwd="/", env={}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert query(tmp_path / "sessions", "SELECT count(*) FROM Cache") == [(1,)]


def test_a_backup_is_whole_and_private(tmp_path: Path) -> None:
    """The command copies a database that is in use; put back, it has all sessions."""
    store = DiskStore(tmp_path / "var" / "sessions")
    store.save("0" * 64, {"a": 1}, {})
    command = BACKUP.code.replace("/srv/shop/.venv/bin/python", sys.executable)
    command = command.replace("/srv/shop", str(tmp_path)).replace("/srv/backup", str(tmp_path))
    done = subprocess.run(
        ["/bin/sh", "-c", command], env={}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    copy = tmp_path / "cache.db"
    assert copy.stat().st_mode & 0o777 == 0o600
    store.destroy("0" * 64)
    store.close()
    copy.replace(store.directory / "cache.db")
    restored = DiskStore(store.directory)
    assert restored.load("0" * 64) == ({"a": 1}, {})
    restored.close()


def test_the_unit_starts_a_server(tmp_path: Path) -> None:
    """What systemd would run serves, with the sessions below the state directory."""
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # names of systemd
    unit.read_string(UNIT.code)
    service = unit["Service"]
    name, _, directory = service["Environment"].partition("=")
    assert name == "GLIMR_SESSION_DISK_DIRECTORY"
    state = Path("/var/lib", service["StateDirectory"])
    assert Path(directory).parent == state
    program, *options = service["ExecStart"].split()
    assert program == f"{service['WorkingDirectory']}/.venv/bin/gunicorn"
    sessions = tmp_path / "lib" / "sessions"
    sessions.parent.mkdir()
    sessions.parent.chmod(0o755)
    gunicorn = str(Path(sys.executable).with_name("gunicorn"))
    with serving(
        tmp_path, [gunicorn, "--bind=127.0.0.1:0", *options], **{name: str(sessions)}
    ) as url:
        assert httpx.get(url).text == "Visit 1\n"
    assert sessions.stat().st_mode & 0o777 == 0o700
    assert (sessions / "cache.db").exists()


def waitress(folder: Path, *options: str) -> AbstractContextManager[str]:
    """Serve the application of the README, with its settings."""
    program = str(Path(sys.executable).with_name("waitress-serve"))
    return serving(folder, [program, "--listen=127.0.0.1:0", *options, "app:application"])


@contextmanager
def serving(folder: Path, command: list[str], **environ: str) -> Iterator[str]:
    """Run a server in a folder with the application of the README; yield where it listens."""
    (folder / "app.py").write_text(APP.code, "utf-8")
    (folder / "session.toml").write_text(SETTINGS.code, "utf-8")
    key = {"GLIMR_SESSION_SECRET_KEYS": secrets.token_hex(32)}
    with subprocess.Popen(
        command, cwd=folder, env={**os.environ, **key, **environ},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    ) as server:  # fmt: skip
        try:
            assert server.stderr is not None
            said = ""
            deadline = time.monotonic() + 15
            while not (found := re.search(r"http://127\.0\.0\.1:\d+", said)):
                assert time.monotonic() < deadline, said
                said += server.stderr.readline()
            yield found[0]
        finally:
            server.terminate()
            server.communicate(timeout=10)


@pytest.mark.parametrize(
    ("options", "secure"),
    [
        ((), False),
        (("--trusted-proxy=127.0.0.1", "--trusted-proxy-headers=x-forwarded-proto"), True),
    ],
    ids=["dropped", "trusted"],
)
def test_what_a_proxy_says_reaches_the_cookie(
    tmp_path: Path, options: tuple[str, ...], secure: bool
) -> None:
    """With X-Forwarded-Proto the cookie is Secure on any host; waitress must trust the proxy."""
    with waitress(tmp_path, *options) as url:
        answer = httpx.get(url, headers={"X-Forwarded-Proto": "https"})
    assert answer.text == "Visit 1\n"
    assert ("; Secure" in answer.headers["Set-Cookie"]) == secure
    assert (tmp_path / "var" / "sessions" / "cache.db").exists()  # beside the file of settings


def test_the_page_for_an_error_can_be_your_own() -> None:
    """``on_error`` answers as a WSGI application does, and is told the error."""
    row = next(line for line in GUIDE.splitlines() if "you want your own" in line)
    (wrap, _) = re.findall(r"`([^`]+)`", row)

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        environ["glimr.session"]["text"] = "x" * 10_000
        return shop(environ, start_response)

    def page(
        _environ: WSGIEnvironment, start_response: StartResponse, error: Exception
    ) -> list[bytes]:
        start_response("507 Insufficient Storage", [("Content-Type", "text/plain")])
        return [type(error).__name__.encode()]

    config = SessionConfig(store="cookie", secret_keys=CONFIG.secret_keys)
    names = {"SessionMiddleware": SessionMiddleware, "app": app, "config": config, "page": page}
    response = Browser().get(eval(wrap, names))
    assert response.status == "507 Insufficient Storage"
    assert response.body.decode() == SessionTooLarge.__name__


# Testing.


def test_the_tests_of_the_guide_pass(tmp_path: Path) -> None:
    """A handler's test with a session, and one with a visitor."""
    run(A_SESSION)["test_the_cart_is_shown"]()
    run(A_VISITOR)["test_a_book_put_beside_a_login_is_kept"](tmp_path)


def test_requests_run_in_the_order_of_the_guide(tmp_path: Path) -> None:
    """The purchase that commits after the logout brings nobody back."""
    store = DiskStore(tmp_path / "sessions")
    cookie = seed_session(SessionMiddleware(shop, CONFIG, store=store), {"user": 1})

    def client(app: SessionMiddleware) -> werkzeug.test.Client:
        client = werkzeug.test.Client(app)
        client.set_cookie(*cookie)
        return client

    names = run(IN_ORDER, store=store, config=CONFIG, my_app=shop, client=client)
    assert {name: answer.status_code for name, answer in names["answers"].items()} == {
        "buy": 200,
        "logout": 200,
    }
    assert read_session(names["app"], cookie.value).data == {}
    store.close()


def test_a_client_begins_with_a_session() -> None:
    """The lines of the guide pass, and with a client from another row of the table too."""
    app = SessionMiddleware(shop, CONFIG, store=CookieStore())
    run(SEEDED, app=app)


def rows_below(heading: str) -> list[list[str]]:
    """Return the rows of the table of the guide whose first cell of the heading this is."""
    table = GUIDE.partition(f"| {heading} |")[2].partition("\n\n")[0]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]
    return [[cell.strip() for cell in row] for row in rows]


CLIENTS: Final = rows_below("client")


@pytest.mark.parametrize("row", CLIENTS, ids=lambda row: row[0][1:8])
def test_each_client_is_seeded_in_the_words_of_the_table(row: list[str]) -> None:
    """The seeded cookie is sent, that of a response takes its place, and its value is found."""
    make, seed, value = (re.findall(r"`([^`]+)`", cell)[0] for cell in row)
    names: dict[str, Any] = {
        "app": SessionMiddleware(shop, CONFIG, store=CookieStore()), "seed_session": seed_session,
        "werkzeug": werkzeug, "webtest": webtest, "httpx": httpx, "data": {"user": 1},
    }  # fmt: skip
    names["client"] = eval(make, names)
    eval(seed, names)
    for _ in range(2):
        names["client"].post("/buy")
    found = read_session(names["app"], eval(value, names)).data
    assert found == {"user": 1, "cart": ["book", "book"]}


def test_three_clients_are_in_the_table() -> None:
    """The table is found where the tests look for it."""
    assert len(CLIENTS) == 3
