"""Making every unit of this machine as its schedule says: one worker a unit, many at once, each re-planning.

Level-triggered: whatever changes (what is desired, a status, the policy) only marks the unit dirty; its worker
plans from what is true then and goes on until nothing is left to do. Owns what is concluded from systemd's news,
and the comparison of all units with systemd when news may have been missed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from agentd.dependencies import Dependencies
from agentd.hand_over import HandOver
from agentd.managed_unit import ManagedUnit
from agentd.pure.entry import LedgerEntry, Phase, cleared
from agentd.pure.file_facts import read_facts
from agentd.pure.plan import LIVELY, DesiredState
from agentd.pure.unit_status import UnitStatus, failure, start_failed
from agentd.quadlets import link_place
from agentd.starter import monotonic_us
from agentd.task_runner import TaskRunner
from agentd.unit_names import OURS
from agentd.unit_table import UnitTable
from agentd.unit_worker import UnitWorker
from agentd.waiting_starts import WaitingStarts
from registry.errors import SystemdError
from registry.messages import UNIT_FAILED
from registry.units.file import file_hash
from registry.units.name import service_of

log = logging.getLogger("fleet.agent")

EARLY_US = 2_000_000  # a unit that fails so soon after its start has failed to start
NO_FILE = file_hash("")  # of a unit that was found without its file: it is replaced
FREED_S = 0.3  # after a host's own unit has ended, until systemd has forgotten it
ANSWER_S = 1.0  # for systemd to say what lives, when everything has to be stopped in time
READS = 32  # units whose properties are read at once


class Reconciler:
    """The units of this machine, kept as they are desired."""

    def __init__(self, needs: Dependencies, table: UnitTable) -> None:
        self.table = table
        self._needs = needs
        self._tasks = TaskRunner(needs, table)
        self.ended = self._tasks.ended
        self._records, self._names, self._starter = self._tasks.records, self._tasks.names, self._tasks.starter
        self._waiting = WaitingStarts(self._tasks.inquiry, table)
        self._worker = UnitWorker(needs, table, self._tasks, self._records, self._waiting)
        self._hand_over = HandOver(table)
        self._group: asyncio.TaskGroup | None = None
        self._stale = asyncio.Event()

    async def run(self) -> None:
        """Work for ever on what was adopted and is desired."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            group.create_task(self._waiting.run(), name="starts that wait")
            group.create_task(self._start_workers(group), name="workers")
            self.table.mark_all_dirty()
            while True:
                await self._stale.wait()
                await self._needs.systemd.ready.wait()
                self._stale.clear()
                await self._look_again()

    async def _start_workers(self, group: asyncio.TaskGroup) -> None:
        while True:
            for unit in await self.table.woken():
                if unit.worker is None and self.table.plan(unit):
                    unit.worker = group.create_task(self._worker.run(unit), name=f"unit {unit.name}")

    async def adopt(self) -> None:
        """Take up the units of the ledger, and files that lie in our directory without an entry."""
        ledger, directory = self._needs.ledger, self._needs.directory
        await self._needs.systemd.unit_path()
        if ledger.rebooted:  # a directory that outlives a boot: systemd knows none of these any more
            for name in directory.units():
                directory.remove(name)
            self._tasks.quadlets.forget()
        links = self._needs.links
        linked = (*directory.linked_from(links), *directory.linked_from(link_place(links, "a.container")))
        for name in sorted({*directory.units(), *linked}):
            if name not in ledger.entries:
                ledger.put(LedgerEntry(name, directory.hash(name) or NO_FILE, 0, 0, Phase.LOADED))
        for name in directory.units():
            self._needs.provider.keep(name, read_facts(directory.text(name))[0].pins)
        for name, entry in ledger.entries.items():
            self.table.units[name] = ManagedUnit(name, entry=entry)
            self._needs.systemd.watch(name)
        await self._read(self.table.units)
        for unit in self.table.units.values():
            if unit.entry and not unit.entry.generation and unit.status.running:
                unit.entry = ledger.put(replace(unit.entry, phase=Phase.STARTED))
            self._waiting.adopt(unit)
        log.info("adopted %d units", len(self.table.units))

    # ---- the schedule and the policy

    @property
    def held(self) -> tuple[str, ...]:
        """The units of which something is here."""
        return self.table.held

    def set_desired(self, name: str, desired: DesiredState | None, *, corrupt: bool = False) -> None:
        """What the schedule says of a unit now; a corrupt line leaves the unit as it is."""
        unit = self.table.units.get(name)
        if desired is None and not corrupt:
            self._hand_over.moved(name)
        if unit is None:
            if desired is None:
                return
            unit = self.table.units[name] = ManagedUnit(name)
        if unit.listed and (unit.desired, unit.corrupt) == (desired, corrupt):
            return
        unit.listed, unit.corrupt, unit.refusals = True, corrupt, 0
        if not corrupt:
            unit.desired = desired
        self.table.mark_dirty(unit)

    def park(self, *, parked: bool) -> None:
        """Stop everything while the registry is lost, or go on as it says."""
        if parked != self.table.parked:
            self.table.parked = parked
            self.resync()  # a signal may have been missed
            self.table.mark_all_dirty()

    def stopped_by_switch(self, names: Iterable[str]) -> None:
        """These were stopped for want of a lease, not by us: their stop is finished, and they start again.

        `names` are systemd's.
        """
        stopped, count = set(names), 0
        for unit in [each for each in self.table.units.values() if service_of(each.name) in stopped]:
            entry = unit.entry
            if entry and entry.phase in (Phase.ASKING, Phase.STARTING, Phase.STARTED) and not unit.foreign:
                self._records.note(unit, replace(entry, phase=Phase.STOPPING))
                self.table.mark_dirty(unit)
                count += 1
        if count:
            log.warning("no agent renewed this machine's lease in time: systemd has stopped %d units", count)

    def freeze(self) -> None:
        """Begin nothing: every unit stays as it is, whatever is desired. What is under way comes to its end."""
        self.table.frozen = True
        self.table.mark_all_dirty()

    def thaw(self) -> None:
        """An operator has accepted another history: go by what it says once that has been read."""
        self.table.frozen = False
        for unit in self.table.units.values():
            unit.listed = False
        self.table.mark_all_dirty()

    def leave(self) -> None:
        """Hand every unit over: stop and remove them all, whatever the schedule says."""
        self.table.leaving = True
        if self._group is not None:
            self._group.create_task(self._hand_over.run(), name="hand over")

    def lease_lost(self) -> None:
        """Every claim is gone with the lease."""
        for unit in self.table.units.values():
            unit.lease = 0
            unit.version += 1

    def lease_held(self, lease: int, kept: Iterable[str]) -> None:
        """The states of these units are there under our lease.

        That alone is no claim: a join that was interrupted has put them without a look at the schedule. The ledger
        knows which were claimed.
        """
        for name in kept:
            if (unit := self.table.units.get(name)) and unit.entry and unit.entry.lease == lease:
                unit.lease = lease
        self.table.mark_all_dirty()

    # ---- systemd's news

    def unit_changed(self, unit: str, properties: Mapping[str, Any]) -> None:
        """Take what systemd says of one unit."""
        managed = self.table.units.get(unit)
        if managed is None:
            return
        before, managed.status = managed.status, managed.status.merged(properties)
        if managed.status == before:
            return
        entry, active = managed.entry, managed.status.active
        ran = managed.status.left_inactive_us != before.left_inactive_us
        if ran and entry and entry.phase in (Phase.STARTED, Phase.LOADED):  # not by us: from which file?
            if self._is_touched(managed):
                self.resync()
            else:
                self._records.note_run(managed)
            entry = managed.entry
        complaint = entry and (entry.error or entry.skipped or entry.cause)
        if entry and complaint and entry.phase is Phase.STARTED and active == "active":  # started by somebody else
            self._records.note(managed, cleared(entry))
        if active == "failed" and before.active != "failed":
            self._failed(managed)
        if _has_crashed(managed.status) and not _has_crashed(before):
            self._crashed(managed)
        if managed.taken and managed.blocked and not managed.status.running:
            asyncio.get_running_loop().call_later(FREED_S, self.resync)
        if active == "active" and before.active != "active":
            self._waiting.announce(unit)
        managed.changed.set()
        self._needs.looked([unit])
        self._needs.publisher.mark_dirty([unit])

    def resync(self) -> None:
        """Signals may have been missed: compare all units with systemd soon."""
        self._stale.set()

    async def living(self) -> tuple[str, ...]:
        """The units of ours that are alive, as systemd says now; as it said last if it does not answer in time."""
        try:
            async with asyncio.timeout(ANSWER_S):
                found = await self._needs.systemd.list_units(self.table.held)
        except (TimeoutError, SystemdError) as error:
            log.warning("cannot ask which units live: %s", str(error) or "no answer")
            return self.table.alive
        for name, (load, active, sub) in found.items():
            if unit := self.table.units.get(name):
                unit.status = unit.status.merged({"LoadState": load, "ActiveState": active, "SubState": sub})
        return self.table.alive

    def note_stopping(self, name: str) -> None:
        """Note that we are about to kill a unit, so that its end is not taken for one of its own."""
        unit = self.table.units.get(name)
        if unit and unit.entry and unit.entry.phase in LIVELY:
            self._records.note(unit, replace(unit.entry, phase=Phase.STOPPING))

    def _failed(self, unit: ManagedUnit) -> None:
        entry = unit.entry
        if entry is None or entry.phase not in (Phase.STARTED, Phase.STARTING, Phase.ASKING):
            return
        if entry.phase is Phase.STARTED and not entry.error and monotonic_us() - entry.at_us < EARLY_US:
            reason = failure(unit.status, self._starter.program(unit))
            self._records.note_error(unit, start_failed(reason))
        if self._group is not None:
            self._group.create_task(self._record_cause(unit, entry), name=f"cause {unit.name}")

    def _crashed(self, unit: ManagedUnit) -> None:
        """Have the last lines of a run kept that failed by itself, whether or not systemd starts it again."""
        entry = unit.entry
        if entry is None or unit.foreign or entry.phase not in (Phase.STARTED, Phase.STARTING, Phase.ASKING):
            return
        reason = failure(unit.status, self._starter.program(unit))
        self._needs.crashed(unit.name, unit.status.invocation, reason, entry.hash)

    async def _record_cause(self, unit: ManagedUnit, then: LedgerEntry) -> None:
        """Note and tell why a unit failed, unless it has been started again meanwhile."""
        cause = await self._starter.cause(unit, then.at_us)
        self._needs.publisher.record_event("fail", unit=unit.name, reason=cause)
        now = unit.entry
        if now is None or now.at_us != then.at_us or now.phase is not Phase.STARTED:
            return
        if unit.status.active != "failed":
            return
        if now.error and not then.error and not now.waits:
            self._records.note_error(unit, start_failed(cause))
        elif not now.error:
            log.warning("%s: it failed: %s", unit.name, cause, extra=UNIT_FAILED.of(unit.name))
            self._records.note(unit, replace(now, cause=cause))

    def _is_touched(self, unit: ManagedUnit) -> bool:
        """Whether somebody has had a hand on its link, or on its name."""
        return unit.entry is not None and unit.entry.phase in OURS and not self._names.is_untouched(unit.name)

    async def _look_again(self) -> None:
        """Compare all units with systemd in one bulk read; read closely those that differ or were touched."""
        try:
            found = await self._needs.systemd.list_units(self.table.held)
            differing = []
            for name, seen in found.items():
                unit = self.table.units.get(name)
                if unit and (
                    seen != (unit.status.load, unit.status.active, unit.status.sub) or self._is_touched(unit)
                ):
                    differing.append(name)
            await self._read(differing)
            self.table.retry_blocked(taken_only=True)
            self._waiting.look_for_all()
            await self._needs.systemd.check_jobs()
        except SystemdError as error:
            log.warning("cannot look at the units: %s", error)

    async def _read(self, names: Iterable[str]) -> None:
        gate = asyncio.Semaphore(READS)

        async def read(unit: ManagedUnit) -> None:
            async with gate:
                await self._records.refresh(unit)
            unit.changed.set()
            self.table.wake(unit)

        await asyncio.gather(*(read(self.table.units[name]) for name in names if name in self.table.units))


def _has_crashed(status: UnitStatus) -> bool:
    """Whether a unit has failed, or waits to be started again because it did (systemd may add "-queued")."""
    again = status.sub.startswith("auto-restart") and status.result not in ("", "success")
    return again or status.active == "failed"
