"""docs/how-to/nginx.md: a real nginx with TLS, before the servers of the page."""

from __future__ import annotations

import contextlib
import getpass
import os
import secrets
import shlex
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import httpx
import pytest
from websockets.sync.client import connect

from tests.support.browser import program
from tests.support.commands import PATIENCE, run_shell, served
from tests.support.documents import Block, block, blocks_of, recipe, session_of_a_shell

NGINX: Final = recipe("how-to/nginx.md", "# /etc/nginx")
CERTIFICATE: Final = recipe("how-to/nginx.md", "openssl")
RELOAD: Final = recipe("how-to/nginx.md", "nginx")
WAITRESS: Final = recipe("how-to/nginx.md", "waitress")
GUNICORN: Final = recipe("how-to/nginx.md", "gunicorn")
UVICORN: Final = recipe("how-to/nginx.md", "uvicorn")
VISITS: Final = recipe("how-to/nginx.md", "$ curl")
HOST_COOKIE: Final = recipe("how-to/nginx.md", "# session.toml")
RUN: Final = {NGINX, CERTIFICATE, RELOAD, WAITRESS, GUNICORN, UVICORN, VISITS, HOST_COOKIE}

APP: Final = block("# app.py").code
SETTINGS: Final = block('# session.toml\nstore = "disk"').code
COUNTER, ECHO = (each.code for each in blocks_of("docs/asgi.md")[:2])
HOST: Final = "shop.example.org"

ASGI: Final = f"""
{COUNTER}
{ECHO}
async def site(scope: Scope, receive: Receive, send: Send) -> None:
    await (echo if scope["type"] == "websocket" else counter)(scope, receive, send)


application = SessionMiddleware(site, SessionConfig.from_env(os.environ))
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A directory with the application of the README, and that of the page for ASGI."""
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "app.py").write_text(APP, "utf-8")
    (folder / "asgi.py").write_text(ASGI, "utf-8")
    (folder / "session.toml").write_text(SETTINGS, "utf-8")
    return folder


class Proxy(NamedTuple):
    """An nginx with the configuration of the page, before a server.

    Attributes:
        http: the port in the place of 80.
        https: the port in the place of 443.
        certificate: the file that curl is told to trust.
        command: what stands for ``nginx``: with this configuration, and no other.
    """

    http: int
    https: int
    certificate: Path
    command: str

    def trusting(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.certificate)

    def get(self, *, cookie: str = "", host: str = HOST) -> httpx.Response:
        """Ask the shop over TLS, as a browser does; the certificate has to be for its name."""
        with httpx.Client(verify=self.trusting()) as client:
            return client.get(
                f"https://127.0.0.1:{self.https}/",
                headers={"Host": host, **({"Cookie": cookie} if cookie else {})},
                extensions={"sni_hostname": HOST},
            )


