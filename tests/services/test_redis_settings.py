"""The settings of the Redis store: what is wrong is told at the start, and never a password."""

from __future__ import annotations

import asyncio
import multiprocessing
import pickle
import re
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pytest
import redis as redis_py
from redis.backoff import NoBackoff
from redis.retry import Retry

from glimr_session import ConfigError, StoreUnavailable
from glimr_session._ids import generate_id
from glimr_session._session.state import SessionState
from glimr_session.stores.redis import RedisStore
from glimr_session.testing.contract import Request, begin, changed, content, increment, put
from tests.support import services
from tests.support.proxy import Proxy
from tests.support.services import RedisCluster, RedisServer, free_port

PASSWORD: Final = "tr0ub4dor-and-more"


def shown(error: BaseException) -> str:
    """Return all that a log can show of an error: its chain, and the variables of each frame."""
    said: list[str] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        found = waiting.pop()
        if found is not None:
            waiting += [found.__cause__, found.__context__]
            said += [repr(found), *traceback.format_exception(found)]
            stack = traceback.TracebackException.from_exception(found, capture_locals=True).stack
            said += [str(frame.locals) for frame in stack if frame.filename != __file__]
    return "".join(said)


def test_variables_of_frames_are_looked_at() -> None:
    """What looks for a password finds one that is there."""
    pool = redis_py.ConnectionPool()
    with pytest.raises(ValueError, match="Redis URL must specify") as wrong:
        pool.from_url(f"bad://:{PASSWORD}@localhost")
    assert PASSWORD in shown(wrong.value)


WRONG: Final = {
    "scheme": "http://localhost",
    "nothing": "localhost:6379",
    "kind": "redis+ring://localhost",
    "port": "redis://localhost:number",
    "database": "redis://localhost/sessions",
    "slash in the password": f"redis://:{PASSWORD[:5]}/{PASSWORD}@localhost",
    "hash in the password": f"redis://:{PASSWORD}#{PASSWORD}@localhost",
    "question mark in the password": f"redis://:{PASSWORD}?{PASSWORD}@localhost",
    "bracket": f"redis://:{PASSWORD}[@localhost",
    "letters": f"redis://:{PASSWORD}\N{FULLWIDTH SOLIDUS}@localhost",
    "option": f"redis://:{PASSWORD}@localhost?timeouts=3",
    "number": "redis://localhost?max_connections=3",
    "value": f"redis://:{PASSWORD}@localhost?socket_timeout=soon",
    "file": f"rediss://:{PASSWORD}@localhost?ssl_ca_certs=/no/such/file",
    "socket": "unix://",
    "service": "redis+sentinel://localhost:26379",
    "sentinel": f"redis+sentinel://:{PASSWORD}@localhost:x/service",
    "no sentinel": "redis+sentinel:///service",
    "for sentinels": "redis://localhost?sentinel_password=x",
    "database of a cluster": "redis+cluster://localhost/3",
    "unix cluster": "unix+cluster:///socket",
}


@pytest.mark.parametrize("url", WRONG.values(), ids=WRONG)
def test_a_wrong_url_is_refused_with_an_example(url: str) -> None:
    """Each kind of mistake is a ConfigError that shows how it is written, and no password."""
    with pytest.raises(ConfigError, match=r"redis_url: .*redis://user:password@host") as error:
        RedisStore(url)
    assert PASSWORD not in shown(error.value)


@pytest.mark.parametrize("url", ["", None])
def test_a_url_or_a_client_has_to_be_named(url: str | None) -> None:
    """One of the two, and not both."""
    client = redis_py.Redis(port=free_port())
    with pytest.raises(ConfigError, match="name one, or pass a client"):
        RedisStore(
            "redis://localhost" if url is None else "", client=client if url is None else None
        )


@pytest.mark.parametrize("number", [0, -1, 2.5, True, "many"])
def test_a_number_of_connections_is_one(number: Any) -> None:
    """It is a whole number above 0."""
    with pytest.raises(ConfigError, match="redis_max_connections"):
        RedisStore("redis://localhost", max_connections=number)


def test_a_cluster_that_refuses_is_unavailable() -> None:
    """The message says where, and what to do; the URL is not quoted."""
    url = f"redis+cluster://:{PASSWORD}@127.0.0.1:{free_port()}"
    with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:\d+ cannot be used") as error:
        RedisStore(url)
    assert PASSWORD not in shown(error.value)


