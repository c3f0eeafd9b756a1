"""SessionManager: the store, the cookie and the policy that an application's requests share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from glimr_session import (
    CommitResult,
    ConfigError,
    CookieStore,
    DiskStore,
    SessionConfig,
    SessionStore,
    SqlStore,
    setup,
)
from glimr_session._request.cleanup import never
from glimr_session._request.manager import SessionManager
from glimr_session._request.origin import Origin
from glimr_session._request.request_session import RequestSession
from glimr_session._request.signing import _Signer  # pyright: ignore[reportPrivateUsage]
from glimr_session._session.changes import Changes
from glimr_session._session.serialization import StoredSession
from glimr_session.stores.moving import MovingStore
from tests.support.cookies import make_cookie
from tests.support.wsgi_apps import CONFIG, Recorded, warnings_in
from tests.support.wsgi_client import Cookies

pytestmark = pytest.mark.usefixtures("no_session_left")

KEY = "a-key-of-this-test-that-nobody-may-see-printed"

HTTPS = Origin(https=True, host="testserver")


def test_the_lifetime_reaches_the_disk_store_and_the_cookie(tmp_path: Path) -> None:
    """The lifetimes reach the disk store, and the lifetime the cookie's Max-Age."""
    config = SessionConfig(
        lifetime=300, absolute_lifetime=600, disk_directory=tmp_path / "s", secret_keys=[KEY]
    )
    store = config.make_store()
    assert isinstance(store, DiskStore)
    assert (store.lifetime, store.absolute_lifetime) == (300.0, 600.0)
    assert "Max-Age=300;" in make_cookie(config, store).set("x", HTTPS)


def test_a_store_with_a_lifetime_of_its_own_decides_on_the_cookie() -> None:
    """The lifetime of a store that was made in code sets the cookie's Max-Age."""
    config = SessionConfig(secret_keys=[KEY])
    assert "Max-Age=60;" in make_cookie(config, CookieStore(lifetime=60)).set("x", HTTPS)


def test_expire_on_close_leaves_the_age_out() -> None:
    """expire_on_close leaves Max-Age out of the cookie."""
    config = SessionConfig(secret_keys=[KEY], expire_on_close=True)
    assert "Max-Age" not in make_cookie(config, CookieStore()).set("x", HTTPS)


def test_a_key_that_is_no_text_is_refused_and_not_quoted() -> None:
    """A key with a lone surrogate raises ConfigError, which does not quote it."""
    binary = b"\xff\xfe".decode("utf-8", "surrogateescape") + KEY
    with pytest.raises(ConfigError, match="secret_keys") as caught:
        make_cookie(SessionConfig(secret_keys=[binary]), CookieStore())
    assert KEY not in repr(caught.value)


def test_no_keys_are_an_error_when_the_cookie_is_made() -> None:
    """A configuration without keys raises ConfigError when the cookie is made."""
    with pytest.raises(ConfigError, match=r"secret_keys is empty.*secrets\.token_hex"):
        make_cookie(SessionConfig(), CookieStore())


class SelfCleaning(SessionStore):
    """A store of a kind of its own that keeps nothing."""

    kind = "self-cleaning"

    def __init__(self, lifetime: float = 0.0) -> None:
        self.lifetime = lifetime

    def open(self, cookie_value: str) -> StoredSession | None:
        return None

    def commit(self, changes: Changes, *, wait: bool = True) -> CommitResult:
        return CommitResult.EMPTY

    def gc(self) -> int:
        return 0


