"""What was applied of one unit, as the ledger keeps it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from registry.model import Target


class Phase(StrEnum):
    """How far one unit has come on this machine. Written before a step: asking, stopping; the others after."""

    CLAIMED = "claimed"  # ours by the registry; nothing of it is known to be in systemd
    LOADED = "loaded"  # its file is linked; not started by us, or stopped
    ASKING = "asking"  # a start is about to be asked for, at `at_us`; systemd may or may not have heard
    STARTING = "starting"  # systemd has taken the start on; how it ends is not known yet
    STARTED = "started"  # the start is over, whatever came of it
    STOPPING = "stopping"  # a stop was asked for
    GONE = "gone"  # stopped and removed; only the registry still shows it


ANY_PLACEMENT = -1  # one of another history

REACHED = {
    Phase.CLAIMED: Target.INACTIVE,
    Phase.LOADED: Target.LOADED,
    Phase.ASKING: Target.LOADED,
    Phase.STARTING: Target.LOADED,
    Phase.STARTED: Target.LAUNCHED,
    Phase.STOPPING: Target.LAUNCHED,
    Phase.GONE: Target.INACTIVE,
}


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """What was applied of one unit. `placement` is the create revision of its schedule line.

    `generation` and `placement` 0 mean that they are not known: a unit found without its entry. `placement` and
    `revision` are of the history that was accepted as `epoch`, and say nothing about another one's.
    `attempt` is the operator's start that was carried out last.
    """

    unit: str
    hash: str
    generation: int
    placement: int
    phase: Phase = Phase.CLAIMED
    at_us: int = 0  # monotonic clock, when a start was asked for
    error: str = ""  # of the last task, "" when it succeeded
    lease: int = 0  # under which the schedule line was compared and the unit claimed; 0: it is not claimed
    attempt: int = 0
    run_us: int = 0  # when what runs of it left inactive (monotonic), as seen while systemd had it from our file
    waits: tuple[str, ...] = ()  # units that were not there when it was to be started; `error` names them
    waits_running: tuple[str, ...] = ()  # those of them that are there, and have to run
    skipped: str = ""  # the condition that did not hold when it was to be started
    cause: str = ""  # why it has failed since, having started well
    revision: int = 0  # of its schedule line as it was acted on last; 0: not known
    epoch: int = 0

    def seen(self, epoch: int, revision: int) -> LedgerEntry:
        """The entry once a schedule line of that epoch and revision is acted on; an older epoch changes nothing."""
        if epoch < self.epoch:
            return self
        if epoch > self.epoch:
            return replace(self, epoch=epoch, revision=revision, placement=self.placement and ANY_PLACEMENT)
        return replace(self, revision=revision) if revision > self.revision else self


def cleared(entry: LedgerEntry) -> LedgerEntry:
    """The entry without what came of an earlier start."""
    return replace(entry, error="", waits=(), waits_running=(), skipped="", cause="")