@pytest.mark.parametrize("url", ["redis://{}", "redis+sentinel://{}/service"])
def test_a_site_starts_while_its_server_is_down(url: str, caplog: pytest.LogCaptureFixture) -> None:
    """The log says where, and what to do; each use is an outage."""
    store = RedisStore(url.format(f":{PASSWORD}@127.0.0.1:{free_port()}"))
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert re.search(r"127\.0\.0\.1:\d+ cannot be used.*correct \[redis\] url", caplog.text)
    assert "The site starts" in caplog.text
    assert PASSWORD not in caplog.text
    with pytest.raises(StoreUnavailable) as error:
        store.open("an id")
    assert PASSWORD not in shown(error.value)


def test_it_goes_on_by_itself_when_its_server_is_there(tmp_path: Path) -> None:
    """A store that was made in an outage."""
    with services.redis_server(tmp_path) as server:
        server.kill()
        store = RedisStore(server.url)
        server.restart()
        assert store.open(begin(store)) is not None
        store.close()


# Passwords and rights.


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server with a password."""
    directory = tmp_path_factory.mktemp("locked")
    with services.redis_server(directory, settings=[f"requirepass {PASSWORD}"]) as server:
        yield server


@pytest.mark.parametrize("login", ["", f":{PASSWORD}x@", f"nobody:{PASSWORD}@"])
def test_a_login_that_is_refused_is_a_mistake_in_the_settings(
    locked: RedisServer, login: str
) -> None:
    """A missing or wrong password and an unknown user are told at the start, without them."""
    with pytest.raises(ConfigError, match="refuses user and password") as error:
        RedisStore(f"redis://{login}127.0.0.1:{locked.port}")
    assert PASSWORD not in shown(error.value)


def test_a_password_is_shown_nowhere(locked: RedisServer) -> None:
    """Neither by repr(), nor when the server refuses it later, or goes away in the middle."""
    with Proxy(locked.port) as proxy:
        store = RedisStore(f"redis://:{PASSWORD}@127.0.0.1:{proxy.port}/0", timeout=0.4)
        cookie_value = begin(store)
        assert repr(store) == f"RedisStore(127.0.0.1:{proxy.port})"
        for work in (proxy.stall, proxy.refuse):
            work()
            proxy.cut()
            store.close()
            with pytest.raises(StoreUnavailable) as error:
                store.open(cookie_value)
            assert PASSWORD not in shown(error.value)
            proxy.resume()
        proxy.accept()
        locked.ask("CONFIG", "SET", "requirepass", "another one")
        store.close()
        try:
            with pytest.raises(StoreUnavailable) as error:
                store.open(cookie_value)
        finally:
            client = redis_py.Redis(port=locked.port, password="another one")
            client.config_set("requirepass", PASSWORD)
            client.close()
        assert PASSWORD not in shown(error.value)
        assert "invalid username-password pair" in str(error.value)
        store.close()


def test_a_special_character_in_a_password_is_percent_encoded(redis: RedisServer) -> None:
    """As in every URL."""
    password = "p/w#?@:%"
    redis.ask("ACL", "SETUSER", "special", "on", f">{password}", "~*", "+@all")
    store = RedisStore(f"redis://special:{quote(password, safe='')}@127.0.0.1:{redis.port}/0")
    assert begin(store)
    store.close()


@pytest.mark.parametrize(
    "rights", ["", "+get", "~* +@all -evalsha", "~* +@all -get", "~other:* +@all"]
)
def test_a_user_without_rights_is_told_the_line_that_gives_them(
    redis: RedisServer, rights: str
) -> None:
    """That very line gives them: first the commands, then the keys."""
    redis.ask("ACL", "DELUSER", "poor")
    redis.ask("ACL", "SETUSER", "poor", "on", f">{PASSWORD}", *rights.split())
    url = f"redis://poor:{PASSWORD}@127.0.0.1:{redis.port}/1"
    run_lines(url, redis)
    store = RedisStore(url)
    cookie_value = Request(store, begin(store)).commit(increment("n"))
    assert store.touch(cookie_value)
    assert store.gc() == 0
    store.destroy(cookie_value)
    store.close()


def missing_rights(url: str) -> str:
    """Return the words for ACL that the store asks for, or "" if it starts."""
    said = ""
    try:
        RedisStore(url).close()
    except ConfigError as error:
        said = str(error) + shown(error)
    assert PASSWORD not in said
    assert not said or "may not do what sessions need" in said
    return said.partition(": ACL ")[2].partition("ConfigError")[0]


def run_lines(url: str, *servers: RedisServer) -> None:
    """Run the lines that the store asks for, until it starts."""
    lines: list[str] = []
    while line := missing_rights(url):
        assert line.startswith("SETUSER poor ")
        assert line not in lines
        lines.append(line)
        for server in servers:
            server.ask("ACL", *line.split())
    assert lines


def test_that_line_is_enough_in_a_cluster(cluster: RedisCluster) -> None:
    """Where the client also asks which server has which keys."""
    for node in cluster.nodes:
        node.ask("ACL", "SETUSER", "poor", "on", f">{PASSWORD}", "+cluster|slots")
    url = f"redis+cluster://poor:{PASSWORD}@127.0.0.1:{cluster.ports[0]}"
    run_lines(url, *cluster.nodes)
    store = RedisStore(url)
    assert all(store.open(begin(store)) for _ in range(10))
    store.close()


# What the server is.


def test_a_replica_is_refused_and_its_master_named(tmp_path: Path, redis: RedisServer) -> None:
    """Sessions are written."""
    settings = [f"replicaof 127.0.0.1 {redis.port}"]
    with (
        services.redis_server(tmp_path, settings=settings) as replica,
        pytest.raises(ConfigError, match=rf"is a replica.*127\.0\.0\.1:{redis.port}"),
    ):
        RedisStore(replica.url)


def test_a_node_of_a_cluster_is_refused_as_one_server(cluster: RedisCluster) -> None:
    """The message shows how a Cluster is named."""
    with pytest.raises(ConfigError, match=r"is a node of a Cluster.*redis\+cluster://"):
        RedisStore(cluster.urls[0])


def test_one_server_is_refused_as_a_cluster(redis: RedisServer) -> None:
    """The message shows how one server is named."""
    with pytest.raises(ConfigError, match=r"is no node of a Cluster.*redis://"):
        RedisStore(redis.url.replace("redis://", "redis+cluster://"))


def test_a_server_that_evicts_sessions_is_warned_of_once(
    redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """A policy is harmless without a limit; with one the warning says what to set."""
    redis.ask("CONFIG", "SET", "maxmemory-policy", "volatile-lru")
    try:
        RedisStore(redis.url).close()
        assert not caplog.records
        redis.ask("CONFIG", "SET", "maxmemory", "100mb")
        for _ in range(2):
            RedisStore(redis.url).close()
        (record,) = caplog.records
        assert "maxmemory-policy noeviction" in record.getMessage()
    finally:
        redis.ask("CONFIG", "SET", "maxmemory", 0)
        redis.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")


# TLS.


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server that speaks TLS alone."""
    with services.redis_server(
        tmp_path_factory.mktemp("tls"), tls=True, settings=["bind 127.0.0.1 127.0.0.2"]
    ) as server:
        yield server


