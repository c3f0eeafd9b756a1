"""The examples, run for real: the sign-up site over HTTP, the others as scripts."""

from __future__ import annotations

import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from http.client import HTTPConnection
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit
from urllib.request import HTTPCookieProcessor, Request, build_opener

import pytest

from tests.support.browser import EXAMPLES, SITE, copy_of_site, environment, program, serving
from tests.support.wsgi_client import Cookies

KEY = "only the tests know this key of theirs"
ADA = {"name": "Ada Lovelace", "email": "ada@example.org", "password": "correct horse battery"}


class Page(HTMLParser):
    """What is on a page: its inputs by name, and the text of elements by id or role."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.inputs: dict[str, dict[str, str]] = {}
        self.texts: dict[str, str] = {}
        self._within: str | None = None
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag == "input":
            self.inputs[found["name"]] = found
        else:
            self._within = found.get("id") or found.get("role")

    def handle_data(self, data: str) -> None:
        if self._within is not None:
            self.texts[self._within] = self.texts.get(self._within, "") + data

    def handle_endtag(self, tag: str) -> None:
        self._within = None

    @property
    def wrong(self) -> dict[str, str]:
        """The fields that are marked as wrong, each with the error that it refers to."""
        return {
            name: self.texts[found["aria-describedby"].split()[-1]]
            for name, found in self.inputs.items()
            if found.get("aria-invalid") == "true"
        }


class Answer(NamedTuple):
    """A response, as it came: redirects are not followed."""

    status: int
    headers: dict[str, str]
    body: str

    @property
    def page(self) -> Page:
        return Page(self.body)

    @property
    def message(self) -> str | None:
        """The flash message that the page shows."""
        return self.page.texts.get("status")


class Visitor:
    """Somebody with a browser of their own."""

    def __init__(self, url: str) -> None:
        self._address = urlsplit(url).netloc
        self.cookies = Cookies()

    def get(self, path: str, method: str = "GET") -> Answer:
        return self._request(method, path)

    def post(self, path: str, form: dict[str, str]) -> Answer:
        return self._request("POST", path, urlencode(form))

    def sign_up(self, **changes: str) -> Answer:
        """Open the form, fill it in and send it."""
        form = {name: found["value"] for name, found in self.get("/signup").page.inputs.items()}
        return self.post("/signup", form | ADA | changes)

    def log_out(self) -> Answer:
        token = self.get("/").page.inputs["csrf_token"]["value"]
        return self.post("/logout", {"csrf_token": token})

    @property
    def session_id(self) -> str:
        """The id in the cookie, of a store that keeps no more there."""
        return self.cookies.header().partition("=")[2].partition(".")[0]

    def is_known(self) -> bool:
        return "Hello, Ada Lovelace" in self.get("/").body

    def _request(self, method: str, path: str, body: str | None = None) -> Answer:
        connection = HTTPConnection(self._address, timeout=10)
        try:
            connection.request(method, path, body, {"Cookie": self.cookies.header()})
            response = connection.getresponse()
            self.cookies.take(response.getheaders())
            return Answer(response.status, dict(response.getheaders()), response.read().decode())
        finally:
            connection.close()


STORES: dict[str, dict[str, str]] = {
    "disk": {},
    "cookie": {"GLIMR_SESSION_STORE": "cookie"},
    "memory": {"GLIMR_SESSION_STORE": "own_store:memory_store", "PYTHONPATH": str(EXAMPLES)},
}


@pytest.fixture(scope="module", params=STORES)
def store(request: pytest.FixtureRequest) -> str:
    """The store that the site is served with."""
    return str(request.param)


@pytest.fixture(scope="module")
def url(store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The site as it is in the repository, with sessions in a directory of the tests."""
    directory = str(tmp_path_factory.mktemp("site") / "sessions")
    common = {"GLIMR_SESSION_SECRET_KEYS": KEY, "GLIMR_SESSION_DISK_DIRECTORY": directory}
    with serving(SITE, **common, **STORES[store]) as found:
        yield found