@contextlib.contextmanager
def proxied(folder: Path, backend: str) -> Iterator[Proxy]:
    """Run nginx with the configuration of the page, before the server with this URL."""
    nginx = program("nginx")
    run_shell(f"{CERTIFICATE.code.strip()} 2>&1", folder, {"/etc/ssl/shop": f"{folder}/shop"})
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as two,
    ):
        http, https = (listener.getsockname()[1] for listener in (one, two))
    site = NGINX.code
    for old, new in {
        "listen 80;": f"listen 127.0.0.1:{http};",
        "listen 443 ssl;": f"listen 127.0.0.1:{https} ssl;",
        "/etc/ssl/shop": f"{folder}/shop",
        "http://127.0.0.1:8000": backend,
    }.items():
        assert old in site
        site = site.replace(old, new)
    (folder / "shop.conf").write_text(site)
    temporary = "".join(
        f"{name}_temp_path {folder}/{name};"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    main = folder / "nginx.conf"
    user = f"user {getpass.getuser()};" if os.getuid() == 0 else ""
    main.write_text(
        f"{user} pid {folder}/nginx.pid; error_log {folder}/nginx.log; events {{}}"
        f"http {{ access_log off; {temporary} include {folder}/shop.conf; }}"
    )
    command = f"{nginx} -c {main} -e {folder}/nginx.log"
    with subprocess.Popen([*shlex.split(command), "-g", "daemon off;"]) as process:
        try:
            deadline = time.monotonic() + PATIENCE
            while True:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", https)):
                    break
                assert process.poll() is None, (folder / "nginx.log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.02)
            yield Proxy(http, https, folder / "shop.crt", command)
        finally:
            process.terminate()
            process.wait(PATIENCE)


@pytest.mark.parametrize("server", [WAITRESS, GUNICORN], ids=["waitress", "gunicorn"])
def test_a_shop_behind_nginx_with_tls(server: Block, shop: Path) -> None:
    """curl counts its visits, the cookie is Secure, and HTTP is redirected to HTTPS.

    Under one of this machine's own names it is Secure because nginx tells the protocol.
    """
    key = secrets.token_hex()
    with (
        served(shop, server.code, GLIMR_SESSION_SECRET_KEYS=key) as (backend, _),
        proxied(shop, backend) as proxy,
    ):
        for command, printed in session_of_a_shell(VISITS):
            places = {
                "/etc/ssl/shop.crt": str(proxy.certificate),
                f"{HOST}:443:": f"{HOST}:{proxy.https}:",
                f"https://{HOST}/": f"https://{HOST}:{proxy.https}/",
            }
            assert run_shell(command, shop, places) == printed
        answer = proxy.get()
        assert "; Secure" in answer.headers["Set-Cookie"]
        assert "; Secure" in proxy.get(host="localhost").headers["Set-Cookie"]
        assert "; Secure" not in httpx.get(f"{backend}/").headers["Set-Cookie"]
        cookie = answer.headers["Set-Cookie"].partition(";")[0]
        assert proxy.get(cookie=cookie).text == "Visit 2\n"
        moved = httpx.get(f"http://127.0.0.1:{proxy.http}/cart?n=1", headers={"Host": HOST})
        assert (moved.status_code, moved.headers["Location"]) == (301, f"https://{HOST}/cart?n=1")


def test_nginx_accepts_its_configuration_and_reloads_it(shop: Path) -> None:
    """Both commands of the page succeed, and the shop goes on."""
    with (
        served(shop, WAITRESS.code, GLIMR_SESSION_SECRET_KEYS=secrets.token_hex()) as (backend, _),
        proxied(shop, backend) as proxy,
    ):
        test, reload = RELOAD.code.splitlines()
        said = run_shell(f"{test.replace('nginx', proxy.command)} 2>&1", shop)
        assert "syntax is ok" in said
        assert "[warn]" not in said
        run_shell(reload.replace("nginx", proxy.command, 1), shop)
        assert proxy.get().text == "Visit 1\n"


def test_websockets_reach_an_asgi_server_through_nginx(shop: Path) -> None:
    """A websocket over TLS counts on, in the session that a page has begun with a Secure cookie."""
    with (
        served(shop, UVICORN.code, GLIMR_SESSION_SECRET_KEYS=secrets.token_hex()) as (backend, _),
        proxied(shop, backend) as proxy,
    ):
        cookie = proxy.get().headers["Set-Cookie"]
        assert "; Secure" in cookie
        value = cookie.partition(";")[0]
        with (
            socket.create_connection(("127.0.0.1", proxy.https)) as connection,
            connect(
                f"wss://{HOST}/",
                sock=connection,
                ssl=proxy.trusting(),
                additional_headers={"Cookie": value},
                proxy=None,
            ) as websocket,
        ):
            for number in ("1", "2"):
                websocket.send("count")
                assert websocket.recv(timeout=PATIENCE) == number
        assert proxy.get(cookie=value).text == "Visit 2"


def test_the_cookie_can_be_that_of_one_host(shop: Path) -> None:
    """With the settings of the page its name begins with __Host-, and it is always Secure."""
    (shop / "session.toml").write_text(HOST_COOKIE.code, "utf-8")
    with served(shop, WAITRESS.code, GLIMR_SESSION_SECRET_KEYS=secrets.token_hex()) as (url, _):
        cookie = httpx.get(url).headers["Set-Cookie"]
    assert cookie.startswith("__Host-shop=")
    assert "; Secure" in cookie