def test_a_certificate_is_verified(tls: RedisServer) -> None:
    """With the authority's file it works, in event loops too; without it, it does not."""
    store = RedisStore(f"{tls.url}?ssl_ca_certs={tls.ca_file}")
    cookie_value = begin(store)

    async def work() -> Any:
        return await store.aopen(cookie_value)

    assert asyncio.run(work()) is not None
    store.close()
    with pytest.raises(ConfigError, match="is not accepted"):
        RedisStore(tls.url)


def test_the_name_in_a_certificate_is_verified(tls: RedisServer) -> None:
    """A certificate for another name is none."""
    with pytest.raises(ConfigError, match="is not valid for"):
        RedisStore(f"rediss://127.0.0.2:{tls.port}?ssl_ca_certs={tls.ca_file}")


@pytest.mark.parametrize(
    "option", ["ssl_cert_reqs=none", "ssl_cert_reqs=optional", "ssl_check_hostname=false"]
)
@pytest.mark.parametrize("kind", ["rediss", "rediss+cluster", "rediss+sentinel"])
def test_the_verification_cannot_be_turned_off(option: str, kind: str) -> None:
    """Not in a URL, whatever it names, and not for the sentinels."""
    url = f"{kind}://:{PASSWORD}@127.0.0.1:{free_port()}"
    url += "/service" if "sentinel" in kind else ""
    for prefix in ("", "sentinel_") if "sentinel" in kind else ("",):
        with pytest.raises(ConfigError, match="always verified") as error:
            RedisStore(f"{url}?{prefix}{option}")
        assert PASSWORD not in shown(error.value)