@pytest.fixture
def visitor(url: str) -> Visitor:
    """Somebody who has not been on the site before."""
    return Visitor(url)


def test_a_wrong_form_comes_back_as_it_was_typed(visitor: Visitor) -> None:
    """Only the wrong field has an error, the others are kept, and the password is not."""
    sent = visitor.sign_up(email="ada", password="correct horse")
    assert (sent.status, sent.headers["Location"]) == (303, "/signup")
    form = visitor.get("/signup")
    assert form.page.wrong == {"email": "Write an e-mail address, as in ada@example.org."}
    assert form.page.inputs["name"]["value"] == "Ada Lovelace"
    assert form.page.inputs["email"]["value"] == "ada"
    assert form.page.inputs["password"]["value"] == ""
    assert "correct horse" not in form.body


def test_every_field_has_its_own_error(visitor: Visitor) -> None:
    """An empty form has an error beside each field, and they are gone on the next page."""
    visitor.sign_up(name=" ", email="", password="")
    assert set(visitor.get("/signup").page.wrong) == {"name", "email", "password"}
    assert visitor.get("/signup").page.wrong == {}


def test_the_welcome_is_shown_exactly_once(visitor: Visitor) -> None:
    """The home page after the sign-up welcomes, and no page after that."""
    assert visitor.sign_up().headers["Location"] == "/"
    assert visitor.get("/").message == "Welcome, Ada Lovelace!"
    assert visitor.get("/").message is None
    assert visitor.is_known()


def test_files_beside_the_page_eat_no_flash(visitor: Visitor) -> None:
    """A file beside the page uses no session, so the message waits for a page."""
    visitor.sign_up()
    for path, status in (("/style.css", 200), ("/icon.svg", 200), ("/favicon.ico", 404)):
        answer = visitor.get(path)
        assert answer.status == status
        assert answer.headers.keys().isdisjoint({"Set-Cookie", "Vary"})
    assert visitor.get("/").message == "Welcome, Ada Lovelace!"


def test_a_cookie_from_before_the_sign_up_is_nobody(url: str, visitor: Visitor) -> None:
    """A planted cookie is not signed in, and its planter knows no token (session fixation)."""
    attacker = Visitor(url)
    planted = attacker.get("/signup").page.inputs["csrf_token"]["value"]
    visitor.cookies = Cookies(attacker.cookies.header())
    visitor.sign_up()
    assert visitor.is_known()
    assert not attacker.is_known()
    assert visitor.post("/logout", {"csrf_token": planted}).status == 403


def test_a_logout_ends_the_session(store: str, url: str, visitor: Visitor) -> None:
    """The old cookie finds no session after a logout, and its id is not taken up again.

    On the cookie store a copied cookie lives on: its documented limit.
    """
    visitor.sign_up()
    copied = Visitor(url)
    copied.cookies = Cookies(visitor.cookies.header())
    assert copied.is_known()
    assert visitor.log_out().headers["Location"] == "/"
    assert visitor.get("/").message == "You are signed out."
    assert visitor.get("/").message is None
    assert not visitor.is_known()
    if store == "cookie":
        assert copied.is_known()
    else:
        assert not copied.is_known()
        dead = copied.session_id
        signed_up = copied.sign_up()
        if store == "disk":  # it remembers for a minute, in which the old id gets no session at all
            assert signed_up.status == 403
            assert not copied.is_known()
        else:
            assert copied.session_id != dead


def test_a_form_of_another_site_is_refused(url: str, visitor: Visitor) -> None:
    """The site does nothing without the session's own token."""
    other = Visitor(url).get("/signup").page.inputs["csrf_token"]["value"]
    assert visitor.post("/signup", ADA | {"csrf_token": ""}).status == 403
    visitor.sign_up()
    for token in ({}, {"csrf_token": ""}, {"csrf_token": other}, {"csrf_token": "é"}):
        assert visitor.post("/logout", token).status == 403
    assert visitor.is_known()


