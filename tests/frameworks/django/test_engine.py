"""The session engine by itself, as Django's documentation uses it out of views."""

from __future__ import annotations

import gc
import re
import weakref
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.contrib.sessions.backends.base import CreateError, UpdateError
from django.core.management import call_command
from django.utils import timezone
from django.utils.functional import lazystr
from django.utils.safestring import mark_safe
from hypothesis import given
from hypothesis import strategies as st

from glimr_session._ids import join_cookie_value, key_and_number, split_cookie_value
from glimr_session.django import SessionStore
from glimr_session.django._keys import cookie_value_of, id_of_former, key_of
from glimr_session.django._setup import current
from tests.conftest import Clock
from tests.support.actors import living_session_actors


def saved(**data: Any) -> SessionStore:
    session = SessionStore()
    session.update(data)
    session.save()
    return session


def key(session: SessionStore) -> str:
    found = session.session_key
    assert found is not None
    return str(found)


# Keys.


def test_a_session_key_is_one_that_django_s_models_keep() -> None:
    """It has 40 characters of [a-z0-9]."""
    assert re.fullmatch("[a-z0-9]{40}", key(saved()))


@given(st.text(), st.integers(1, 2**63 - 1))
def test_a_key_and_a_cookie_value_stand_for_each_other(name: str, row: int) -> None:
    """Whatever the id and the number of the session."""
    value = join_cookie_value(id_of_former(name), row)
    assert cookie_value_of(key_of(value)) == value
    fresh = id_of_former(name)
    assert split_cookie_value(cookie_value_of(key_of(fresh))) == (fresh, 0)
    assert key_of(join_cookie_value(fresh, key_and_number(fresh)[1])) == key_of(fresh)


@given(st.text(st.sampled_from("0z~a"), max_size=44) | st.text(max_size=44))
def test_what_is_no_key_of_ours_names_no_session_of_ours(text: str) -> None:
    """A key is taken as it is or not at all."""
    value = cookie_value_of(text)
    assert value == "" or key_of(value) == text


def test_a_key_that_is_not_known_is_not_adopted() -> None:
    """The session that is saved has another one."""
    former = key(saved(n=1))
    SessionStore().delete(former)
    session = SessionStore(former)
    session["n"] = 2
    session.save()
    assert session.session_key not in (former, None)
    assert not session.exists(former)


# Saving.


def test_an_empty_session_that_was_saved_is_kept() -> None:
    """It exists, and nothing is in it."""
    session = saved()
    assert session.exists(session.session_key)
    again = SessionStore(session.session_key)
    assert dict(again.items()) == {}
    assert again.session_key == session.session_key


def test_a_session_is_created_with_what_is_in_it() -> None:
    """create() saves, as in Django's documentation."""
    session = SessionStore()
    session["last_login"] = 1376587691
    session.create()
    assert SessionStore(session.session_key)["last_login"] == 1376587691


def test_creating_another_session_ends_the_one_before() -> None:
    """The data goes along, and the old key is dead."""
    session = saved(n=1)
    former = key(session)
    session.create()
    assert session.session_key != former
    assert SessionStore(session.session_key)["n"] == 1
    assert not session.exists(former)


def test_a_session_that_has_a_key_cannot_be_created() -> None:
    """save(must_create=True) raises CreateError."""
    with pytest.raises(CreateError):
        SessionStore(key(saved(n=1))).save(must_create=True)


def test_a_session_that_was_deleted_is_not_brought_back() -> None:
    """save() raises UpdateError, with changes and without."""
    session = saved(n=1)
    SessionStore().delete(session.session_key)
    with pytest.raises(UpdateError):
        session.save()
    session["n"] = 2
    with pytest.raises(UpdateError):
        session.save()
    assert not session.exists(session.session_key)


def test_a_session_can_be_saved_again() -> None:
    """With nothing changed in between, as Django's middleware does after create()."""
    session = SessionStore()
    session.create()
    former = session.session_key
    session.save()
    session.save()
    assert session.session_key == former
    session.cycle_key()
    session.save()
    assert session.exists(session.session_key)
    found = SessionStore(session.session_key)
    found.cycle_key()
    found.save()
    assert found.exists(found.session_key)


