"""Sealer: what it seals opens with its keys, in its place, and nothing else does."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import example, given
from hypothesis import strategies as st

from glimr_session._session import sealing
from glimr_session._session.sealing import SEALED, Sealer, why_unreadable
from tests.support import forks

OLD = "the old key of this test, long enough"

NEW = "the new key of this test, long enough"

SEALER = Sealer([NEW])

PLACE = bytes(range(32))

VALUE = b'{"_data":{"user":7}}'

KNOWN = (
    "73313679cf8a000102030405060708090a0b0c0d0e0f1011121314151617c3625a4284540db3ee5150a8faa2"
    "69cfefb21dc640e9e2e8b2ee0b1bb2ffc623c2440159"
)

HEADER = 2 + 4 + 12 + 12  # s1, the name of the key, the salt, the nonce

TAG = 16


def mac(key: bytes, message: bytes) -> bytes:
    """Return an HMAC-SHA-256, made by another library than the one of the sealer."""
    made = hmac.HMAC(key, hashes.SHA256())
    made.update(message)
    return made.finalize()


def sha256(message: bytes) -> bytes:
    made = hashes.Hash(hashes.SHA256())
    made.update(message)
    return made.finalize()


# The format.


def test_a_sealed_value_is_made_as_the_decision_page_says() -> None:
    """Each part of a sealed value can be computed, and the value decrypted, without a Sealer."""
    sealed = SEALER.seal(VALUE, PLACE)
    key = mac(NEW.encode(), b"glimr_session sealed values")
    prefix, name, salt, nonce = sealed[:2], sealed[2:6], sealed[6:18], sealed[18:HEADER]
    assert (prefix, name) == (b"s1", sha256(key)[:4])
    assert AESGCM(mac(key, salt)).decrypt(nonce, sealed[HEADER:], PLACE) == VALUE
    assert len(sealed) == HEADER + len(VALUE) + TAG


def test_a_value_that_was_sealed_elsewhere_opens() -> None:
    """A value that was made once, by other code, still opens: versions share their stores."""
    sealed = bytes.fromhex(KNOWN)
    assert Sealer(["oUv7 - 32 characters, made at random"]).open(sealed, PLACE) == VALUE


def test_a_value_is_never_sealed_the_same_way_twice() -> None:
    """Each nonce is random, so equal sessions do not look equal."""
    sealed = [SEALER.seal(VALUE, PLACE) for _ in range(20)]
    assert len({value[18:HEADER] for value in sealed}) == 20
    assert len({value[HEADER:] for value in sealed}) == 20


def test_a_key_seals_a_bounded_number_of_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then another salt is drawn; each sealer has its own, and all of them open."""
    assert sealing._SEALS_PER_SALT <= 2**32
    monkeypatch.setattr(sealing, "_SEALS_PER_SALT", 5)
    sealers = [Sealer([NEW]), Sealer([NEW])]
    sealed = [sealer.seal(VALUE, PLACE) for sealer in sealers for _ in range(15)]
    assert [len({value[6:18] for value in sealed[at : at + 5]}) for at in range(0, 30, 5)] == [
        1
    ] * 6
    assert len({value[6:18] for value in sealed}) == 6
    assert {SEALER.open(value, PLACE) for value in sealed} == {VALUE}


def seal_in_children(directory: Path) -> None:
    """Seal, and have two children seal that are forked afterwards."""
    sealer = Sealer([NEW])
    (directory / "parent").write_bytes(sealer.seal(VALUE, PLACE))
    for name in ("one", "other"):
        file = directory / name
        forks.reap([forks.fork(lambda: file.write_bytes(sealer.seal(VALUE, PLACE)))])  # noqa: B023


def test_each_process_has_a_salt_of_its_own(tmp_path: Path) -> None:
    """Children that are forked and replaced again and again count for themselves."""
    forks.run(seal_in_children, tmp_path)
    sealed = [file.read_bytes() for file in tmp_path.iterdir()]
    assert len({value[6:18] for value in sealed}) == 3
    assert {SEALER.open(value, PLACE) for value in sealed} == {VALUE}


def test_a_sealed_value_is_no_json() -> None:
    """What is plain and what is sealed can be told apart by their first byte."""
    assert not SEALED.startswith((b"{", b"[", b'"', b" ", b"\0"))


# What opens.


@given(st.binary(max_size=300), st.binary(max_size=40))
@example(b"", b"")
@example(SEALED, SEALED)
def test_any_value_comes_back_from_its_place(value: bytes, place: bytes) -> None:
    """Whatever is sealed opens again where it was sealed for, and nowhere else."""
    sealed = SEALER.seal(value, place)
    assert SEALER.open(sealed, place) == value
    assert SEALER.open(sealed, place + b"\0") is None
    assert SEALER.open(sealed, b"x" + place) is None