@pytest.mark.parametrize(
    ("make", "verified"),
    [
        (lambda path: DiskStore(path), 1),
        (lambda path: Recorded().store, 1),
        (lambda path: SelfCleaning(), 1),
        (lambda path: CookieStore(), 3),
    ],
    ids=["disk", "functions", "custom", "cookie"],
)
def test_verified_cookies_are_remembered_for_stores_on_the_server(
    make: Any, verified: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cookie is verified once for a store on the server, and each time for the cookie store."""
    store: SessionStore = make(tmp_path / "sessions")
    cookie = make_cookie(SessionConfig(secret_keys=[KEY]), store)
    header = cookie.set("value", HTTPS).partition(";")[0]
    count = 0
    verify = _Signer.verify_signature

    def counting(self: _Signer, value: str | bytes, sig: str | bytes) -> bool:
        nonlocal count
        count += 1
        return verify(self, value, sig)

    monkeypatch.setattr(_Signer, "verify_signature", counting)
    found = [cookie.read(header).verified for _ in range(3)]
    assert [read.value for (read,) in found] == ["value"] * 3
    assert count == verified
    store.close()


def test_the_age_of_the_cookie_is_never_more_than_the_absolute_lifetime() -> None:
    """A cookie with a longer lifetime than its session may ever have ends with the session."""
    config = SessionConfig(secret_keys=[KEY], lifetime=600)
    store = CookieStore(lifetime=600, absolute_lifetime=300)
    assert "Max-Age=300;" in make_cookie(config, store).set("x", HTTPS)


@pytest.mark.parametrize("setting", [True, False])
def test_the_settings_of_a_request_are_those_of_the_configuration(setting: bool) -> None:
    """The binding has flash_until_read and commit_on_error as they were configured."""
    for flash_until_read, commit_on_error in ((setting, not setting), (not setting, setting)):
        config = SessionConfig(
            secret_keys=[KEY], flash_until_read=flash_until_read, commit_on_error=commit_on_error
        )
        binding = SessionManager.from_config(config, SelfCleaning())._binding
        assert binding is not None
        assert binding.flash_until_read is flash_until_read
        assert binding.commit_on_error is commit_on_error


def test_a_policy_and_the_lifetime_are_those_of_configuration_and_store() -> None:
    """The binding has the policy of the configuration, and the lifetime of the store, if any."""
    config = SessionConfig(secret_keys=[KEY], gc="never", lifetime=1000)
    for store, lifetime in ((SelfCleaning(), 1000.0), (SelfCleaning(lifetime=50), 50.0)):
        binding = SessionManager.from_config(config, store)._binding
        assert binding is not None
        assert binding.store is store
        assert binding.policy is never
        assert binding.lifetime == lifetime


def test_requests_use_the_store_that_is_set_up_at_their_time() -> None:
    """begin() follows setup(), and keeps one binding for one store."""
    config = SessionConfig(secret_keys=[KEY], gc="never", store="cookie")
    manager = SessionManager.from_config(config)
    fallback = manager.begin()._binding
    assert fallback.store.kind == "cookie"
    assert manager.begin()._binding is fallback
    first, second = SelfCleaning(), SelfCleaning()
    setup(first)
    assert manager.begin()._binding.store is first
    setup(second)
    bound = manager.begin()._binding
    assert bound.store is second
    assert manager.begin()._binding is bound


def test_a_store_that_is_passed_in_beats_setup() -> None:
    """A manager with a store of its own ignores setup()."""
    own = SelfCleaning()
    manager = SessionManager.from_config(SessionConfig(secret_keys=[KEY], gc="never"), own)
    setup(SelfCleaning())
    assert manager.begin()._binding.store is own


def test_a_manager_without_a_store_warns_and_sets_no_cookie(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A manager without a store forgets its sessions and warns at the first request."""
    monkeypatch.delenv("GLIMR_SESSION_SECRET_KEYS", raising=False)
    manager = SessionManager.from_config()
    assert warnings_in(caplog) == []
    for _ in range(2):
        request = manager.begin()
        request.session["a"] = 1
        headers = request.response_headers(200, [], origin=lambda: HTTPS)
        request.close()
        assert headers == [("Vary", "Cookie")]
    assert len(warnings_in(caplog)) == 1


def test_the_keys_of_the_environment_are_used_without_a_configuration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """from_config() without a configuration reads keys and cookie from the environment."""
    monkeypatch.setenv("GLIMR_SESSION_SECRET_KEYS", KEY)
    monkeypatch.setenv("GLIMR_SESSION_COOKIE", "shop")
    binding = SessionManager.from_config(store=CookieStore())._binding
    assert binding is not None
    assert binding.cookie.set("x", HTTPS).startswith("shop=x.")
    monkeypatch.delenv("GLIMR_SESSION_SECRET_KEYS")
    with pytest.raises(ConfigError, match="secret_keys is empty"):
        SessionManager.from_config(store=CookieStore())


def test_ids_have_the_form_that_the_binding_gives_them(disk: DiskStore) -> None:
    """A new session, a login and a logout ask it for an id, and the store follows such ids."""
    ids = iter(f"{number:027}" for number in range(9))
    manager = SessionManager.from_config(CONFIG, disk)
    binding = manager._make_binding(disk)._replace(new_id=lambda: next(ids))

    def respond(request: RequestSession) -> str:
        headers = request.response_headers(200, [], origin=lambda: Origin(https=True))
        request.close()
        cookies = Cookies()
        cookies.take(headers)
        return cookies.header()

    request = RequestSession(binding, "")
    request.session["n"] = 1
    assert request.session.id == f"{0:027}"
    cookie = respond(request)
    request = RequestSession(binding, cookie)
    request.session.regenerate()
    assert request.session.id == f"{1:027}"
    moved = respond(request)
    assert f"={1:027}~" in moved  # the number, which does not follow from the new id
    request = RequestSession(binding, moved)
    assert request.session["n"] == 1
    request.session.invalidate()
    assert request.session.id == f"{2:027}"
    respond(request)
    assert disk.open(moved.partition("=")[2].partition(".")[0]) is None


@pytest.mark.parametrize("with_move_from", [True, False])
def test_the_cookie_of_a_session_that_was_moved_is_taken(
    tmp_path: Path, with_move_from: bool
) -> None:
    """After the last session has moved, nobody has to come back before move_from is removed."""
    url = f"sqlite:///{tmp_path}/sessions.sqlite"
    SqlStore.create_table(url)
    disk, sql = DiskStore(tmp_path / "disk"), SqlStore(url)
    before = SessionManager(CONFIG, disk, disk)
    request = before.begin()
    request.session["n"] = 1
    (cookie,) = cookies_of(request)
    request.close()
    moving = MovingStore(sql, disk)
    for info in list(disk.all_sessions()):
        assert moving.move(info.handle)
    store = moving if with_move_from else sql
    request = SessionManager(CONFIG, store, store).begin(cookie)
    assert request.session["n"] == 1
    (replaced,) = cookies_of(request)
    request.close()
    assert replaced != cookie
    request = SessionManager(CONFIG, sql, sql).begin(replaced)
    assert request.session["n"] == 1
    assert cookies_of(request) == []
    request.close()
    moving.close()


def cookies_of(request: RequestSession) -> list[str]:
    """Return what the browser is to send from now on."""
    headers = request.response_headers(200, [], origin=lambda: Origin(https=True))
    return [value.partition(";")[0] for name, value in headers if name == "Set-Cookie"]
