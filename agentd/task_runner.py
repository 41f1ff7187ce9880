"""Carrying out one task of a plan on one unit: the only place where the agent acts on systemd.

Owns the order inside a task: the ledger says what may happen before it happens, and what has once it has. Raises
Refused (the desired state cannot be reached; say so, and do nothing more), Replan (something has changed under the
task), SystemdError and the registry's errors.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace

from agentd.dependencies import Dependencies
from agentd.file_cache import FileMissing
from agentd.file_reader import FileReader
from agentd.inquiry import Inquiry
from agentd.installer import Installer
from agentd.managed_unit import ManagedUnit, Refused, Replan
from agentd.pure.plan import Task, TaskKind
from agentd.pure.unit_status import UNKNOWN
from agentd.quadlets import Quadlets
from agentd.starter import Starter
from agentd.stopper import Stopper
from agentd.unit_names import UnitNames
from agentd.unit_records import UnitRecords
from agentd.unit_table import UnitTable
from registry.errors import CorruptRecord, UserError
from registry.messages import UNIT_LOAD, UNIT_START, UNIT_STOP, UNIT_UNLOAD, about

log = logging.getLogger("fleet.agent")

LOGGED = {  # the others follow from them
    TaskKind.LOAD: UNIT_LOAD,
    TaskKind.START: UNIT_START,
    TaskKind.STOP: UNIT_STOP,
    TaskKind.UNLOAD: UNIT_UNLOAD,
}
STALE_S = 1.0  # how long the news of a changed schedule line may take; then the claim is tried again


class TaskRunner:
    """The tasks by kind, and what they work with."""

    def __init__(self, needs: Dependencies, table: UnitTable) -> None:
        self._needs, self._table = needs, table
        self.ended: Counter[tuple[TaskKind, str]] = Counter()  # tasks, by kind and by how they ended
        systemd, directory, publisher = needs.systemd, needs.directory, needs.publisher
        files = FileReader()
        self.inquiry = Inquiry(systemd, needs.host)
        self.names = UnitNames(systemd, directory, needs.links)
        self.records = UnitRecords(systemd, self.names, directory, needs.ledger, publisher, table)
        self.quadlets = Quadlets(systemd, directory, needs.links)
        stopper = Stopper(systemd, self.names, self.records, directory, publisher, table)
        installer = Installer(
            systemd, directory, needs.links, (needs.files, files, needs.artifacts), needs.provider, needs.reloader,
            self.names, self.records, stopper, self.quadlets,
        )  # fmt: skip
        self.starter = Starter(
            systemd, directory, (files, needs.artifacts), needs.provider, publisher, table, self.names,
            self.records, self.inquiry, needs.before_start,
        )  # fmt: skip
        self._files = files
        self._by_kind: dict[TaskKind, Callable[[ManagedUnit], Awaitable[None]]] = {
            TaskKind.CLAIM: self.claim,
            TaskKind.FETCH: self.fetch,
            TaskKind.STOP: stopper.stop,
            TaskKind.LOAD: installer.load,
            TaskKind.START: lambda unit: self.starter.start(unit, installer),
            TaskKind.AWAIT: self.starter.resume,
            TaskKind.RECORD: self.record,
            TaskKind.UNLOAD: installer.unload,
            TaskKind.FORGET: self.forget,
        }

    async def carry_out(self, unit: ManagedUnit, task: Task) -> None:
        """Do one task."""
        kind = LOGGED.get(task.kind)
        level, extra = (logging.INFO, kind.of(unit.name)) if kind else (logging.DEBUG, about(unit.name))
        log.log(level, "%s: %s (%s)", unit.name, task.kind, task.reason, extra=extra)
        result = "interrupted"
        try:
            await self._by_kind[task.kind](unit)
            result = "done"
        except Replan:
            result = "replanned"
            raise
        except Refused:
            result = "refused"
            raise
        except Exception:
            result = "failed"
            raise
        finally:
            self.ended[task.kind, result] += 1

    async def claim(self, unit: ManagedUnit) -> None:
        """Put the unit's state, guarded by its schedule line."""
        desired = unit.wanted()
        entry = unit.entry or desired.entry()
        state = replace(unit, entry=entry, blocked_at=None).state(self._table.machine)
        if state is None:
            raise Replan("nothing to claim")

        def granted(lease: int) -> None:  # at once: nobody may see the claim without the entry
            if (
                self._table.units.setdefault(unit.name, unit) is not unit
            ):  # scheduled here anew since: another claim
                self._needs.publisher.mark_dirty([unit.name])
                return
            unit.lease = lease
            unit.departing |= self._table.leaving  # its turn may have passed
            self._needs.systemd.watch(unit.name)
            self.records.note(unit, unit.entry or entry)
            self._table.wake(unit)

        claiming = self._needs.publisher.claim(desired, state, granted)
        if not await self._table.unless_outdated(unit, claiming):
            if unit.desired == desired:  # else the news has come already
                await unit.wait_for_change(STALE_S)
            raise Replan("its schedule line has changed")

    async def fetch(self, unit: ManagedUnit) -> None:
        """Get the text of its file, and see that what it needs can be had: the old copy runs until then."""
        try:
            text = await self._table.unless_outdated(unit, self._needs.files.get(unit.wanted().hash))
            facts = await self._files.read(unit.name, text)
            if pins := facts.needed():
                await self._table.unless_outdated(unit, self._needs.provider.check(pins))
            await self._table.unless_outdated(unit, self._needs.artifacts.fetch(unit.name, text))
        except (FileMissing, CorruptRecord, UserError) as error:
            raise Refused(str(error)) from error

    async def record(self, unit: ManagedUnit) -> None:
        """Note that what runs is what is desired."""
        desired = unit.wanted()
        if unit.entry:
            entry = unit.entry.seen(desired.epoch, desired.revision)
            generation, placement, attempt = desired.generation, desired.placement, desired.attempt
            self.records.note(unit, replace(entry, generation=generation, placement=placement, attempt=attempt))

    async def forget(self, unit: ManagedUnit) -> None:
        """Delete its state, and its entry."""
        await self._needs.publisher.forget(unit.name)
        self._needs.ledger.drop(unit.name)
        unit.entry, unit.lease, unit.foreign = None, 0, False
        unit.status = UNKNOWN
