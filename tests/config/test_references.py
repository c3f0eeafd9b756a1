"""SessionConfig: stores and policies that it names."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from glimr_session import ConfigError, CookieStore, SessionConfig, SessionStore, new
from glimr_session._request.cleanup import Interval, Lottery, make_policy, never

KEY = "a-key-of-this-test-that-nobody-may-see-printed"


def custom_store() -> SessionStore:
    """Return a store; a factory without parameters."""
    return new(
        load=lambda session_id: ({}, {}),
        save=lambda session_id, data, flash: None,
        destroy=lambda session_id: None,
        gc=lambda: 0,
        cookie_value=lambda session_id, data, flash: session_id,
    )


def store_of_config(config: SessionConfig) -> SessionStore:
    """Return a store; a factory with the configuration as its parameter."""
    return CookieStore(lifetime=config.lifetime)


def optional_store(lifetime: float = 60.0) -> SessionStore:
    """Return a store; a factory with an optional parameter, which is called without it."""
    return CookieStore(lifetime=lifetime)


class StoreClass(CookieStore):
    """A class that is a factory."""


def no_store() -> str:
    """Return something else than a store."""
    return "no store"


def always() -> bool:
    """Return True, as a policy."""
    return True


not_callable = 42


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("custom_store", "custom"),
        ("store_of_config", "cookie"),
        ("optional_store", "cookie"),
        ("StoreClass", "cookie"),
    ],
)
def test_a_factory_makes_the_store(name: str, kind: str) -> None:
    """make_store() calls the factory with nothing or with the configuration."""
    store = SessionConfig(store=f"{__name__}:{name}").make_store()
    assert store.kind == kind


def test_a_factory_of_one_argument_gets_the_configuration() -> None:
    """A factory with one parameter gets the configuration."""
    config = SessionConfig(store=f"{__name__}:store_of_config", lifetime=77)
    assert config.make_store().lifetime == 77.0


def test_a_factory_in_a_package_of_ones_own_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """make_store() imports the factory's module from wherever Python finds it."""
    package = tmp_path / "shop_of_this_test"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "sessions.py").write_text(
        "from glimr_session import CookieStore as make_store\n", "utf-8"
    )
    monkeypatch.syspath_prepend(tmp_path)
    config = SessionConfig.from_mapping({"store": "shop_of_this_test.sessions:make_store"})
    assert isinstance(config.make_store(), CookieStore)


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("no_such_module_here:factory", "No module named 'no_such_module_here'"),
        ("glimr_session.nowhere:factory", "No module named 'glimr_session.nowhere'"),
        (f"{__name__}:no_such_function", "no_such_function"),
        (f"{__name__}:not_callable", "of type int, which cannot be called"),
        (f"{__name__}:no_store", "'no store', which is no SessionStore"),
    ],
)
def test_a_factory_that_gives_no_store_is_named(reference: str, reason: str) -> None:
    """The error for a factory that cannot be used names it and the reason."""
    with pytest.raises(ConfigError, match=r"^store: ") as caught:
        SessionConfig(store=reference).make_store()
    assert reference in str(caught.value)
    assert reason in str(caught.value)


@pytest.mark.parametrize("reference", [".stores:factory", "..:factory", "a..b:factory"])
@pytest.mark.parametrize(
    ("setting", "make"),
    [
        ("store", lambda reference: SessionConfig(store=reference).make_store()),
        ("gc", lambda reference: make_policy(SessionConfig(gc=reference), CookieStore())),
    ],
)
def test_a_reference_that_is_relative_is_named(
    setting: str, make: Callable[[str], object], reference: str
) -> None:
    """A relative reference raises ConfigError, which quotes it."""
    with pytest.raises(ConfigError, match=rf"^{setting}: ") as caught:
        make(reference)
    assert reference in str(caught.value)


def test_an_exception_of_a_factory_goes_through() -> None:
    """make_store() lets the exception of a factory through."""
    with pytest.raises(ZeroDivisionError):
        SessionConfig(store=f"{__name__}:failing_factory").make_store()


def failing_factory() -> SessionStore:
    raise ZeroDivisionError


def test_gc_names_a_policy() -> None:
    """make_policy() knows the three names of policies."""
    store = CookieStore()
    assert isinstance(make_policy(SessionConfig(gc="lottery"), store), Lottery)
    assert isinstance(make_policy(SessionConfig(gc="interval"), store), Interval)
    assert make_policy(SessionConfig(gc="never"), store) is never


def test_gc_can_be_any_callable() -> None:
    """make_policy() returns a callable as it is."""
    assert make_policy(SessionConfig(gc=always), CookieStore()) is always


def test_gc_can_be_a_reference() -> None:
    """make_policy() imports a policy that is named as a store is."""
    config = SessionConfig.from_mapping({"gc": f"{__name__}:always"})
    assert make_policy(config, CookieStore()) is always


@pytest.mark.parametrize("reference", ["no_such_module_here:policy", f"{__name__}:not_callable"])
def test_a_reference_to_no_policy_is_named(reference: str) -> None:
    """The error for a policy that cannot be imported or called quotes its reference."""
    with pytest.raises(ConfigError, match=r"^gc: ") as caught:
        make_policy(SessionConfig(gc=reference), CookieStore())
    assert reference in str(caught.value)


def test_the_chance_of_the_lottery_is_the_configured_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """make_policy() uses gc_chance."""
    policy = make_policy(SessionConfig(gc_chance=0.25), CookieStore())
    monkeypatch.setattr(random, "random", lambda: 0.249)
    assert policy()
    monkeypatch.setattr(random, "random", lambda: 0.25)
    assert not policy()


def test_the_interval_is_the_configured_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """make_policy() uses gc_interval, in minutes from a mapping."""
    now = 1_000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    monkeypatch.setattr("time.time", lambda: now)
    config = SessionConfig.from_mapping({"gc": "interval", "gc_interval": 2})
    policy = make_policy(config, CookieStore())
    assert policy()
    now += 119
    assert not policy()
    now += 1
    assert policy()
