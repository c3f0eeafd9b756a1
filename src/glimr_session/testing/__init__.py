"""For the tests of your application, and of a store of your own.

    from glimr_session.testing import Visitor

    def test_what_is_put_into_the_cart_survives_a_login(store):
        with Visitor(store) as visitor:
            begin = visitor.request()
            begin.session["book"] = 1
            begin.respond()
            cart, login = visitor.request().open(), visitor.request()
            login.session.regenerate()
            login.respond()
            cart.session["book"] = 2
            cart.respond()
            assert visitor.request().session["book"] == 2

:class:`Visitor` takes the requests of one browser step by step, in the order of the
lines of the test. :class:`Steps` does that with requests to a whole application.
:func:`seed_session` begins a session for an ordinary test client, and :func:`read_session`
shows what is in one. :class:`StoreContract` is what every store must do, as tests for pytest.
"""

from typing import TYPE_CHECKING, Any

from .clients import Visit, Visitor
from .interleavings import Steps
from .seeding import SeededCookie, SessionContent, read_session, seed_session

if TYPE_CHECKING:
    from .contract import StoreContract

__all__ = [
    "SeededCookie",
    "SessionContent",
    "Steps",
    "StoreContract",
    "Visit",
    "Visitor",
    "read_session",
    "seed_session",
]


def __getattr__(name: str) -> Any:
    """Load the contract when it is asked for: only that needs pytest and Hypothesis."""
    if name != "StoreContract":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        import pytest

        for part in ("contract", "owners", "requests"):
            pytest.register_assert_rewrite(f"{__name__}.{part}")
        from .contract import StoreContract
    except ModuleNotFoundError as error:
        raise ImportError(
            f"StoreContract needs {error.name}; run: pip install 'glimr-session[testing]'"
        ) from error
    return StoreContract
