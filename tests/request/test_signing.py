"""CookieSigner: what verifies, with which keys, and what does not."""

from __future__ import annotations

import hashlib
from typing import Any

import itsdangerous
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glimr_session import ConfigError, CookieStore, SessionConfig, new
from glimr_session._request.cookie import SessionCookie
from glimr_session._request.origin import Origin
from glimr_session._request.signing import (
    CookieSigner,
    VerifiedCookie,
    _Signer,  # pyright: ignore[reportPrivateUsage]
)
from tests.support.cookies import make_cookie

KEY = "a first key of 32 characters, at least"


OTHER_KEY = "some other key, long enough for this"


SALT = "the salt of these tests"


NAME = "glimr_session"


SIGNER = CookieSigner([KEY], SALT)


COOKIE = SessionCookie(SIGNER)


HTTPS = Origin(https=True, host="testserver")


SIGNED = SIGNER.sign("ours")


REMEMBERING = CookieSigner([KEY], SALT, remember=True)
GOOD = f"{NAME}={SIGNED}"
ISSUED_AT = int(SIGNED.split(".")[1], 16) / 1000


# RFC 6265, section 4.1.1: what a cookie's value can be made of.
OCTETS = "".join(character for character in map(chr, range(0x21, 0x7F)) if character not in '",;\\')


any_text = st.text(st.characters(categories=None))  # lone surrogates too


def value_of(header: str, cookie: SessionCookie = COOKIE) -> str | None:
    """Return the value of the one cookie that verifies, or None."""
    verified = cookie.read(header).verified
    return verified[0].value if len(verified) == 1 else None


def test_the_time_of_signing_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """unsign() returns the time of signing to the millisecond."""
    monkeypatch.setattr("time.time", lambda: 1_234_567_890.123)
    verified = SIGNER.unsign(SIGNER.sign("x"))
    assert verified is not None
    assert verified.issued_at == 1_234_567_890.123


def test_no_other_character_in_a_signed_value_verifies() -> None:
    """No change of any character of a signed value verifies."""
    accepted = [
        (position, other)
        for position, character in enumerate(SIGNED)
        for other in map(chr, range(0x80))
        if other != character and SIGNER.unsign(SIGNED[:position] + other + SIGNED[position + 1 :])
    ]
    assert accepted == []


def test_no_part_of_a_signed_value_verifies() -> None:
    """No truncated signed value verifies."""
    parts = {SIGNED[:end] for end in range(len(SIGNED))}
    parts |= {SIGNED[start:] for start in range(1, len(SIGNED) + 1)}
    assert [part for part in parts if SIGNER.unsign(part)] == []


@given(st.integers(0, len(SIGNED)), st.integers(0, 3), any_text | st.text(OCTETS) | st.just("="))
def test_no_change_of_a_signed_value_verifies(position: int, removed: int, added: str) -> None:
    """No removal from and no insertion into a signed value verifies."""
    changed = SIGNED[:position] + added + SIGNED[position + removed :]
    if changed != SIGNED:
        assert SIGNER.unsign(changed) is None


@pytest.mark.parametrize("value", ["ours", "ours.", ".ours", "", "."])
def test_a_signature_without_a_time_does_not_verify(value: str) -> None:
    """A value that the same key signed without a time does not verify."""
    signer = SIGNER._signer  # pyright: ignore[reportPrivateUsage]
    assert SIGNER.unsign(signer.sign(value).decode()) is None


def test_the_first_key_signs_and_all_verify() -> None:
    """The first key signs, and all keys verify."""
    both = CookieSigner([OTHER_KEY, KEY], SALT)
    assert both.unsign(SIGNER.sign("old")) is not None
    assert SIGNER.unsign(both.sign("new")) is None
    assert CookieSigner([OTHER_KEY], SALT).unsign(both.sign("new")) is not None


def test_a_removed_key_does_not_verify() -> None:
    """A cookie that was signed with a removed key does not verify."""
    cookie = SessionCookie(CookieSigner([OTHER_KEY], SALT))
    assert not cookie.read(GOOD).verified
    assert cookie.read(GOOD).refused is True
    assert COOKIE.read(GOOD).refused is False


