"""The programs of docs/how-to/, run as they stand there.

Recipes for servers are in test_nginx.py and test_deploying.py.
"""

from __future__ import annotations

import contextlib
import itertools
import secrets
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import jinja2
import pytest

from glimr_session import (
    DiskStore,
    Session,
    SessionConfig,
    SessionMiddleware,
    SessionStore,
    SqlStore,
)
from glimr_session.testing import Visitor, read_session, seed_session
from tests.docs import test_deploying, test_nginx, test_tutorial
from tests.support.commands import replaced, run_shell
from tests.support.documents import RECIPES, Block, recipe

INSTALL: Final = recipe("index.md", "pip install glimr-session")  # tried by the tests of releases
LOGIN: Final = recipe("how-to/login.md", "from datetime")
LOGIN_KEY: Final = recipe("how-to/login.md", "# session.toml")
EVERYWHERE: Final = recipe("how-to/log-out-everywhere.md", "from")
FORM: Final = recipe("how-to/forms.md", "from collections")
TEMPLATE: Final = recipe("how-to/forms.md", "<label>")
FLASH: Final = recipe("how-to/flash.md", "from")
TESTS: Final = recipe("how-to/testing.md", "# test_shop.py")
PYTEST: Final = recipe("how-to/testing.md", "pytest")
IN_TIME: Final = recipe("how-to/threads.md", "from concurrent")
AFTERWARDS: Final = recipe("how-to/threads.md", "import threading")
MAKE_A_KEY: Final = recipe("how-to/keys.md", "python3")
ROTATION: Final = [recipe("how-to/keys.md", f"# {step}.") for step in (1, 2, 3)]
BACKUP: Final = recipe("how-to/backup.md", "# backup.py")
BACK_UP: Final = recipe("how-to/backup.md", "python3")
RESTORE: Final = recipe("how-to/backup.md", "mv")
MOVING: Final = [recipe("how-to/moving.md", f"# session.toml, {step}") for step in (1, 2, 3)]
RUN: Final = {
    INSTALL, LOGIN, LOGIN_KEY, EVERYWHERE, FORM, TEMPLATE, FLASH, TESTS, PYTEST, IN_TIME,
    AFTERWARDS, MAKE_A_KEY, *ROTATION, BACKUP, BACK_UP, RESTORE, *MOVING,
}  # fmt: skip


def test_every_block_of_the_how_to_pages_is_run() -> None:
    """A new block needs a test in this folder."""
    assert set(RECIPES) == RUN | test_tutorial.RUN | test_nginx.RUN | test_deploying.RUN


def run(code: Block) -> dict[str, Any]:
    """Run a block; return all names it leaves."""
    names: dict[str, Any] = {"__name__": "block"}
    exec(compile(code.code, f"{code.page}:{code.line}", "exec"), names)
    return names


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DiskStore]:
    store = DiskStore(tmp_path / "sessions")
    yield store
    store.close()


@pytest.fixture
def session() -> Iterator[Session]:
    session = Session.start("0" * 64)
    yield session
    session.stop()


def test_a_login_and_a_logout(session: Session) -> None:
    """The id is new and the cart is kept; "remember me" lasts; after the logout nothing is left."""
    names = run(LOGIN)
    session["cart"] = ["book"]
    names["log_in"](session, 7, remember=True)
    state = session.state()
    assert state.id != "0" * 64
    assert state.data == {"cart": ["book"], "user": 7}
    assert state.lifetime == 30 * 24 * 3600
    names["log_out"](session)
    assert session.state().data == {}


def test_the_settings_of_a_login(tmp_path: Path) -> None:
    """The file says what the page says."""
    file = tmp_path / "session.toml"
    file.write_text(LOGIN_KEY.code, "utf-8")
    config = SessionConfig.from_toml(file, {})
    lifetimes = config.lifetime, config.absolute_lifetime
    assert (config.login_key, lifetimes) == ("user", (timedelta(minutes=30), timedelta(hours=12)))


def test_devices_are_listed_and_ended(store: SessionStore) -> None:
    """Somebody ends one device of their own, and after a new password all others."""
    names = run(EVERYWHERE)
    devices = []
    with contextlib.ExitStack() as closed:
        for user, device in ((7, "laptop"), (7, "phone"), (7, "desk"), (8, "phone of another")):
            visitor = closed.enter_context(Visitor(store))
            request = visitor.request()
            names["log_in"](request.session, user, device)
            request.respond()
            devices.append(visitor)
        first, another = devices[0].request().session, devices[3].request().session
        listed = {entry.noted["device"]: entry.handle for entry in names["devices"](first)}
        assert set(listed) == {"laptop", "phone", "desk"}
        (theirs,) = names["devices"](another)
        names["log_out_device"](first, theirs.handle)  # not their own
        names["log_out_device"](first, listed["phone"])
        assert names["password_changed"](first) == 1
        users = [visitor.request().session.get("user") for visitor in devices]
        assert users == [7, None, None, 8]


def test_a_form_comes_back_with_what_was_typed(session: Session) -> None:
    """The next request shows the error of one field, and what was typed into the other."""
    save_address = run(FORM)["save_address"]
    assert save_address(session, {"street": "Main Street <1>", "city": ""}) == "/address"
    following = Session.start("1" * 64, {}, session.state().flash)
    html = jinja2.Environment(autoescape=True).from_string(TEMPLATE.code).render(session=following)
    assert 'name="street" value="Main Street &lt;1&gt;"' in html
    assert html.count('<p class="error">') == 1
    assert "Write the city." in html
    assert save_address(following, {"street": "Main Street 1", "city": "Ulm"}) == "/"
    assert following.state().flash["notice"] == "Your address was saved."
    following.stop()