@given(st.binary(max_size=60), st.data())
def test_a_value_that_was_changed_opens_nothing(value: bytes, data: st.DataObject) -> None:
    """One changed byte behind the prefix, wherever it is, is found out."""
    sealed = bytearray(SEALER.seal(value, PLACE))
    at = data.draw(st.integers(len(SEALED), len(sealed) - 1))
    sealed[at] ^= data.draw(st.integers(1, 255))
    assert SEALER.open(bytes(sealed), PLACE) is None


def test_a_changed_prefix_leaves_no_plain_value() -> None:
    """Without its prefix a value counts as plain, and what is encrypted stays so."""
    sealed = SEALER.seal(VALUE, PLACE)
    for at in range(len(SEALED)):
        changed = bytearray(sealed)
        changed[at] ^= 1
        assert SEALER.open(bytes(changed), PLACE) == bytes(changed)  # no JSON
    assert b"user" not in sealed


def test_a_value_that_was_cut_off_or_lengthened_opens_nothing() -> None:
    """At any length, none raises."""
    sealed = SEALER.seal(VALUE, PLACE)
    for length in range(len(SEALED), len(sealed)):
        assert SEALER.open(sealed[:length], PLACE) is None
    assert SEALER.open(sealed + b"\0", PLACE) is None


@given(st.binary(max_size=100))
def test_any_bytes_open_nothing(garbage: bytes) -> None:
    """Bytes behind the prefix, or behind it and the name of a key of ours, raise nothing."""
    header = SEALER.seal(b"", PLACE)[:6]
    assert SEALER.open(SEALED + garbage, PLACE) is None
    assert SEALER.open(header + garbage, PLACE) is None


def test_a_plain_value_opens_as_it_is() -> None:
    """What was stored before is read all the same."""
    assert SEALER.open(VALUE, PLACE) is VALUE


# Keys.


def test_the_first_key_seals_and_all_open() -> None:
    """A value opens as long as its key is among them, wherever it stands."""
    old, new = Sealer([OLD]).seal(VALUE, PLACE), Sealer([NEW, OLD]).seal(VALUE, PLACE)
    assert Sealer([OLD, NEW]).open(new, PLACE) == Sealer([NEW]).open(new, PLACE) == VALUE
    assert Sealer([OLD, NEW]).open(old, PLACE) == Sealer([NEW, OLD]).open(old, PLACE) == VALUE
    assert Sealer([NEW]).open(old, PLACE) is None
    assert Sealer([OLD]).open(new, PLACE) is None


def test_keys_of_one_name_are_both_tried() -> None:
    """A name has four bytes, and two keys may share it."""
    keys = [f"two keys of one name, number {number:07d}" for number in (317, 10_486)]
    sealed = [Sealer([key]).seal(VALUE, PLACE) for key in keys]
    assert sealed[0][:6] == sealed[1][:6]
    assert [Sealer(keys).open(value, PLACE) for value in sealed] == [VALUE, VALUE]


def test_without_encryption_values_stay_plain_and_sealed_ones_open() -> None:
    """So that the setting can be changed server by server."""
    plain = Sealer([NEW], seals=False)
    assert plain.seal(VALUE, PLACE) is VALUE
    assert plain.open(SEALER.seal(VALUE, PLACE), PLACE) == VALUE


def test_what_would_be_sealed_in_another_way_now_is_not_current() -> None:
    """A value is current if it is plain or sealed as the setting and the first key ask for."""
    sealers = [Sealer([NEW, OLD]), Sealer([OLD, NEW]), Sealer([NEW, OLD], seals=False)]
    values = [sealer.seal(VALUE, PLACE) for sealer in sealers]
    for number, sealer in enumerate(sealers):
        current = [sealer.is_current(value) for value in values]
        assert current == [number == place for place in range(3)]


def test_a_sealer_can_be_sent_to_another_process() -> None:
    """A store that is pickled takes its keys along."""
    again = pickle.loads(pickle.dumps(SEALER))
    assert again.open(SEALER.seal(VALUE, PLACE), PLACE) == VALUE


def test_a_sealer_shows_no_key() -> None:
    """Its repr has their number alone."""
    assert repr(Sealer([NEW, OLD])) == "Sealer(2 keys, seals=True)"


# Reasons.


@pytest.mark.parametrize(
    ("sealer", "why"),
    [
        (None, " It is encrypted, and this store was given no secret_keys."),
        (Sealer([OLD]), " It is encrypted with a key that is not in secret_keys."),
        (SEALER, " It is encrypted, and was damaged or belongs elsewhere."),
    ],
    ids=["no keys", "other keys", "damaged"],
)
def test_the_reason_why_a_value_is_unreadable(sealer: Sealer | None, why: str) -> None:
    """Whoever reads the log learns whether keys are missing, or the value is wrong."""
    sealed = SEALER.seal(VALUE, PLACE)
    assert why_unreadable(sealed, sealer) == why
    for other in (VALUE, b"", None, "s1", 5):
        assert why_unreadable(other, sealer) == ""
