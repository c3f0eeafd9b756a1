"""SessionManager: what the requests of one application share."""

from __future__ import annotations

import logging
import os
import secrets
import threading
from collections.abc import Sequence
from typing import Final, Self

from ..config import SessionConfig
from ..registry import configured_store
from ..stores.base import NullStore, SessionStore
from .cleanup import make_policy, never
from .cookie import SessionCookie
from .request_session import RequestSession, StoreBinding
from .signing import CookieSigner

__all__ = ["SessionManager"]

logger = logging.getLogger("glimr_session")

_NO_STORE: Final = NullStore()

# A session that is only read is renewed once per tenth of its lifetime: that saves a write
# on most reads, and the session may expire up to 10 % early.
_RENEWALS_PER_LIFETIME: Final = 10


class SessionManager:
    """Begins the session of each request of an application.

    The store that was passed in beats the one of ``setup()``, which beats the one that the
    configuration asks for. With none of them sessions are forgotten after each request, and
    one warning says so. ``setup()`` may be called after the manager was made.

    Example:
        >>> manager = SessionManager.from_config(SessionConfig.from_mapping({
        ...     "store": "cookie", "secret_keys": ["a secret key of 32 characters or so"],
        ... }))
        >>> request = manager.begin("")
        >>> request.session["n"] = 1
        >>> headers = request.response_headers(200, [], secure=lambda: True)
        >>> request.close()
        >>> [name for name, _ in headers]
        ['Vary', 'Cache-Control', 'Set-Cookie']
    """

    def __init__(
        self, config: SessionConfig, store: SessionStore | None, fallback: SessionStore
    ) -> None:
        self._config = config
        self._store = store
        self._fallback = fallback
        self._binding: StoreBinding | None = None
        self._lock = threading.Lock()
        current = self._current_store()
        if current is not _NO_STORE:  # setup() may still be called
            self._bind(current)

    @classmethod
    def from_config(
        cls, config: SessionConfig | None = None, store: SessionStore | None = None
    ) -> Self:
        """Return a manager for a configuration.

        Args:
            config: None reads keys and cookie from the environment,
                ``GLIMR_SESSION_SECRET_KEYS`` and its like.
            store: None takes the store of ``setup()`` or of the configuration.

        Raises:
            ConfigError: the configuration cannot work.
        """
        fallback: SessionStore = _NO_STORE
        if config is not None and store is None and configured_store() is None:
            CookieSigner(config.secret_keys, "")  # no directory is made if the keys will not do
            fallback = config.make_store()
        return cls(
            SessionConfig.from_env(os.environ) if config is None else config, store, fallback
        )

    def begin(self, cookie_headers: str | Sequence[str] = "") -> RequestSession:
        """Begin a request; nothing is read before its session is used.

        Args:
            cookie_headers: the Cookie header, "" if there is none, or a list of several.
        """
        binding = self._binding
        if binding is None or (self._store is None and binding.store is not self._current_store()):
            binding = self._bind(self._current_store())
        return RequestSession(binding, cookie_headers)

    def _current_store(self) -> SessionStore:
        if self._store is not None:
            return self._store
        configured = configured_store()
        return self._fallback if configured is None else configured

    def _bind(self, store: SessionStore) -> StoreBinding:
        """Make what belongs to a store, once."""
        with self._lock:
            if self._binding is None or self._binding.store is not store:
                self._binding = self._make_binding(store)
            return self._binding

    def _make_binding(self, store: SessionStore) -> StoreBinding:
        config = self._config
        if store is _NO_STORE:
            logger.warning(
                "No session store is configured, so sessions are forgotten after each request. "
                "Give SessionMiddleware a config or a store, or call setup() at boot."
            )
            cookie = SessionCookie(CookieSigner([secrets.token_hex()], "never set"))
            return StoreBinding(store, cookie, renew_after=1.0, policy=never)
        lifetime = config.lifetime_with(store)
        signer = CookieSigner(
            config.secret_keys,
            f"glimr_session.{store.kind}.{config.cookie}",
            remember=store.server_side,
        )
        cookie = SessionCookie(
            signer,
            name=config.cookie,
            path=config.cookie_path,
            domain=config.cookie_domain,
            samesite=config.cookie_samesite,
            secure=config.secure,
            partitioned=config.cookie_partitioned,
            max_age=None if config.expire_on_close else lifetime,
        )
        return StoreBinding(
            store,
            cookie,
            renew_after=lifetime / _RENEWALS_PER_LIFETIME,
            policy=make_policy(config),
        )
