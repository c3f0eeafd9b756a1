"""Which store the middleware uses, and what it refuses when it is made."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple
from wsgiref.validate import validator

import pytest

from glimr_session import (
    ConfigError,
    DiskStore,
    Json,
    Session,
    SessionConfig,
    SessionMiddleware,
    setup,
)
from glimr_session.testing import read_session
from tests.support.wsgi_apps import KEY, a_list, answering, data_of, nothing, put, rows, warnings_in
from tests.support.wsgi_client import Browser


def test_a_configuration_without_keys_leaves_nothing_behind(tmp_path: Path) -> None:
    """The middleware refuses a configuration without keys before it makes the store."""
    directory = tmp_path / "sessions"
    with pytest.raises(ConfigError, match="secret_keys is empty"):
        SessionMiddleware(answering(), SessionConfig(disk_directory=directory))
    assert not directory.exists()


class Stores(NamedTuple):
    given: DiskStore
    configured: DiskStore
    by_config: DiskStore
    config: SessionConfig


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Stores]:
    """One store for each way to name one."""
    directory = tmp_path / "by config"
    with (
        closing(DiskStore(tmp_path / "given")) as given,
        closing(DiskStore(tmp_path / "configured")) as configured,
        closing(DiskStore(directory)) as by_config,
    ):
        config = SessionConfig(secret_keys=[KEY], gc="never", disk_directory=directory)
        yield Stores(given, configured, by_config, config)


def test_store_beats_setup_beats_config(stores: Stores) -> None:
    """The store argument beats setup(), which beats the configuration."""

    def counts() -> tuple[int, int, int]:
        return rows(stores.given), rows(stores.configured), rows(stores.by_config)

    by_config = SessionMiddleware(a_list, stores.config)
    Browser().get(by_config)
    assert counts() == (0, 0, 1)
    setup(stores.configured)
    Browser().get(SessionMiddleware(a_list, stores.config))
    Browser().get(by_config)  # setup() counts for every request from then on
    assert counts() == (0, 2, 1)
    Browser().get(SessionMiddleware(a_list, stores.config, store=stores.given))
    assert counts() == (1, 2, 1)
    by_config._manager._fallback.close()


def test_without_a_store_sessions_are_forgotten(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An application without a store still serves, and one warning says so."""
    monkeypatch.delenv("GLIMR_SESSION_SECRET_KEYS", raising=False)
    found: list[tuple[Json, Json]] = []

    def count(session: Session) -> None:
        found.append((session.get("visits"), session.increment("visits")))

    app = validator(SessionMiddleware(validator(answering(count))))
    browser = Browser()
    for _ in range(3):
        response = browser.get(app)
        assert (response.status, response.body) == ("200 OK", b"answer")
        assert response.set_cookie is None
    assert found == [(None, 1)] * 3
    assert len(warnings_in(caplog)) == 1
    assert "setup()" in warnings_in(caplog)[0]


def test_without_a_store_threads_are_warned_once_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """First requests at the same moment produce one warning."""
    monkeypatch.delenv("GLIMR_SESSION_SECRET_KEYS", raising=False)
    app = SessionMiddleware(answering())
    others: list[threading.Thread] = []
    warned: list[str] = []

    def meanwhile(record: logging.LogRecord) -> bool:
        """Ask again from another thread, while the first one is still warning."""
        warned.append(record.getMessage())
        if len(warned) == 1:
            others.append(threading.Thread(target=Browser().get, args=(app,)))
            others[0].start()
            others[0].join(0.2)  # or it waits for us
        return False

    logger = logging.getLogger("glimr_session")
    logger.addFilter(meanwhile)
    try:
        Browser().get(app)
        others[0].join(5)
    finally:
        logger.removeFilter(meanwhile)
    assert len(warned) == 1


def test_setup_after_the_middleware_still_counts(
    monkeypatch: pytest.MonkeyPatch, disk: DiskStore, caplog: pytest.LogCaptureFixture
) -> None:
    """The middleware uses a store that is set up after it was made."""
    monkeypatch.setenv("GLIMR_SESSION_SECRET_KEYS", KEY)
    monkeypatch.setenv("GLIMR_SESSION_GC", "never")
    app = SessionMiddleware(a_list)
    setup(disk)
    browser = Browser()
    browser.get(app)
    assert data_of(browser, disk) == {"visits": 1}
    assert warnings_in(caplog) == []


def test_a_configuration_without_keys_fails_at_the_start(
    monkeypatch: pytest.MonkeyPatch, disk: DiskStore
) -> None:
    """The middleware raises ConfigError for a configuration without keys when it is made."""
    monkeypatch.delenv("GLIMR_SESSION_SECRET_KEYS", raising=False)
    with pytest.raises(ConfigError, match="secret_keys"):
        SessionMiddleware(a_list, SessionConfig(gc="never"), store=disk)
    with pytest.raises(ConfigError, match="secret_keys"):
        SessionMiddleware(a_list, store=disk)


def test_a_request_may_collect(disk: DiskStore) -> None:
    """The middleware asks the policy after a request that committed, and after no other."""
    asked: list[Any] = []

    def policy() -> bool:
        asked.append(rows(disk))
        return False

    config = SessionConfig(secret_keys=[KEY], gc=policy)
    browser = Browser()
    for change in (nothing, lambda session: session.get("a"), put("a", 1)):
        browser.get(SessionMiddleware(answering(change), config, store=disk))
    assert asked == [1]


def test_the_environment_can_ask_for_a_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """A middleware without a configuration uses the store that GLIMR_SESSION_STORE names."""
    monkeypatch.setenv("GLIMR_SESSION_SECRET_KEYS", KEY)
    browser = Browser()
    counting = answering(lambda session: session.increment("n"))
    assert browser.get(SessionMiddleware(counting)).set_cookie is None  # it is forgotten
    monkeypatch.setenv("GLIMR_SESSION_STORE", "cookie")
    site = SessionMiddleware(counting)
    assert browser.get(site).set_cookie is not None
    browser.get(site)
    (cookie,) = browser.cookies.header().split("; ")
    assert read_session(site, cookie.partition("=")[2]).data == {"n": 2}
