"""Checks of settings: what each accepts, and what its error says."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glimr_session import ConfigError
from glimr_session._validation import (
    check_chance,
    check_cookie_attributes,
    check_durability,
    check_secret_keys,
    import_string,
    safe_repr,
    to_seconds,
    why_secure,
)

KEY = "a key of the tests of validation, long enough"


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


@given(st.text() | st.integers() | st.floats() | st.binary() | st.none())
def test_safe_repr_is_repr_where_there_is_one(value: object) -> None:
    """safe_repr() returns the repr of any ordinary value."""
    assert safe_repr(value) == repr(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (10**5_000, "a very large int"),
        (nested(100_000), "a very large list"),
        ({"a": nested(100_000)}, "a very large dict"),
    ],
    ids=["int", "list", "dict"],
)
def test_safe_repr_never_fails(value: object, expected: str) -> None:
    """safe_repr() names the type of a value that has no repr."""
    assert safe_repr(value) == expected


@pytest.mark.parametrize(
    ("duration", "seconds"),
    [
        (timedelta(minutes=2), 120.0),
        (timedelta(microseconds=1), 1e-6),
        (5, 5.0),
        (0.5, 0.5),
        (10**300, 1e300),
    ],
    ids=str,
)
def test_to_seconds_takes_a_timedelta_or_a_number(
    duration: timedelta | float, seconds: float
) -> None:
    """to_seconds() returns a timedelta or a number as a float of seconds."""
    found = to_seconds("lifetime", duration)
    assert type(found) is float
    assert found == seconds


@pytest.mark.parametrize("zero", [0, 0.0, -0.0, timedelta(0)], ids=repr)
def test_to_seconds_takes_zero_only_if_it_may(zero: timedelta | float) -> None:
    """to_seconds() refuses 0 unless ``allow_zero`` is set."""
    assert to_seconds("absolute_lifetime", zero, allow_zero=True) == 0
    with pytest.raises(ConfigError, match="lifetime must be more than 0 seconds"):
        to_seconds("lifetime", zero)


@pytest.mark.parametrize("allow_zero", [False, True])
@pytest.mark.parametrize(
    "duration",
    [-1, -0.001, timedelta(-1), float("nan"), float("inf"), float("-inf"), 10**400, 10**5_000],
    ids=lambda duration: safe_repr(duration)[:12],
)
def test_to_seconds_refuses_what_no_clock_has(duration: Any, allow_zero: bool) -> None:
    """to_seconds() refuses negative and infinite durations and names the setting."""
    with pytest.raises(ConfigError, match=r"^lifetime must be ") as caught:
        to_seconds("lifetime", duration, allow_zero=allow_zero)
    assert safe_repr(duration) in str(caught.value)


@pytest.mark.parametrize("duration", [True, False, "5", None, [5], 1j, b"5"], ids=repr)
def test_to_seconds_refuses_other_types(duration: Any) -> None:
    """to_seconds() refuses a bool and everything that is no number."""
    with pytest.raises(ConfigError, match=r"^lifetime is a datetime\.timedelta or a number"):
        to_seconds("lifetime", duration, allow_zero=True)


def test_check_durability_knows_two_words() -> None:
    """check_durability() accepts "process" and "power" alone."""
    check_durability("disk_durability", "process")
    check_durability("disk_durability", "power")
    wrongs: list[object] = ["", "Power", None, True, 1, [], 10**5_000]
    for wrong in wrongs:
        with pytest.raises(ConfigError, match=r"^disk_durability: ") as caught:
            check_durability("disk_durability", wrong)
        assert '"process" or "power"' in str(caught.value)


@pytest.mark.parametrize("chance", [1, 1.0, 0.02, 1e-300])
def test_check_chance_takes_what_is_above_0_and_at_most_1(chance: float) -> None:
    """check_chance() accepts numbers above 0 and up to 1."""
    check_chance(chance)


@pytest.mark.parametrize(
    "chance",
    [0, -1, 1.0001, float("nan"), float("inf"), True, "1", None, 1j, 10**5_000],
    ids=safe_repr,
)
def test_check_chance_refuses_the_rest(chance: object) -> None:
    """check_chance() refuses other numbers, bools and other types."""
    with pytest.raises(ConfigError, match=r"^gc_chance must be above 0 and at most 1"):
        check_chance(chance)


def test_check_secret_keys_names_the_position_and_never_the_key() -> None:
    """check_secret_keys() names the position of a bad key and does not quote it."""
    check_secret_keys([])
    check_secret_keys([KEY, "0123456789abcdef"[::-1] + KEY, "ключ из тридцати двух букв и еще"])
    for bad in (KEY[:31], "", KEY + "\ud800", "\udfff" + KEY):
        with pytest.raises(ConfigError, match=r"^secret_keys\[1\] ") as caught:
            check_secret_keys([KEY, bad])
        assert "secrets.token_hex" in str(caught.value)
        assert KEY[:12] not in str(caught.value)


GUESSABLE: dict[str, str] = {
    "one character": "k" * 40,
    "one character but for the last": "k" * 39 + "x",
    "one character beyond ASCII": "\U0001f36a" * 32,
    "two characters": "ab" * 20,
    "a pattern that is cut off": ("swordfish-" * 4)[:-3],
    "the digits of hex, twice": "0123456789abcdef" * 2,
    "a whole key, twice": KEY[:20] * 2,
}


@pytest.mark.parametrize("key", GUESSABLE.values(), ids=GUESSABLE.keys())
def test_a_key_that_repeats_itself_is_refused(key: str) -> None:
    """check_secret_keys() counts a pattern that is repeated only once, and quotes nothing."""
    with pytest.raises(ConfigError, match=r"^secret_keys\[1\] repeats ") as caught:
        check_secret_keys([KEY, key])
    assert "secrets.token_hex" in str(caught.value)
    assert key[:5] not in str(caught.value)


FROM_EXAMPLES: Final = [
    "change-me-please-this-is-not-safe-at-all",
    "CHANGEME-0123456789-0123456789-012",
    "please change me before you go live",
    "your-secret-key-goes-here-0123456789",
    "Your Secret Key: 32 characters or more",
    "replace_this_with_a_long_random_string",
    "this-is-an-example-key-for-the-tutorial",
    "my_super_secret_key_for_development_1",
    "my-secret-key-of-more-than-32-letters",
    "django-insecure-4m$k!v9=1x&ap_w7q0d^3",
    "<placeholder for the key of this site>",
    "abcdefghijklmnopqrstuvwxyz0123456789",
    "01234567890123456789abcdefabcdef0123",
]


@pytest.mark.parametrize("key", FROM_EXAMPLES)
def test_a_key_from_an_example_is_refused(key: str) -> None:
    """check_secret_keys() refuses what tutorials print, in any case, with - or _ or spaces."""
    for spelled in (key, key.upper(), key.replace("-", "_"), key.replace("-", " ")):
        with pytest.raises(ConfigError, match=r"^secret_keys\[0\] is from an example") as caught:
            check_secret_keys([spelled])
        assert "secrets.token_hex" in str(caught.value)
        assert spelled[:12] not in str(caught.value)


def test_every_key_made_as_advised_is_accepted() -> None:
    """check_secret_keys() takes what the standard library makes at random."""
    for make in (secrets.token_hex, secrets.token_urlsafe):
        check_secret_keys([make(32) for _ in range(500)])
    check_secret_keys([secrets.token_hex(16) for _ in range(500)])
    check_secret_keys([f"{secrets.randbelow(10**40):040}" for _ in range(500)])


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"name": "a b"}, "cookie: "),
        ({"name": "a\n"}, "cookie: "),
        ({"path": "/a\n"}, "cookie_path: "),
        ({"path": "/" + "a" * 1024}, "cookie_path has 1025 characters"),
        ({"domain": "a.b\n"}, "cookie_domain: "),
        ({"domain": "a." * 512 + "a"}, "cookie_domain has 1025 characters"),
        ({"samesite": "none"}, "cookie_samesite: "),
        ({"samesite": "None", "secure": False}, "cookie_secure: "),
    ],
    ids=lambda part: str(part)[:40],
)
def test_check_cookie_attributes_names_the_setting(settings: dict[str, Any], named: str) -> None:
    """check_cookie_attributes() names the setting that browsers would reject."""
    right: dict[str, Any] = {
        "name": "shop", "path": "/", "domain": "", "samesite": "Lax", "secure": None,
        "partitioned": False,
    }  # fmt: skip
    check_cookie_attributes(**right)
    with pytest.raises(ConfigError) as caught:
        check_cookie_attributes(**{**right, **settings})
    assert str(caught.value).startswith(named)


def test_attributes_of_the_longest_kind_are_accepted() -> None:
    """check_cookie_attributes() accepts a path of 1,024 characters and a domain of 253."""
    check_cookie_attributes(
        name="shop",
        path="/" + "a" * 1023,
        domain=".".join(["a" * 63] * 3 + ["b" * 61]),
        samesite="Strict",
        secure=True,
        partitioned=True,
    )


DOMAINS: Final = ["example.com", ".example.com", "a.b-c.example", "xn--bcher-kva.example", "1.2.de"]


@pytest.mark.parametrize("domain", DOMAINS)
def test_check_cookie_attributes_takes_domains(domain: str) -> None:
    """check_cookie_attributes() takes names of two labels and more, with a dot in front or not."""
    check_cookie_attributes(
        name="shop", path="/", domain=domain, samesite="Lax", secure=None, partitioned=False
    )


NO_DOMAINS: Final = {
    "example..com": "empty label",
    "..example.com": "empty label",
    "www.example.com..": "empty label",
    "example.com.": "empty label",
    ".": "empty label",
    "a.-b.com": "'-b'",
    "-.com": "'-'",
    "a-.example.com": "'a-'",
    "x" * 64 + ".example.com": "64 characters",
    ".".join(["a" * 63] * 4): "255 characters",
    "com": "single label",
    "localhost": "single label",
    ".localhost": "single label",
    "127.0.0.1": "IP address",
    "10.1": "IP address",
    "1.2.3.0x4": "IP address",
    "[::1]": "IP address",
    "::1": "IP address",
    "exa_mple.com": "'exa_mple'",
    "bücher.example": "'bücher'",
    "https://example.com": "'https://example'",
    "example.com:8000": "'com:8000'",
}


@pytest.mark.parametrize("domain", NO_DOMAINS)
def test_a_domain_that_no_browser_takes_is_refused(domain: str) -> None:
    """check_cookie_attributes() quotes the domain and says what is wrong with it."""
    with pytest.raises(ConfigError, match=r"^cookie_domain") as caught:
        check_cookie_attributes(
            name="shop", path="/", domain=domain, samesite="Lax", secure=None, partitioned=False
        )
    message = str(caught.value)
    assert NO_DOMAINS[domain] in message
    assert len(domain) > 253 or repr(domain) in message
    assert '"example.com"' in message
    assert '"" for this host alone' in message


@pytest.mark.parametrize(
    ("name", "samesite", "partitioned", "why"),
    [
        ("shop", "Lax", False, ""),
        ("shop", "Strict", False, ""),
        ("shop", "None", False, 'cookie_samesite = "None"'),
        ("shop", "Lax", True, "cookie_partitioned = true"),
        ("__Host-shop", "Lax", False, "cookie = '__Host-shop'"),
        ("__SECURE-shop", "Lax", True, "cookie = '__SECURE-shop'"),
    ],
)
def test_why_secure_returns_the_setting_that_requires_it(
    name: str, samesite: str, partitioned: bool, why: str
) -> None:
    """why_secure() returns the setting that browsers tie to Secure, or an empty string."""
    assert why_secure(name, samesite, partitioned) == why


def test_import_string_returns_the_callable() -> None:
    """import_string() imports a module and returns the callable in it."""
    assert import_string("store", "glimr_session._validation:safe_repr") is safe_repr


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("no_such_module_here:name", "No module named 'no_such_module_here'"),
        (f"{__name__}:no_such_name", "no_such_name"),
        (f"{__name__}:KEY", "of type str, which cannot be called"),
    ],
)
def test_import_string_says_why_it_cannot(reference: str, reason: str) -> None:
    """import_string() raises ConfigError with the setting, the reference and the reason."""
    with pytest.raises(ConfigError, match=r"^gc: ") as caught:
        import_string("gc", reference)
    assert reference in str(caught.value)
    assert reason in str(caught.value)
    assert KEY not in str(caught.value)
