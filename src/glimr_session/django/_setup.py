"""What Django's settings ask for: the store, and how its sessions are named."""

from __future__ import annotations

import dataclasses
import functools
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar

from asgiref.sync import sync_to_async
from django import conf  # settings cannot be looked at, as doctest does, before they are set
from django.core.checks.security.base import SECRET_KEY_INSECURE_PREFIX
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.db import Error as DatabaseError
from django.http import parse_cookie

from .._log import warn
from .._request.cleanup import make_policy
from .._request.cookie import ReceivedCookies, SessionCookie
from .._request.manager import SessionManager
from .._request.request_session import StoreBinding
from .._request.signing import VerifiedCookie
from .._request.token import SessionToken
from .._session.values import Json, validate_key, validate_value
from .._validation import check_framework_keys
from ..config import SessionConfig
from ..errors import ConfigError, StoreUnavailable
from ..registry import configured_store
from ..stores.base import SessionStore
from ..stores.moving import ForeignSessions, MovingStore
from ._keys import cookie_value_of, id_of_former, new_id

__all__ = ["Setup", "current", "in_thread"]

P = ParamSpec("P")
R = TypeVar("R")

_MOVE_FROM: Final = "GLIMR_SESSION_MOVE_FROM"

# A module, and no reference to a function in one, which has a colon, nor one of our stores.
_ENGINE: Final = re.compile(r"\w+(\.\w+)+", re.ASCII)

_DJANGOS_OWN: Final = "django.contrib.sessions.middleware.SessionMiddleware"

_FORMER_KEY: Final = re.compile(r"[!-~]{8,4096}", re.ASCII)


class Setup:
    """A store, and what belongs to it.

    Args:
        configured: the store of ``setup()``, if there is one.

    Attributes:
        config: the settings, without those of the cookie.
        binding: for Django's own middleware, where the cookie is Django's: the Cookie header
            of a request is its session key.
        thread_sensitive: whether the store may only be used in Django's own thread, as the
            database of a former engine.

    Raises:
        ImproperlyConfigured: the settings cannot work.
    """

    def __init__(self, configured: SessionStore | None) -> None:
        self._environ = dict(os.environ)
        self._given = dict(getattr(conf.settings, "GLIMR_SESSION", {}))
        former = self._environ.get(_MOVE_FROM) or self._given.get("move_from", "")
        self.thread_sensitive = isinstance(former, str) and bool(_ENGINE.fullmatch(former))
        if self.thread_sensitive:
            self._environ.pop(_MOVE_FROM, None)
            self._given.pop("move_from", None)
        keys: list[str] = []
        if not self._has_keys:  # Django's may be too weak to sign, and good enough for its own uses
            with suppress(ConfigError, ImproperlyConfigured):
                keys = _secret_keys()
        config = self._read(
            lifetime=conf.settings.SESSION_COOKIE_AGE / 60,
            expire_on_close=conf.settings.SESSION_EXPIRE_AT_BROWSER_CLOSE,
            secret_keys=keys,
        )
        if config.transport == "header" and _DJANGOS_OWN in conf.settings.MIDDLEWARE:
            raise ImproperlyConfigured(
                'GLIMR_SESSION: transport = "header" needs our middleware: Django\'s own knows '
                "cookies alone. Put glimr_session.django.SessionMiddleware in its place in "
                "MIDDLEWARE."
            )
        directory, base = os.fspath(config.disk_directory), getattr(conf.settings, "BASE_DIR", None)
        if base is not None and directory[:1] not in ("~", "$"):
            config = dataclasses.replace(config, disk_directory=Path(base) / directory)
        self.config = config
        unmeasured = dataclasses.replace(config, metrics="")
        self._made = unmeasured.make_store() if configured is None else None
        store = self._made or configured
        if store is None or not store.server_side:
            raise ImproperlyConfigured(
                "Django's session keys are too short to hold a session, so the sessions cannot "
                'be in the cookie. Set GLIMR_SESSION = {"store": "disk"}, or "redis" or "sql".'
            )
        if self.thread_sensitive:
            store = MovingStore(store, _FormerSessions(former))
        config.equip(store)
        store = config.metered(store)
        self.binding = StoreBinding(
            store,
            _SessionKeys(),
            config.lifetime_with(store),
            make_policy(config, store),
            config.flash_until_read,
            config.commit_on_error,
            new_id,
        )

    @functools.cached_property
    def cookie_binding(self) -> StoreBinding:
        """For our middleware, where the cookie is ours."""
        with _told():
            return self._bind_cookie()

    def _bind_cookie(self) -> StoreBinding:
        config = self._read(
            lifetime=conf.settings.SESSION_COOKIE_AGE / 60,
            expire_on_close=conf.settings.SESSION_EXPIRE_AT_BROWSER_CLOSE,
            secret_keys=[] if self._has_keys else _secret_keys(),
            cookie=conf.settings.SESSION_COOKIE_NAME,
            cookie_path=conf.settings.SESSION_COOKIE_PATH,
            cookie_domain=conf.settings.SESSION_COOKIE_DOMAIN or "",
            cookie_samesite=conf.settings.SESSION_COOKIE_SAMESITE or "Lax",
            cookie_secure=(
                conf.settings.SESSION_COOKIE_SECURE
                if conf.settings.is_overridden("SESSION_COOKIE_SECURE")
                else "auto"
            ),
        )
        binding = SessionManager.from_config(config, self.binding.store).binding
        ours = binding.cookie
        cookie = _Token(ours) if isinstance(ours, SessionToken) else _Cookie(ours)
        return binding._replace(cookie=cookie, policy=self.binding.policy, new_id=new_id)

    @property
    def _has_keys(self) -> bool:
        return bool(
            self._given.get("secret_keys") or self._environ.get("GLIMR_SESSION_SECRET_KEYS")
        )

    def close(self) -> None:
        """Close the store, unless it is that of ``setup()``."""
        if self._made is not None:
            self._made.close()

    def _read(self, **django: Any) -> SessionConfig:
        """Return the configuration, in which Django's settings stand where ours say nothing."""
        return SessionConfig.from_mapping(self._given, self._environ, defaults=django)


