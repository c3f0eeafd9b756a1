"""The command as users start it: statuses, terminals, completion, the man page."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from glimr_session import SqlStore
from glimr_session._cli.program import program
from glimr_session.testing.requests import begin, belong_to, put
from tests.cli.conftest import Run, settled

PROGRAM: Final = Path(sys.executable).with_name("glimr-session")


def started(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PROGRAM, *arguments],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


class Terminal:
    """The command on a terminal of its own."""

    def __init__(self, *arguments: str, columns: int = 80, **environ: str) -> None:
        settings = {"TERM": "xterm-256color", "COLUMNS": str(columns), **environ}
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            os.execve(PROGRAM, [str(PROGRAM), *arguments], {**os.environ, **settings})
        self.printed = ""

    def read(self, until: str = "\0") -> str:
        """Read until something was printed, or to the end."""
        deadline = time.monotonic() + 30
        while until not in self.printed:
            assert time.monotonic() < deadline, self.printed
            try:
                self.printed += os.read(self.descriptor, 65536).decode()
            except OSError:  # EIO: the other side is closed
                break
        return self.printed

    def interrupt(self) -> None:
        """Press ^C until it is noticed: Python misses one that comes just before it reads."""
        while not select.select([self.descriptor], [], [], 0.5)[0]:
            os.write(self.descriptor, b"\x03")

    def end(self) -> int:
        self.read()
        os.close(self.descriptor)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def test_the_script_runs(folder: Path) -> None:
    """As it is installed; an error is one sentence on standard error, and status 1."""
    done = started("stats")
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    assert "glimr-session init" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [["frobnicate"], ["show"], ["gc", "--frobnicate"], ["show", "x"], ["completion", "tcsh"]],
    ids=" ".join,
)
def test_wrong_usage_is_status_2(run: Run, arguments: list[str]) -> None:
    """With the usage on standard error."""
    env = {"GLIMR_SESSION_STORE": "cookie"}
    done = run(*arguments, env=env)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "Usage: " in done.stderr


def test_without_its_extra_it_says_what_to_install(folder: Path) -> None:
    """It needs click and rich, which the package does not."""
    for missing in ("click", "rich"):
        code = (
            f"import sys; sys.modules[{missing!r}] = None; from glimr_session.cli import main; "
            "sys.exit(main(['key']))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
        )
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == "Run: pip install 'glimr-session[cli]'\n"


def test_the_file_of_settings_is_found(folder: Path, run: Run) -> None:
    """That of --config, else of the variable, else the one that is here; variables beat it."""
    for name, table in (("a.toml", "one"), ("b.toml", "two"), ("session.toml", "three")):
        text = f'store = "sql"\nsql_url = "sqlite:///x.sqlite"\nsql_table = "{table}"\n'
        (folder / name).write_text(text)
    url = f"sqlite:///{folder}/x.sqlite"
    for number, table in enumerate(("one", "two", "three", "four"), start=1):
        SqlStore.create_table(url, table=table)
        store = SqlStore(url, table=table)
        for n in range(number):
            begin(store, put("n", n))
        store.close()
    named = {"GLIMR_SESSION_CONFIG": "b.toml"}
    variables = {"GLIMR_SESSION_SQL_TABLE": "four"}
    assert "1 session." in run("list", "--config", "a.toml", env=named).stderr
    assert "2 sessions." in run("list", env=named).stderr
    assert "3 sessions." in run("list").stderr
    assert "4 sessions." in run("list", env=variables).stderr
    (folder / "session.toml").unlink()
    environ = {**variables, "GLIMR_SESSION_STORE": "sql", "GLIMR_SESSION_SQL_URL": url}
    assert "4 sessions." in run("list", env=environ).stderr
    done = run("list", "--config", "missing.toml")
    assert (done.exit_code, done.stdout) == (1, "")
    assert f"There is no file {folder}/missing.toml" in done.stderr
    assert "from_env" not in done.stderr


def test_a_factory_of_the_site_is_found(folder: Path, run: Run) -> None:
    """In the working directory, where the site's server finds it too."""
    (folder / "factory_of_a_shop.py").write_text(
        "from glimr_session import DiskStore\n\n\ndef store():\n    return DiskStore('there')\n"
    )
    done = run("stats", env={"GLIMR_SESSION_STORE": "factory_of_a_shop:store"})
    assert done.exit_code == 0
    assert (folder / "there" / "cache.db").exists()


def test_an_interrupt_is_status_130(folder: Path) -> None:
    """^C at a question, and nothing was written."""
    terminal = Terminal("init")
    terminal.read(until="[disk]:")
    terminal.interrupt()
    assert terminal.end() == 128 + signal.SIGINT
    assert "Traceback" not in terminal.printed
    assert list(folder.iterdir()) == []


