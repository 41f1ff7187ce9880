"""Secrets sealed for the machines of a fleet: HPKE (RFC 9180), by which anybody may seal and who has the key opens.

A fleet has one pair of keys. Its public half lies where operators have their credentials, its private half on the
machines; neither is ever in the registry (ADR 38). What is sealed is bound to the secret's name, and tells of its
length no more than the next multiple of 256. Pure, but for the randomness of the library.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from registry.errors import UserError
from registry.units.content import LENGTH_BYTES, SEALED_STEP

PUBLIC_FILE, PRIVATE_FILE = "secrets.pub", "secrets.key"
PRIVATE, PUBLIC = "fleet-secrets-key-1", "fleet-secrets-public-1"  # what a line of such a file begins with
_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)


def new_key() -> str:
    """A new private key, as the line of its file."""
    return f"{PRIVATE} {base64.b64encode(X25519PrivateKey.generate().private_bytes_raw()).decode()}\n"


def public_of(private: str) -> str:
    """The public half of the first key of a private file, as the line of its file. UserError."""
    key = _private_keys(private)[0]
    return f"{PUBLIC} {base64.b64encode(key.public_key().public_bytes_raw()).decode()}\n"


def raw_private(private: str) -> bytes:
    """The 32 bytes of a private file's key. UserError."""
    return _private_keys(private)[0].private_bytes_raw()


def key_names(private: str) -> tuple[str, ...]:
    """What the keys of a private file are called in what is sealed for them, as they stand there. UserError."""
    return tuple(_name(key.public_key().public_bytes_raw()) for key in _private_keys(private))


def seal(public: str, name: str, secret: bytes) -> tuple[str, bytes]:
    """The name of the key, and the secret sealed for who has its private half. UserError for a key that is none."""
    raw = _read(public, PUBLIC)
    try:
        key = X25519PublicKey.from_public_bytes(raw[0])
    except ValueError as error:
        raise UserError(f"the fleet's public key for secrets is none: {error}; copy {PUBLIC_FILE} again") from error
    padded = len(secret).to_bytes(LENGTH_BYTES, "big") + secret
    padded += bytes(-len(padded) % SEALED_STEP)
    return _name(raw[0]), _SUITE.encrypt(padded, key, _info(name))


def unseal(private: str, key: str, sealed: bytes, name: str) -> bytes:
    """The secret, by the one of the private file's keys that has this name. UserError."""
    found = next(
        (each for each in _private_keys(private) if _name(each.public_key().public_bytes_raw()) == key), None
    )
    if found is None:
        raise UserError("it is sealed for another key than this machine has; run fleettui join for this host again")
    try:
        padded = _SUITE.decrypt(sealed, found, _info(name))
    except (InvalidTag, ValueError) as error:
        raise UserError("it cannot be opened: it was changed, or is another secret; set it again") from error
    return padded[LENGTH_BYTES:][: int.from_bytes(padded[:LENGTH_BYTES], "big")]


def _private_keys(text: str) -> list[X25519PrivateKey]:
    try:
        return [X25519PrivateKey.from_private_bytes(each) for each in _read(text, PRIVATE)]
    except ValueError as error:
        raise UserError(f"the key for secrets is none: {error}; run fleettui join for this host again") from error


def _read(text: str, kind: str) -> Sequence[bytes]:
    """The keys in the lines of a file. UserError when there is none."""
    found = [line.split(" ") for line in text.splitlines() if line.startswith(f"{kind} ")]
    try:
        keys = [base64.b64decode(words[1], validate=True) for words in found]
    except (binascii.Error, ValueError):
        keys = []
    if not keys:
        raise UserError(f"there is no line {kind} in the file of the fleet's key for secrets; copy it again")
    return keys


def _name(public: bytes) -> str:
    return sha256(public).hexdigest()[:16]


def _info(name: str) -> bytes:
    return b"fleet secret\0" + name.encode()