def test_what_was_typed_is_text(visitor: Visitor) -> None:
    """Markup in a field comes back as text, in the form and on the page."""
    name = '"><script>alert(1)</script>'
    visitor.sign_up(name=name, email="ada")
    form = visitor.get("/signup")
    assert form.page.inputs["name"]["value"] == name
    visitor.sign_up(name=name)
    home = visitor.get("/")
    assert "Welcome, &#34;&gt;&lt;script&gt;" in home.body
    assert "<script" not in form.body + home.body


def test_the_largest_form_fits_into_a_cookie(visitor: Visitor) -> None:
    """The site can keep the largest form it takes on every store."""
    assert visitor.sign_up(name="N" * 800).status == 303
    assert visitor.get("/").message == f"Welcome, {'N' * 800}!"
    assert visitor.post("/logout", {"csrf_token": "N" * 1000}).status == 413


def test_head_is_get_without_the_body(visitor: Visitor) -> None:
    """HEAD returns the length of the page and nothing of it."""
    page = visitor.get("/")
    head = visitor.get("/", "HEAD")
    assert (head.status, head.body) == (200, "")
    assert head.headers["Content-Length"] == page.headers["Content-Length"] == str(len(page.body))


def test_no_cache_and_no_other_site_gets_at_a_page(visitor: Visitor) -> None:
    """A page may be neither stored nor framed."""
    headers = visitor.get("/").headers
    assert headers["Cache-Control"] == "no-store"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]


def devices_on(page: str) -> list[str]:
    """Return what each device in the list ends with: the "one" of "This one", or "out"."""
    listed = re.findall(r"<li>.*?</li>", page, re.DOTALL)
    return [re.sub(r"<[^>]*>", " ", each).split()[-1] for each in listed]


def two_devices(url: str, email: str) -> tuple[Visitor, Visitor]:
    """Return two browsers of one user, with what its password is."""
    pair = Visitor(url), Visitor(url)
    for device in pair:
        assert device.sign_up(email=email).headers["Location"] == "/"
    return pair


def send_on_devices(visitor: Visitor, path: str, **fields: str) -> Answer:
    """Send a form of the page with the devices; return the page that comes after it."""
    inputs = visitor.get("/devices").page.inputs
    form = {"csrf_token": inputs["csrf_token"]["value"], **fields}
    assert visitor.post(path, form).headers["Location"] == "/devices"
    return visitor.get("/devices")


def test_a_device_is_logged_out_from_another_one(store: str, url: str) -> None:
    """By its handle, which has to be in the user's own list; a made-up one ends nobody."""
    first, second = two_devices(url, "devices@example.org")
    stranger = Visitor(url)
    stranger.sign_up(email="stranger@example.org")
    page = first.get("/devices")
    if store != "disk":
        assert "no list of them" in page.body
        assert devices_on(page.body) == []
        return
    assert sorted(devices_on(page.body)) == ["one", "out"]
    assert "127.0.0.1, just now" in page.body
    handle = page.page.inputs["handle"]["value"]
    send_on_devices(stranger, "/devices/end", handle=handle)
    assert second.is_known()
    assert first.post("/devices/end", {"csrf_token": "", "handle": handle}).status == 403
    assert second.is_known()
    after = send_on_devices(first, "/devices/end", handle=handle)
    assert after.message == "That device is logged out."
    assert devices_on(after.body) == ["one"]
    assert first.is_known()
    assert not second.is_known()
    assert stranger.is_known()


def test_a_user_logs_out_everywhere_else(store: str, url: str) -> None:
    """This device stays, and a cookie that was copied before is worth nothing."""
    first, second = two_devices(url, "everywhere@example.org")
    copied = Visitor(url)
    copied.cookies = Cookies(second.cookies.header())
    after = send_on_devices(first, "/devices/end-others")
    if store == "disk":
        assert after.message == "Logged out everywhere else: 1."
    assert [visitor.is_known() for visitor in (first, second, copied)] == [
        True, store != "disk", store != "disk",
    ]  # fmt: skip


