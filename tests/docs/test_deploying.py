"""docs/how-to/systemd.md and containers.md, as real as a test can have them."""

from __future__ import annotations

import configparser
import json
import os
import re
import secrets
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import httpx
import pytest

from glimr_session import SessionConfig
from tests.support.browser import program
from tests.support.commands import BIN, environment, run_shell, served
from tests.support.confined import confined, places_that_can_be_written
from tests.support.documents import Block, block, recipe

SERVICE: Final = recipe("how-to/systemd.md", "# /etc/systemd/system/shop.service")
KEY_FILE: Final = recipe("how-to/systemd.md", "install")
START: Final = recipe("how-to/systemd.md", "systemctl daemon-reload\nsystemctl enable --now shop.s")
COLLECT: Final = recipe("how-to/systemd.md", "# /etc/systemd/system/shop-gc.service")
TIMER: Final = recipe("how-to/systemd.md", "# /etc/systemd/system/shop-gc.timer")
START_TIMER: Final = recipe(
    "how-to/systemd.md", "systemctl daemon-reload\nsystemctl enable --now shop-gc"
)
VERIFY: Final = recipe("how-to/systemd.md", "systemd-analyze")
DOCKERFILE: Final = recipe("how-to/containers.md", "# Dockerfile")
DOCKER: Final = recipe("how-to/containers.md", "docker build")
ON_REDIS: Final = recipe("how-to/containers.md", "# session.toml")
RUN: Final = {
    SERVICE,
    KEY_FILE,
    START,
    COLLECT,
    TIMER,
    START_TIMER,
    VERIFY,
    DOCKERFILE,
    DOCKER,
    ON_REDIS,
}

