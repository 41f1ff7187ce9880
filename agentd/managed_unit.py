"""One unit as the agent knows it at run time: wish, entry, status; and the state that it makes of them.

Owns the reading of these three as a plan's view and as a registry record. Does nothing itself.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from agentd.pure.entry import REACHED, LedgerEntry, Phase
from agentd.pure.plan import DesiredState, PlanInput, TaskKind
from agentd.pure.unit_status import UNKNOWN, UnitStatus
from registry.grammar import MAX_TIME
from registry.model import UnitState


@dataclass(slots=True)
class ManagedUnit:
    """A unit that is scheduled here or of which something is left here. Only the executor changes it."""

    name: str
    wish: DesiredState | None = None
    told: bool = False  # whether a listing has ever said what is wished of it; until then nothing is done
    departing: bool = False  # its turn has come when this machine hands its units over
    corrupt: bool = False  # its schedule line does not parse: it stays exactly as it is
    entry: LedgerEntry | None = None
    status: UnitStatus = UNKNOWN
    lease: int = 0  # under which its claim was granted; 0: not claimed
    foreign: bool = False
    hindrance: str = ""  # why `hindered`, the wish that was tried, cannot be carried out
    hindered: DesiredState | None = None
    taken: bool = False  # it is hindered by something that this host has
    due: bool = False  # what its start waited for is there
    vain: int = 0  # starts in a row that were refused for want of a unit which was there
    changed: asyncio.Event = field(default_factory=asyncio.Event)  # wish or status has
    doing: TaskKind | None = None  # the task under way, or the last one
    version: int = 0  # counts what makes a plan under way obsolete
    worker: asyncio.Task[None] | None = None

    @property
    def claimed(self) -> bool:
        """Whether its state is there by a claim that compared its schedule line, under a lease that holds."""
        return self.lease != 0

    @property
    def blocked(self) -> bool:
        """Whether the present wish has been tried in vain."""
        return self.hindered is not None and self.hindered == self.wish

    def view(self, *, parked: bool, leaving: bool) -> PlanInput:
        """What the plan goes by."""
        return PlanInput(
            wish=None if leaving else self.wish,
            entry=self.entry,
            status=self.status,
            claimed=self.claimed,
            blocked=self.blocked,
            parked=parked and not leaving,
            leaving=leaving,
            foreign=self.foreign,
            due=self.due,
        )

    def state(self, machine: str) -> UnitState | None:
        """The record for the registry; None when the unit is not ours (any more)."""
        entry, status = self.entry, self.status
        if entry is None or entry.phase is Phase.GONE:
            return None
        if self.blocked and self.hindered:
            entry = self.hindered.entry(error=self.hindrance)
        if self.foreign:
            status = UNKNOWN  # what the host's own unit does is not ours to report
        return UnitState(
            unit=self.name,
            machine=machine,
            hash=entry.hash,
            generation=entry.generation,
            target=self.hindered.target if self.blocked and self.hindered else REACHED[entry.phase],
            load=status.load,
            active=status.active,
            sub=status.sub,
            result=status.result,
            exit_code=status.exit_code,
            main_pid=status.main_pid,
            restarts=status.restarts,
            since=min(max(status.changed_us / 1e6, 0.0), MAX_TIME),
            error=entry.error,
            attempt=entry.attempt,
            waits=entry.waits,
            waits_running=entry.waits_running,
            skipped=entry.skipped,
            cause=entry.cause,
        )
