"""What readings cost the console before anything is drawn, in processor time: `python -m bench.console_model`.

The rows of 20,000 units are made of one listing; then a hundred states change at a time. No etcd, no terminal. The
event loop stands still for each of these figures, so they are part of what a key waits for. Processor time says
something on a busy machine, too, at the same time as another version: this file, copied into a worktree of that.
"""

from __future__ import annotations

import argparse
import gc
import random
import statistics
import sys
import time
from base64 import b64decode
from collections.abc import Iterator

from bench.console_fleet import PLAIN, SHOWN, Size, records, state_op, units
from bench.report import Figure, table
from fleettui.console.sources.feed import FOLLOWED
from fleettui.console.tables.fleet import FleetModel, Reading
from fleettui.console.tables.listing import Listing
from fleettui.console.tables.rows import Delta
from fleettui.console.tables.units import COLUMNS
from registry.etcd import Op
from registry.keys import Keys
from registry.mirror import Mirror, RawChange
from registry.program import collector
from registry.sync.follow import ConnectionState
from registry.units.file import file_hash

AT_ONCE = 100  # changes of a reading
OUTCOMES = (("active", "running"), ("activating", "start-pre"), ("failed", "failed"))


class Pauses:
    """How long Python's looks for garbage took, in milliseconds, since this was made."""

    def __init__(self) -> None:
        self.ms: list[float] = []
        self._began = 0.0
        gc.callbacks.append(self._note)

    def _note(self, phase: str, _: object) -> None:
        if phase == "start":
            self._began = time.thread_time()
        else:
            self.ms.append(1000 * (time.thread_time() - self._began))


def measure(size: Size, readings: int) -> list[Figure]:
    """The first reading, then `readings` of a hundred changes each."""
    keys = Keys.under("model")
    listing = [_raw(op, number) for number, op in enumerate(records(size, keys), 1)]
    changes = [[_raw(op, len(listing)) for op in ops] for ops in _changes(size, keys, readings)]
    gc.freeze()  # what is made here is not the console's
    collector.relax()
    pauses, mirror, fleet, shown = Pauses(), Mirror(keys, FOLLOWED), FleetModel(keys), Listing(COLUMNS)
    began = time.thread_time()
    mirror.reset(listing, len(listing))
    parsed = time.thread_time()
    fleet.apply(Reading(mirror.snapshot(), None, ConnectionState.LIVE), time.time())
    shown.apply(Delta(fleet.units.rows(), reset=True))
    first_s, longest_ms, waits = time.thread_time() - parsed, max(pauses.ms, default=0.0), list[float]()
    pauses.ms.clear()
    for ops in changes:
        at = time.thread_time()
        changed = frozenset(mirror.apply(ops, len(listing)))
        reading = Reading(mirror.snapshot(), changed, ConnectionState.LIVE)
        shown.apply(fleet.apply(reading, time.time()).units)
        waits.append(1000 * (time.thread_time() - at))
    waits.sort()
    return [
        Figure(f"{size.units:,} units, {len(listing):,} records parsed", parsed - began, "s"),
        Figure("rows and order of the first reading", first_s, "s"),
        Figure("longest look for garbage until then", longest_ms, "ms"),
        Figure(f"a reading of {AT_ONCE} changes: median", statistics.median(waits), "ms"),
        Figure("the same: p99", waits[int(0.99 * (len(waits) - 1))], "ms"),
        Figure("longest look for garbage from then on", max(pauses.ms, default=0.0), "ms"),
    ]


def _changes(size: Size, keys: Keys, readings: int) -> Iterator[list[Op]]:
    """States of units that changed: half of them of the topmost rows."""
    lot, sha256 = random.Random(7), file_hash(PLAIN)
    placed = [(number, name) for number, (name, text) in enumerate(units(size)) if text == PLAIN]
    top = sorted(placed, key=lambda each: each[1])[:SHOWN]
    for _ in range(readings):
        chosen = [lot.choice(top if turn % 2 else placed) for turn in range(AT_ONCE)]
        yield [
            state_op(name, number % size.machines, sha256, keys, time.time(), active=active, sub=sub)
            for number, name in chosen
            for active, sub in (lot.choice(OUTCOMES),)
        ]


def _raw(op: Op, revision: int) -> RawChange:
    """A put as a follower gets it."""
    return RawChange(op.key, b64decode(op.body["value"]), revision, revision)


def main() -> int:
    """Measure, print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.console_model", description=__doc__)
    parser.add_argument("--units", type=int, default=20_000, help="how many units (20000)")
    parser.add_argument("--machines", type=int, default=1_000, help="how many machines (1000)")
    parser.add_argument("--readings", type=int, default=200, help="how many readings of changes (200)")
    arguments = parser.parse_args()
    print(table(measure(Size(arguments.units, arguments.machines), arguments.readings)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
