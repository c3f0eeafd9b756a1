# pyright: strict
"""What users write: no checker may report anything here. See ``test_typing.py``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, assert_type

from glimr_session import (
    CommitResult,
    ConfigError,
    CookieStore,
    DiskStore,
    Json,
    Session,
    SessionClosed,
    SessionConfig,
    SessionError,
    SessionMiddleware,
    SessionStore,
    SessionTooLarge,
    StoredSession,
    StoreUnavailable,
    configured_store,
    cookie_store,
    cookie_value,
    decode_payload,
    destroy,
    disk_store,
    empty,
    encode_payload,
    flash_errors,
    flash_old,
    gc,
    generate_id,
    load,
    new,
    reset,
    save,
    setup,
    start_cookie,
    start_disk,
)
from glimr_session.testing import Steps, Visitor


def write(session: Session) -> None:
    """Values of narrower types than Json can be put."""
    names: list[str] = ["book", "pen"]
    prices: dict[str, int] = {"book": 12}
    rows: list[dict[str, list[float]]] = [{"a": [1.5]}]
    pair: tuple[str, int] = ("book", 1)
    read_only: Mapping[str, Sequence[int]] = {"a": [1]}
    session.put("text", "a")
    session.put("number", 1.5)
    session.put("nothing", None)
    session.put("names", names)
    session.put("prices", prices)
    session.put("rows", rows)
    session.put("pair", pair)
    session.put("read only", read_only)
    session.put("nested", {"a": [1, "b", None, {"c": (True, 2.5)}]})
    session["names"] = names
    session["prices"] = prices
    session["pair"] = pair
    session.update({"a": 1}, b=names, c=prices)
    session.update([("a", 1)])
    session.flash("names", names)
    session.now("prices", prices)
    session.keep("names", "prices")
    session.reflash()
    session.forget("names")
    session.clear()
    session.regenerate()
    session.invalidate()
    del session["names"]


def read(session: Session) -> None:
    """What is read is Any: a user narrows it, or uses it as it is."""
    session["cart"].append("pen")
    total: int = session["total"] + 1
    name: str = session.get("name", "nobody")
    names: list[str] = session.get("names", [])
    user: dict[str, str] = session["user"]
    assert_type(session["a"], Any)
    assert_type(session.get("a"), Any)
    assert_type(session.get("a", 1), Any)
    assert_type(session.pull("a"), Any)
    assert_type(session.pop("a"), Any)
    assert_type(session.popitem(), tuple[str, Any])
    assert_type(session.setdefault("a", names), Any)
    assert_type(session.get_flash("a"), Any)
    assert_type(session.get_flash_or("a", []), Any)
    assert_type(session.error("email"), Any)
    assert_type(session.old("email"), Any)
    assert_type(session.all(), dict[str, Any])
    assert_type(dict(session), dict[str, Any])
    assert_type(session.increment("n"), int | float)
    assert_type(session.increment("n", 1.5), int | float)
    assert_type(session.has("a"), bool)
    assert_type(session.has_flash("a"), bool)
    assert_type(session.has_error("a"), bool)
    assert_type(session.id, str)
    assert_type("a" in session, bool)
    assert_type(len(session), int)
    assert_type(list(session), list[str])
    for key, value in session.items():
        assert_type(key, str)
        assert_type(value, Any)
    print(total, name, user)


def a_mapping(values: Mapping[str, Any]) -> int:
    """A session is a mapping."""
    return len(values)


def start() -> None:
    """A session is started with plain dicts, and can be empty."""
    data: dict[str, int] = {"a": 1}
    session = Session.start(generate_id(), data, {"notice": ["a", "b"]})
    a_mapping(session)
    a_mapping(empty())
    session.stop()


def forms(session: Session) -> None:
    """Forms libraries have dicts of several types."""
    errors: dict[str, list[str]] = {"email": ["Not an address."]}
    typed: dict[str, str] = {"email": "me@"}
    flash_errors(session, errors)
    flash_errors(session, {"email": "Not an address.", None: ["Wrong."]})
    flash_old(session, typed, except_=["email"])


def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Serve one request."""
    session: Session = environ["glimr.session"]
    start_response("200 OK", [])
    return [f"{session.increment('visits')}".encode()]


def configure() -> SessionMiddleware:
    """A configuration is made in code, from a mapping, a file or the environment."""
    keys: list[str] = ["oUv7 - 32 characters, made at random"]
    config = SessionConfig(
        store="cookie",
        secret_keys=keys,
        lifetime=timedelta(hours=1),
        absolute_lifetime=86_400,
        cookie_secure=True,
        gc=lambda: False,
        disk_directory=Path("var/sessions"),
    )
    SessionConfig.from_mapping({"store": "cookie", "lifetime": 60})
    SessionConfig.from_env({"GLIMR_SESSION_STORE": "cookie"})
    SessionConfig.from_toml("session.toml", {})
    SessionConfig.from_toml(Path("session.toml"))
    SessionMiddleware(app)
    SessionMiddleware(app, config, store=CookieStore())
    return SessionMiddleware(app, config)


def stores() -> None:
    """Stores are set up, and used as the functions of the reference."""
    setup(CookieStore(lifetime=600, absolute_lifetime=timedelta(days=1)))
    setup(cookie_store())
    setup(DiskStore("var/sessions", lifetime=600))
    setup(disk_store(Path("var/sessions")))
    start_cookie(lifetime=600)
    start_disk("var/sessions", lifetime=600)
    assert_type(configured_store(), SessionStore | None)
    data, flash = load("id")
    assert_type(data, dict[str, Json])
    save("id", data, flash)
    destroy("id")
    assert_type(gc(), int)
    assert_type(cookie_value("id", data, flash), str)
    payload = encode_payload(data, flash)
    assert_type(payload, str)
    assert_type(decode_payload(payload), tuple[dict[str, Json], dict[str, Json]])
    reset()


def own_store() -> SessionStore:
    """A store is made of five functions."""
    kept: dict[str, tuple[dict[str, Json], dict[str, Json]]] = {}

    def save_it(session_id: str, data: dict[str, Json], flash: dict[str, Json]) -> None:
        kept[session_id] = data, flash

    def destroy_it(session_id: str) -> None:
        kept.pop(session_id, None)

    store = new(
        load=lambda session_id: kept.get(session_id, ({}, {})),
        save=save_it,
        destroy=destroy_it,
        gc=lambda: None,
        cookie_value=lambda session_id, data, flash: session_id,
    )
    assert_type(store, SessionStore)
    return SessionStore.from_functions(
        load=store.load,
        save=store.save,
        destroy=store.destroy,
        gc=store.gc,
        cookie_value=store.cookie_value,
    )


def errors(session: Session) -> str:
    """Errors are caught by their names."""
    try:
        session.put("a", 1)
    except SessionTooLarge as error:
        return f"{error.size} of {error.limit}"
    except (ConfigError, SessionClosed, StoreUnavailable) as error:
        return str(error)
    except SessionError:
        return "any other"
    return CommitResult.stored("value").cookie_value


def tests(store: SessionStore) -> None:
    """Applications are tested with a visitor, or with steps."""
    with Visitor(store) as visitor:
        visit = visitor.request()
        visit.session["a"] = [1]
        assert_type(visit.respond(), str | None)
    answers = Steps(store).run("one opens", one=lambda: visitor.request().open())
    assert_type(answers, dict[str, Any])
    stored = StoredSession(id="1" * 64, data={"a": 1})
    assert_type(stored.id, str)
