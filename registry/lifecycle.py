"""Where a unit stands between what was asked and what is: pure reading of a snapshot.

Owns the meaning of "current state" (fleet's STATE), of "has reached its target", and of the one line that says
what a unit waits for. The console, the commands and the tests all ask here, so that they can never disagree.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from registry.mirror import Snapshot
from registry.model import Assignment, Target, Unit, UnitState


class Progress(StrEnum):
    """How far a unit is from its target."""

    REACHED = "reached"
    UNDER_WAY = "under way"  # somebody is at it; `reason` says who and what
    WAITING = "waiting"  # nobody can do anything until the fleet changes; `reason` says why
    FAILED = "failed"  # carried out, and it went wrong; `reason` says how


@dataclass(frozen=True, slots=True)
class Standing:
    """A unit's progress with its reason ("" when reached), and where it is."""

    progress: Progress
    reason: str = ""
    machines: tuple[str, ...] = ()  # machines that schedule or still hold it, sorted


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """The schedule lines and states of each unit, indexed by unit name."""

    schedule: Mapping[str, tuple[Assignment, ...]]
    states: Mapping[str, tuple[UnitState, ...]]


def whereabouts(snapshot: Snapshot) -> Whereabouts:
    """Index the schedule and the states by unit; each unit's entries are sorted by machine."""
    schedule: dict[str, list[Assignment]] = defaultdict(list)
    states: dict[str, list[UnitState]] = defaultdict(list)
    for (_, unit), assignment in sorted(snapshot.schedule.items()):
        schedule[unit].append(assignment)
    for (_, unit), state in sorted(snapshot.states.items()):
        states[unit].append(state)
    return Whereabouts(
        {unit: tuple(entries) for unit, entries in schedule.items()},
        {unit: tuple(entries) for unit, entries in states.items()},
    )


def current(assignment: Assignment | None, state: UnitState | None) -> Target:
    """The current state (STATE) of one unit on one machine.

    Inactive until systemd has it loaded; a state of an older file counts for what it is, since that is what runs.
    """
    if assignment is None or state is None or state.load != "loaded":
        return Target.INACTIVE
    return state.target


def applied(assignment: Assignment, state: UnitState | None) -> bool:
    """Whether the agent has carried this line of its schedule out, whatever came of it."""
    return (
        state is not None
        and state.hash == assignment.hash
        and state.generation == assignment.generation
        and state.target == assignment.target
    )


def standing(snapshot: Snapshot, name: str, where: Whereabouts | None = None) -> Standing:
    """How far the unit `name` is from its target. A unit that is not in the registry should be nowhere."""
    if where is None:
        where = _whereabouts_of(snapshot, name)
    lines, states = where.schedule.get(name, ()), where.states.get(name, ())
    machines = tuple(sorted({line.machine for line in lines} | {state.machine for state in states}))
    unit = snapshot.units.get(name)
    if unit is None or not unit.target.scheduled:
        return _leaving(machines)
    return _arriving(snapshot, unit, lines, {state.machine: state for state in states}, machines)


def _leaving(machines: tuple[str, ...]) -> Standing:
    if not machines:
        return Standing(Progress.REACHED)
    return Standing(Progress.UNDER_WAY, f"being stopped on {_short(machines)}", machines)


def _arriving(
    snapshot: Snapshot,
    unit: Unit,
    lines: tuple[Assignment, ...],
    states: Mapping[str, UnitState],
    machines: tuple[str, ...],
) -> Standing:
    pending = snapshot.pending.get(unit.name)
    if pending and (pending.hash, pending.generation) == (unit.hash, unit.generation):
        progress = Progress.UNDER_WAY if pending.passing else Progress.WAITING
        return Standing(progress, pending.summary, machines)
    wish = (unit.hash, unit.generation, unit.target)
    if not lines or any((line.hash, line.generation, line.target) != wish for line in lines):
        return Standing(Progress.UNDER_WAY, _undecided(snapshot), machines)
    stray = [machine for machine in states if machine not in {line.machine for line in lines}]
    # A global unit keeps its lines on lost machines; it has arrived once it has on those that live.
    awaited = [line for line in lines if line.machine in snapshot.machines] or lines
    late = [line.machine for line in awaited if not applied(line, states.get(line.machine))]
    failed = [state for machine, state in sorted(states.items()) if state.error and machine not in late]
    if failed:
        return Standing(Progress.FAILED, failed[0].error, machines)
    if late:
        absent = [machine for machine in late if machine not in snapshot.machines]
        verb = "waiting for lost machine" if absent else f"being {unit.target} on"
        return Standing(Progress.UNDER_WAY, f"{verb} {_short(tuple(absent or late))}", machines)
    if stray:
        return Standing(Progress.UNDER_WAY, f"being stopped on {_short(tuple(stray))}", machines)
    return Standing(Progress.REACHED, "", machines)


def _undecided(snapshot: Snapshot) -> str:
    if snapshot.leader is None:
        return "no scheduler leads; start fleet-scheduler on at least one machine"
    return "waiting for the scheduler"


def _whereabouts_of(snapshot: Snapshot, name: str) -> Whereabouts:
    machines = {machine for machine, _ in snapshot.schedule} | {machine for machine, _ in snapshot.states}
    pairs = [(machine, name) for machine in sorted(machines)]
    return Whereabouts(
        {name: tuple(snapshot.schedule[pair] for pair in pairs if pair in snapshot.schedule)},
        {name: tuple(snapshot.states[pair] for pair in pairs if pair in snapshot.states)},
    )


def _short(machines: tuple[str, ...]) -> str:
    shown = ", ".join(f"{machine[:8]}..." for machine in machines[:3])
    return shown if len(machines) <= 3 else f"{shown} and {len(machines) - 3} more"
