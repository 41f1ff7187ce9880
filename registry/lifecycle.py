"""Where a unit stands between what was asked and what is: pure reading of a snapshot.

Owns the meaning of "current state" (fleet's STATE), of "has reached its target", and of the one line that says
what a unit waits for. The console, the commands and the tests all ask here, so that they can never disagree.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from enum import StrEnum

from registry.frozen import dataclass
from registry.mirror import Snapshot
from registry.model import Assignment, Target, Unit, UnitHealth, UnitState
from registry.wording import listed

UNIT_IS_THERE = "that unit is there"
HELD = "everything is held: the registry's history went back; see: fleetctl restore"


class Progress(StrEnum):
    """How far a unit is from its target."""

    REACHED = "reached"
    UNDER_WAY = "under way"  # somebody is at it; `reason` says who and what
    WAITING = "waiting"  # nobody can do anything until the fleet changes; `reason` says why
    FAILED = "failed"  # carried out, and it went wrong; `reason` says how


@dataclass(frozen=True, slots=True)
class UnitProgress:
    """A unit's progress with its reason, and where it is.

    A unit that reached its target has no reason, but where a condition keeps it from running on that machine.
    `awaited` are the machines on which it is still on its way while it has failed on others; `until` says what a
    unit that waits is waiting for.
    """

    progress: Progress
    reason: str = ""
    machines: tuple[str, ...] = ()  # machines that schedule or still hold it, sorted
    awaited: tuple[str, ...] = ()
    until: str = "a machine fits"

    @property
    def under_way(self) -> bool:
        """Whether more will come of it without anybody's doing."""
        return self.progress is Progress.UNDER_WAY or bool(self.awaited)


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """The schedule lines and states of each unit, indexed by unit name."""

    schedule: Mapping[str, tuple[Assignment, ...]]
    states: Mapping[str, tuple[UnitState, ...]]

    @classmethod
    def of(cls, snapshot: Snapshot, name: str, machines: Iterable[str] | None = None) -> Whereabouts:
        """Look up one unit, on all machines or on these."""
        if machines is None:
            machines = {machine for machine, _ in (*snapshot.schedule, *snapshot.states)}
        pairs = [(machine, name) for machine in sorted(machines)]
        schedule, states = snapshot.schedule, snapshot.states
        return cls(
            {name: tuple([line for pair in pairs if (line := schedule.get(pair)) is not None])},
            {name: tuple([state for pair in pairs if (state := states.get(pair)) is not None])},
        )


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
        and state.attempt == assignment.attempt
        and state.target == assignment.target
    )


def ended(state: UnitState) -> bool:
    """Whether a unit was started on that machine and nothing of it runs there, however it came to its end."""
    return state.target is Target.LAUNCHED and state.active in ("", "inactive", "failed")


def mishap(state: UnitState | None, where: str = "") -> str:
    """Why a unit came to nothing on a machine, in one line: its start, its check, or what systemd says.

    `where` goes into the words: " on core-1".
    """
    if state is not None and not state.error and state.health is UnitHealth.UNHEALTHY:
        return f"it is not healthy{where}: {state.sickness}"
    if state is None or state.error or state.active != "failed":
        return state.error if state else ""
    if state.cause:
        return f"it failed{where}: {state.cause}"
    how = state.result or state.sub or "failed"
    if how in ("signal", "core-dump") and state.exit_code:
        how = f"{how}, killed by signal {state.exit_code}"
    elif state.exit_code:
        how = f"{how}, exit status {state.exit_code}"
    return f"it failed{where} ({how})"


def standing(
    snapshot: Snapshot, name: str, where: Whereabouts | None = None, *, strict: bool = False
) -> UnitProgress:
    """How far the unit `name` is from its target. A unit that is not in the registry should be nowhere.

    With `strict`, a launched unit that systemd calls failed has failed, also when it was well started once.
    """
    if where is None:
        where = Whereabouts.of(snapshot, name)
    found = _standing(snapshot, name, where, strict=strict)
    if found.progress is Progress.UNDER_WAY and snapshot.cluster is not None and snapshot.cluster.held:
        return UnitProgress(Progress.WAITING, HELD, found.machines, until="that is accepted")
    return found