def test_two_objects_that_change_different_keys_both_count() -> None:
    """Nested ones too."""
    session = saved(cart={"book": 1})
    one, other = SessionStore(session.session_key), SessionStore(session.session_key)
    one["cart"]["pen"] = 1
    other["cart"]["ink"] = 2
    other["name"] = "Ada"
    one.save()
    other.save()
    assert SessionStore(session.session_key).load() == {
        "cart": {"book": 1, "pen": 1, "ink": 2},
        "name": "Ada",
    }


def test_a_change_beside_a_new_key_is_merged_and_told() -> None:
    """save() raises UpdateError, so that the old cookie is not set over the new one."""
    session = saved(n=1)
    slow = SessionStore(session.session_key)
    slow["slow"] = True
    session.cycle_key()
    with pytest.raises(UpdateError):
        slow.save()
    assert SessionStore(session.session_key).load() == {"n": 1, "slow": True}


@pytest.mark.parametrize(
    "value",
    [
        datetime(2026, 1, 1, tzinfo=UTC),
        UUID(int=1),
        b"bytes",
        {1, 2},
        {1: "one"},
        [{"inner": {2: "two"}}],
        lazystr("Hello"),
        mark_safe("<b>"),
        float("nan"),
    ],
    ids=repr,
)
def test_what_json_does_not_give_back_is_refused_by_name(value: Any) -> None:
    """Django would pickle it, or give something else back."""
    session = saved(n=1)
    session["birthday"] = value
    with pytest.raises((TypeError, ValueError), match="'birthday'"):
        session.save()
    assert SessionStore(session.session_key).load() == {"n": 1}


def test_a_key_that_is_no_str_is_refused() -> None:
    """Django's JSON would turn it into one."""
    session = SessionStore()
    session[1] = "one"
    with pytest.raises(TypeError, match="session keys are str, not int: 1"):
        session.save()


def test_a_session_that_nobody_holds_is_nobody_s_leak() -> None:
    """No actor is left, without the garbage collector."""
    gc.collect()
    gc.disable()
    try:
        session = saved(n=1)
        seen = weakref.ref(session)
        del session
        assert seen() is None
        assert living_session_actors() == []
    finally:
        gc.enable()


# Logins.


def test_a_new_key_keeps_the_data_and_kills_the_old_key_at_once() -> None:
    """cycle_key() is what login() calls."""
    session = saved(n=1)
    former = key(session)
    session.cycle_key()
    assert session.session_key != former
    assert not session.exists(former)
    assert SessionStore(session.session_key).load() == {"n": 1}


def test_a_session_without_a_key_gets_one() -> None:
    """As Django's does."""
    session = SessionStore()
    session.cycle_key()
    assert session.exists(session.session_key)


def test_one_login_gives_one_new_key() -> None:
    """What is recorded at user_logged_in is the key that the browser gets."""
    session = saved(n=1)
    session.cycle_key()
    session["_auth_user_id"] = "7"
    during = session.session_key
    session.save()
    assert session.session_key == during


def test_a_login_by_hand_gets_a_new_key_too() -> None:
    """When the user's id changes, although nobody called cycle_key()."""
    session = saved(n=1)
    former = key(session)
    session["_auth_user_id"] = "7"
    session.save()
    assert session.session_key != former
    assert not session.exists(former)


def test_two_logins_at_once_both_succeed() -> None:
    """The second one begins a session of what it has written, and nothing that it had read."""
    session = saved(cart=["book"])
    one, other = SessionStore(session.session_key), SessionStore(session.session_key)
    assert one["cart"] == other["cart"]
    for login, user in ((one, "1"), (other, "2")):
        login.cycle_key()
        login["_auth_user_id"] = user
        login.save()
    assert SessionStore(one.session_key).load() == {"cart": ["book"], "_auth_user_id": "1"}
    assert SessionStore(other.session_key).load() == {"_auth_user_id": "2"}


def test_flush_ends_the_session_and_the_next_one_has_another_key() -> None:
    """As logout() wants it."""
    session = saved(n=1)
    former = key(session)
    session.flush()
    assert session.session_key is None
    assert session.is_empty()
    assert not session.exists(former)
    session["next"] = 2
    session.save()
    assert session.session_key != former
    assert SessionStore(session.session_key).load() == {"next": 2}


# Expiry.