def _secret_keys() -> list[str]:
    """Return Django's keys, the one that signs first."""
    keys = [conf.settings.SECRET_KEY, *conf.settings.SECRET_KEY_FALLBACKS]
    # The rest of a key of startproject is random; Django's own checks tell of it at a deploy.
    keys = [str(key).removeprefix(SECRET_KEY_INSECURE_PREFIX) for key in keys]
    check_framework_keys(keys)
    return keys


_setups: Final[dict[SessionStore | None, Setup]] = {}


def current() -> Setup:
    """Return what the settings ask for now.

    Raises:
        ImproperlyConfigured: they cannot work.
    """
    configured = configured_store()
    found = _setups.get(configured)
    if found is None:
        with _told():
            made = Setup(configured)
        found = _setups.setdefault(configured, made)  # of two threads one wins
    return found


@contextmanager
def _told() -> Iterator[None]:
    """Tell of wrong settings as Django does."""
    try:
        yield
    except ConfigError as error:
        raise ImproperlyConfigured(f"GLIMR_SESSION: {error}") from error


def _forget(*, setting: str, **_more: object) -> None:
    """Read the settings anew after a test has changed them."""
    if setting.startswith(("GLIMR_SESSION", "SESSION_", "SECRET_KEY", "BASE_DIR")):
        for setup in _setups.values():
            setup.close()
        _setups.clear()


setting_changed.connect(_forget)


async def in_thread(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call a function that may use the store, without blocking the event loop."""
    run = sync_to_async(function, thread_sensitive=current().thread_sensitive)
    return await run(*args, **kwargs)


class _SessionKeys(SessionCookie):
    """Stands for Django's cookie, which Django's own middleware reads and sets."""

    def __init__(self) -> None:
        self.name = conf.settings.SESSION_COOKIE_NAME

    def read(self, headers: str | Sequence[str]) -> ReceivedCookies:
        """Return the session that a session key names; a key of a former engine too."""
        key = headers if isinstance(headers, str) else "".join(headers)
        value = cookie_value_of(key)
        if value:
            return ReceivedCookies((VerifiedCookie(value, 0.0),), refused=False)
        foreign = VerifiedCookie(f"~{key}", 0.0, former=True, foreign=True)
        return ReceivedCookies((foreign,) if key else (), refused=False)


class _Cookie(SessionCookie):
    """The signed cookie, where a session key is accepted too.

    Django's own middleware has set it before, or Django's test client has, or a test that hands
    the key to a browser. The response replaces it by a signed cookie.
    """

    def __init__(self, cookie: SessionCookie) -> None:
        vars(self).update(vars(cookie))

    def read(self, headers: str | Sequence[str]) -> ReceivedCookies:
        header = headers if isinstance(headers, str) else "; ".join(headers)
        received = super().read(header)
        signed = [cookie for cookie in received.verified if not cookie.foreign]
        if signed:
            return _due(received)
        if value := cookie_value_of(parse_cookie(header).get(self.name, "")):
            return ReceivedCookies((VerifiedCookie(value, 0.0, former=True),), refused=False)
        return received


class _Token(SessionToken):
    """The token, which is renewed by each request if Django is to save in each."""

    def __init__(self, token: SessionToken) -> None:
        vars(self).update(vars(token))

    def read(self, headers: str | Sequence[str]) -> ReceivedCookies:
        return _due(super().read(headers))


def _due(received: ReceivedCookies) -> ReceivedCookies:
    """Return what was received, with its renewal due if Django is to save in each request."""
    if not conf.settings.SESSION_SAVE_EVERY_REQUEST:
        return received
    due = tuple(cookie._replace(issued_at=0.0) for cookie in received.verified)
    return received._replace(verified=due)


class _FormerSessions(ForeignSessions):
    """The sessions of an engine that was used before.

    Args:
        engine: the name of its module.
    """

    def __init__(self, engine: str) -> None:
        try:
            self._engine = import_module(engine).SessionStore
        except (ImportError, AttributeError) as error:
            raise ImproperlyConfigured(
                f"GLIMR_SESSION: move_from: {engine!r} is no session engine: {error}"
            ) from error
        super().__init__(
            conf.settings.SESSION_COOKIE_NAME,
            self._load_former,
            self._delete_former,
            lifetime=conf.settings.SESSION_COOKIE_AGE,
        )

    def id_of(self, cookie_value: str) -> str:
        """Return the id here, in the form of ours: the same for all requests with this key."""
        return id_of_former(cookie_value)

    def _load_former(self, key: str) -> dict[str, Json] | None:
        if not _FORMER_KEY.fullmatch(key):
            return None
        try:
            found = self._engine(key).load()
        except DatabaseError as error:
            raise StoreUnavailable(f"the former sessions cannot be read: {error}") from error
        data: dict[str, Json] = {}
        for name, value in found.items():
            try:
                data[validate_key(name)] = validate_value(name, value)
            except (TypeError, ValueError) as error:
                warn("A value of a former session was left behind: %s", error)
        return data

    def _delete_former(self, key: str) -> None:
        try:
            self._engine(key).delete(key)
        except DatabaseError as error:
            raise StoreUnavailable(f"a former session cannot be removed: {error}") from error
