"""What only the cookie store does."""

from __future__ import annotations

import base64

import pytest

from glimr_session import CookieStore


@pytest.mark.parametrize(
    "payload",
    [b"", b"{", b"[]", b"null", b"\xff", b"5", b'{"_data":5}', b"[" * 100_000, b"1" * 10_000],
)
def test_a_cookie_payload_that_is_no_session_is_absent(payload: bytes) -> None:
    """The store takes whatever it cannot read for no session, and raises nothing."""
    cookie_value = base64.urlsafe_b64encode(payload).decode()
    assert CookieStore().open(cookie_value) is None


@pytest.mark.parametrize("cookie_value", ["{}", "", "e30", "é", "A", "====", "\0"])
def test_a_cookie_value_that_is_no_session_is_absent(cookie_value: str) -> None:
    """The store takes text that is no base64, or an empty object, for no session."""
    assert CookieStore().open(cookie_value) is None
