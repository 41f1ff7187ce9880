"""One unit as the agent knows it at run time: what is desired of it, what was applied, how systemd has it.

Owns the reading of these three as a plan's view and as a registry record, and the reasons for which a task on a
unit is given up.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field, replace

from agentd.pure.entry import REACHED, LedgerEntry, Phase
from agentd.pure.plan import DesiredState, PlanInput, TaskKind
from agentd.pure.unit_status import UNKNOWN, UnitStatus
from registry.errors import FleetError
from registry.grammar import MAX_TIME
from registry.model import Target, UnitHealth, UnitState


class Refused(FleetError):
    """The desired state cannot be reached on this machine as things are; the text says why and what to do."""


class Taken(Refused):
    """The host has what the unit would take: try again when the host's units change."""


class Replan(FleetError):
    """Something has changed under the task; plan again."""


@dataclass(slots=True)
class ManagedUnit:
    """A unit that is scheduled here or of which something is left here."""

    name: str
    desired: DesiredState | None = None
    listed: bool = False  # whether a listing has ever said what is desired of it; until then nothing is done
    departing: bool = False  # its turn has come when this machine hands its units over
    corrupt: bool = False  # its schedule line does not parse: it stays exactly as it is
    entry: LedgerEntry | None = None
    status: UnitStatus = UNKNOWN
    lease: int = 0  # under which its claim was granted; 0: not claimed
    foreign: bool = False  # systemd has the name from the host
    health: UnitHealth = UnitHealth.UNCHECKED  # what its health check has found
    sickness: str = ""  # what the last check that failed said
    block_reason: str = ""  # why `blocked_at`, the desired state that was tried, cannot be reached
    blocked_at: DesiredState | None = None
    refused: DesiredState | None = None  # what was refused last, and is tried again now and then; that is told once
    taken: bool = False  # it is blocked by something that this host has
    complaint: str = ""  # of the task that failed last, and is tried again as long as it is planned
    due: bool = False  # what its start waited for is there
    refusals: int = 0  # of its start, in a row, for want of a unit that was there when it was looked for
    changed: asyncio.Event = field(default_factory=asyncio.Event)  # desired state or status has
    doing: TaskKind | None = None  # the task under way, or the last one
    version: int = 0  # counts what makes a plan under way obsolete
    worker: asyncio.Task[None] | None = None

    @property
    def claimed(self) -> bool:
        """Whether its state is there by a claim that compared its schedule line, under a lease that holds."""
        return self.lease != 0

    @property
    def blocked(self) -> bool:
        """Whether the present desired state has been tried in vain."""
        return self.blocked_at is not None and self.blocked_at == self.desired

    def wanted(self) -> DesiredState:
        """Return what is desired of it. Raises Replan when that is nothing any more."""
        if self.desired is None:
            raise Replan("no longer desired here")
        return self.desired

    async def wait_for_change(self, at_most_s: float) -> None:
        """Wait until something of the unit changes, at most so long."""
        self.changed.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(at_most_s):
                await self.changed.wait()

    def view(self, *, parked: bool, leaving: bool) -> PlanInput:
        """What the plan goes by."""
        return PlanInput(
            desired=None if leaving else self.desired,
            entry=self.entry,
            status=self.status,
            claimed=self.claimed,
            blocked=self.blocked,
            parked=parked and not leaving,
            leaving=leaving,
            foreign=self.foreign,
            due=self.due,
        )

    def _rests(self, entry: LedgerEntry) -> bool:
        """Whether it is loaded, and is to be no more: what failed on the way elsewhere is nothing of the unit's."""
        asked = self.desired
        if asked is None or asked.target is not Target.LOADED or entry.phase is not Phase.LOADED:
            return False
        return (entry.hash, entry.generation) == (asked.hash, asked.generation) and self.status.load == "loaded"

    def state(self, machine: str) -> UnitState | None:
        """The record for the registry; None when the unit is not ours (any more)."""
        entry, status = self.entry, self.status
        if entry is None or entry.phase is Phase.GONE:
            return None
        if self.blocked and self.blocked_at:
            entry = self.blocked_at.entry(error=self.block_reason)
        if self.foreign:
            status = UNKNOWN  # what the host's own unit does is not ours to report
        elif entry is not self.entry or entry.phase in (Phase.ASKING, Phase.STARTING):
            status = replace(status, restarts=0)  # systemd's count is of the run before
        return UnitState(
            unit=self.name,
            machine=machine,
            hash=entry.hash,
            generation=entry.generation,
            target=self.blocked_at.target if self.blocked and self.blocked_at else REACHED[entry.phase],
            load=status.load,
            active=status.active,
            sub=status.sub,
            result=status.result,
            exit_code=status.exit_code,
            main_pid=status.main_pid,
            restarts=status.restarts,
            since=min(max(status.changed_us / 1e6, 0.0), MAX_TIME),
            error="" if self._rests(entry) else entry.error,
            attempt=entry.attempt,
            waits=entry.waits,
            waits_running=entry.waits_running,
            skipped=entry.skipped,
            cause=entry.cause,
            health=self.health,
            sickness=self.sickness,
        )