def test_a_client_that_does_not_verify_is_refused(tls: RedisServer) -> None:
    """One that does is taken."""
    for requires in ("none", "required"):
        client = redis_py.Redis(
            port=tls.port,
            password=PASSWORD,
            ssl=True,
            ssl_cert_reqs=requires,
            ssl_check_hostname=False,
        )
        with pytest.raises(ConfigError, match="always verified") as error:
            RedisStore(client=client)
        assert PASSWORD not in shown(error.value)
        client.close()
    strict = redis_py.Redis(
        host="localhost",
        port=tls.port,
        ssl=True,
        ssl_ca_certs=str(tls.ca_file),
        ssl_check_hostname=True,
    )
    store = RedisStore(client=strict)
    assert begin(store)
    store.close()
    strict.close()


# Ways to connect.


def test_a_unix_socket_is_a_place(tmp_path: Path) -> None:
    """Its path is in the messages."""
    path = tmp_path / "socket"
    with services.redis_server(tmp_path / "server", settings=[f"unixsocket {path}"]):
        store = RedisStore(f"unix://{path}")
        assert store.open(begin(store))
        assert str(path).strip("/") in repr(store)
        store.close()
    with pytest.raises(StoreUnavailable, match="could not answer"):
        store.open(generate_id())


@pytest.mark.parametrize("decodes", [False, True])
@pytest.mark.parametrize("version", [2, 3])
def test_a_client_can_be_passed_in(redis: RedisServer, decodes: bool, version: Any) -> None:
    """Whatever it does with its own answers; and it can still be used when the store is closed."""
    redis.ask("FLUSHALL")
    client = redis_py.Redis(port=redis.port, decode_responses=decodes, protocol=version)
    store = RedisStore(client=client)
    cookie_value = Request(store, begin(store, put("ключ", "é"))).commit(increment("n"))
    assert content(store, cookie_value) == ({"ключ": "é", "n": 1}, {})
    assert store.touch(cookie_value)
    store.close()
    assert client.ping()
    client.close()


def test_a_client_of_a_cluster_can_be_passed_in(cluster: RedisCluster) -> None:
    """It says which server has which session."""
    client = redis_py.RedisCluster(port=cluster.ports[0], host="127.0.0.1", decode_responses=True)
    store = RedisStore(client=client)
    assert all(store.open(begin(store)) for _ in range(10))
    store.close()
    client.close()


@pytest.mark.filterwarnings("ignore:.*read_from_replicas:DeprecationWarning")
def test_a_cluster_client_that_reads_from_replicas_is_refused(cluster: RedisCluster) -> None:
    """A replica may not have a session yet."""
    client = redis_py.RedisCluster(port=cluster.ports[0], host="127.0.0.1", read_from_replicas=True)
    with pytest.raises(ConfigError, match="reads from replicas"):
        RedisStore(client=client)
    client.close()


def test_retries_of_a_client_are_not_ours(redis: RedisServer) -> None:
    """A lost answer is tried again once, also with a client that tries ten times."""
    redis.ask("FLUSHALL")
    with Proxy(redis.port, record=True) as proxy:
        client = redis_py.Redis(port=proxy.port, retry=Retry(NoBackoff(), 10), socket_timeout=1)
        store = RedisStore(client=client)
        cookie_value = begin(store, put("n", 1))
        base = store.open(cookie_value)
        assert base is not None
        proxy.reset()
        proxy.lose_answer(lambda chunk: b"EVALSHA" in chunk)
        changes = changed(SessionState.opened(base), increment("n"))
        assert store.commit(changes).outcome == "stored"
        assert b"".join(proxy.sent).count(b"EVALSHA") == 2
        assert content(store, cookie_value) == ({"n": 2}, {})
        proxy.refuse()
        proxy.cut()
        with pytest.raises(StoreUnavailable):
            store.open(cookie_value)
        store.close()
        client.close()