def _standing(snapshot: Snapshot, name: str, where: Whereabouts, *, strict: bool) -> UnitProgress:
    lines, states = where.schedule.get(name, ()), where.states.get(name, ())
    machines = tuple(sorted({line.machine for line in lines} | {state.machine for state in states}))
    unit = snapshot.units.get(name)
    if unit is None or not unit.target.scheduled:
        return _leaving(snapshot, machines)
    if not lines or not all(_says(line, unit) for line in lines):
        return refused(snapshot, name, machines) or UnitProgress(Progress.UNDER_WAY, _undecided(snapshot), machines)
    if not strict and len(lines) == len(states) == 1 and _rests(lines[0], states[0]):
        return refused(snapshot, name, machines) or UnitProgress(Progress.REACHED, "", machines)
    return _arriving(snapshot, unit, lines, {state.machine: state for state in states}, machines, strict=strict)


def standing_here(
    snapshot: Snapshot, name: str, line: Assignment | None, state: UnitState | None, *, strict: bool = False
) -> UnitProgress:
    """How far the unit is on one machine, by that machine's own line and state; elsewhere it may be otherwise."""
    machines = tuple({each.machine for each in (line, state) if each})
    unit = snapshot.units.get(name)
    if unit is None or not unit.target.scheduled or line is None:
        return _leaving(snapshot, machines)
    home = snapshot.machines.get(line.machine)
    done = _says(line, unit) and applied(line, state)
    if (not done or (home and home.leaving)) and (pending := refused(snapshot, name, machines)):
        return pending
    if state is not None and done:
        return _outcome(state, machines, strict=strict)
    if not _says(line, unit):
        return UnitProgress(Progress.UNDER_WAY, _undecided(snapshot), machines)
    return _late(snapshot, unit, machines, machines)


def _leaving(snapshot: Snapshot, machines: tuple[str, ...]) -> UnitProgress:
    if not machines:
        return UnitProgress(Progress.REACHED)
    return UnitProgress(Progress.UNDER_WAY, f"being stopped on {_named(snapshot, machines)}", machines)


def _says(line: Assignment, unit: Unit) -> bool:
    """Whether a line of a schedule is the operator's present wish."""
    wish = (*unit.version_on(line.machine), unit.attempt, unit.target)
    return (line.hash, line.generation, line.attempt, line.target) == wish


def refused(snapshot: Snapshot, name: str, machines: tuple[str, ...] = ()) -> UnitProgress | None:
    """Why the scheduler leaves the present wish undone, if it does: of a global unit, on some machines perhaps."""
    unit, pending = snapshot.units.get(name), snapshot.pending.get(name)
    if unit is None or pending is None or not unit.target.scheduled:
        return None
    if (pending.hash, pending.generation, pending.attempt) != (unit.hash, unit.generation, unit.attempt):
        return None
    return UnitProgress(Progress.UNDER_WAY if pending.passing else Progress.WAITING, pending.summary, machines)


def _arriving(
    snapshot: Snapshot,
    unit: Unit,
    lines: tuple[Assignment, ...],
    states: Mapping[str, UnitState],
    machines: tuple[str, ...],
    *,
    strict: bool,
) -> UnitProgress:
    # What came of it on a machine that has to give it up is nothing that was asked for.
    stray = tuple(sorted(states.keys() - {line.machine for line in lines}))
    states = {each: state for each, state in states.items() if each not in stray}
    # A global unit keeps its lines on lost machines; it has arrived once it has on those that live.
    awaited = [line for line in lines if line.machine in snapshot.machines] or lines
    late = tuple(line.machine for line in awaited if not applied(line, states.get(line.machine)))
    waiting = {each: state for each, state in states.items() if each not in late and state.waits}
    coming = {  # whose units waited for are being brought to the machine, or have just come there
        each: state.error
        for each, state in waiting.items()
        if all(_comes(snapshot, each, name, running=name in state.waits_running) for name in state.waits)
    }
    late += tuple(coming)
    alone = f" on {_named(snapshot, machines)}" if len(machines) == 1 else ""
    found = {
        each: _outcome(states[each], (each,), alone, strict=strict) for each in sorted(states) if each not in late
    }
    failed = {each: its.reason for each, its in found.items() if its.progress is Progress.FAILED}
    if failed:
        return UnitProgress(Progress.FAILED, _blame(snapshot, failed, machines), machines, late)
    if pending := refused(snapshot, unit.name, machines):
        return pending
    reached = UnitProgress(Progress.REACHED, "", machines)
    waits = {each: its.reason for each, its in found.items() if its.progress is Progress.WAITING}
    if waits:
        return UnitProgress(Progress.WAITING, _blame(snapshot, waits, machines), machines, late, UNIT_IS_THERE)
    if late:
        soon = UnitProgress(Progress.UNDER_WAY, _blame(snapshot, coming, machines), machines) if coming else None
        return soon or _late(snapshot, unit, late, machines)
    if stray:
        return UnitProgress(Progress.UNDER_WAY, f"being stopped on {_named(snapshot, stray)}", machines)
    skipped = {line.machine: found[line.machine].reason for line in awaited}
    held = all(skipped.values())  # by a condition, everywhere
    return UnitProgress(Progress.FAILED, _blame(snapshot, skipped, machines), machines) if held else reached


