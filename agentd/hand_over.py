"""Handing every unit over, a few at a time, so that each is down no longer than it takes itself to move."""

from __future__ import annotations

import asyncio

from agentd.unit_table import UnitTable

AT_ONCE = 4  # units: enough to be quick, so few that each is down but for a moment
HELD_S = 0.5  # a unit that takes longer to move holds up the next one no more; after AT_ONCE in a row none does


class HandOver:
    """The end of a machine's service. `run` gives each unit its turn."""

    def __init__(self, table: UnitTable) -> None:
        self._table = table
        self._moved: dict[str, asyncio.Event] = {}  # units being handed over, until the schedule forgets them here
        self._unmoved = 0  # units in a row that did not move in time

    def moved(self, name: str) -> None:
        """The schedule has this unit here no more."""
        if event := self._moved.get(name):
            event.set()

    async def run(self) -> None:
        """Have every unit stopped and given up, in turn."""
        gate = asyncio.Semaphore(AT_ONCE)
        async with asyncio.TaskGroup() as group:
            for unit in list(self._table.units.values()):
                await gate.acquire()
                self._moved[unit.name] = moved = asyncio.Event()
                unit.departing = True
                self._table.mark_dirty(unit)
                group.create_task(self._make_room(gate, moved), name=f"hand over {unit.name}")

    async def _make_room(self, gate: asyncio.Semaphore, moved: asyncio.Event) -> None:
        """For the next unit, once this one has moved; where nobody takes units there is nothing to wait for."""
        try:
            if self._unmoved < AT_ONCE:
                async with asyncio.timeout(HELD_S):
                    await moved.wait()
                self._unmoved = 0
        except TimeoutError:
            self._unmoved += 1
        finally:
            gate.release()
