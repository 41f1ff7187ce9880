"""Starting a unit once, and judging what came of it.

The ledger says that a start is about to be asked for before it is, and that systemd has taken it on once it has: a
start that was interrupted in between is looked up, never repeated blindly.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import replace

from agentd.dependencies import ArtifactSource, BusLost, Provider, StartCalls, StatePublisher
from agentd.file_reader import FileReader
from agentd.inquiry import NOT_ACTIVE, Inquiry, Lack, named_as_absent
from agentd.installer import Installer
from agentd.managed_unit import ManagedUnit, Replan
from agentd.pure.entry import LedgerEntry, Phase
from agentd.pure.unit_status import failure, skipped, start_error, start_failed
from agentd.unit_directory import UnitDirectory
from agentd.unit_names import UnitNames
from agentd.unit_records import UnitRecords
from agentd.unit_table import UnitTable
from registry.errors import SystemdError
from registry.units.file import file_hash
from registry.units.name import service_of

log = logging.getLogger("fleet.agent")

SETTLE_S = 0.06  # a program that is missing shows right after its start was called done
RETRIES = 30  # in a row, of a start that is refused for want of a unit each time that it is there; then it is left
FUTILE = 3  # starts in a row that were refused for want of a unit which was there when it was looked for


class Starter:
    """Starts units."""

    def __init__(
        self,
        systemd: StartCalls,
        directory: UnitDirectory,
        sources: tuple[FileReader, ArtifactSource],
        provider: Provider,
        publisher: StatePublisher,
        table: UnitTable,
        names: UnitNames,
        records: UnitRecords,
        inquiry: Inquiry,
        before_start: Callable[[str], None],
    ) -> None:
        self._before_start, self._provider = before_start, provider
        self._files, self._artifacts = sources
        self._systemd, self._directory, self._publisher = systemd, directory, publisher
        self._table, self._names, self._records, self._inquiry = table, names, records, inquiry

    async def start(self, unit: ManagedUnit, installer: Installer) -> None:
        """Start the unit and wait until that is over, whatever came of it; what did is in its entry."""
        asked = unit.wanted()
        text = self._directory.text(unit.name)
        facts = await self._files.read(unit.name, text)
        right = file_hash(text) == asked.hash
        if right and not self._artifacts.linked(unit.name, text):  # somebody has removed one
            await self._table.unless_outdated(unit, self._artifacts.fetch(unit.name, text))
            right = False
        right = right and self._provider.holds(facts.pins)
        if not right or not self._names.is_untouched(unit.name) or asked.beside:
            await installer.load(
                unit
            )  # an interrupted load wrote another file, somebody has taken it or the name, or others lie beside it
        desired, at_us = unit.wanted(), monotonic_us()
        if (desired.hash, desired.beside, desired.target) != (asked.hash, asked.beside, asked.target):
            raise Replan("its schedule line has changed")  # what systemd has is of the earlier one
        entry = replace(desired.entry(Phase.ASKING), at_us=at_us, lease=unit.lease)
        self._before_start(unit.name)
        self._records.note_first(unit, entry)
        unit.refusals += unit.due
        unit.due = False
        if unit.status.active == "failed":  # else it may count as started too often
            await self._systemd.reset_failed(unit.name)
        if not (await self._files.read(unit.name, self._directory.text(unit.name))).fleeting:
            await self._launch(unit, entry)
            return
        await self._systemd.hold(unit.name)
        try:
            await self._launch(unit, entry)
        finally:
            await self._systemd.release(unit.name)

    async def _launch(self, unit: ManagedUnit, entry: LedgerEntry) -> None:
        try:
            job = await self._systemd.start(unit.name)
        except BusLost:
            raise
        except SystemdError as error:
            entry = replace(entry, phase=Phase.STARTED, error=f"start failed: {error.reason}")
            self._records.note(unit, await self._never_begun(unit, entry, named_as_absent(error.reason)))
            return
        _refuse_stopped(unit)
        # Noted apart: systemd forgets a unit that has ended, and with it every trace of its start.
        self._records.note(unit, entry := replace(entry, phase=Phase.STARTING))
        result = await self._table.unless_outdated(unit, asyncio.shield(job))
        if result == "unknown":
            raise Replan("the result of its start was lost")
        await self._started(unit, entry, result)

    async def resume(self, unit: ManagedUnit) -> None:
        """Wait until a start is over that an agent before us, or an interrupted task, asked for."""
        await self._records.refresh(unit)

        async def settled() -> None:
            found = await self._systemd.properties(unit.name, ("Job", "ActiveState"))
            while not unit.status.merged(found).settled:
                await unit.wait_for_change(2.0)
                found = await self._systemd.properties(unit.name, ("Job", "ActiveState"))

        await self._table.unless_outdated(unit, settled())
        held = await self._systemd.properties(unit.name, ("ConditionResult", "ConditionTimestampMonotonic"))
        unit.status = unit.status.merged(held)
        if unit.entry:
            await self._started(unit, unit.entry, "unknown")

    async def _started(self, unit: ManagedUnit, entry: LedgerEntry, result: str) -> None:
        """Write how a start has ended whose job had this result."""
        if result == "done" and service_of(unit.name).endswith(".service"):
            deadline = time.monotonic() + SETTLE_S
            while unit.status.running and (left_s := deadline - time.monotonic()) > 0:
                await unit.wait_for_change(left_s)
        seen = await self._systemd.look(unit.name)  # what signals made of the unit is confirmed before it is judged
        if seen[:3] != (unit.status.load, unit.status.active, unit.status.sub):
            await self._records.refresh(unit)
        error = start_error(result, unit.status, entry.at_us, self.program(unit))
        entry = replace(entry, phase=Phase.STARTED, error=error)
        if unit.status.active == "failed":
            entry = replace(entry, error=start_failed(await self.cause(unit, entry.at_us)))
        elif result == "assert":
            words = await self._inquiry.unmet(unit.name) or self._condition(unit, "assertion")
            entry = replace(entry, error=f"start failed: {words}")
        elif result in ("dependency", "failed"):
            entry = await self._refused_by_others(unit, entry, result)
        elif not unit.status.running:
            entry = replace(entry, skipped=await self._skipped(unit, entry.at_us))
        if not entry.waits:
            unit.refusals = 0
        _refuse_stopped(unit)
        self._records.note(unit, entry)

    async def _refused_by_others(self, unit: ManagedUnit, entry: LedgerEntry, result: str) -> LedgerEntry:
        """The entry of a start that other units kept from beginning."""
        triggered = await self._inquiry.triggered(unit.name) if result == "failed" else ()
        if unit.name.endswith(".socket") and (running := await self._inquiry.running(triggered)):
            what = f"{running[0]}, which it is to start, runs already; stop that first"
            return replace(entry, error=f"start failed: {what}")
        entry = await self._never_begun(unit, entry, triggered)
        if result == "dependency" and not entry.waits:
            found = await self._systemd.properties(unit.name, ("Requires", "Requisite", "BindsTo"))
            states = await self._systemd.list_units(sorted({name for group in found.values() for name in group}))
            down = ("failed", "inactive")
            bad = [name for name, (load, active, _) in sorted(states.items()) if active in down or load != "loaded"]
            entry = replace(entry, error=entry.error + (f": {', '.join(bad[:3])}" if bad else ""))
        return entry

    async def cause(self, unit: ManagedUnit, at_us: int) -> str:
        """Why systemd calls the unit failed, after its start at `at_us`."""
        program = self.program(unit)
        try:
            return await self._inquiry.cause(unit.name, unit.status, at_us, program)
        except (SystemdError, ValueError, TypeError) as error:
            log.debug("%s: asking why it failed: %s", unit.name, error)
            return failure(unit.status, program)

    async def _never_begun(self, unit: ManagedUnit, entry: LedgerEntry, suspects: tuple[str, ...]) -> LedgerEntry:
        """The entry of a start that was refused: what it waits for, if it is a unit that is not there.

        `suspects` are what systemd names. They may have come meanwhile: then the start is tried again at once, but
        not for ever.
        """
        lacks = await self._inquiry.lacking(unit.name) if unit.refusals < RETRIES else ()
        if not lacks and unit.refusals < FUTILE:
            lacks = tuple(Lack(name, "only just loaded") for name in suspects if name != unit.name)
        if not lacks:
            return entry
        reason = self._inquiry.waiting(lacks)
        self._publisher.record_event("wait", unit=unit.name, reason=reason)
        names = tuple(dict.fromkeys(each.unit for each in lacks))
        running = tuple(each.unit for each in lacks if each.what == NOT_ACTIVE)
        return replace(entry, error=reason, waits=names, waits_running=running)

    async def _skipped(self, unit: ManagedUnit, at_us: int) -> str:
        """The condition that kept the unit from starting; "" when it has started, and ended."""
        found = await self._inquiry.verdict(unit.name)
        if found.get("ConditionTimestampMonotonic", 0) >= at_us:  # else systemd has forgotten it
            unit.status = unit.status.merged(found)
        if unit.status.result == "exec-condition":
            words = await self._inquiry.refused_by_command(unit.name, at_us) or "condition not met: ExecCondition="
        elif skipped(unit.status, at_us):
            words = await self._inquiry.unmet(unit.name) or self._condition(unit, "condition")
        else:
            return ""
        self._publisher.record_event("skip", unit=unit.name, reason=words)
        return words

    def _condition(self, unit: ManagedUnit, kind: str) -> str:
        """From the file, where systemd has forgotten which it was: it unloads an idle unit at once."""
        facts = self._files.read_now(unit.name, self._directory.text(unit.name))
        found = facts.conditions if kind == "condition" else facts.assertions
        return f"{kind} not met: {'one of ' if len(found) > 1 else ''}{', '.join(found)}"

    def program(self, unit: ManagedUnit) -> str:
        """The path of the unit's first command, for messages."""
        return self._files.read_now(unit.name, self._directory.text(unit.name)).program


def _refuse_stopped(unit: ManagedUnit) -> None:
    """Raise Replan when the unit is being stopped since its start was asked for."""
    if unit.entry and unit.entry.phase is Phase.STOPPING:
        raise Replan("it is being stopped")


def monotonic_us() -> int:
    """systemd's clock for starts."""
    return time.monotonic_ns() // 1000
