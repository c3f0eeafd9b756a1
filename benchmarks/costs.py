"""What a session costs on each store: processor time, bytes, and bytes of the server's log.

Processor time is what the kernel has counted, of this process for the web machine and of the
server's processes for the server. It does not include waiting, so a busy machine changes it
less than it changes the time on the clock.
"""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Final, LiteralString, NamedTuple

import psycopg
import redis

from glimr_session import CookieStore, DiskStore, SessionStore, generate_id
from glimr_session.stores.redis import RedisStore
from glimr_session.stores.sql import SqlStore

from .databases import NotInstalled, postgresql_server, redis_server, started
from .internals import begun, redis_commands, redis_connections, redis_words
from .measure import Arm
from .sites import LIFETIME, begin, browse, glimr_site
from .stores import committing
from .worker import SAMPLE, VISITORS

_BLOCK: Final = 100  # requests
_CHANGES: Final = 3  # of each session, on the average, before its size is taken
_VACUUM: Final = 0.2  # of the rows are dead when autovacuum comes, by default
_CONNECTIONS: Final = 50
_MICRO: Final = 1e6

# As PostgreSQL is delivered, but for a cache that holds all.
_POSTGRESQL: Final = ("fsync=on", "full_page_writes=on", "shared_buffers=128MB", "max_wal_size=1GB")


class Cost(NamedTuple):
    """What a store costs.

    Attributes:
        store: its name.
        web: microseconds of the web machine's processor, of a request that reads and writes.
        web_read: likewise, of one that reads.
        server: microseconds of the server's processor, of a request that reads and writes, when
            many are at work.
        server_read: likewise, of one that reads.
        server_alone: as ``server``, when there is one at a time.
        size: bytes of a session where it is kept, indexes and all, after some changes.
        log: bytes that a commit adds to the server's log.
        log_first: likewise, of the first commit to a page after a checkpoint.
    """

    store: str
    web: float
    web_read: float
    server: float = 0.0
    server_read: float = 0.0
    server_alone: float = 0.0
    size: float = 0.0
    log: float = 0.0
    log_first: float = 0.0


def measure(directory: Path, *, quick: bool) -> Iterator[Cost | str]:
    """Yield the costs of each store, or why there are none."""
    sessions, blocks = (200, 1) if quick else (10_000, 60)
    yield _cookie(blocks)
    with closing(DiskStore(directory / "disk")) as disk:
        yield _disk(disk, directory / "disk", sessions, blocks)
    for name, measured in (("redis", _redis), ("postgresql", _postgresql)):
        try:
            yield measured(directory / name, sessions, blocks)
        except NotInstalled as error:
            yield f"{name}: {error}"


def _cookie(blocks: int) -> Cost:
    site = glimr_site(CookieStore())
    (cookie,) = begin(site.client, visitors=1)
    return _with_requests(Cost("cookie", 0, 0, size=len(cookie)), CookieStore(), blocks, _nothing)


def _disk(store: DiskStore, directory: Path, sessions: int, blocks: int) -> Cost:
    values = fill(store, sessions)
    _change(store, values, lambda: None)
    size = sum(file.stat().st_size for file in directory.rglob("cache.db")) / sessions
    return _with_requests(Cost("disk", 0, 0, size=size), store, blocks, _nothing)


def _redis(directory: Path, sessions: int, blocks: int) -> Cost:
    with (
        started(redis_server(directory)) as server,
        redis.Redis.from_url(server.url) as client,
        closing(RedisStore(server.url)) as store,
    ):
        info: Any = client.info
        before = info("memory")["used_memory"]
        _change(store, fill(store, sessions), lambda: None)
        size = (info("memory")["used_memory"] - before) / sessions

        def used() -> float:
            found = info("cpu")
            return float(found["used_cpu_user"] + found["used_cpu_sys"])

        cost = _with_requests(Cost("Redis", 0, 0, size=size), store, blocks, used)
        read, written = _at_once(store, used, 20 * blocks)
        return cost._replace(server=read + written, server_read=read, server_alone=cost.server)