def test_a_new_password_logs_out_all_other_devices(store: str, url: str) -> None:
    """The old one has to be right; this device goes on under a new id."""
    first, second = two_devices(url, "password@example.org")
    fields = {"current": "not the password", "password": "short"}
    assert set(send_on_devices(first, "/password", **fields).page.wrong) == {"current", "password"}
    before = first.cookies.header()
    fields = {"current": ADA["password"], "password": "a better battery staple"}
    after = send_on_devices(first, "/password", **fields)
    assert (after.message or "").startswith("Your password is changed")
    assert first.is_known()
    assert first.cookies.header() != before
    assert second.is_known() is (store != "disk")
    third = Visitor(url)
    third.sign_up(email="password@example.org")
    assert third.get("/signup").page.wrong == {"password": "This address has another password."}
    third.sign_up(email="password@example.org", password="a better battery staple")
    assert third.is_known()


@pytest.mark.parametrize("path", ["/devices", "/devices/end", "/devices/end-others", "/password"])
def test_the_page_with_the_devices_is_for_users(path: str, visitor: Visitor) -> None:
    """Somebody who is not signed in is sent to the form."""
    token = visitor.get("/signup").page.inputs["csrf_token"]["value"]
    answer = visitor.get(path) if path == "/devices" else visitor.post(path, {"csrf_token": token})
    assert answer.status == 303
    assert visitor.get("/devices").headers["Location"] == "/signup"


