"""What is kept of a unit that failed: which lines of the journal, how many, how long, and how often. Pure.

Everything is bounded, since a unit may write what it likes and fail as often as it likes: lines, bytes of a line,
bytes of all of them, and records of one unit and of one machine in a time. What is left out is said.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from registry.grammar import MAX_TIME, line, prose
from registry.model import CrashLine
from registry.units.name import service_of

LINES = 200
LINE_BYTES = 1024
ALL_BYTES = 32 * 1024
UNIT_BURST, UNIT_EVERY_S = 3, 600.0  # records of one unit: so many at once, then one in each of these times
MACHINE_BURST, MACHINE_EVERY_S = 10, 60.0
UNITS_KNOWN = 10_000
RUN, NAMED = "_SYSTEMD_INVOCATION_ID", ("INVOCATION_ID", "USER_INVOCATION_ID")  # whose a line is; which it is about
FIELDS = ("MESSAGE", "PRIORITY", "_PID", "SYSLOG_PID", "SYSLOG_IDENTIFIER", "_COMM", RUN, *NAMED)
INFO = 6  # the priority of a line that names none
OVERHEAD_BYTES = 48  # of a line's other fields, as they are written


def journal_argv(invocation: str, bus: str, uid: int, unit: str = "") -> list[str]:
    """The journalctl command for the newest lines of one run, and of what systemd said of it.

    With `unit`, the newest of the unit, whatever its run: of a process that ended right after its last line
    journald finds nobody to look at, and says only of which unit it was. Only systemd itself is believed when a
    line names a run that it is not of. Fields above 4096 bytes come as null.
    """
    by_systemd, of_unit = ["_PID=1", f"INVOCATION_ID={invocation}"], f"_SYSTEMD_UNIT={service_of(unit)}"
    if bus == "user":
        by_systemd = [f"_UID={uid}", "_COMM=systemd", f"USER_INVOCATION_ID={invocation}"]
        of_unit = f"_SYSTEMD_USER_UNIT={service_of(unit)}"
    matches = [f"{RUN}={invocation}", "+", *by_systemd]
    limits = [f"--output-fields={','.join(FIELDS)}", f"--lines={LINES + 1}"]
    if unit:
        matches += ["+", of_unit]
    return ["journalctl", "--no-pager", "--quiet", "--output=json", *limits, *matches]


def kept_lines(output: bytes, invocation: str) -> tuple[tuple[CrashLine, ...], bool]:
    """The lines of a run in journalctl's JSON that are kept, oldest first, and whether any was left out or cut.

    A line that does not say of which run it is is of the run that the line before it is of. Where there is too much
    it is the newest that stay.
    """
    read: list[CrashLine] = []
    ours = False
    for entry in output.splitlines():
        try:
            data = json.loads(entry)
            by_systemd = data.get("_PID") == "1" or data.get("_COMM") == "systemd"
            named = next((data[each] for each in NAMED if by_systemd and data.get(each)), None) or data.get(RUN)
        except (ValueError, AttributeError, RecursionError):
            continue
        ours = ours if named is None else named == invocation
        if ours and (each := _line(data)) is not None:
            read.append(each)
    found: list[CrashLine] = []
    room, cut = ALL_BYTES, len(read) > LINES
    for at, priority, pid, who, text in reversed(read[-LINES:]):
        encoded = text.encode("utf-8", "replace")
        fits = len(encoded) <= LINE_BYTES
        short = text if fits else encoded[: LINE_BYTES - 3].decode("utf-8", "ignore") + "…"
        cut = cut or short != text
        room -= len(json.dumps([who, short], ensure_ascii=False).encode("utf-8", "replace")) + OVERHEAD_BYTES
        if room < 0:
            cut = True
            break
        found.append((at, priority, pid, who, short))
    return tuple(reversed(found)), cut


def pushes_out(output: bytes, lines: Sequence[CrashLine]) -> bool:
    """Whether there may be more of a run than these `lines`, kept of an `output` that ends with what came later."""
    entries = output.splitlines()
    if len(entries) <= LINES:
        return False  # all that there is
    try:
        oldest = _line(json.loads(entries[0]))
    except (ValueError, AttributeError, RecursionError):
        oldest = None
    return not lines or oldest is None or oldest[0] >= lines[0][0]


def _line(data: dict[str, Any]) -> CrashLine | None:
    """One entry; None for a line that is none."""
    try:
        at = int(data["__REALTIME_TIMESTAMP"]) / 1e6
        priority, pid = _number(data.get("PRIORITY"), INFO), _number(data.get("SYSLOG_PID") or data.get("_PID"), 0)
        who = line(_text(data.get("SYSLOG_IDENTIFIER") or data.get("_COMM")))
        message = data.get("MESSAGE")
        told = "[a line longer than 4096 bytes]" if message is None and "MESSAGE" in data else _text(message)
        return (at, priority, pid, who, prose(told)) if 0.0 <= at <= MAX_TIME else None
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None


def _text(value: Any) -> str:  # noqa: ANN401 - whatever shape journalctl gave it
    if isinstance(value, list):
        if all(type(each) is int for each in value):
            return bytes(each & 0xFF for each in value).decode("utf-8", "replace")
        return "\n".join(each if isinstance(each, str) else _text(each) for each in value)
    return value if isinstance(value, str) else ""


def _number(value: Any, default: int) -> int:  # noqa: ANN401 - as above
    text = value if isinstance(value, str) else ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 12 else default


@dataclass(slots=True)
class Allowance:
    """So many at once, then one in each `every_s`. Times are of one monotonic clock."""

    burst: int
    every_s: float
    left: float = field(init=False)
    at: float = -1.0

    def __post_init__(self) -> None:
        self.left = self.burst

    def has(self, now: float) -> bool:
        """Whether one more is allowed."""
        if self.at >= 0.0:
            self.left = min(self.burst, self.left + (now - self.at) / self.every_s)
        self.at = now
        return self.left >= 1.0


class CrashLimits:
    """How often what failed is kept, for each unit and for the machine."""

    def __init__(self) -> None:
        self._machine = Allowance(MACHINE_BURST, MACHINE_EVERY_S)
        self._units: dict[str, Allowance] = {}
        self._runs: dict[str, str] = {}

    def take(self, unit: str, invocation: str, now: float) -> bool:
        """Whether this run that failed is to be kept; each run once."""
        if self._runs.get(unit) == invocation:
            return False
        if len(self._units) >= UNITS_KNOWN:
            self._units.clear()
            self._runs.clear()
        self._runs[unit] = invocation
        own = self._units.setdefault(unit, Allowance(UNIT_BURST, UNIT_EVERY_S))
        if not (own.has(now) and self._machine.has(now)):
            return False
        own.left -= 1.0
        self._machine.left -= 1.0
        return True


def words_of(lines: Sequence[CrashLine], trouble: str) -> str:
    """Why there are no lines; "" where there are some."""
    return "" if lines else trouble or "the journal has no line of it"
