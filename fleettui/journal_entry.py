"""Journal entries as values: read from journalctl's JSON, and written as one line. Pure, and on the hot path.

Fields of the journal are untrusted bytes. journalctl writes a field that is not UTF-8, or that holds control
characters, as a list of byte values, a repeated field as a list of those, and one it found too long as null.
Entries keep control characters; `format_short` is made for a terminal and has none.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from sys import intern
from types import MappingProxyType

from fleettui.escape import escape

NO_UNITS: Mapping[str, str] = MappingProxyType({})
DEFAULT_PRIORITY = 6  # info
MAX_LINE_BYTES = 4 * 1024 * 1024
MAX_AT = 253_402_300_799_999_999  # the last microsecond of the year 9999: no clock shows more
_CURSOR = re.compile(r"[\x21-\x7e]{1,1024}")  # it goes back to journalctl as an argument
_UNIT_FIELDS = (
    "UNIT", "OBJECT_SYSTEMD_UNIT", "COREDUMP_UNIT", "_SYSTEMD_UNIT",
    "USER_UNIT", "OBJECT_SYSTEMD_USER_UNIT", "COREDUMP_USER_UNIT", "_SYSTEMD_USER_UNIT", "_SYSTEMD_SLICE",
)  # fmt: skip


@dataclass(slots=True, frozen=True)
class JournalEntry:
    """One line of a machine's journal.

    `at` is microseconds since the epoch by that machine's clock; `machine` is its id in the fleet, `hostname` what
    the journal says; `unit` the unit it is about; `priority` 0 (emerg) to 7 (debug); `pid` 0 where unknown.
    `cursor` names the entry on its machine. `fields` holds everything journalctl printed, when asked for.
    """

    at: int
    machine: str
    hostname: str
    unit: str
    priority: int
    pid: int
    identifier: str
    message: str
    cursor: str
    fields: Mapping[str, str] | None = None


class LineSplitter:
    """Cuts a stream of bytes into lines. A line beyond MAX_LINE_BYTES is dropped, and counted in `dropped`."""

    def __init__(self, *, keep_empty: bool = False) -> None:
        self._keep_empty = keep_empty
        self._rest: list[bytes] = []  # pieces of a line that has not ended
        self._held = 0  # their bytes
        self._skipping = False
        self.dropped = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes, without their newlines."""
        first, *lines = data.split(b"\n")
        if lines:
            lines, rest = [b"".join((*self._rest, first)), *lines[:-1]], lines[-1]
            self._rest, self._held = [], 0
        else:
            rest = first
        if self._skipping and lines:
            lines.pop(0)
            self._skipping = False
        self._rest.append(rest)
        self._held += len(rest)
        if self._held > MAX_LINE_BYTES:
            self._rest, self._held = [], 0
            self.dropped += not self._skipping
            self._skipping = True
        return lines if self._keep_empty else [line for line in lines if line]


def parse(
    line: bytes, machine: str, units: Mapping[str, str] = NO_UNITS, *, all_fields: bool = False
) -> JournalEntry | None:
    """An entry from one line of journalctl's JSON; None for a line that is none.

    `units` are those that were asked for, by systemd's names: of the units that an entry names, one of these is its
    unit.
    """
    try:
        data = json.loads(line)
        at, cursor = int(data["__REALTIME_TIMESTAMP"]), data["__CURSOR"]
        if not 0 <= at <= MAX_AT or not _CURSOR.fullmatch(cursor):
            return None
        return JournalEntry(
            at,
            machine,
            intern(_text(data.get("_HOSTNAME"))),  # the same few words in a hundred thousand entries
            intern(_unit(data, units)),
            _number(data.get("PRIORITY"), DEFAULT_PRIORITY),
            _number(data.get("SYSLOG_PID") or data.get("_PID"), 0),
            intern(_text(data.get("SYSLOG_IDENTIFIER") or data.get("_COMM"))),
            _text(data.get("MESSAGE")),
            cursor,
            {name: _text(value) for name, value in data.items()} if all_fields else None,
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None


def format_short(entry: JournalEntry) -> str:
    """The line as `journalctl -o short` shows it, in local time, safe for a terminal.

    Further lines of a message are indented below its first.
    """
    stamp = time.strftime("%b %d %H:%M:%S", time.localtime(entry.at // 1_000_000))
    pid = f"[{entry.pid}]" if entry.pid else ""
    head = f"{stamp} {escape(entry.hostname)} {escape(entry.identifier or 'unknown')}{pid}: "
    first, *rest = escape(entry.message, lines=True).split("\n")
    return "\n".join([head + first, *(" " * len(head) + line for line in rest)])


def _unit(data: Mapping[str, object], units: Mapping[str, str]) -> str:
    named = ""
    for field in _UNIT_FIELDS:
        value = data.get(field)
        if value is None:
            continue
        text = _text(value)
        if text in units:
            return units[text]
        named = named or text
    return named


def _text(value: object) -> str:
    """A field's value as text, whatever shape journalctl gave it."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        if all(type(each) is int for each in value):
            return bytes(each & 0xFF for each in value).decode("utf-8", "replace")
        return "\n".join(_text(each) for each in value)
    return "" if value is None else str(value)


def _number(value: object, default: int) -> int:
    text = value if isinstance(value, str) else _text(value)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 12 else default
