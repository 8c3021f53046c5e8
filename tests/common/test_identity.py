from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.vectors import reference
from tests.vectors.loading import ours, published

from wardround_common.errors import ConfigError, VerificationError
from wardround_common.identity import Identity, load_identity, require_strong_key, verify

IDENTITY = Identity.from_secret(bytes(range(32)))
FIELDS = (b"field", "text", 7)
SIGNATURE = IDENTITY.sign("label", *FIELDS)


def refused(signature: bytes, *, key: bytes = IDENTITY.public_key) -> bool:
    with pytest.raises(VerificationError, match="does not fit the pinned key"):
        verify(key, signature, "label", *FIELDS)
    return True


@pytest.mark.parametrize("case", published()["ed25519"]["cases"])
def test_the_reference_signs_and_we_derive_keys_as_in_rfc_8032(case: dict[str, str]) -> None:
    secret, message = bytes.fromhex(case["secret"]), bytes.fromhex(case["message"])
    assert reference.ed25519_sign(secret, message).hex() == case["signature"]
    assert reference.ed25519_public(secret).hex() == case["public"]
    assert Identity.from_secret(secret).public_key.hex() == case["public"]


@pytest.mark.parametrize("case", ours()["signatures"])
def test_our_signatures_are_the_known_ones(case: dict) -> None:
    identity = Identity.from_secret(bytes.fromhex(case["secret"]))
    fields = [bytes.fromhex(field) for field in case["fields"]]
    assert identity.public_key.hex() == case["public"]
    assert identity.sign(case["label"], *fields).hex() == case["signature"]
    verify(identity.public_key, bytes.fromhex(case["signature"]), case["label"], *fields)


@settings(max_examples=5, deadline=None)
@given(st.binary(min_size=32, max_size=32), st.lists(st.binary(max_size=20), max_size=3))
def test_our_signatures_are_those_of_the_reference(secret: bytes, fields: list[bytes]) -> None:
    message = reference.pack("wardround 1", "label", *fields)
    signature = Identity.from_secret(secret).sign("label", *fields)
    assert signature == reference.ed25519_sign(secret, message)


def test_a_signature_with_the_group_order_added_is_refused() -> None:
    scalar = int.from_bytes(SIGNATURE[32:], "little") + reference.ORDER
    assert refused(SIGNATURE[:32] + scalar.to_bytes(32, "little"))


@pytest.mark.parametrize("size", [0, 1, 32, 63, 65, 128])
def test_a_signature_of_another_size_is_refused(size: int) -> None:
    assert refused((SIGNATURE * 2)[:size])


@pytest.mark.parametrize("bit", [0, 7, 255, 256, 300, 500, 511])
def test_a_signature_with_one_bit_turned_is_refused(bit: int) -> None:
    altered = bytearray(SIGNATURE)
    altered[bit // 8] ^= 1 << bit % 8
    assert refused(bytes(altered))


def test_an_all_zero_signature_is_refused() -> None:
    assert refused(bytes(64))


@pytest.mark.parametrize("key", [b"", bytes(31), bytes(33), b"\xff" * 32, bytes(32)])
def test_a_key_that_is_none_verifies_nothing(key: bytes) -> None:
    assert refused(SIGNATURE, key=key)


def test_a_signature_of_another_key_is_refused() -> None:
    assert refused(SIGNATURE, key=Identity.generate().public_key)


@pytest.mark.parametrize(
    ("label", "fields"),
    [
        ("other", FIELDS),
        ("label", (*FIELDS, b"")),
        ("label", FIELDS[:2]),
        ("label", (b"fieldtext", 7)),
        ("label", (b"field", "text", 8)),
        ("labelfield", ("text", 7)),
    ],
)
def test_a_signature_for_another_purpose_or_content_is_refused(label: str, fields: tuple) -> None:
    with pytest.raises(VerificationError):
        verify(IDENTITY.public_key, SIGNATURE, label, *fields)


def test_a_key_never_shows_in_its_representation() -> None:
    assert bytes(range(32)).hex() not in repr(IDENTITY)
    assert IDENTITY.public_key.hex() in repr(IDENTITY)


def test_a_saved_key_is_private_and_loads_again(tmp_path: Path) -> None:
    path = tmp_path / "site.key"
    IDENTITY.save(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_identity(path).public_text == IDENTITY.public_text


def test_a_key_file_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "site.key"
    path.write_text("something")
    with pytest.raises(ConfigError, match="exists"):
        IDENTITY.save(path)
    assert path.read_text() == "something"


def test_a_key_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "site.key"
    IDENTITY.save(path)
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        load_identity(path)


@pytest.mark.parametrize(
    "content", [b"", b"zz" * 32, b"00" * 31, b"00" * 33, b"\xff\xfe", b"0" * 63]
)
def test_a_key_file_without_a_key_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "site.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match=r"site\.key: "):
        load_identity(path)


def test_a_missing_key_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.key: key file cannot be read"):
        load_identity(tmp_path / "none.key")


def test_a_link_left_in_place_of_the_key_file_is_not_followed(tmp_path: Path) -> None:
    path = tmp_path / "site.key"
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="exists"):
        IDENTITY.save(path)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("sign", [0, 0x80])
def test_every_key_of_small_order_is_refused(sign: int) -> None:
    prime = (1 << 255) - 19
    for y in _torsion_y(prime):
        for encoded in (y, y + prime):
            if encoded < 1 << 255:
                key = bytearray(encoded.to_bytes(32, "little"))
                key[31] |= sign
                with pytest.raises(ConfigError, match="small order"):
                    require_strong_key(bytes(key))
    require_strong_key(Identity.generate().public_key)


def _torsion_y(prime: int) -> set[int]:
    """The y of all points P with 8 P = 0, from the curve equation: 4 P must have y = +-1."""
    d = -121665 * pow(121666, -1, prime) % prime
    found = {0, 1, prime - 1}
    # Order 8: doubling gives y = 0, hence x^2 = -y^2, and with it the curve is a quadratic in y^2:
    root = pow((1 + d) % prime, (prime + 3) // 8, prime)  # d y^4 + 2 y^2 - 1 = 0
    if root * root % prime != (1 + d) % prime:
        root = root * pow(2, (prime - 1) // 4, prime) % prime
    for sign in (1, -1):
        square = (-1 + sign * root) * pow(d, -1, prime) % prime
        y = pow(square, (prime + 3) // 8, prime)
        for candidate in (y, y * pow(2, (prime - 1) // 4, prime) % prime):
            if candidate * candidate % prime == square:
                found |= {candidate, prime - candidate}
    return found
