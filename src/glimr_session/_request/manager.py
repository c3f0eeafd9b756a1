"""SessionManager: what the requests of one application share."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from typing import Final, Self
from weakref import WeakValueDictionary

from .._log import warn
from .._validation import to_seconds
from ..config import SessionConfig
from ..registry import configured_store
from ..stores.base import NullStore, SessionStore
from .cleanup import make_policy, never
from .cookie import SessionCookie
from .request_session import RequestSession, StoreBinding
from .signing import CookieSigner
from .token import SessionToken, Transport

__all__ = ["SessionManager"]

_NO_STORE: Final = NullStore()

# The kinds of our stores on the server. Their cookies are ids, which mean nothing where they are
# unknown; and a session that was moved, or restored, from one to another is found by its own.
_SERVER_KINDS: Final = ("disk", "redis", "sql")


class SessionManager:
    """Begins the session of each request of an application.

    The store that was passed in beats the one of ``setup()``, which beats the one that the
    configuration asks for. With none of them sessions are forgotten after each request, and
    one warning says so. ``setup()`` may be called after the manager was made.

    Example:
        >>> from glimr_session._request.origin import Origin
        >>> manager = SessionManager.from_config(SessionConfig.from_mapping({
        ...     "store": "cookie", "secret_keys": ["oUv7 - 32 characters, made at random"],
        ... }))
        >>> request = manager.begin("")
        >>> request.session["n"] = 1
        >>> headers = request.response_headers(200, [], origin=lambda: Origin(https=True))
        >>> request.close()
        >>> [name for name, _ in headers]
        ['Vary', 'Cache-Control', 'Set-Cookie']
    """

    def __init__(
        self, config: SessionConfig, store: SessionStore | None, fallback: SessionStore
    ) -> None:
        self._config = config
        self._transport = SessionToken if config.transport == "header" else SessionCookie
        self._store = store
        self._fallback = fallback
        self._binding: StoreBinding | None = None
        current = self._current_store()
        if current is not _NO_STORE:  # setup() may still be called
            self._bind(current)

    @property
    def request_header(self) -> str:
        """The name of the header that the session comes in: what ``begin`` takes."""
        return self._transport.request_header

    @property
    def environ_key(self) -> str:
        """Where CGI, and so WSGI's environ, has that header."""
        return self._transport.environ_key

    @property
    def key(self) -> str:
        """Where a door puts the session: the setting ``key``."""
        return self._config.key

    @property
    def login_keys(self) -> tuple[str, ...]:
        """The setting ``login_key``, as LiveSession takes it."""
        return (self._config.login_key,) if self._config.login_key else ()

    @property
    def owner_keys(self) -> tuple[str, ...]:
        """The setting ``owner_from_login``, as LiveSession takes it."""
        return self.login_keys if self._config.owner_from_login else ()

    @property
    def binding(self) -> StoreBinding:
        """The store of the requests that begin now, and what belongs to it."""
        binding = self._binding
        if binding is None or (self._store is None and binding.given is not self._current_store()):
            binding = self._bind(self._current_store())
        return binding

    @classmethod
    def from_config(
        cls, config: SessionConfig | None = None, store: SessionStore | None = None
    ) -> Self:
        """Return a manager for a configuration.

        Args:
            config: None reads the environment, ``GLIMR_SESSION_SECRET_KEYS`` and its like.
            store: None takes the store of ``setup()`` or of the configuration. An environment
                without ``GLIMR_SESSION_STORE`` asks for none.

        Raises:
            ConfigError: the configuration cannot work.
        """
        asks_for_store = config is not None or bool(os.environ.get("GLIMR_SESSION_STORE"))
        settings = SessionConfig.from_env(os.environ) if config is None else config
        fallback: SessionStore = _NO_STORE
        if asks_for_store and store is None and configured_store() is None:
            CookieSigner(settings.secret_keys, "")  # no directory is made if the keys will not do
            fallback = settings.make_store()
        return cls(settings, store, fallback)

    @classmethod
    def shared(cls, config: SessionConfig | None, store: SessionStore | None) -> SessionManager:
        """Return a manager, the same one for all that ask with one configuration and no store.

        Litestar makes its middleware for each route: they share a store, and its connections.

        Raises:
            ConfigError: the configuration cannot work.
        """
        if config is None or store is not None:
            return cls.from_config(config, store)
        return _shared.get(config) or _shared.setdefault(config, cls.from_config(config))

    def begin(self, headers: str | Sequence[str] = "") -> RequestSession:
        """Begin a request; nothing is read before its session is used.

        Args:
            headers: the Cookie header, or that of ``transport``; "" if there is none, or a list
                of several.
        """
        return RequestSession(self.binding, headers)

    def _current_store(self) -> SessionStore:
        if self._store is not None:
            return self._store
        configured = configured_store()
        return self._fallback if configured is None else configured

    def _bind(self, store: SessionStore) -> StoreBinding:
        """Make what belongs to a store. Threads that do it at once make it twice, in vain."""
        self._binding = binding = self._make_binding(store)
        return binding

    def _make_binding(self, store: SessionStore) -> StoreBinding:
        config = self._config
        if store is _NO_STORE:
            warn(
                "No session store is configured, so sessions are forgotten after each request. "
                "Give SessionMiddleware a config or a store, or call setup() at boot.",
                once=True,
            )
            nobody = self._transport(CookieSigner([secrets.token_hex()], "never sent"))
            return StoreBinding(store, nobody, lifetime=1.0, policy=never, given=store)
        config.equip(store)
        given, store = store, config.metered(store)
        lifetime = config.lifetime_with(store)
        signer = CookieSigner(
            config.secret_keys,
            _salt(store.kind, config),
            former_salts=[_salt(kind, config) for kind in _former_kinds(store)],
            remember=store.server_side,
            grace=to_seconds("rotation_grace", config.rotation_grace, allow_zero=True),
        )
        cookie: Transport = SessionToken(signer)
        if config.transport == "cookie":
            cookie = SessionCookie(
                signer,
                name=config.cookie,
                path=config.cookie_path,
                domain=config.cookie_domain,
                samesite=config.cookie_samesite,
                secure=config.secure,
                partitioned=config.cookie_partitioned,
                lifetime=min(lifetime, store.absolute_lifetime or lifetime),
                on_close=config.expire_on_close,
                former_name=store.former_cookie,
            )
        return StoreBinding(
            store,
            cookie,
            lifetime,
            make_policy(config, store),
            flash_until_read=config.flash_until_read,
            commit_on_error=config.commit_on_error,
            given=given,
        )


_shared: Final = WeakValueDictionary[SessionConfig, SessionManager]()


def _former_kinds(store: SessionStore) -> list[str]:
    """Return the kinds of store whose cookies are taken too, and replaced."""
    server_kinds = _SERVER_KINDS if store.server_side else ()
    kinds = dict.fromkeys((*store.former_kinds, *server_kinds))
    return [kind for kind in kinds if kind != store.kind]


def _salt(kind: str, config: SessionConfig) -> str:
    # No cookie is a token, whatever the names: they begin differently.
    start = "glimr_session" if config.transport == "cookie" else "glimr_session_token"
    return f"{start}.{kind}.{config.cookie}"