@contextmanager
def serving_on(host: str, *, logged: str = "", **settings: str) -> Iterator[list[str]]:
    """Run the site on an address; return what it prints before it serves.

    In the end it has logged what it should, or nothing.
    """
    with subprocess.Popen(
        [sys.executable, SITE],
        env=environment(
            HOST=host, PORT="0", GLIMR_SESSION_STORE="cookie", GLIMR_SESSION_SECRET_KEYS=KEY
        )
        | settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        lines: list[str] = []
        try:
            while not lines or "Ctrl-C" not in lines[-1]:
                lines.append(process.stdout.readline())
                assert lines[-1], f"it ended: {lines}"
            yield lines
        finally:
            process.terminate()
            rest = process.communicate(timeout=10)[0]
    assert process.returncode == 0
    assert logged in rest if logged else rest == ""


def printed_url(lines: list[str]) -> str:
    (url,) = re.findall(r"http://\S+(?= in a browser)", "".join(lines))
    return str(url)


def test_a_store_that_is_down_is_a_503(tmp_path: Path) -> None:
    """The site says to try again, and takes nobody's cookie away."""
    (tmp_path / "outage.py").write_text(
        "from glimr_session import StoreUnavailable, new\n"
        "def down(*_):\n"
        "    raise StoreUnavailable('the store is down')\n"
        "def store():\n"
        "    return new(load=down, save=down, destroy=down, gc=down, cookie_value=down)\n"
    )
    with serving_on(
        "127.0.0.1",
        logged="the store is down",
        GLIMR_SESSION_STORE="outage:store",
        PYTHONPATH=str(tmp_path),
    ) as lines:
        visitor = Visitor(printed_url(lines))
        answer = visitor.get("/signup")
        assert visitor.get("/style.css").status == 200
    assert answer.status == 503
    assert "try again in a moment" in answer.body
    assert "Set-Cookie" not in answer.headers


def test_the_first_start_makes_a_key_for_its_owner_alone(tmp_path: Path) -> None:
    """The site writes below var alone, and its key there signs after a restart too."""
    site = copy_of_site(tmp_path)
    var = tmp_path / "var"
    with serving(site) as url:
        visitor = Visitor(url)
        visitor.sign_up()
    key = (var / "secret_key").read_text()
    assert len(key) == 64
    assert stat.S_IMODE((var / "secret_key").stat().st_mode) == 0o600
    assert stat.S_IMODE((var / "sessions").stat().st_mode) == 0o700
    with serving(site) as url:
        again = Visitor(url)
        again.cookies = visitor.cookies
        assert again.is_known()
    assert (var / "secret_key").read_text() == key
    assert sorted(path.name for path in var.iterdir()) == ["secret_key", "sessions"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["examples", "var"]


def test_one_word_moves_the_session_into_the_cookie(tmp_path: Path) -> None:
    """A site with store = "cookie" does the same, and has nothing on disk."""
    with serving(copy_of_site(tmp_path, "cookie")) as url:
        visitor = Visitor(url)
        visitor.sign_up()
        assert visitor.get("/").message == "Welcome, Ada Lovelace!"
        assert visitor.is_known()
    assert [path.name for path in (tmp_path / "var").iterdir()] == ["secret_key"]


def start_in_vain(script: Path = SITE, **settings: str) -> str:
    """Start the site where it cannot start, and return the one line it says."""
    done = subprocess.run(
        [sys.executable, script],
        env=environment(**{"GLIMR_SESSION_STORE": "cookie", **settings}),
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_a_port_that_is_taken_is_said_in_one_line() -> None:
    """The line names the port and tells how to choose another one."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = start_in_vain(PORT=port, GLIMR_SESSION_SECRET_KEYS=KEY)
    assert said == (
        f"Port {port} cannot be used: Address already in use. "
        "Take another one: PORT=8765 make demo\n"
    )


@pytest.mark.parametrize("port", ["eighty", "65536", "-1"])
def test_a_port_that_is_none_is_said_in_one_line(port: str) -> None:
    """The line quotes what PORT was."""
    said = start_in_vain(PORT=port, GLIMR_SESSION_SECRET_KEYS=KEY)
    assert said == f"PORT is a number from 0 (any that is free) to 65535, not '{port}'\n"


def test_a_wrong_word_in_the_settings_is_said_in_one_line(tmp_path: Path) -> None:
    """The line names the setting, the word and what is allowed."""
    said = start_in_vain(copy_of_site(tmp_path, "cooky"), GLIMR_SESSION_STORE="")
    assert 'store: \'cooky\' is not "disk", "cookie"' in said


def test_ctrl_c_ends_the_site_cleanly() -> None:
    """Ctrl-C ends the site with status 0 and no traceback."""
    with subprocess.Popen(
        [sys.executable, SITE],
        env=environment(PORT="0", GLIMR_SESSION_STORE="cookie", GLIMR_SESSION_SECRET_KEYS=KEY),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest = process.communicate(timeout=10)[0]
    assert (process.returncode, rest) == (0, "")


class Jar(Visitor):
    """A visitor whose cookies are kept, and sent or not, as a browser does."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._url = url
        self._opener = build_opener(HTTPCookieProcessor())

    def _request(self, method: str, path: str, body: str | None = None) -> Answer:
        data = None if body is None else body.encode()
        with self._opener.open(Request(self._url + path, data, method=method), timeout=10) as found:
            return Answer(found.status, dict(found.headers), found.read().decode())


def test_the_site_can_be_served_to_other_machines() -> None:
    """With HOST=0.0.0.0 the cookie comes back over plain HTTP, to a name that is not localhost."""
    with serving_on("0.0.0.0") as lines:
        address = urlsplit(printed_url(lines))
        assert address.port
        # 127.0.0.2 is this machine, and none of the names for which Secure is left out anyway.
        visitor = Jar(f"http://127.0.0.2:{address.port}")
        visitor.sign_up()
        assert visitor.is_known()
    assert "without Secure" in lines[0]
    assert "plain HTTP" in lines[0]


@pytest.mark.parametrize(("host", "loopback"), [("0.0.0.0", "127.0.0.1"), ("::", "[::1]")])
def test_the_address_that_is_printed_leads_to_the_site(host: str, loopback: str) -> None:
    """It is one at which this machine can be reached, and not the one that means all of them."""
    with serving_on(host) as lines:
        address = urlsplit(printed_url(lines))
        assert address.hostname not in {"0.0.0.0", "::", None}
        assert address.hostname == own_address()
        # Tests talk to loopback addresses only.
        assert Jar(f"http://{loopback}:{address.port}").get("/").status == 200


def own_address() -> str:
    """Return the address by which other machines reach this one, or the loopback address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_on_this_machine_alone_nothing_is_said_of_secure(host: str) -> None:
    """The default setting leaves Secure out there, and the printed address has the given host."""
    with serving_on(host) as lines:
        assert len(lines) == 1
        visitor = Jar(printed_url(lines))
        assert urlsplit(printed_url(lines)).hostname == host
        visitor.sign_up()
        assert visitor.is_known()


def test_a_setting_of_secure_beats_the_demo() -> None:
    """Behind a proxy that ends TLS, cookie_secure = true is kept."""
    will_not_come_back = "cookie is Secure, and a request came over plain HTTP"
    with serving_on(
        "0.0.0.0", logged=will_not_come_back, GLIMR_SESSION_COOKIE_SECURE="true"
    ) as lines:
        assert len(lines) == 1
        port = urlsplit(printed_url(lines)).port
        answer = Visitor(f"http://127.0.0.2:{port}").get("/signup")
        assert "; Secure" in answer.headers["Set-Cookie"]


def test_a_host_that_is_none_is_said_in_one_line() -> None:
    """The line quotes HOST and tells what it can be."""
    said = start_in_vain(HOST="nowhere.invalid", PORT="0", GLIMR_SESSION_SECRET_KEYS=KEY)
    assert said.startswith("HOST is a name or an address of this machine, not 'nowhere.invalid'")
    said = start_in_vain(HOST="192.0.2.1", PORT="0", GLIMR_SESSION_SECRET_KEYS=KEY)
    assert said.startswith("HOST is a name or an address of this machine, not '192.0.2.1'")


def test_make_demo_hands_the_host_on() -> None:
    """``HOST=0.0.0.0 make demo`` and ``make demo HOST=0.0.0.0`` reach the script."""
    for arguments, settings in ((["HOST=0.0.0.0"], {}), ([], {"HOST": "0.0.0.0"})):
        assert made_demo(*arguments, **settings).startswith("HOST=0.0.0.0 PORT=8000 ")


def made_demo(*arguments: str, **settings: str) -> str:
    """Return the command that ``make demo`` would run."""
    done = subprocess.run(
        # MAKEFLAGS: these tests may themselves have been started by make.
        [program("make"), "--dry-run", "--no-print-directory", "demo", "MAKEFLAGS=", *arguments],
        cwd=EXAMPLES.parent,
        env=environment(**settings),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()[-1]


def test_make_demo_serves_this_site_on_the_port_asked_for() -> None:
    """``PORT=8765 make demo`` runs the script that is tested here, on that port."""
    command = made_demo(PORT="8765")
    assert (
        command == "HOST=127.0.0.1 PORT=8765 STORE=disk .venv/bin/python examples/signup/serve.py"
    )
    assert SITE.samefile(EXAMPLES.parent / command.split()[-1])


def printed_by(example: str) -> list[str]:
    """Run an example as a script, and return the lines it prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / example],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_actor_style() -> None:
    """The example prints what its session does, and that it ends with the response."""
    first, second = (
        [
            "In the basket: ['tea']",
            "Coupon, which is good for one use: SPRING",
            "Coupon, the second time: none",
            f"Pages seen in this session: {number}",
            f"Grams weighed by two threads: {number * 2000}",
            "Answer: 200 OK",
        ]
        for number in (1, 2)
    )
    lines = printed_by("actor_style.py")
    assert lines[:12] == first + second
    assert lines[12].startswith("After the response: the session was used after")
    assert lines[13:] == ["Visits of all sessions: 2"]


def test_own_store() -> None:
    """The example's store keeps a session, ends it in time, and collects it."""
    assert printed_by("own_store.py") == [
        "Visit 1",
        "Visit 2",
        "A minute later:",
        "Visit 1",
        "Collected: 1",
    ]
