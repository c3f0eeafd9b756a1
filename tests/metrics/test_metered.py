"""MeteredStore: a store that is measured does all that it does unmeasured."""

from __future__ import annotations

import asyncio
import copy
import os
import pickle
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from glimr_session import CookieStore, DiskStore, SessionStore
from glimr_session._metrics.metered import DECLARED
from glimr_session._session.sealing import Sealer
from glimr_session.metrics import MeteredStore, PrometheusMetrics
from glimr_session.stores.base import CommitResult, NullStore
from glimr_session.stores.moving import MovingStore
from glimr_session.testing.contract import ABSOLUTE, LIFETIME, Request, StoreContract, begin
from glimr_session.testing.requests import put
from tests.metrics.readers import BACKENDS, Counting, Failing


class TestMeteredDiskStore(StoreContract):
    """The contract on a disk store that is measured."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> SessionStore:
        disk = DiskStore(tmp_path / "sessions", lifetime=LIFETIME, absolute_lifetime=ABSOLUTE)
        return MeteredStore(disk, Counting())

    @pytest.fixture
    def broken(self, store: SessionStore, tmp_path: Path) -> SessionStore:
        with sqlite3.connect(tmp_path / "sessions" / "cache.db") as connection:
            connection.execute("DROP TABLE Cache")
        connection.close()
        return store


@pytest.fixture
def counting() -> Counting:
    return Counting()


@pytest.fixture
def disk(tmp_path: Path) -> DiskStore:
    return DiskStore(tmp_path / "sessions")


@pytest.fixture
def store(disk: DiskStore, counting: Counting) -> MeteredStore:
    return MeteredStore(disk, counting)


def names(kind: type) -> set[str]:
    """Return the public names of a store that are there for its users."""
    return {name for name in dir(kind) if not name.startswith("_")} - {"from_functions"}


def test_every_operation_and_declaration_is_that_of_the_store_inside() -> None:
    """A name that SessionStore has is taken over, or the store's own would not be asked."""
    own = names(MeteredStore) & set(vars(MeteredStore))
    assert names(SessionStore) - own - set(DECLARED) == {"note"}


def test_what_a_store_declares_is_declared(tmp_path: Path) -> None:
    """Its kind, its limits and its lifetimes, also those that it was given when it was made."""
    moving = MovingStore(DiskStore(tmp_path / "sessions", lifetime=99), CookieStore())
    metered = MeteredStore(moving, Counting())
    for name in [*DECLARED, "opens_at_once", "commits_at_once", "remembers_ends", "sealer"]:
        assert getattr(metered, name) == getattr(moving, name), name
    assert metered.former_kinds == ("cookie",)
    assert metered.lifetime == 99


def test_what_is_set_later_is_set_on_the_store_inside(disk: DiskStore) -> None:
    """The keys that encrypt, and what MovingStore asks of its stores."""
    metered = MeteredStore(disk, Counting())
    metered.sealer = sealer = Sealer(["a key for tests that is long enough"], seals=True)
    metered.remembers_ends = True
    assert disk.sealer is metered.sealer is sealer
    assert disk.remembers_ends is metered.remembers_ends is True


def test_operations_are_timed_once_each(store: MeteredStore, counting: Counting) -> None:
    """Whichever of them a store builds on others."""
    begin(store)
    store.load("x")
    store.destroy("x")
    store.sessions("alice")
    store.gc()
    assert counting.operations == {
        "commit": 1, "load": 1, "destroy": 1, "sessions": 1, "gc": 1,
    }  # fmt: skip


def test_an_event_loops_operations_are_those_of_threads(
    store: MeteredStore, counting: Counting
) -> None:
    """``aopen`` is an "open", and is counted once."""
    cookie_value = begin(store)
    changes = Request(store, cookie_value).state.changes
    counting.operations.clear()
    counting.events.clear()

    async def work() -> None:
        assert await store.aopen(cookie_value) is not None
        assert (await store.acommit(changes)).outcome == "stored"
        assert await store.atouch(cookie_value)
        assert not await store.ahas_moved(cookie_value)
        assert await store.asessions(1) == []
        assert await store.adestroy_all(1) == 0
        await store.adestroy(cookie_value)

    asyncio.run(work())
    assert counting.events == {"opened": 1, "committed": 1}
    assert counting.operations == dict.fromkeys(
        ["open", "commit", "touch", "has_moved", "sessions", "destroy_all", "destroy"], 1
    )


def test_a_commit_that_would_have_to_wait_is_no_commit(counting: Counting) -> None:
    """It is made again, and counted then."""

    class Busy(NullStore):
        def commit(self, *_: Any, **__: Any) -> Any:
            return CommitResult.BUSY

    assert Request(MeteredStore(Busy(), counting), None).answer(put("a", 1)).outcome == "busy"
    assert counting.events == {}
    assert counting.outcomes == [("commit", "busy")]


def test_metrics_that_fail_harm_no_request(
    disk: DiskStore, caplog: pytest.LogCaptureFixture
) -> None:
    """The commit is made, and one warning says that it was not counted."""
    store = MeteredStore(disk, Failing())
    cookie_value = begin(store)
    assert store.open(cookie_value) is not None
    assert disk.open(cookie_value) is not None
    assert [record.getMessage() for record in caplog.records] == [
        "A metric could not be recorded: OSError."
    ]


def test_two_that_measure_one_store_lose_no_note(
    disk: DiskStore, store: MeteredStore, counting: Counting
) -> None:
    """What the store notes is counted by the next operation of either."""
    MeteredStore(disk, counting)
    disk.note("conflict")
    store.open("x")
    assert counting.events == {"conflict": 1}


def test_notes_reach_both_stores_that_sessions_move_between(tmp_path: Path) -> None:
    """A move is measured as one store, with the notes of the two."""
    new, old = DiskStore(tmp_path / "new"), DiskStore(tmp_path / "old")
    counting = Counting()
    store = MeteredStore(MovingStore(new, old), counting)
    new.note("merged")
    old.note("conflict")
    store.has_moved("x")
    assert counting.events == {"merged": 1, "conflict": 1}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy], ids=["copy", "deepcopy"])
def test_a_copy_counts_in_the_same_place(disk: DiskStore, copied: Any, backend: str) -> None:
    """It has a store of its own, on the same directory, and notes what that one does."""
    made = BACKENDS[backend]()
    other = copied(MeteredStore(disk, made.metrics))
    cookie_value = begin(other)
    other.inner.note("conflict")
    assert other.open(cookie_value) is not None
    assert made.events("disk") == {"committed": 1, "conflict": 1, "opened": 1}


def test_a_store_that_was_pickled_is_measured_in_the_other_process(
    disk: DiskStore,
) -> None:
    """With the metrics of that process, if they are of a registry that every process has."""
    store = MeteredStore(disk, PrometheusMetrics())
    cookie_value = begin(store)
    labels = {"store": "disk"}
    before = REGISTRY.get_sample_value("glimr_session_opened_total", labels) or 0
    other = pickle.loads(pickle.dumps(store))
    assert isinstance(other, MeteredStore)
    assert other.open(cookie_value) is not None
    assert REGISTRY.get_sample_value("glimr_session_opened_total", labels) == before + 1


def test_a_child_counts_for_itself(store: MeteredStore, counting: Counting) -> None:
    """A fork leaves a store that works, on both sides."""
    cookie_value = begin(store)
    child = os.fork()
    if child == 0:
        found = store.open(cookie_value) is not None
        os._exit(0 if found and counting.events["opened"] == 1 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert counting.events["opened"] == 0