APP: Final = block("# app.py").code
SETTINGS: Final = block('# session.toml\nstore = "disk"').code
COMPLAINTS: Final = re.compile(r"\[(ERROR|WARNING)\]|Traceback")


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A directory with the application of the README."""
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "app.py").write_text(APP, "utf-8")
    (folder / "session.toml").write_text(SETTINGS, "utf-8")
    return folder


def directives(unit: Block) -> Mapping[str, str]:
    """Return the section [Service] of a unit, and its Environment line by name."""
    parsed = configparser.ConfigParser(interpolation=None)
    parsed.optionxform = str  # type: ignore[assignment,method-assign]  # names of systemd
    parsed.read_string(unit.code)
    return parsed["Service"]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """The state directory or the volume, before anything is in it."""
    directory = tmp_path / "state"
    directory.mkdir(mode=0o755)
    return directory


def test_the_service_serves_and_the_timer_s_service_collects(shop: Path, state: Path) -> None:
    """As www-data, with a read-only file system but for the state directory.

    Both units find the same sessions; the service has made their directory for its user alone.
    """
    service, collector = directives(SERVICE), directives(COLLECT)
    assert service["ProtectSystem"] == collector["ProtectSystem"] == "strict"
    assert service["StateDirectory"] == collector["StateDirectory"] == "shop"
    shutil.chown(state, service["User"], service["User"])
    prefix = confined(shop, state, Path("/var/lib", service["StateDirectory"]), service["User"])
    name, _, directory = service["Environment"].partition("=")
    assert collector["Environment"] == service["Environment"]
    settings = {
        name: directory,
        "GLIMR_SESSION_SECRET_KEYS": secrets.token_hex(),
        "HOME": "/var/www",
    }
    assert places_that_can_be_written(prefix, "/srv/shop", "/var/lib", "/var/lib/shop", "/etc") == [
        "/var/lib/shop"
    ]
    with served(shop, [*prefix, *shlex.split(service["ExecStart"])], **settings) as (url, _):
        assert httpx.get(url).text == "Visit 1\n"
    assert not COMPLAINTS.search((shop / "server.log").read_text())
    sessions = state / "sessions"
    assert sessions.stat().st_mode & 0o777 == 0o700
    assert sessions.owner() == service["User"]
    done = subprocess.run(
        [*prefix, *shlex.split(collector["ExecStart"])],
        env=environment(**settings), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    """``systemd-analyze verify`` says nothing, and both can be enabled in a root of their own."""
    verify = program("systemd-analyze")
    units = tmp_path / "etc/systemd/system"
    units.mkdir(parents=True)
    for unit in (SERVICE, COLLECT, TIMER):
        file = tmp_path / unit.code.splitlines()[0].removeprefix("# /")
        file.write_text(unit.code.replace("/srv/shop/.venv/bin/", f"{BIN}/"), "utf-8")
    command = VERIFY.code.replace("/etc/", f"{tmp_path}/etc/")
    assert (
        run_shell(command.replace("systemd-analyze verify", f"{verify} verify --man=no"), tmp_path)
        == ""
    )
    for block_of_commands in (START, START_TIMER):
        reload, enable = block_of_commands.code.splitlines()
        assert reload == "systemctl daemon-reload"  # there is no systemd running here to be told
        offline = enable.replace("systemctl enable --now", f"systemctl --root={tmp_path} enable")
        run_shell(f"{offline} 2>&1", tmp_path)
    enabled = {file.name for file in units.glob("*.wants/*")}
    assert enabled == {"shop.service", "shop-gc.timer"}


def test_the_file_of_the_key_is_for_root_alone(tmp_path: Path) -> None:
    """The commands make a file with one key and mode 0600, whatever the umask is."""
    run_shell(f"umask 0\n{KEY_FILE.code}", tmp_path, {"/etc/shop.env": f"{tmp_path}/shop.env"})
    file = tmp_path / "shop.env"
    assert re.fullmatch(r"GLIMR_SESSION_SECRET_KEYS=[0-9a-f]{64}\n", file.read_text())
    assert file.stat().st_mode & 0o777 == 0o600


def instructions(dockerfile: Block) -> dict[str, list[str]]:
    """Return the arguments of each instruction, in order."""
    found: dict[str, list[str]] = {}
    for line in dockerfile.code.splitlines()[1:]:
        word, _, rest = line.partition(" ")
        found.setdefault(word, []).append(rest)
    return found


def test_the_container_serves_with_a_user_without_a_name_and_a_read_only_root(
    shop: Path, state: Path
) -> None:
    """What the Dockerfile starts runs under the conditions of ``docker run``, without Docker.

    Its user has no entry in /etc/passwd, and can write its volume and /tmp; of the commands of
    docker itself only the options are read.
    """
    image = instructions(DOCKERFILE)
    (user,) = image["USER"]
    (volume,) = re.findall(r"--volume shop-sessions:(\S+)", DOCKER.code)
    for option in (
        "--read-only",
        "--tmpfs /tmp",
        "--cap-drop ALL",
        "--security-opt no-new-privileges",
    ):
        assert option in DOCKER.code
    assert f"install -d -m 700 -o {user.replace(':', ' -g ')} {volume}" in image["RUN"]
    os.chmod(state, 0o700)  # noqa: PTH101
    os.chown(state, *map(int, user.split(":")))
    with pytest.raises(KeyError):
        state.owner()
    settings = dict(line.split("=") for line in image["ENV"])
    assert settings["GLIMR_SESSION_DISK_DIRECTORY"] == volume
    prefix = confined(shop, state, Path(volume), user)
    assert places_that_can_be_written(prefix, "/", "/srv/shop", volume, "/tmp") == [volume, "/tmp"]
    command = [word.replace("0.0.0.0", "127.0.0.1") for word in json.loads(image["CMD"][0])]
    settings["GLIMR_SESSION_SECRET_KEYS"] = secrets.token_hex()
    settings["HOME"] = "/"  # as Docker sets it for a user without a name
    with served(shop, [*prefix, *command], **settings) as (url, _):
        first = httpx.get(url)
    assert first.text == "Visit 1\n"
    assert (state / "cache.db").stat().st_uid == int(user.partition(":")[0])
    with served(shop, [*prefix, *command], **settings) as (url, _):  # the next deploy
        cookie = first.headers["Set-Cookie"].partition(";")[0]
        assert httpx.get(url, headers={"Cookie": cookie}).text == "Visit 2\n"
    assert not COMPLAINTS.search((shop / "server.log").read_text())


def test_the_settings_of_several_machines(tmp_path: Path) -> None:
    """With the URL in the environment, the file of the page is a complete configuration."""
    file = tmp_path / "session.toml"
    file.write_text(ON_REDIS.code, "utf-8")
    config = SessionConfig.from_toml(
        file,
        {
            "GLIMR_SESSION_REDIS_URL": "redis://127.0.0.1:6379/0",
            "GLIMR_SESSION_SECRET_KEYS": secrets.token_hex(),
        },
    )
    assert config.store == "redis"