def test_two_prefixes_do_not_meet(redis: RedisServer) -> None:
    """Nor does either touch the keys of other programs."""
    redis.ask("FLUSHALL")
    redis.ask("SET", "theirs", "1")
    one, other = RedisStore(redis.url, prefix="one:"), RedisStore(redis.url, prefix="other:")
    cookie_value = begin(one)
    assert other.open(cookie_value) is None
    other.destroy(cookie_value)
    assert other.gc() == 0
    assert one.open(cookie_value)
    assert {key.partition(":")[0] for key in redis.ask("KEYS", "*")} == {"theirs", "one"}
    one.close()
    other.close()


# Other processes.


def read_elsewhere(pickled: bytes, cookie_value: str) -> bool:
    """Open a session in another process."""
    store = pickle.loads(pickled)
    return store.open(cookie_value) is not None


def test_a_store_goes_to_another_process(redis: RedisServer) -> None:
    """It connects there by itself; its settings go with it."""
    store = RedisStore(redis.url, prefix="elsewhere:", lifetime=60)
    cookie_value = begin(store)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(read_elsewhere, (pickle.dumps(store), cookie_value))
    assert pickle.loads(pickle.dumps(store)).lifetime == 60
    store.close()


# Garbage.


@pytest.fixture
def planted(redis: RedisServer) -> Iterator[tuple[RedisStore, str, str]]:
    """A store, the id of a session, and the key where it would be."""
    redis.ask("FLUSHALL")
    store = RedisStore(redis.url)
    cookie_value = begin(store)
    (key,) = redis.ask("KEYS", "*")
    redis.ask("DEL", key)
    yield store, cookie_value, key
    store.close()


def test_a_string_that_is_no_session_is_absent(
    redis: RedisServer, planted: tuple[RedisStore, str, str]
) -> None:
    """Nothing of it is changed, and a session can begin all the same."""
    store, cookie_value, key = planted
    for value in ("", "x", "g1", "garbage" * 100, "{}"):
        redis.ask("SET", key, value)
        assert store.open(cookie_value) is None
        assert store.touch(cookie_value) is False
        assert store.has_moved(cookie_value) is False
        store.destroy(cookie_value)
        assert redis.ask("GET", key) == value
    store.save(cookie_value, {"a": 1}, {})
    assert redis.ask("GET", key) == value
    assert len(redis.ask("KEYS", "*")) == 2


def test_another_programs_value_is_warned_of(
    redis: RedisServer, planted: tuple[RedisStore, str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """The warning names the key."""
    store, cookie_value, key = planted
    redis.ask("SET", key, "theirs")
    store.open(cookie_value)
    assert f"another program's under {key}" in caplog.text


def test_another_kind_of_key_says_to_choose_a_prefix(
    redis: RedisServer, planted: tuple[RedisStore, str, str]
) -> None:
    """A list under a key of ours is told by every operation, and none is a traceback of redis."""
    store, cookie_value, key = planted
    redis.ask("RPUSH", key, "1")
    begun = changed(SessionState.new(cookie_value), put("a", 1))
    operations: list[Callable[[], Any]] = [
        lambda: store.open(cookie_value),
        lambda: store.touch(cookie_value),
        lambda: store.destroy(cookie_value),
        lambda: store.commit(begun),
    ]
    for operation in operations:
        with pytest.raises(StoreUnavailable, match=r"set \[redis\] prefix"):
            operation()
    assert redis.ask("LLEN", key) == 1


def test_a_session_of_a_later_version_says_to_update(
    redis: RedisServer, planted: tuple[RedisStore, str, str]
) -> None:
    """It is neither absent nor overwritten."""
    store, cookie_value, key = planted
    redis.ask("SET", key, "g2" + "x" * 200)
    begun = changed(SessionState.new(cookie_value), put("a", 1))
    for operation in (lambda: store.open(cookie_value), lambda: store.commit(begun)):
        with pytest.raises(StoreUnavailable, match="later version"):
            operation()
    assert redis.ask("GET", key) == "g2" + "x" * 200