def test_expiry_is_that_of_the_settings() -> None:
    """SESSION_COOKIE_AGE, in the store and for Django."""
    session = saved(n=1)
    assert session.get_expiry_age() == 1209600
    assert current().binding.store.lifetime == 1209600.0
    assert not session.get_expire_at_browser_close()


@pytest.mark.parametrize("seconds", [300, timedelta(seconds=300), None], ids=str)
def test_a_session_expires_when_it_was_told_to(
    seconds: int | timedelta | None, clock: Clock
) -> None:
    """An int counts from the last use, a timedelta from now; None is the settings' age."""
    session = saved(n=1)
    session.set_expiry(60)
    session.set_expiry(seconds)
    session.save()
    clock.now += 298  # Django counts whole seconds
    assert SessionStore(session.session_key).load()["n"] == 1
    clock.now += 3
    assert SessionStore(session.session_key).load().get("n") == (1 if seconds is None else None)


def test_a_date_of_expiry_is_not_pushed_on_by_use() -> None:
    """set_expiry(datetime) is for that moment, whatever is saved before."""
    session = saved(n=1)
    session.set_expiry(timezone.now() + timedelta(seconds=100))
    session.save()
    (stored,) = [current().binding.store.open(cookie_value_of(key(session)))]
    assert stored is not None
    assert 90 < stored.lifetime <= 100
    past = (timezone.now() - timedelta(seconds=1)).isoformat()
    session = saved(n=1)
    value = cookie_value_of(key(session))
    current().binding.store.save(value, {"n": 1, "_session_expiry": past}, {})
    late = SessionStore(session.session_key)
    assert late.load() == {}
    assert late.session_key is None
    assert not late.exists(session.session_key)


def test_the_store_holds_an_expiry() -> None:
    """As a number of seconds, as the end of the browser, and not any more."""

    def held() -> tuple[float, bool | None]:
        stored = current().binding.store.open(cookie_value_of(key(session)))
        assert stored is not None
        return stored.lifetime, stored.expire_on_close

    session = saved(n=1)
    assert held() == (0.0, None)
    session.set_expiry(300)
    session.save()
    assert held() == (300.0, None)
    session.set_expiry(0)
    session.save()
    assert held() == (0.0, True)
    session.set_expiry(None)
    session.save()
    assert held() == (0.0, False)


def test_the_verbs_of_expiry_are_django_s() -> None:
    """So Django's own middleware gives its cookie the same age."""
    session = saved(n=1)
    session.expire_after(timedelta(minutes=5))
    assert session.get_expiry_age() == 300
    session.expire_on_close()
    assert session.get_expire_at_browser_close()
    session.expire_on_close(False)
    assert not session.get_expire_at_browser_close()
    session.expire_after(None)
    assert session.get_expiry_age() == 1209600


def test_clearsessions_removes_what_has_expired(clock: Clock) -> None:
    """And nothing else."""
    old = saved(n=1)
    clock.now += 1209600 + 600
    new = saved(n=2)
    store = current().binding.store
    call_command("clearsessions")
    assert store.gc() == 0
    assert not new.exists(old.session_key)
    assert new.exists(new.session_key)


# The rest of SessionBase.


def test_the_test_cookie() -> None:
    """As Django's documentation has it."""
    session = SessionStore()
    session.set_test_cookie()
    session.save()
    again = SessionStore(session.session_key)
    assert again.test_cookie_worked()
    again.delete_test_cookie()
    again.save()
    assert not SessionStore(session.session_key).test_cookie_worked()


def test_our_verbs() -> None:
    """Flash, errors of forms and increments."""
    session = saved(n=1)
    session.flash("notice", "Saved.")
    session.flash_errors({"email": ["Write an e-mail address."]})
    assert session.increment("n", 2) == 3
    assert session.modified
    session.save()
    following = SessionStore(session.session_key)
    assert (following["n"], following.get_flash("notice")) == (3, "Saved.")
    assert following.error("email") == "Write an e-mail address."
    assert following.modified, "what was shown has to be removed"
    following.save()
    assert not SessionStore(session.session_key).has_flash("notice")


def test_flash_alone_is_something_to_save() -> None:
    """Django's middleware saves no session that is empty."""
    session = SessionStore()
    session.flash("notice", "Saved.")
    assert session.modified
    assert not session.is_empty()
