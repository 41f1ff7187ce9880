"""Whether the fleet survives the loss of any one machine, by the rules that decide, machine after machine.

Owns what is known of each machine, and when it is asked again: after a change that placement depends on, in a
thread, one machine at a time, with pauses between, so that it takes a small part of one processor whatever the
fleet's size. An answer that is older than the fleet is kept until there is a newer one.
"""

from __future__ import annotations

import asyncio
import logging
import time

from fleettui.console.tables.fleet import Reading
from placement.preview import preview_without
from registry.keys import Keys, Table
from registry.mirror import Snapshot
from registry.sync.follow import ConnectionState

log = logging.getLogger(__name__)

CALM_S = 2.0  # after a change, for those that come with it
SHARE = 0.008  # of one processor: a console at rest costs less than a hundredth
LEAST_S = 0.02  # between two machines
UNKNOWN = -1
DECISIVE = frozenset(
    {Table.MACHINES, Table.OVERRIDES, Table.UNITS, Table.FILES, Table.SCHEDULE, Table.PLACEMENTS}
)  # what a placement depends on


class LossWatch:
    """What would wait without each machine. `update` takes readings, `run` asks for ever."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._snapshot: Snapshot | None = None  # the newest, while the registry is followed
        self._stamp = 0  # counts changes
        self._found: dict[str, tuple[int, int]] = {}  # by machine: as of which stamp, how many would wait
        self._wake = asyncio.Event()

    def update(self, reading: Reading) -> None:
        """Take the newest reading."""
        if reading.link is not ConnectionState.LIVE or reading.past is not None:
            self._snapshot = None
            return
        self._snapshot = reading.snapshot
        changed = reading.changed
        if changed is None or any(each.table in DECISIVE for each in changed):
            self._stamp += 1
            self._wake.set()

    def worst(self) -> tuple[str, int] | None:
        """The machine without which most units would wait, by its id, and how many; ("", 0): none would.

        None as long as that is not known.
        """
        snapshot = self._snapshot
        if snapshot is None or not snapshot.machines:
            return None
        known = {each: self._found[each][1] for each in snapshot.machines if each in self._found}
        machine = max(known, key=lambda each: (known[each], each), default="")
        if known.get(machine, 0) > 0:
            return machine, known[machine]
        complete = len(known) == len(snapshot.machines) and UNKNOWN not in known.values()
        return ("", 0) if complete else None

    async def run(self) -> None:
        """Ask of one machine after the other, whenever that may have another answer."""
        while True:
            await self._wake.wait()
            await asyncio.sleep(CALM_S)
            self._wake.clear()
            while (machine := self._next()) and (snapshot := self._snapshot):
                stamp, began = self._stamp, time.monotonic()
                try:
                    lost = await asyncio.to_thread(preview_without, snapshot, [machine], self._keys)
                    self._found[machine] = stamp, len(lost.waits)
                except Exception:  # noqa: BLE001 - one unit's fault is no reason to say nothing ever after
                    log.warning("cannot tell what the loss of %s would mean", machine, exc_info=True)
                    self._found[machine] = stamp, UNKNOWN
                await asyncio.sleep(max(LEAST_S, (time.monotonic() - began) / SHARE))

    def _next(self) -> str:
        """The machine whose answer is the oldest and no longer of now; "" when all are."""
        machines = self._snapshot.machines if self._snapshot else {}
        for gone in self._found.keys() - machines.keys():
            del self._found[gone]
        oldest = min(machines, key=lambda each: (self._found.get(each, (-1, 0))[0], each), default="")
        return oldest if oldest and self._found.get(oldest, (-1, 0))[0] < self._stamp else ""
