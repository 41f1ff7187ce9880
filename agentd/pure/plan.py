"""From what the schedule wants of one unit, and what was applied, to ordered tasks with reasons. Pure.

The rules, each with its reason:

- The ledger decides, not mere activity: what a timer or a socket started is left alone.
- A unit is claimed in the registry before it is touched, and forgotten there only when nothing of it is left.
- A file is fetched before the old copy is stopped, the old copy is stopped before the new file is loaded.
- A start is asked for once per placement, generation, attempt and boot; an interrupted one is looked up first.
- A start that was refused for want of a unit never happened: it is asked for again when that unit is there.
- A new attempt (an operator's start) starts the unit if nothing of it runs; else it is only noted.
- A step that was begun is finished: a stop under way stays a stop.

Every task moves the ledger on, so planning again after any interruption goes on where it stood.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from agentd.pure.entry import ANY_PLACEMENT, LedgerEntry, Phase
from agentd.pure.unit_status import UNKNOWN, UnitStatus
from registry.model import Target


class TaskKind(StrEnum):
    """What there is to do."""

    CLAIM = "claim"  # put the state key, guarded by the schedule line
    FETCH = "fetch"  # get the file's text
    STOP = "stop"  # stop, and wait until it is down
    LOAD = "load"  # write and link the file, reload if need be, enable
    START = "start"
    AWAIT = "await"  # a start that is under way already
    RECORD = "record"  # note generation, placement and attempt, nothing else changes
    UNLOAD = "unload"  # disable, unlink, remove the file
    FORGET = "forget"  # delete the state key


@dataclass(frozen=True, slots=True)
class Task:
    """One thing to do, and why."""

    kind: TaskKind
    reason: str


@dataclass(frozen=True, slots=True)
class DesiredState:
    """A schedule line with what etcd knows of it: `placement` is its create revision, `revision` its last one.

    Both are of the history that was accepted as `epoch`.
    """

    unit: str
    hash: str
    target: Target
    generation: int
    placement: int
    revision: int
    attempt: int = 0
    epoch: int = 0
    beside: tuple[tuple[str, str], ...] = ()  # Quadlets that its file names, each with the hash of its file

    def entry(self, phase: Phase = Phase.CLAIMED, error: str = "") -> LedgerEntry:
        """What the ledger holds of it once `phase` is reached."""
        known = self.unit, self.hash, self.generation, self.placement
        return LedgerEntry(*known, phase, error=error, attempt=self.attempt, epoch=self.epoch)


@dataclass(frozen=True, slots=True)
class PlanInput:
    """All that counts for one unit's plan."""

    desired: DesiredState | None = None
    entry: LedgerEntry | None = None
    status: UnitStatus = UNKNOWN
    claimed: bool = False  # the state key is there under our lease, put under the schedule line's guard
    blocked: bool = False  # the desired was tried and something hinders it; tried again when that may have changed
    parked: bool = False  # the registry is lost and our policy is to stop
    leaving: bool = False  # this machine hands its units over; there is no desired then
    foreign: bool = False  # systemd knows the name from a file that is not ours
    due: bool = False  # what its start waited for is there


LIVELY = (Phase.ASKING, Phase.STARTING, Phase.STARTED, Phase.STOPPING)


def plan(view: PlanInput) -> tuple[Task, ...]:
    """The tasks that lead from what was applied to the desired, in order; none when there is nothing to do."""
    if view.entry is None:
        return _arrive(view.desired) if view.desired and not view.parked else ()
    if view.parked:
        return _park(view, view.entry)
    if view.desired is None:
        return _withdraw(view, view.entry)
    if view.entry.phase is Phase.GONE:
        return (Task(TaskKind.FORGET, "an earlier placement is over"), *_arrive(view.desired))
    claim = () if view.claimed else (Task(TaskKind.CLAIM, "not claimed under this lease"),)
    return claim if view.blocked else claim + _converge(view, view.entry, view.desired)


def _arrive(desired: DesiredState) -> tuple[Task, ...]:
    return (Task(TaskKind.CLAIM, "newly scheduled here"), *_install(desired, "newly scheduled here"))


def _install(desired: DesiredState, reason: str) -> tuple[Task, ...]:
    return (Task(TaskKind.FETCH, reason), Task(TaskKind.LOAD, reason), *_launch(desired, reason))


