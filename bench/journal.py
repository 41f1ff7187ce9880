"""What the journal's model costs without a screen: `python -m bench.journal`. Lines a second of CPU time."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence

from fleettui.console.journal import Wanted
from fleettui.console.journal.buffer import JournalBuffer, Terms
from fleettui.console.journal.filters import Narrowing
from fleettui.console.journal.formatter import LineFormat
from fleettui.journal_entry import JournalEntry, parse
from registry.model import Machine

COUNT = 100_000
WANTED = (Wanted(Machine("1" * 32, "core-1", "10.0.0.1", "b1"), "web@1.service"),)


def lines() -> list[bytes]:
    """What journalctl writes."""
    fields = {
        "PRIORITY": "6", "_PID": "401", "SYSLOG_IDENTIFIER": "web", "_HOSTNAME": "core-1", "_COMM": "web",
        "_SYSTEMD_UNIT": "web@1.service", "_SYSTEMD_SLICE": "system.slice", "_BOOT_ID": "b" * 32,
        "__MONOTONIC_TIMESTAMP": "12477782098",
    }  # fmt: skip
    return [
        json.dumps(
            fields
            | {
                "MESSAGE": f"GET /index/{number}.html 200 some words of an ordinary length, 12 ms",
                "__REALTIME_TIMESTAMP": str(1_790_000_000_000_000 + number * 200),
                "__CURSOR": f"s={'a' * 32};i={number:x};b={'b' * 32};m=2e7bbd852;t=660f0aaaeffe9;x=ea1c",
            }
        ).encode()
        for number in range(COUNT)
    ]


def keep(buffer: JournalBuffer, entries: Sequence[JournalEntry]) -> None:
    """As they come: some hundreds at once."""
    for at in range(0, len(entries), 200):
        buffer.take(entries[at : at + 200])


def timed(what: str, work: Callable[[], object]) -> None:
    """One line of the table."""
    began = time.process_time()
    work()
    took = time.process_time() - began
    print(f"{what:<44} {COUNT / took:>12,.0f} lines/s {took / COUNT * 1e6:>7.2f} µs each")


def main() -> None:
    """Parse, keep, narrow, search, wrap."""
    raw = lines()
    units = {WANTED[0].unit: WANTED[0].unit}
    entries = [entry for line in raw if (entry := parse(line, WANTED[0].machine.id, units))]
    buffer = JournalBuffer()
    narrow = Terms(WANTED, narrowing=Narrowing(include="index", exclude="healthz", priority=6))
    timed("parse", lambda: [parse(line, WANTED[0].machine.id, units) for line in raw])
    timed("keep", lambda: keep(buffer, entries))
    timed("keep, the ring full", lambda: keep(buffer, entries))
    timed("narrow by include, exclude and priority", lambda: list(buffer.redo(narrow)))
    timed("search", lambda: list(buffer.redo(Terms(WANTED, search="99.html"))))
    timed("wrap at 80 cells", lambda: list(buffer.redo(Terms(WANTED, LineFormat(80, wrap=True)))))


if __name__ == "__main__":
    main()
