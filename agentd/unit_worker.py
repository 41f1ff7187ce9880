"""One worker a unit: plan, carry out, and plan again until nothing is left to do.

Owns what becomes of a task that failed: it is told, and either left until something changes, or tried again after a
pause that grows. A unit that fails or takes long delays no other.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from agentd.dependencies import BusLost, Dependencies
from agentd.managed_unit import ManagedUnit, Refused, Replan, Taken
from agentd.pure.plan import Task, TaskKind
from agentd.unit_records import UnitRecords
from agentd.unit_table import STARTS, UnitTable
from agentd.waiting_starts import WaitingStarts
from registry.errors import FleetError, RegistryError, SystemdError
from registry.messages import UNIT_FAILED, UNIT_REFUSED, about
from registry.units.name import is_quadlet

log = logging.getLogger("fleet.agent")

RETRY_S = (1.0, 30.0)  # after a task that failed and has to succeed in the end: a stop, an unload
FRUITLESS = 20  # rounds of a plan that leads to itself: then it rests, as after a failure
APPEARS = (TaskKind.LOAD, *STARTS)  # what may bring a unit that another one waits for


class Tasks(Protocol):
    """Who carries tasks out."""

    async def carry_out(self, unit: ManagedUnit, task: Task) -> None:
        """Do one task."""


class UnitWorker:
    """Works on any unit; `run` is one unit's task."""

    def __init__(
        self, needs: Dependencies, table: UnitTable, tasks: Tasks, records: UnitRecords, waiting: WaitingStarts
    ) -> None:
        self._needs, self._table, self._tasks, self._records, self._waiting = needs, table, tasks, records, waiting

    async def run(self, unit: ManagedUnit) -> None:
        """Bring the unit to what is desired of it. Returns when nothing is left to do."""
        pause_s, rounds = RETRY_S[0], 0
        try:
            while tasks := self._table.plan(unit):
                entry, version = unit.entry, unit.version
                done = await self._attempt(unit, tasks)
                rounds = rounds + 1 if unit.entry is entry and self._table.plan(unit) == tasks else 0
                if done and rounds < FRUITLESS:
                    pause_s = RETRY_S[0]
                else:
                    pause_s = await self._rest(unit, version, pause_s)
            self._settle(unit)
        finally:
            unit.worker = None
            self._needs.reloader.dismiss(unit.name)
            self._waiting.note(unit)
            if unit.entry is None and (unit.desired is None or self._table.leaving):
                self._table.units.pop(unit.name, None)
            self._table.noted.set()

    def _settle(self, unit: ManagedUnit) -> None:
        """Nothing is left to do: a task that has failed, and is not wanted any more, is no failure of the unit."""
        if unit.complaint and unit.entry and unit.entry.error == unit.complaint:
            self._records.note_error(unit, "")
        unit.complaint = ""

    async def _rest(self, unit: ManagedUnit, version: int, pause_s: float) -> float:
        """Let a failed task rest, unless the plan may be another one since `version`; returns the next pause."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + pause_s
        while unit.version == version and (left_s := deadline - loop.time()) > 0:
            await unit.wait_for_change(left_s)
        return min(pause_s * 2, RETRY_S[1])

    async def _attempt(self, unit: ManagedUnit, tasks: tuple[Task, ...]) -> bool:
        """Carry a plan out until it is another one. False when a task failed that has to be tried again."""
        reloads = self._needs.directory.holds(unit.name) or is_quadlet(unit.name)
        if any(task.kind is TaskKind.LOAD for task in tasks) and reloads:
            self._needs.reloader.expect(unit.name)
        try:
            await self._carry_out(unit, tasks)
            unit.refused, unit.complaint = None, ""
        except Replan as error:
            log.debug("%s: planning again: %s", unit.name, error, extra=about(unit.name))
        except Refused as error:
            self._block(unit, str(error), taken=isinstance(error, Taken))
        except BusLost as error:
            log.warning("%s", error)
            await asyncio.sleep(RETRY_S[0])
            await self._needs.systemd.ready.wait()
        except RegistryError as error:
            log.debug("%s: %s", unit.name, error, extra=about(unit.name))
            return False
        except SystemdError as error:
            return self._failed_in_systemd(unit, error)
        except (FleetError, OSError, ValueError) as error:
            self._fail(unit, str(error))
            return False
        except Exception as error:  # noqa: BLE001 - one bad unit harms no other
            log.debug("unexpected", exc_info=True)
            self._fail(unit, f"internal error: {type(error).__name__}: {error}")
            return False
        return True

    async def _carry_out(self, unit: ManagedUnit, tasks: tuple[Task, ...]) -> None:
        version = unit.version
        for task in tasks:
            unit.doing = task.kind
            try:
                await self._tasks.carry_out(unit, task)
            finally:
                _heed_cancellation()
            if task.kind in APPEARS:
                self._waiting.announce(unit.name)
            if unit.version != version:
                return

    def _failed_in_systemd(self, unit: ManagedUnit, error: SystemdError) -> bool:
        """Say it. What systemd refuses to enable it will refuse again (True); anything else is worth a try."""
        reason = f"{error.operation} failed: {error.reason}"
        self._fail(unit, reason)
        final = error.operation == "enable"
        if final:
            self._block(unit, reason, taken=unit.taken)
        return final

    def _fail(self, unit: ManagedUnit, reason: str) -> None:
        reason = unit.complaint = " ".join(reason.split())
        if unit.entry is None:
            log.warning("%s: %s", unit.name, reason, extra=UNIT_FAILED.of(unit.name))
        elif unit.entry.error != reason:
            self._records.note_error(unit, reason)
            self._needs.publisher.record_event("fail", unit=unit.name, reason=reason)

    def _block(self, unit: ManagedUnit, reason: str, *, taken: bool) -> None:
        """The present desired state cannot be reached: say why, and let it be until something changes."""
        if (unit.block_reason, unit.refused) != (reason, unit.desired):
            log.warning("%s: %s", unit.name, reason, extra=UNIT_REFUSED.of(unit.name))
        unit.block_reason, unit.blocked_at, unit.taken = reason, unit.desired, taken
        unit.refused = unit.desired
        self._needs.publisher.mark_dirty([unit.name])


def _heed_cancellation() -> None:
    """Raise CancelledError in a task that was cancelled, whatever its clean-up has raised in the place of that."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
