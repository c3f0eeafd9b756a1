"""Two requests of one browser on one event loop, in any order of their steps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glimr_session import CookieStore, DiskStore, SessionStore
from glimr_session._request.live_session import LiveSession
from glimr_session._request.manager import SessionManager
from glimr_session._request.origin import Origin
from glimr_session.asgi import AsgiSession
from tests.support.asgi_client import Browser

from .apps import CONFIG, LIFETIME, answering, browser_with, data_of, run, wrap

START: dict[str, Any] = {"a": 1, "list": [0], "dict": {"x": 0}}

Step = Callable[[Any], object]

keys = st.sampled_from(["a", "b"])
inner = st.sampled_from(["x", "y"])
numbers = st.integers(0, 3)


def changing_list(number: int) -> Step:
    return lambda session: session.setdefault("list", []).append(number)


def changing_dict(key: str, number: int) -> Step:
    return lambda session: session.setdefault("dict", {}).update({key: number})


steps: st.SearchStrategy[Step] = st.one_of(
    st.builds(lambda key, number: lambda session: session.put(key, number), keys, numbers),
    st.builds(lambda key: lambda session: session.forget(key), keys | st.just("dict")),
    st.builds(lambda key: lambda session: session.pull(key), keys),
    st.builds(lambda number: lambda session: session.increment("n", number), numbers),
    st.builds(changing_list, numbers),
    st.builds(changing_dict, inner, numbers),
    st.just(lambda session: session.regenerate()),
    st.just(lambda session: session.invalidate()),
)

orders = st.lists(st.tuples(st.booleans(), steps), max_size=8)


async def behind_the_door(order: list[tuple[bool, Step]], store: SessionStore) -> list[Any]:
    """Return what the browser has after two requests of these steps; the last two are theirs."""
    browser = await browser_with(store, **START)
    boxes: list[asyncio.Queue[Step | None]] = [asyncio.Queue(), asyncio.Queue()]
    browsers = [browser, browser.twin()]

    def request(number: int) -> Any:
        async def change(session: AsgiSession) -> None:
            while (step := await boxes[number].get()) is not None:
                step(session)
                boxes[number].task_done()

        return browsers[number].get(wrap(answering(change), store))

    tasks = [asyncio.create_task(request(number)) for number in (0, 1)]
    for who, step in order:
        boxes[who].put_nowait(step)
        await boxes[who].join()
    for box, task in zip(boxes, tasks, strict=True):
        box.put_nowait(None)
        await task
    return [await data_of(each, store) for each in browsers]


def without_it(order: list[tuple[bool, Step]], store: SessionStore) -> list[Any]:
    """Return the same of the core alone: no event loop, and no ASGI."""
    manager = SessionManager.from_config(CONFIG, store)
    origin = Origin(https=False, host="127.0.0.1")
    browsers = [Browser(), Browser()]

    def finish(session: LiveSession, browser: Browser) -> None:
        headers = session.response_headers(200, [], origin=lambda: origin, last=True)
        session.request.close()
        browser.cookies.take(headers)

    begun = LiveSession(manager.begin())
    begun.update(START)
    finish(begun, browsers[0])
    browsers[1] = browsers[0].twin()
    sessions = [LiveSession(manager.begin(browser.cookies.header())) for browser in browsers]
    for who, step in order:
        step(sessions[who])
    for session, browser in zip(sessions, browsers, strict=True):
        finish(session, browser)
    found = []
    for browser in browsers:
        session = LiveSession(manager.begin(browser.cookies.header()))
        found.append(dict(session))
        session.request.abandon()
    return found


@pytest.mark.parametrize("kind", ["cookie", "disk"])
def test_requests_at_once_end_as_the_core_has_it(kind: str, disk: DiskStore) -> None:
    """Whatever is put, removed and changed in place, by whichever of two requests, and when."""
    store: SessionStore = disk if kind == "disk" else CookieStore(lifetime=LIFETIME)

    @settings(max_examples=25)
    @given(orders)
    def ends_alike(order: list[tuple[bool, Step]]) -> None:
        assert run(behind_the_door(order, store)) == without_it(order, store)

    ends_alike()
