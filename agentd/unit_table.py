"""The units of this machine at run time, and what their plans depend on besides themselves.

Owns the policy (parked, leaving, frozen) and the queue of units whose plan may have changed. Whoever changes a unit
marks it dirty; the reconciler takes it from the queue and gives it a worker if there is something to do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar, cast

from agentd.managed_unit import ManagedUnit, Replan
from agentd.pure.entry import Phase
from agentd.pure.plan import Task, TaskKind, plan
from registry.model import Target, UnitState

STARTS = (TaskKind.START, TaskKind.AWAIT)

T = TypeVar("T")


class UnitTable:
    """The units of one machine, by name."""

    def __init__(self, machine: str) -> None:
        self.machine = machine
        self.units: dict[str, ManagedUnit] = {}
        self.parked = False  # the registry is lost and our policy is to stop
        self.leaving = False  # every unit is handed over
        self.frozen = False  # the registry's history went back: nothing is begun
        self.noted = asyncio.Event()  # an entry was written, or a worker has ended
        self._queue: dict[str, None] = {}
        self._filled = asyncio.Event()

    # ---- plans

    def plan(self, unit: ManagedUnit) -> tuple[Task, ...]:
        """What is to be done on a unit now; nothing while nobody has said what is desired, or nothing may begin."""
        unknown = unit.corrupt or not unit.listed
        if (unknown or self.frozen) and not self.leaving and not self.parked:
            return ()
        if self.leaving and not unit.departing:  # its turn comes; nothing new is begun
            return ()
        return plan(unit.view(parked=self.parked, leaving=self.leaving))

    def is_outdated(self, unit: ManagedUnit) -> bool:
        """Whether the task under way is no longer what the unit's plan begins with."""
        tasks = self.plan(unit)
        if not tasks:  # it is desired no more before it was claimed, or nothing may be begun
            return unit.entry is None or (self.frozen and unit.doing in (TaskKind.CLAIM, TaskKind.FETCH))
        if unit.doing in STARTS:
            return tasks[0].kind not in (*STARTS, TaskKind.CLAIM)
        return tasks[0].kind is not unit.doing

    async def unless_outdated(self, unit: ManagedUnit, work: Awaitable[T]) -> T:
        """Wait for something that may take long. Raises Replan once the unit's plan begins with something else."""
        waiting = asyncio.ensure_future(work)
        try:
            while not waiting.done():
                unit.changed.clear()
                if self.is_outdated(unit):  # also by what came before anybody waited
                    raise Replan("something else has to be done first")
                waker: asyncio.Future[object] = asyncio.create_task(unit.changed.wait(), name="change of a unit")
                try:
                    both = [cast("asyncio.Future[object]", waiting), waker]
                    await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    waker.cancel()
            return waiting.result()
        finally:
            waiting.cancel()

    # ---- the queue

    def wake(self, unit: ManagedUnit) -> None:
        """Have the unit's plan looked at."""
        self._queue[unit.name] = None
        self._filled.set()

    def mark_dirty(self, unit: ManagedUnit) -> None:
        """The unit's plan may be another one: what is under way is looked at again, too."""
        unit.version += 1
        unit.changed.set()
        self.wake(unit)

    def mark_all_dirty(self) -> None:
        """Plan everything again."""
        for unit in self.units.values():
            self.mark_dirty(unit)

    def retry_blocked(self, *, taken_only: bool = False) -> None:
        """What could not be carried out may be possible by now: all, or what the host had taken."""
        for unit in self.units.values():
            if unit.blocked and (unit.taken or not taken_only):
                unit.blocked_at = None
                self.mark_dirty(unit)

    def retry(self, name: str) -> None:
        """What one unit could not be brought to may be possible by now."""
        if (unit := self.units.get(name)) and unit.blocked:
            unit.blocked_at = None
            self.mark_dirty(unit)

    async def woken(self) -> list[ManagedUnit]:
        """Wait for units whose plan may have changed, and take them."""
        await self._filled.wait()
        self._filled.clear()
        names, self._queue = self._queue, {}
        return [self.units[name] for name in names if name in self.units]

    # ---- what others ask

    def state(self, name: str) -> UnitState | None:
        """The record of one unit for the registry."""
        unit = self.units.get(name)
        return unit.state(self.machine) if unit else None

    def is_passing(self, name: str) -> bool:
        """Whether a worker is about to bring the unit to another state, and nobody is misled until then.

        What has a schedule line here and goes down is told at once: a rollout counts what is up.
        """
        unit = self.units.get(name)
        if unit is None or unit.worker is None or unit.entry is None or unit.entry.error or unit.blocked:
            return False
        phase, withdrawn = unit.entry.phase, unit.desired is None or self.leaving
        if phase in (Phase.STOPPING, Phase.LOADED) and withdrawn:
            return True
        launched = unit.desired is not None and unit.desired.target is Target.LAUNCHED and not self.parked
        return launched and phase in (Phase.CLAIMED, Phase.LOADED, Phase.ASKING, Phase.STARTING)

    @property
    def held(self) -> tuple[str, ...]:
        """The units of which something is here."""
        return tuple(name for name, unit in self.units.items() if unit.entry)

    @property
    def alive(self) -> tuple[str, ...]:
        """The units of ours of which a process may live."""
        return tuple(
            name for name, unit in self.units.items() if unit.entry and unit.status.running and not unit.foreign
        )

    @property
    def exposed(self) -> tuple[str, ...]:
        """The units of ours that run, or are about to."""
        starting = (Phase.ASKING, Phase.STARTING)
        about = (name for name, unit in self.units.items() if unit.entry and unit.entry.phase in starting)
        return (*self.alive, *about)

    def main_pids(self) -> dict[str, int]:
        """The main process of each unit of ours that has one."""
        return {name: self.units[name].status.main_pid for name in self.alive if self.units[name].status.main_pid}

    async def emptied(self) -> None:
        """Wait until nothing is left of any unit but, perhaps, its state in the registry."""
        while any(unit.entry and unit.entry.phase is not Phase.GONE for unit in self.units.values()):
            await self._news()

    async def forgotten(self) -> None:
        """Wait until the registry shows none of our units either."""
        while self.held:
            await self._news()

    async def _news(self) -> None:
        self.noted.clear()
        await self.noted.wait()