@pytest.mark.parametrize("position", [0, 1])
def test_a_short_key_is_refused_and_not_quoted(position: int) -> None:
    """The error for a short key names the key and the remedy and does not quote the key."""
    short = "tiny-secret-of-thirty-one-chars"
    assert len(short) == 31
    keys = [KEY, KEY]
    keys[position] = short
    with pytest.raises(ConfigError) as caught:
        CookieSigner(keys, SALT)
    message = str(caught.value)
    assert f"secret_keys[{position}]" in message
    assert "secrets.token_hex" in message
    assert "GLIMR_SESSION_SECRET_KEYS" in message
    assert "32" in message
    assert short[:8] not in message
    assert KEY not in message


def test_a_key_of_32_characters_is_long_enough() -> None:
    """A key of 32 characters is accepted."""
    assert CookieSigner([KEY[:32]], SALT).sign("x")


def test_no_key_at_all_is_refused() -> None:
    """A signer without keys raises ConfigError, which says how to make one."""
    with pytest.raises(ConfigError, match=r"secret_keys.*secrets\.token_hex"):
        CookieSigner([], SALT)


def test_cookies_of_another_name_kind_or_key_do_not_verify() -> None:
    """A cookie of another name, kind of store or key does not verify."""

    def config(**settings: Any) -> SessionConfig:
        return SessionConfig(secret_keys=[KEY], **settings)

    custom = new(
        load=lambda session_id: ({}, {}),
        save=lambda session_id, data, flash: None,
        destroy=lambda session_id: None,
        gc=lambda: 0,
        cookie_value=lambda session_id, data, flash: session_id,
    )
    ours = make_cookie(config(), CookieStore())
    header = ours.set("x", HTTPS).partition(";")[0]
    assert value_of(header, ours) == "x"
    assert value_of(header, make_cookie(config(), CookieStore())) == "x"
    assert value_of(header, make_cookie(config(), custom)) is None
    renamed = make_cookie(config(cookie="other"), CookieStore())
    assert value_of(header.replace(NAME, "other", 1), renamed) is None
    other_key = make_cookie(SessionConfig(secret_keys=[OTHER_KEY]), CookieStore())
    assert value_of(header, other_key) is None


def test_signatures_are_those_of_itsdangerous() -> None:
    """The signatures are byte for byte those of itsdangerous."""
    keys = ["an old key of more than 32 characters", "a new key of more than 32 characters"]
    theirs = itsdangerous.Signer(
        keys, salt="salt", key_derivation="hmac", digest_method=hashlib.sha256
    )
    ours = CookieSigner(list(reversed(keys)), "salt")
    signed = ours.sign("value")
    assert theirs.unsign(signed).startswith(b"value.")
    theirs_signed = theirs.sign("value.19d3f1a8c00").decode()
    assert ours.unsign(theirs_signed) == VerifiedCookie("value", 0x19D3F1A8C00 / 1000)


@given(st.lists(st.sampled_from([SIGNED, SIGNED[:-1], "", "forged"]) | st.text(OCTETS)))
def test_a_signer_that_remembers_answers_as_one_that_does_not(candidates: list[str]) -> None:
    """unsign() returns the same with and without remembered cookies."""
    for candidate in [*candidates, *candidates]:
        assert REMEMBERING.unsign(candidate) == SIGNER.unsign(candidate)


def test_forged_cookies_drive_out_no_remembered_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signer remembers its cookies however many forged ones come between."""
    signer = CookieSigner([KEY], SALT, remember=True)
    assert signer.unsign(SIGNED) is not None
    for number in range(3_000):
        assert signer.unsign(f"forged-{number}.{SIGNED}") is None
    monkeypatch.setattr(_Signer, "verify_signature", lambda *_: pytest.fail("verified again"))
    assert signer.unsign(SIGNED) == VerifiedCookie("ours", ISSUED_AT)