def _launch(desired: DesiredState, reason: str) -> tuple[Task, ...]:
    return (Task(TaskKind.START, reason),) if desired.target is Target.LAUNCHED else ()


def _park(view: PlanInput, entry: LedgerEntry) -> tuple[Task, ...]:
    """Stop what may be running; what has ended by itself is at rest, and was not stopped by us: it stays ended.

    So does what was started by an agent before us that did not see the end of it.
    """
    status = view.status
    over = status.attempted_since(entry.at_us) and status.settled and not status.running
    starting = entry.phase in (Phase.ASKING, Phase.STARTING) and not over
    alive = starting or entry.phase is Phase.STOPPING or (view.status.running and entry.phase is not Phase.CLAIMED)
    return (Task(TaskKind.STOP, "the registry is lost"),) if alive and not view.foreign else ()


def _withdraw(view: PlanInput, entry: LedgerEntry) -> tuple[Task, ...]:
    reason = "this machine leaves" if view.leaving else "no longer scheduled here"
    forget = Task(TaskKind.FORGET, reason)
    if entry.phase is Phase.GONE:
        return (forget,)
    unload = (Task(TaskKind.UNLOAD, reason), forget)
    return unload if view.foreign else (Task(TaskKind.STOP, reason), *unload)


def _converge(view: PlanInput, entry: LedgerEntry, desired: DesiredState) -> tuple[Task, ...]:
    if entry.phase is Phase.CLAIMED:
        return _install(desired, "not loaded yet")
    if entry.hash != desired.hash:
        reason = "its file has changed"
        stop = (Task(TaskKind.STOP, reason),) if entry.phase in LIVELY or view.status.running else ()
        load = Task(TaskKind.LOAD, reason)
        return (Task(TaskKind.FETCH, reason), *stop, load, *_launch(desired, reason))
    if (entry.generation, entry.placement, entry.epoch) != (desired.generation, desired.placement, desired.epoch):
        return _renew(entry, desired)
    if entry.attempt != desired.attempt:
        return _try_again(view, entry, desired)
    return _relaunch(view, entry) if desired.target is Target.LAUNCHED else _unlaunch(entry)


def _renew(entry: LedgerEntry, desired: DesiredState) -> tuple[Task, ...]:
    """The same file for another generation or placement: a restart."""
    if not entry.generation:
        return (Task(TaskKind.RECORD, "found here and adopted"),)
    if (
        entry.placement == ANY_PLACEMENT or entry.epoch != desired.epoch
    ) and entry.generation == desired.generation:
        return (Task(TaskKind.RECORD, "runs as an accepted history says"),)
    reason = "restart asked for" if entry.placement == desired.placement else "scheduled here anew"
    stop = (Task(TaskKind.STOP, reason),) if entry.phase in LIVELY else ()
    return stop + (_launch(desired, reason) or (Task(TaskKind.RECORD, reason),))


def _try_again(view: PlanInput, entry: LedgerEntry, desired: DesiredState) -> tuple[Task, ...]:
    """Another attempt at the same start: a start or stop under way goes first, and what runs is left alone."""
    if desired.target is not Target.LAUNCHED:
        return (*_unlaunch(entry), Task(TaskKind.RECORD, "nothing is to be started"))
    if under_way := _relaunch(view, entry):
        return under_way
    if view.status.running:
        return (Task(TaskKind.RECORD, "started again while it runs"),)
    return (Task(TaskKind.START, "started again by an operator"),)


def _unlaunch(entry: LedgerEntry) -> tuple[Task, ...]:
    return (Task(TaskKind.STOP, "target is loaded"),) if entry.phase in LIVELY else ()


def _relaunch(view: PlanInput, entry: LedgerEntry) -> tuple[Task, ...]:
    start = Task(TaskKind.START, "target is launched")
    match entry.phase:
        case Phase.LOADED:
            return (start,)
        case Phase.STOPPING:
            return (Task(TaskKind.STOP, "a stop was under way"), start)
        case Phase.ASKING if not view.status.attempted_since(entry.at_us):  # nor did anybody see it taken on
            return (Task(TaskKind.START, "its start was interrupted before it began"),)
        case Phase.ASKING | Phase.STARTING:
            return (Task(TaskKind.AWAIT, "its start was interrupted"),)
        case Phase.STARTED if entry.waits and view.due:
            return (Task(TaskKind.START, "what it waited for is there"),)
    return ()
