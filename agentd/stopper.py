"""Stopping a unit, and knowing that it is down: by systemd's answer, never by the news that a job is over.

A claim is given up after this, so whatever leaves a doubt raises SystemdError: the claim stays, and the next
attempt says the same or succeeds.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from agentd.dependencies import AT_REST, SYSTEMD, StatePublisher, StopCalls
from agentd.managed_unit import ManagedUnit, Replan
from agentd.pure.entry import Phase, cleared
from agentd.pure.plan import LIVELY
from agentd.unit_directory import UnitDirectory
from agentd.unit_names import UnitNames
from agentd.unit_records import UnitRecords
from agentd.unit_table import UnitTable
from registry.errors import SystemdError
from registry.units.name import service_of

STOP_AGAIN_S = 0.2
STOPS = 5  # when somebody else starts the unit while it is being stopped
KILLING = ("service", "socket", "mount", "swap", "scope")  # types of unit that have processes, and a KillMode=
LEFT_INACTIVE = "InactiveExitTimestampMonotonic"


class Stopper:
    """Stops units."""

    def __init__(
        self,
        systemd: StopCalls,
        names: UnitNames,
        records: UnitRecords,
        directory: UnitDirectory,
        publisher: StatePublisher,
        table: UnitTable,
    ) -> None:
        self._systemd, self._names, self._records = systemd, names, records
        self._directory, self._publisher, self._table = directory, publisher, table

    def may_live(self, unit: ManagedUnit) -> bool:
        """Whether something of ours may live: all but a claim of which nothing was loaded yet."""
        return unit.entry is not None and (
            unit.entry.phase is not Phase.CLAIMED or self._directory.holds(unit.name)
        )

    async def stop(self, unit: ManagedUnit) -> None:
        """Stop and wait until it is down, however long its own time-outs let it take."""
        entry = unit.entry
        if entry is None or not self.may_live(unit):
            return
        parked = self._table.parked  # as this was asked for: it may be over before systemd answers
        down = await self.look_closely(unit)
        if down and parked and entry.phase is Phase.STARTING:
            # systemd had taken the start on, and has nothing of it any more: it ended by itself, and stays ended.
            self._records.note(unit, replace(entry, phase=Phase.STARTED))
            return
        if unit.desired is not None:  # for an order that needs the name; to give ours up, it is stopped
            self._names.refuse_foreign(unit, also_ours=not (self._table.parked or self._table.leaving))
        if unit.foreign:
            raise Replan("the name belongs to the host by now")
        if entry.phase in LIVELY:
            self._records.note(unit, replace(entry, phase=Phase.STOPPING))
        for _ in range(STOPS):
            job = await self._systemd.stop(unit.name)
            result = "done" if job is None else await job
            if await self._is_down(unit):
                break
            if unit.status.running and result not in ("done", "canceled", "unknown"):
                reason = f"its stop job ended with {result}; it is {unit.status.active}"
                raise SystemdError(unit.name, "stop", reason)
            await asyncio.sleep(STOP_AGAIN_S)
        else:
            raise SystemdError(unit.name, "stop", f"it is still {unit.status.active}; something starts it again")
        await self._refuse_remains(unit)
        if entry.phase is not Phase.CLAIMED:
            self._records.note(unit, replace(cleared(entry), phase=Phase.LOADED))

    async def look_closely(self, unit: ManagedUnit) -> bool:
        """Ask systemd whose the unit is by now, and return whether it is down."""
        down = await self._is_down(unit)
        found = {"FragmentPath": ""}
        if not down and unit.status.load != "not-found":
            found = await self._systemd.properties(unit.name, ("FragmentPath",))
            if not self._directory.owns(found["FragmentPath"], unit.name):
                found |= await self._systemd.properties(unit.name, (LEFT_INACTIVE,))
        if not down:
            unit.status = unit.status.merged(found)
        unit.foreign = self._names.is_foreign(unit)
        return down

    async def _is_down(self, unit: ManagedUnit) -> bool:
        """Ask systemd whether the unit is at rest, with no job to change that; one that it has unloaded is."""
        load, active, sub, job = seen = await self._systemd.recall(unit.name)
        found = {"ActiveState": active, "SubState": sub, "Job": (job,)}
        unit.status = unit.status.merged(found if seen is AT_REST else found | {"LoadState": load})
        self._publisher.mark_dirty([unit.name])
        return not unit.status.running and not job

    async def _refuse_remains(self, unit: ManagedUnit) -> None:
        """Raise SystemdError while processes outlive their unit, unless its file leaves them alone (KillMode=).

        They are looked at again for a while: the older kind of control groups is empty only a moment after a stop.
        """
        kind = service_of(unit.name).rpartition(".")[2]
        pids = await self._systemd.processes(unit.name) if kind in KILLING else ()
        if not pids:
            return
        found = await self._systemd.properties(unit.name, ("KillMode",), f"{SYSTEMD}.{kind.capitalize()}")
        if found["KillMode"] in ("process", "none"):
            return
        for _ in range(STOPS - 1):
            if not (pids := await self._systemd.processes(unit.name)):
                return
            await asyncio.sleep(STOP_AGAIN_S)
        if pids := await self._systemd.processes(unit.name):
            lives = f"{len(pids)} of its processes live on (pid {', '.join(map(str, pids[:3]))})"
            raise SystemdError(unit.name, "stop", f"it is {unit.status.active}, but {lives}")
