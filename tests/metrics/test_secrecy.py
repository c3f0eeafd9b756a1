"""Nothing of a session is in a metric or a trace."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from glimr_session import DiskStore, SessionStore, SessionTooLarge, StoreUnavailable
from glimr_session._ids import owner_key, split_cookie_value, storage_key
from glimr_session.metrics import MeteredStore, check_health
from glimr_session.testing.contract import Request, begin
from glimr_session.testing.requests import (
    belong_to,
    flash,
    increment,
    invalidate,
    put,
    regenerate,
)
from tests.metrics.readers import BACKENDS
from tests.stores.test_server import DictStore

OWNER = "ada@lovelace.example"


class Breaking(DictStore):
    """Is down as soon as it is told, with errors that say what was asked for."""

    def open(self, cookie_value: str) -> None:
        if self.server.down:
            raise StoreUnavailable(f"asked for {cookie_value}")
        return super().open(cookie_value)  # type: ignore[return-value]

    def touch(self, cookie_value: str) -> bool:
        if self.server.down:
            raise SessionTooLarge(f"asked for {cookie_value}", size=5, limit=4)
        return super().touch(cookie_value)


def story(store: SessionStore) -> set[str]:
    """Do with sessions what can be done with them; return what nobody else may see of it."""
    cookie_value = begin(store, put("basket", "a secret book"), flash("greeting", "hello Ada"))
    other = begin(store, put("n", 1), belong_to(OWNER, device="pocket calculator"))
    one, two = Request(store, cookie_value), Request(store, cookie_value)
    login = one.commit(regenerate, belong_to(OWNER, device="analytical engine"))
    two.answer(increment("visits_of_ada"))
    handles = {info.handle for info in store.sessions(OWNER)}
    asyncio.run(store.aopen(login))
    store.touch(login)
    store.destroy(next(iter(handles)))
    store.destroy_all(OWNER, except_=login)
    Request(store, begin(store)).answer(invalidate)
    check_health(store, write=True)
    ids = {split_cookie_value(value)[0] for value in (cookie_value, other, login)}
    return {
        *(OWNER, owner_key(OWNER), "basket", "a secret book", "greeting", "hello Ada", "device"),
        *("pocket calculator", "analytical engine", "visits_of_ada", cookie_value, other, login),
        *handles,
        *ids,
        *(storage_key(session_id).hex()[:8] for session_id in ids),
    }


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", ["disk", "server"])
def test_nothing_of_a_session_leaves_with_the_metrics(
    kind: str, backend: str, tmp_path: Path
) -> None:
    """No id, key, value, owner, handle, hash or cookie, of a story with all that can happen."""
    made = BACKENDS[backend]()
    inner = DiskStore(tmp_path / "sessions") if kind == "disk" else Breaking()
    store = MeteredStore(inner, made.metrics)
    secrets = story(store)
    if isinstance(inner, Breaking):
        inner.server.down = True
        cookie_value = next(secret for secret in secrets if "~" in secret)
        failing: list[Callable[[str], object]] = [store.open, store.touch]
        for operation in failing:
            with pytest.raises((StoreUnavailable, SessionTooLarge)):
                operation(cookie_value)
    text = made.text()
    assert "glimr_session" in text
    assert {secret for secret in secrets if secret in text} == set()