def test_a_terminal_has_colours_and_a_pipe_has_none(folder: Path) -> None:
    """Nor has a terminal where NO_COLOR is set; and lines fit into narrow ones."""
    with settled(folder, "disk") as site:
        for n in range(3):
            begin(site.store, put("n", n), belong_to(n))
    coloured = Terminal("list")
    assert coloured.end() == 0
    assert "\x1b[" in coloured.printed
    plain = Terminal("list", columns=46, NO_COLOR="1")
    assert plain.end() == 0
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", plain.printed)
    text = re.sub(r"\x1b\[[0-9;]*m", "", plain.printed)
    lines = [line.rstrip("\r") for line in text.splitlines()]
    assert max(map(len, lines)) <= 46
    assert sum(bool(re.match(r"session-\w{16} ", line)) for line in lines) == 3
    piped = started("list").stdout
    assert "\x1b" not in piped
    assert len(piped.splitlines()) == 4


def test_a_pipe_that_is_closed_is_no_traceback(folder: Path) -> None:
    """As by ``| head -1``."""
    with settled(folder, "disk") as site:
        for n in range(400):
            begin(site.store, put("n", n))
    done = subprocess.run(
        ["/bin/sh", "-c", f"{PROGRAM} list | head -1"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.startswith("handle")
    assert "Traceback" not in done.stderr


COMMANDS = ["list", "stats --json", "--help", "key", "move --help"]


@pytest.mark.parametrize("output", [">/dev/full", ">&-"])
@pytest.mark.parametrize("command", COMMANDS)
def test_an_output_that_cannot_be_written_is_status_1(
    folder: Path, command: str, output: str
) -> None:
    """With one sentence on standard error: the disk is full, or a script has closed it."""
    with settled(folder, "disk") as site:
        begin(site.store)
    done = subprocess.run(
        ["/bin/sh", "-c", f"{PROGRAM} {command} {output}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert re.fullmatch(r"Error: standard output cannot be written: .*\.\n", done.stderr)


def test_bash_completes_commands_and_stores(folder: Path, run: Run) -> None:
    """With the script that is printed, in a real bash."""
    script = run("completion", "bash").stdout
    (folder / "completion").write_text(script)
    for words, expected in (("glimr-session des", "destroy"), ("glimr-session move r", "redis")):
        ask = (
            f"source completion; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); "
            f'_glimr_session_completion {PROGRAM}; echo "${{COMPREPLY[@]}}"'
        )
        done = subprocess.run(
            ["bash", "--norc", "-c", ask], capture_output=True, text=True, check=True, timeout=60
        )
        assert done.stdout == f"{expected}\n"


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_have_a_script_too(run: Run, shell: str) -> None:
    """Which asks the command in their way."""
    script = run("completion", shell).stdout
    assert f"_GLIMR_SESSION_COMPLETE={shell}_complete" in script


def test_the_man_page_has_each_command_and_option(run: Run) -> None:
    """As groff shows it, without a warning."""
    groff = shutil.which("groff")
    if groff is None:
        if os.environ.get("CI"):
            pytest.fail("groff is not installed")
        pytest.skip("groff is not installed")
    page = run("man").stdout
    shown = subprocess.run(
        [groff, "-man", "-Tascii", "-P-cbou", "-ww", "-rLL=200n"],
        input=page,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert shown.stderr == ""
    for name, command in program.commands.items():
        assert re.search(rf"^ +{name}", shown.stdout, re.MULTILINE), name
        for parameter in command.params:
            if parameter.param_type_name == "option":
                assert parameter.opts[0] in shown.stdout
    assert "EXIT STATUS" in shown.stdout


# The table of the SQL store.


def test_the_schema_makes_a_table_that_the_store_can_use(folder: Path, run: Run) -> None:
    """What is printed is what ``create_table`` makes."""
    printed = run("sql-schema", "sqlite", "--table", "shop_sessions")
    assert printed.exit_code == 0
    file = folder / "sessions.sqlite"
    with closing(sqlite3.connect(file)) as database:
        database.executescript(printed.stdout)
    store = SqlStore(f"sqlite:///{file}", table="shop_sessions")
    store.save("an id", {"a": 1}, {})
    assert store.load("an id") == ({"a": 1}, {})
    store.close()


@pytest.mark.parametrize("dialect", ["postgresql", "mysql", "mariadb"])
def test_each_server_has_its_own_schema(run: Run, dialect: str) -> None:
    """Without a server, and without settings: for those who run migrations."""
    printed = run("sql-schema", dialect)
    assert printed.exit_code == 0
    assert "CREATE TABLE" in printed.stdout
    assert "glimr_sessions" in printed.stdout


def test_a_wrong_table_is_told_in_a_line(run: Run) -> None:
    """No traceback, and an exit status of 1."""
    told = run("sql-schema", "sqlite", "--table", "a; b")
    assert (told.exit_code, told.stdout) == (1, "")
    assert len(told.stderr.splitlines()) == 1
    assert "table" in told.stderr
