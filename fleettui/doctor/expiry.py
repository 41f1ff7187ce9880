"""Which of our certificates runs out soon, for a program that runs for days: files are read now and then."""

from __future__ import annotations

import time

from fleettui.doctor.access import running_out
from registry.etcd.credentials import certificate_ends

AGAIN_S = 600.0


class Expiry:
    """The warning of the certificate that runs out first, "" while none does within 14 days."""

    def __init__(self, cert_file: str, ca_file: str) -> None:
        self._files = cert_file, ca_file
        self._ends: dict[str, float] = {}
        self._read_at = 0.0

    def __call__(self) -> str:
        """Return the warning as of now."""
        if not any(self._files):
            return ""
        if not self._read_at or time.monotonic() - self._read_at > AGAIN_S:
            self._ends, self._read_at = certificate_ends(*self._files), time.monotonic()
        return running_out(self._ends.items(), time.time())
