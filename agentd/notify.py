"""Telling the systemd that started us how we are: sd_notify(3), over the socket it names. Silent without one."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping


class Notifier:
    """Sends states such as READY=1; `watchdog_s` is how often WATCHDOG=1 is due, 0 for never."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        path = environ.get("NOTIFY_SOCKET", "")
        self._address = f"\0{path[1:]}" if path.startswith("@") else path
        mine = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.watchdog_s = int(environ.get("WATCHDOG_USEC") or 0) / 2e6 if mine else 0.0

    def guard(self, within_s: float) -> None:
        """From now on have systemd end and restart us when our loop stands still for so long."""
        self.watchdog_s = within_s / 2
        self.send(f"WATCHDOG_USEC={int(within_s * 1e6)}", "WATCHDOG=1")

    def send(self, *states: str) -> None:
        """Send states; nobody listening is fine."""
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
                channel.sendto("\n".join(states).encode(), self._address)
        except OSError:
            return
