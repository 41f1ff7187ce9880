"""Tell the systemd that started us how we are: sd_notify(3), over the socket it names. Silent without one.

A status is one line whatever it holds: what comes from outside (a host name, an error) could otherwise add
assignments such as MAINPID=. Sending never blocks the event loop; what a busy systemd does not take is sent with
the next state, and at each watchdog interval.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from typing import Any

from registry.program.daemonlog import one_line

STATUS_CHARACTERS = 400  # systemctl shows one line


class Notifier:
    """Sends states such as READY=1; `watchdog_s` is how often WATCHDOG=1 is due, 0 for never."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        path = environ.get("NOTIFY_SOCKET", "")
        self._address = f"\0{path[1:]}" if path.startswith("@") else path
        mine = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        interval = environ.get("WATCHDOG_USEC", "")
        self.watchdog_s = int(interval) / 2e6 if mine and interval.isdecimal() else 0.0
        self._status = ""
        self._unsent: dict[str, str] = {}  # by variable, in the order in which they were due

    def guard(self, within_s: float) -> None:
        """From now on have systemd end and restart us when our loop stands still for so long."""
        self.watchdog_s = within_s / 2
        self.send(f"WATCHDOG_USEC={int(within_s * 1e6)}", "WATCHDOG=1")

    def status(self, text: str) -> None:
        """Say how we are in one line, if that differs from what was said last."""
        if text != self._status:
            self._status = text
            self.send(f"STATUS={one_line(text, STATUS_CHARACTERS)}")

    def send(self, *states: str) -> None:
        """Send states; nobody listening is fine."""
        if not self._address:
            return
        for state in states:
            variable = state.partition("=")[0]
            self._unsent.pop(variable, None)
            self._unsent[variable] = state
        message = "\n".join(self._unsent.values()).encode("utf-8", "backslashreplace")
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
                channel.sendto(message, socket.MSG_DONTWAIT, self._address)
        except BlockingIOError:
            return
        except OSError:
            pass
        self._unsent.clear()

    async def keep_alive(self) -> None:
        """Send WATCHDOG=1 for as long as the event loop turns; returns at once where no watchdog is set."""
        while self.watchdog_s:
            self.send("WATCHDOG=1")
            await asyncio.sleep(self.watchdog_s)

    async def run_until_signal(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Run a service's work until SIGTERM or SIGINT cancels it, with the watchdog; systemd is told both ends."""
        task = asyncio.create_task(work, name=name)
        watchdog = asyncio.create_task(self.keep_alive(), name="watchdog")

        def end() -> None:
            self.send("STOPPING=1")
            task.cancel()

        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, end)
        self.send("READY=1")
        try:
            with suppress(asyncio.CancelledError):
                await task
        finally:
            watchdog.cancel()