def test_messages_are_for_the_next_page(session: Session) -> None:
    """One message, and a list that has grown; nothing in the page after it."""
    names = run(FLASH)
    assert names["save"](session) == "/"
    following = Session.start("1" * 64, {}, session.state().flash)
    assert names["home"](following).splitlines() == [
        "Saved.",
        "The picture was too large.",
        "The title was shortened.",
    ]
    assert following.state().flash == {}
    following.stop()


def test_the_test_of_the_page_passes(tmp_path: Path) -> None:
    """With the command of the page."""
    (tmp_path / "test_shop.py").write_text(TESTS.code, "utf-8")
    assert "1 passed" in run_shell(PYTEST.code, tmp_path, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")


def test_threads_of_a_request_share_its_session(session: Session) -> None:
    """Each has kept its price, and all are counted."""
    books = [f"book {number}" for number in range(20)]
    run(IN_TIME)["prices"](session, books)
    assert session["lookups"] == len([key for key in session if key.startswith("price")]) == 20


def test_a_thread_that_outlives_its_request_has_what_it_needs(session: Session) -> None:
    """The mail is sent with copies, after the session has ended."""
    session.update(email="ada@example.org", cart=["book"])
    sent: list[tuple[Any, ...]] = []

    def send_mail(*letter: Any) -> None:
        ended.wait()
        sent.append(letter)

    names = run(AFTERWARDS)
    ended = names["threading"].Event()
    thread = names["order"](session, send_mail)
    session.stop()
    ended.set()
    thread.join()
    assert sent == [("ada@example.org", ["book"])]


def test_a_key_that_is_made_is_accepted(tmp_path: Path) -> None:
    """The command prints a key, and no two are the same."""
    keys = [run_shell(MAKE_A_KEY.code, tmp_path).strip() for _ in range(2)]
    assert keys[0] != keys[1]
    SessionConfig.from_env({"GLIMR_SESSION_SECRET_KEYS": ",".join(keys)})


def test_keys_are_rotated_and_nobody_is_logged_out(tmp_path: Path, store: SessionStore) -> None:
    """Before and after each step, processes of both sides read each other's cookies."""
    old, new = secrets.token_hex(), secrets.token_hex()
    steps = [old]
    for block in ROTATION:
        command = f'{block.code}\nprintf %s "$GLIMR_SESSION_SECRET_KEYS"'
        steps.append(run_shell(command, tmp_path, OLD=old, NEW=new))
    configs = [SessionConfig.from_env({"GLIMR_SESSION_SECRET_KEYS": keys}) for keys in steps]
    assert [config.secret_keys for config in configs] == [(old,), (old, new), (new, old), (new,)]
    for earlier, later in itertools.pairwise(configs):
        for signs, verifies in ((earlier, later), (later, earlier)):
            assert_reads(signs, verifies, store)


def assert_reads(signs: SessionConfig, verifies: SessionConfig, store: SessionStore) -> None:
    """Begin a session with one configuration, and find it with the other."""

    def app(_environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return []

    cookie = seed_session(SessionMiddleware(app, signs, store=store), {"user": 7})
    found = read_session(SessionMiddleware(app, verifies, store=store), cookie.value)
    assert found.data == {"user": 7}


def test_a_backup_is_private_and_brings_everybody_back(tmp_path: Path, store: DiskStore) -> None:
    """Made while the store is in use, and made again; put back by the commands of the page."""
    store.save("0" * 64, {"a": 1}, {})
    (tmp_path / "backup.py").write_text(BACKUP.code, "utf-8")
    (tmp_path / "backup").mkdir()
    where = {
        "/var/lib/shop/sessions": str(store.directory),
        "/srv/backup": str(tmp_path / "backup"),
    }
    for number in (1, 2):
        store.save(str(number) * 64, {"a": number}, {})
        assert run_shell(BACK_UP.code, tmp_path, where) == ""
    copy = tmp_path / "backup" / "sessions.db"
    assert copy.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in copy.parent.iterdir()] == ["sessions.db"]
    store.destroy("0" * 64)
    store.close()
    user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    run_shell(RESTORE.code, tmp_path, {**where, "-o www-data": f"-o {user}"})
    restored = DiskStore(store.directory)
    assert [restored.load(str(number) * 64)[0] for number in (0, 1, 2)] == [
        {"a": 1}, {"a": 1}, {"a": 2},
    ]  # fmt: skip
    restored.close()


def test_sessions_move_and_nobody_is_logged_out(tmp_path: Path) -> None:
    """Processes of adjacent steps run beside each other; in the end the new store has everybody."""
    url = f"sqlite:///{tmp_path}/sessions.sqlite"
    SqlStore.create_table(url)
    stores = []
    for number, block in enumerate(MOVING):
        file = tmp_path / f"{number}.toml"
        file.write_text(
            replaced(block.code, {"postgresql://shop:password@127.0.0.1/shop": url}), "utf-8"
        )
        config = SessionConfig.from_toml(file, {"GLIMR_SESSION_SECRET_KEYS": secrets.token_hex()})
        stores.append(config.make_store())
    learning, moving, moved = stores
    cookie = ""
    for store, visits in ((learning, 1), (moving, 2), (learning, 3), (moving, 4), (moved, 5)):
        with Visitor(store, cookie) as visitor:
            request = visitor.request()
            assert request.session.increment("visits") == visits
            request.respond()
            cookie = visitor.cookie
    for store in stores:
        store.close()
