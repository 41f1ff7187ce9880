"""What is known of each unit and what was applied: read from systemd, kept in the ledger, told to the registry."""

from __future__ import annotations

import logging
from dataclasses import replace

from agentd.dependencies import SERVICE, StatePublisher, UnitQueries
from agentd.ledger import Ledger
from agentd.managed_unit import ManagedUnit
from agentd.pure.entry import LedgerEntry
from agentd.pure.unit_status import DETAILS, SERVICE_FIELDS
from agentd.unit_directory import UnitDirectory
from agentd.unit_names import OURS, UnitNames
from agentd.unit_table import UnitTable
from registry.messages import UNIT_FAILED, UNIT_REFUSED
from registry.units.name import service_of

log = logging.getLogger("fleet.agent")

READS_AGAIN = 3  # of a unit that changes while it is read; its next signal comes in any case


class UnitRecords:
    """Reads statuses and writes entries."""

    def __init__(
        self,
        systemd: UnitQueries,
        names: UnitNames,
        directory: UnitDirectory,
        ledger: Ledger,
        publisher: StatePublisher,
        table: UnitTable,
    ) -> None:
        self._systemd, self._names, self._directory = systemd, names, directory
        self._ledger, self._publisher, self._table = ledger, publisher, table

    async def refresh(self, unit: ManagedUnit) -> None:
        """Read the unit's properties from systemd; again if a signal changed it meanwhile: answers may be older."""
        for _ in range(READS_AGAIN):
            before = unit.status
            found = await self._systemd.properties(unit.name, DETAILS)
            if service_of(unit.name).endswith(".service"):
                found |= await self._systemd.properties(unit.name, SERVICE_FIELDS, SERVICE)
            if unit.status is before:
                break
        unit.status = unit.status.merged(found)
        unit.foreign = self._names.is_foreign(unit)
        self.note_run(unit)
        self._publisher.mark_dirty([unit.name])

    def note(self, unit: ManagedUnit, entry: LedgerEntry) -> None:
        """Write the unit's entry, with the claim and the run that it has now; a new error goes to the log."""
        if entry.error and (unit.entry is None or unit.entry.error != entry.error):
            kind = UNIT_REFUSED if entry.waits else UNIT_FAILED
            log.warning("%s: %s", unit.name, entry.error, extra=kind.of(unit.name))
        if unit.desired:
            entry = entry.seen(unit.desired.epoch, unit.desired.revision)
        if (now := (unit.lease, self._run_us(unit))) != (entry.lease, entry.run_us):
            entry = replace(entry, lease=now[0], run_us=now[1])
        self._take(unit, self._ledger.put(entry))

    def note_first(self, unit: ManagedUnit, entry: LedgerEntry) -> None:
        """Write what is about to happen, on disk for certain. Raises CannotRemember."""
        self._take(unit, self._ledger.put_first(entry))

    def note_run(self, unit: ManagedUnit) -> None:
        """Remember which run is ours, should the host take the name while that goes on."""
        if unit.entry and unit.entry.phase in OURS and unit.entry.run_us != self._run_us(unit):
            self.note(unit, unit.entry)

    def note_error(self, unit: ManagedUnit, reason: str) -> None:
        """Write what went wrong with a unit that has an entry."""
        if unit.entry:
            self.note(unit, replace(unit.entry, error=reason))

    def _run_us(self, unit: ManagedUnit) -> int:
        """When the last run that was started from our file left inactive, as far as that is certain.

        The file that systemd named last may be another one by now: no signal tells of that, but the disk does.
        """
        status, known = unit.status, unit.entry.run_us if unit.entry else 0
        if status.left_inactive_us == known or not status.running:
            return known
        ours = self._directory.owns(status.fragment, unit.name) and self._names.is_untouched(unit.name)
        return status.left_inactive_us if ours else known

    def _take(self, unit: ManagedUnit, entry: LedgerEntry) -> None:
        unit.entry = entry
        self._table.noted.set()
        self._publisher.mark_dirty([unit.name])