def _at_once(store: RedisStore, used: Callable[[], float], rounds: int) -> tuple[float, float]:
    """Return the microseconds of Redis' processor for an open and for a commit.

    The commands come over many connections at once. A server that is busy asks the kernel for
    several at a time, and takes less for each than one that is woken for each.
    """
    connections = redis_connections(store, _CONNECTIONS)
    lasts_until = time.time() + LIFETIME
    values = fill(store, _CONNECTIONS)
    commands = [redis_commands(store, value, lasts_until) for value in values]
    taken: list[float] = []
    answers: list[Any] = []
    for which in (0, 1):
        packed = [
            connection.pack_command(*redis_words(store, command[which]))
            for connection, command in zip(connections, commands, strict=True)
        ]
        before = used()
        for _ in range(rounds):
            for connection, words in zip(connections, packed, strict=True):
                connection.send_packed_command(words, check_health=False)
            answers = [
                connection.read_response(disable_decoding=True) for connection in connections
            ]
        if which and any(answer != 1 for answer in answers):
            raise RuntimeError("a commit was refused")
        taken.append((used() - before) / rounds / _CONNECTIONS * _MICRO)
    for connection in connections:
        connection.disconnect()
    return taken[0], taken[1]


def _postgresql(directory: Path, sessions: int, blocks: int) -> Cost:
    with ExitStack() as stack:
        server = stack.enter_context(started(postgresql_server(directory, settings=_POSTGRESQL)))
        SqlStore.create_table(server.url)
        store = stack.enter_context(closing(SqlStore(server.url)))
        owner = stack.enter_context(psycopg.connect(server.url, autocommit=True))
        admin = stack.enter_context(psycopg.connect(server.admin_url, autocommit=True))
        values = fill(store, sessions)
        _change(store, values, lambda: owner.execute("VACUUM glimr_sessions"))
        size = _number(owner, "SELECT pg_total_relation_size('glimr_sessions')") / sessions
        first, log = _log(admin, store, random.Random(2).sample(values, sessions // 50))
        cost = Cost("PostgreSQL", 0, 0, size=size, log=log, log_first=first)
        pid = server.process.pid
        return _with_requests(cost, store, blocks, lambda: _used_by_family(pid))


def _log(admin: psycopg.Connection[Any], store: SqlStore, values: list[str]) -> tuple[float, float]:
    """Return the bytes of the log of a commit after a checkpoint, and of the next one."""
    commit = committing(store, values)
    admin.execute("CHECKPOINT")
    written = []
    for _ in range(2):
        before = _number(admin, _POSITION)
        for _ in values:
            commit()
        written.append((_number(admin, _POSITION) - before) / len(values))
    return written[0], written[1]


_POSITION: Final = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')"


def _number(connection: psycopg.Connection[Any], query: LiteralString) -> float:
    row: Any = connection.execute(query).fetchone()
    return float(row[0])


def fill(store: SessionStore, sessions: int) -> list[str]:
    """Begin so many sessions, in the order of their random ids, and return the cookie values."""
    return [store.commit(begun(generate_id(), SAMPLE)).cookie_value for _ in range(sessions)]


def _change(store: SessionStore, values: list[str], vacuum: Callable[[], object]) -> None:
    """Commit to sessions drawn at random, and clean up as often as the server would."""
    drawn = random.Random(1).choices(values, k=_CHANGES * len(values))
    commit = committing(store, drawn)
    for number in range(len(drawn)):
        commit()
        if number % int(len(values) * _VACUUM) == 0:
            vacuum()


def _with_requests(
    cost: Cost, store: SessionStore, blocks: int, server_used: Callable[[], float]
) -> Cost:
    """Return the costs with the processor time of requests."""
    site = glimr_site(store)
    cookies = begin(site.client, visitors=min(VISITORS, blocks * _BLOCK))
    web, server = [], []
    for path in ("/visit", "/read"):
        ours = browse(site.client, [path], cookies)
        bare = browse(site.bare, [path], [*cookies])
        browsed, bare_taken, used = [], [], 0.0
        for _ in range(blocks):
            before = server_used()
            browsed.append(_processor(ours))
            used += server_used() - before
            bare_taken.append(_processor(bare))
        differences = [one - other for one, other in zip(browsed, bare_taken, strict=True)]
        web.append(statistics.median(differences) / _BLOCK * _MICRO)
        server.append(used / blocks / _BLOCK * _MICRO)
    return cost._replace(web=web[0], web_read=web[1], server=server[0], server_read=server[1])


def _processor(arm: Arm) -> float:
    """Return the seconds of this process's processor time that a block of calls took."""
    start = time.process_time()
    for _ in range(_BLOCK):
        arm()
    return time.process_time() - start


def _nothing() -> float:
    return 0.0


def _used_by_family(pid: int) -> float:
    """Return the seconds of processor time of a process and its children."""
    everybody = (int(found.name) for found in Path("/proc").iterdir() if found.name.isdigit())
    return sum(_used(found, of=pid) for found in everybody)


def _used(pid: int, *, of: int) -> float:
    """Return the seconds of a process; 0 if it is neither ``of`` nor a child of that."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    if int(words[1]) != of and pid != of:
        return 0.0
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
