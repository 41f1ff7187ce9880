"""What is sealed for a fleet opens with its key, for the secret that it is, and not otherwise."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import UserError
from registry.sealing import new_key, public_of, raw_private, seal, unseal

KEY, OTHER = new_key(), new_key()


@given(st.binary(max_size=2000))
def test_it_opens_with_the_fleet_s_key(secret: bytes) -> None:
    name, sealed = seal(public_of(KEY), "db", secret)
    assert unseal(OTHER + KEY, name, sealed, "db") == secret
    assert secret not in sealed or len(secret) < 8
    with pytest.raises(UserError, match="another key"):
        unseal(OTHER, name, sealed, "db")
    with pytest.raises(UserError, match="is another secret"):
        unseal(KEY, name, sealed, "db2")
    with pytest.raises(UserError, match="cannot be opened"):
        unseal(KEY, name, sealed[:-1] + bytes([sealed[-1] ^ 1]), "db")


def test_what_is_sealed_tells_little_of_its_length_and_nothing_of_being_the_same() -> None:
    one, two = seal(public_of(KEY), "db", b"x")[1], seal(public_of(KEY), "db", b"x" * 250)[1]
    assert len(one) == len(two)
    assert seal(public_of(KEY), "db", b"x")[1] != one


TEXTS = {
    "empty": "",
    "short": "x",
    "cut": KEY[:30],
    "no base64": "fleet-secrets-key-1 !",
    "few": "fleet-secrets-key-1 AAAA",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)  # the key is another one in each process
def test_a_file_that_holds_no_key_is_refused(text: str) -> None:
    with pytest.raises(UserError):
        raw_private(text)
    with pytest.raises(UserError):
        seal(text.replace("-key-", "-public-"), "db", b"")
