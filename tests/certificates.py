"""Throw-away TLS certificates for tests: the fleet's own, and such as it would not issue."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from cryptography.hazmat.primitives import serialization

from fleettui.access import authority


class Authority:
    """A certificate authority that lives for one test run, and in no file."""

    def __init__(self) -> None:
        self._authority = authority.Authority(Path("/nowhere"), *authority.new_authority("test", timedelta(days=1)))

    @property
    def certificate_pem(self) -> bytes:
        return self._authority.certificate_pem

    def issue(
        self, *hosts: str, common_name: str = "", begins_h: float = -1, ends_h: float = 24, passphrase: bytes = b""
    ) -> tuple[bytes, bytes]:
        """Certificate and key in PEM, of a server for its hosts, else of a client. It holds from `begins_h` to
        `ends_h` hours from now; with a passphrase the key is encrypted.
        """
        leaf = self._authority._issue(hosts, timedelta(hours=ends_h), timedelta(hours=begins_h), common_name)
        if not passphrase:
            return leaf.certificate, leaf.key
        key = serialization.load_pem_private_key(leaf.key, None)
        sealed = serialization.BestAvailableEncryption(passphrase)
        pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        return leaf.certificate, key.private_bytes(pem, form, sealed)