def _rests(line: Assignment, state: UnitState) -> bool:
    """Whether a line was evidently carried out, as nearly all are, so that there is nothing to look into."""
    troubled = state.error or state.waits or state.skipped
    return not troubled and state.machine == line.machine and applied(line, state)


def _comes(snapshot: Snapshot, machine: str, name: str, *, running: bool) -> bool:
    unit, line = snapshot.units.get(name), snapshot.schedule.get((machine, name))
    state = snapshot.states.get((machine, name))
    if unit is None or not unit.target.scheduled or (running and unit.target is not Target.LAUNCHED):
        return False
    if line is None:  # it may come here, as long as it goes nowhere else
        placed = any((each, name) in snapshot.schedule for each in snapshot.machines)
        return not placed and refused(snapshot, name) is None
    if not _says(line, unit) or not applied(line, state):
        return True
    return state is not None and state.load == "loaded" and (not running or state.active == "active")


def _outcome(state: UnitState, machines: tuple[str, ...], where: str = "", *, strict: bool = False) -> UnitProgress:
    """What came of a line that was carried out."""
    reason = mishap(state, where) if strict and state.target is Target.LAUNCHED else state.error
    if reason and state.waits:
        return UnitProgress(Progress.WAITING, reason, machines, until=UNIT_IS_THERE)
    if reason:
        return UnitProgress(Progress.FAILED, reason, machines)
    return UnitProgress(Progress.REACHED, state.skipped if ended(state) else "", machines)


def _late(snapshot: Snapshot, unit: Unit, late: tuple[str, ...], machines: tuple[str, ...]) -> UnitProgress:
    absent = tuple(machine for machine in late if machine not in snapshot.machines)
    verb = "waiting for lost machine" if absent else f"being {unit.target} on"
    kept = any((gone := snapshot.absent.get(machine)) and gone.on_lost == "keep" for machine in absent)
    still = ", where it may still run (keep)" if kept else ""
    return UnitProgress(Progress.UNDER_WAY, f"{verb} {_named(snapshot, absent or late)}{still}", machines)


def _blame(snapshot: Snapshot, found: Mapping[str, str], machines: tuple[str, ...]) -> str:
    """The reasons, each with the machines that give it; a unit that is on one machine only needs no name."""
    if len(machines) == 1:
        return found[machines[0]]
    by_reason: dict[str, list[str]] = defaultdict(list)
    for machine, reason in found.items():
        home = snapshot.machines.get(machine)
        alone = home is not None and sum(each.hostname == home.hostname for each in snapshot.machines.values()) == 1
        by_reason[reason].append(home.hostname if home is not None and alone else f"{machine[:8]}...")
    told = [
        f"on {len(names)} of {len(machines)} machines ({listed(sorted(names), 3)}): {reason}"
        for reason, names in by_reason.items()
    ]
    return "; ".join(told[:3]) + (f"; and {len(told) - 3} reasons more" if len(told) > 3 else "")


def _undecided(snapshot: Snapshot) -> str:
    if snapshot.leader is None:
        return "no scheduler leads; start fleet-scheduler on at least one machine"
    return "waiting for the scheduler"


def _named(snapshot: Snapshot, machines: tuple[str, ...]) -> str:
    """The machines by their short ids; those that are gone by the names that they had."""
    gone = snapshot.absent
    return listed((gone[each].hostname if each in gone else f"{each[:8]}..." for each in machines), 3)
