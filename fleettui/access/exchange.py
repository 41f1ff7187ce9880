"""What this laptop and a joining host agree on without sending it: a key exchange (X25519), and what is made of it.

The host knows our public half from its token, which was handed over; we know the host's from its request. From the
shared secret both derive (HKDF, SHA-256, RFC 5869) the password of its agent and a key for the answer, so that no
password is ever sent, and the host obeys nobody but whoever made its token. `fleettui/tokens/on_host.py` has the
other side.
"""

from __future__ import annotations

import base64
import hashlib
import hmac

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

PASSWORD, ANSWER, SECRETS = b"fleet agent password", b"fleet answer", b"fleet secrets key"


class Exchange:
    """Our half of an exchange: a new one, or the one of these 32 private bytes. ValueError for others."""

    def __init__(self, private: bytes = b"") -> None:
        self._key = X25519PrivateKey.from_private_bytes(private) if private else X25519PrivateKey.generate()

    @property
    def private(self) -> bytes:
        """What to keep: 32 bytes."""
        return self._key.private_bytes_raw()

    @property
    def public(self) -> bytes:
        """What the other side has to know: 32 bytes."""
        return self._key.public_key().public_bytes_raw()

    def password(self, other: bytes, request: bytes) -> str:
        """The password of the agent that has sent this request. ValueError for a public half that is none."""
        return base64.urlsafe_b64encode(self._derived(other, request, PASSWORD)[:24]).decode()

    def seal(self, other: bytes, request: bytes, answer: bytes) -> str:
        """What proves to the sender of the request that the answer is ours."""
        return hmac.new(self._derived(other, request, ANSWER), answer, hashlib.sha256).hexdigest()

    def hidden(self, other: bytes, request: bytes, key: bytes) -> bytes:
        """A key of 32 bytes for the sender of the request alone, xor what both derive for this and nothing else."""
        derived = self._derived(other, request, SECRETS)
        return bytes(one ^ two for one, two in zip(key, derived, strict=True))

    def _derived(self, other: bytes, request: bytes, purpose: bytes) -> bytes:
        shared = self._key.exchange(X25519PublicKey.from_public_bytes(other))
        return HKDF(SHA256(), 32, hashlib.sha256(request).digest(), purpose).derive(shared)
