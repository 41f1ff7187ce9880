"""journald's own protocol, for log records that carry fields: which kind of message it is, and about which unit.

A record about a unit is sent so that `journalctl -u UNIT` shows it beside what systemd and the unit itself say: it
takes OBJECT_SYSTEMD_UNIT= from processes of root, and `--user-unit` OBJECT_SYSTEMD_USER_UNIT= from the same user's
(add_matches_for_unit in systemd's logs-show.c). Values are one line each, so that no text forges a field.

Logging must not hold up the loop. A journald that takes nothing is waited for a moment, then lines are dropped and
counted until it takes one again.
"""

from __future__ import annotations

import logging
import os
import select
import socket
from collections.abc import Iterator

from registry.units.name import service_of

PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}
SOCKET = "/run/systemd/journal/socket"
PATIENCE_S = 0.1


class JournalHandler(logging.Handler):
    """Sends records to journald's socket, a line of its formatter at a time; OSError where there is no journald.

    While journald is gone records go to `fallback`.
    """

    def __init__(self, program: str, fallback: logging.Handler) -> None:
        super().__init__()
        self._program, self._fallback = program, fallback
        self._unit_field = "OBJECT_SYSTEMD_UNIT" if os.getuid() == 0 else "OBJECT_SYSTEMD_USER_UNIT"
        self._dropped = 0
        self._socket = self._connected()

    def _connected(self) -> socket.socket:
        found = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        try:
            found.connect(SOCKET)
        except OSError:
            found.close()
            raise
        return found

    def close(self) -> None:
        """Send no more."""
        self._socket.close()
        super().close()

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record, a line at a time."""
        try:
            fields = list(self._fields(record))
            for line in self.format(record).splitlines():
                self._send("\n".join((f"MESSAGE={line}", *fields, "")))
        except OSError:
            self._fallback.handle(record)
        except Exception:  # noqa: BLE001 - logging's own way to end
            self.handleError(record)

    def _fields(self, record: logging.LogRecord) -> Iterator[str]:
        yield f"PRIORITY={PRIORITIES.get(record.levelno, 6)}"
        yield f"SYSLOG_IDENTIFIER={self._program}"
        yield f"FLEET_LOGGER={record.name}"
        if kind := getattr(record, "message_id", ""):
            yield f"MESSAGE_ID={kind}"
        unit = getattr(record, "fleet_unit", "")
        if unit and unit.isprintable():
            yield f"FLEET_UNIT={unit}"
            yield f"{self._unit_field}={service_of(unit)}"

    def _send(self, text: str) -> None:
        data = text.encode("utf-8", "backslashreplace")
        if self._dropped:
            note = f"MESSAGE={self._dropped} lines could not be written\nPRIORITY=4\n"
            note += f"SYSLOG_IDENTIFIER={self._program}\n"
            if not self._sent(note.encode(), 0.0):
                self._dropped += 1
                return
            self._dropped = 0
        if not self._sent(data, PATIENCE_S):
            self._dropped += 1

    def _sent(self, data: bytes, patience_s: float) -> bool:
        """Send one datagram; False when journald does not take it in time. OSError when nobody is there."""
        try:
            self._socket.send(data)
        except BlockingIOError:
            if not select.select((), (self._socket,), (), patience_s)[1]:
                return False
        except OSError:  # it may have another socket now
            self._socket.close()
            self._socket = self._connected()
        else:
            return True
        try:
            self._socket.send(data)
        except BlockingIOError:
            return False
        return True
