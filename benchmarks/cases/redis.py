"""Sessions on Redis: beside bare commands, beside other libraries, and many threads on one.

The least that keeps a session there is redis-py's GET and SET with an expiry, of a value of the
same length. Requests are counted as in the module ``requests``. Threads increment a counter in
one session; beside them, in a plain loop of WATCH and MULTI.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import redis

from glimr_session.stores.redis import RedisStore

from ..databases import redis_server, started
from ..measure import Arm, time_arms
from ..one_session import InSession, Watched, contend
from ..results import OURS, Place, Result, Target
from ..rivals import django, flask
from ..sites import LIFETIME, cycled, glimr_site
from ..stores import committing, populate
from ..worker import VISITORS
from .requests import compare

_BARE: Final = "redis-py: GET and SET"
_AT_THE_LIMIT: Final = (
    "it is at the limit, 0.94 to 1.09: our processor time is 0.86 of redis-py's, but the server "
    "takes 20 us more for the script of a commit than for SET"
)
_TARGETS: Final[Mapping[str, Sequence[Target]]] = {
    "read and write": [
        Target(against="Django (cache on Redis)", limit=0.6),
        Target(against="Flask-Session (Redis)", limit=1),
    ]
}


def run(place: Place) -> Iterator[Result]:
    """Yield an open and commit, then requests, then many threads on one session."""
    with started(redis_server(place.directory / "redis")) as server:
        store = RedisStore(server.url)
        visitors = VISITORS // 20 if place.quick else VISITORS
        arms = {
            OURS: committing(store, populate(store, visitors, sample=visitors)),
            _BARE: _get_and_set(server.url),
        }
        yield Result(
            case="Redis: open and commit",
            unit="us",
            rounds=time_arms(arms, 0.3 if place.quick else 12),
            targets=[Target(against=_BARE, limit=1, known_miss=_AT_THE_LIMIT)],
        )
        sites = [glimr_site(store), django.on_redis(server.url), flask.on_redis(server.url)]
        yield from compare("Redis", sites, _TARGETS, ("read only", "read and write"), place)
        counters = {OURS: InSession(store), "redis-py: WATCH and MULTI": Watched(server.url)}
        yield from contend("Redis", counters, 25, quick=place.quick)
        store.close()


def _get_and_set(url: str) -> Arm:
    """Return an arm that reads a value and writes it again; there is one for each session."""
    client: Any = redis.Redis.from_url(url)
    stored = client.get(client.keys("glimr_session:*")[0])
    for number in range(VISITORS):
        client.set(f"bare:{number:016x}", stored)
    keys = cycled([f"bare:{number:016x}" for number in range(VISITORS)])

    def get_and_set() -> None:
        key = next(keys)
        client.set(key, client.get(key), px=LIFETIME * 1000)

    return get_and_set
