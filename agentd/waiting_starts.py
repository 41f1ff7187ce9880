"""Starts that wait for a unit that is not there: asked for again when it is.

Owns which unit waits for which. A unit of ours that appears is announced; one of the host's is found by a look,
with each tick of the reconciler.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from agentd.inquiry import Lack
from agentd.managed_unit import ManagedUnit
from agentd.unit_table import UnitTable
from registry.errors import SystemdError
from registry.units.name import service_of

log = logging.getLogger("fleet.agent")


class Needs(Protocol):
    """Who knows what a start needs."""

    async def lacking(self, unit: str) -> tuple[Lack, ...]:
        """The units without which this one cannot be started now."""

    async def loaded(self, units: set[str]) -> set[str]:
        """Those of the units that systemd has loaded, or can load."""


class WaitingStarts:
    """The starts that wait. `run` looks for what they wait for."""

    def __init__(self, needs: Needs, table: UnitTable) -> None:
        self._needs, self._table = needs, table
        self._waiting: dict[str, frozenset[str]] = {}  # by unit, what its start waits for
        self._due: dict[str, None] = {}  # units for which a look is due
        self._called = asyncio.Event()

    def adopt(self, unit: ManagedUnit) -> None:
        """Take over what an agent before us has left waiting."""
        if unit.entry and unit.entry.waits:
            self._waiting[unit.name] = frozenset(unit.entry.waits)

    def note(self, unit: ManagedUnit) -> None:
        """Remember what the unit's start waits for; what came in the meantime is found by a look now."""
        waits = unit.entry.waits if unit.entry and not unit.due else ()
        if not waits:
            self._waiting.pop(unit.name, None)
        elif self._waiting.get(unit.name) != frozenset(waits):
            self._waiting[unit.name] = frozenset(waits)
            self._call([unit.name])

    def announce(self, name: str) -> None:
        """A unit of ours may be there that others wait for."""
        self._call([unit for unit, waits in self._waiting.items() if service_of(name) in waits])

    def look_for_all(self) -> None:
        """Look for everything that is waited for."""
        self._call(list(self._waiting))

    async def run(self) -> None:
        """Ask again, whenever called, for the starts for which nothing is missing any more; for ever."""
        while True:
            await self._called.wait()
            self._called.clear()
            names, self._due = list(self._due), {}
            entries = {name: unit.entry for name in names if (unit := self._table.units.get(name))}
            awaited = {name: entry.waits for name, entry in entries.items() if entry}
            try:
                there = await self._needs.loaded({name for waits in awaited.values() for name in waits})
                for name in (each for each, waits in awaited.items() if there.issuperset(waits)):
                    if await self._needs.lacking(name):
                        continue
                    unit = self._table.units.get(name)
                    if unit is not None and not unit.due and unit.entry and unit.entry.waits:
                        unit.due = True
                        self._waiting.pop(name, None)
                        self._table.mark_dirty(unit)
            except (SystemdError, ValueError, TypeError) as error:
                log.debug("%s; looking again with the next tick", error)

    def _call(self, names: list[str]) -> None:
        if names:
            self._due.update(dict.fromkeys(names))
            self._called.set()
