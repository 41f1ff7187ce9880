"""A rollout's next turns: what became of the units that had theirs, and which have theirs now. Pure.

Owns the rules of ADR 28. A rollout is read from its record and the snapshot alone, but for how long each unit has
been well, which the leader has to have seen itself. Invariants: at most `at_a_time` groups are down beside those
that failed within `max_failures`, whatever they are down for (13); a rollout that is not running has no turns (14).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from registry.lifecycle import Progress, UnitProgress, Whereabouts, ended, standing, standing_here
from registry.mirror import Snapshot
from registry.model import (
    Assignment,
    OnFailure,
    Rollout,
    RolloutState,
    RolloutStep,
    StepFailure,
    Target,
    Unit,
    UnitHealth,
    UnitState,
)
from registry.units.file import parse

TURNS_AT_ONCE = 40  # units in one transaction; also the largest group
MAX_STEPS = 4000  # of one rollout: its record has some 200 bytes for each, and etcd takes 1.5 MB
StepKey = tuple[str, str]  # a unit, and of a global one the machine


class StepState(StrEnum):
    """How far one unit of a rollout is, or a global one on one machine."""

    WAITING = "waiting"  # its turn is to come
    UNDER_WAY = "under way"  # it has had its turn, and has not been well for long enough
    SETTLED = "settled"
    FAILED = "failed"
    CHANGED = "changed"  # somebody else changed it: the rollout leaves it alone
    AWAY = "away"  # a global unit's machine is not there: it follows when the machine is back


@dataclass(frozen=True, slots=True)
class StepView:
    """One step as it stands. `up`: the unit does what its target asks, or nobody wants it to run."""

    step: RolloutStep
    state: StepState
    unit: Unit | None = None
    up: bool = True
    reason: str = ""  # why it is not up, or who changed it
    machine: str = ""  # where it is
    settles_in_s: float | None = None  # it is well, and has settled if it stays so for as long

    @property
    def name(self) -> str:
        """What people call it: the unit, and of a global one the machine."""
        return f"{self.step.unit} on {self.step.machine[:8]}..." if self.step.machine else self.step.unit


@dataclass(frozen=True, slots=True)
class Advance:
    """What the leader does next: the records as they are to be."""

    rollout: Rollout
    given: tuple[StepView, ...] = ()  # the steps that have their turn
    units: tuple[Unit, ...] = ()
    waits: str = ""  # why nothing goes on, when only a change of the fleet or an operator can mend that


class WellSince:
    """For how long units have been well, as one leader saw it on its monotonic clock."""

    def __init__(self) -> None:
        self._since: dict[StepKey, tuple[object, float]] = {}

    def seconds(self, step: StepKey, run: object, now: float) -> float:
        """For how long this run of the unit has been well, which it is now."""
        known = self._since.get(step)
        if known is None or known[0] != run:
            known = self._since[step] = (run, now)
        return now - known[1]

    def not_well(self, step: StepKey) -> None:
        """Forget the unit: it is not well now."""
        self._since.pop(step, None)

    def keep(self, units: Iterable[str]) -> None:
        """Forget all other units."""
        kept = set(units)
        self._since = {step: known for step, known in self._since.items() if step[0] in kept}


def failures(rollout: Rollout) -> dict[StepKey, StepFailure]:
    """What has failed, by step."""
    by_machine = {step.key for step in rollout.steps if step.machine}
    keys = ((each.unit, each.machine) for each in rollout.failed)
    return {
        key if key in by_machine else (key[0], ""): each for key, each in zip(keys, rollout.failed, strict=True)
    }


# -- looking


def survey(
    rollout: Rollout, snapshot: Snapshot, where: Callable[[str], Whereabouts], well: WellSince, now: float
) -> tuple[StepView, ...]:
    """Return every step of the rollout as it stands. `where` finds the lines and states of a unit.

    A machine that a global unit has come to since the rollout began has a step, too.
    """
    settled = {*((unit, "") for unit in rollout.settled), *rollout.settled_on}
    failed = failures(rollout)
    views = []
    for step in (*rollout.steps, *_newcomers(rollout, snapshot, where)):
        seen = _look_at(rollout, step, snapshot, where)
        if not seen.up:
            well.not_well(step.key)
        views.append(
            _view(rollout, seen, well, now, noted=step.key in settled, failure=failed.get(step.key))
            if seen.unit
            else StepView(step, StepState.CHANGED, reason="it was destroyed")
        )
    return tuple(views)


def _newcomers(rollout: Rollout, snapshot: Snapshot, where: Callable[[str], Whereabouts]) -> Iterator[RolloutStep]:
    """Steps for the machines that global units have come to since."""
    known = {step.key for step in rollout.steps if step.machine}
    if not known or rollout.state is not RolloutState.RUNNING:
        return
    firsts: dict[str, RolloutStep] = {}
    for step in rollout.steps:
        if step.machine:
            firsts.setdefault(step.unit, step)
    group = max(step.group for step in rollout.steps)
    for first in firsts.values():
        unit = snapshot.units.get(first.unit)
        for line in where(first.unit).schedule.get(first.unit, ()) if unit else ():
            if unit and (unit.name, line.machine) not in known and len(known) < MAX_STEPS:
                group += 1
                sha256, generation = unit.version_on(line.machine)
                new = sha256 if first.old == first.new else first.new
                known.add((unit.name, line.machine))
                yield RolloutStep(unit.name, sha256, new, generation, group, line.machine)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the snapshot has of one step. `trouble`: why it has come to nothing; `reason`: why it is not up."""

    step: RolloutStep
    unit: Unit | None
    reports: tuple[UnitState, ...] = ()
    up: bool = True
    trouble: str = ""
    reason: str = ""
    placed: bool = False  # a schedule has it, where the step is about
    away: bool = False  # the machine of the step is not there
    leaving: bool | None = None  # whether it had its turn to leave a machine; None where no turn can be had

    @property
    def run(self) -> object:
        """What changes whenever it is started again."""
        return tuple((each.machine, each.generation, each.attempt, each.since) for each in self.reports)

    @property
    def fault(self) -> str:
        """Why what it runs in its turn has failed; "" while it has not."""
        current = (
            each for each in self.reports if self.unit and each.generation == self.unit.version_on(each.machine)[1]
        )
        # Until its start is over, systemd's count is of the run before.
        restarts = sum(each.restarts for each in current if each.target is Target.LAUNCHED)
        return self.trouble or (f"systemd restarted it {restarts} times" if restarts else "")


def _look_at(rollout: Rollout, step: RolloutStep, snapshot: Snapshot, where: Callable[[str], Whereabouts]) -> _Seen:
    unit, name = snapshot.units.get(step.unit), step.unit
    if unit is None:
        return _Seen(step, None)
    lines: tuple[Assignment, ...]
    reports: tuple[UnitState, ...]
    if step.machine:
        line, state = snapshot.schedule.get((step.machine, name)), snapshot.states.get((step.machine, name))
        lines, reports = (line,) if line else (), (state,) if state else ()
        found = standing_here(snapshot, name, line, state, strict=True)
    else:
        here = where(name)
        lines, reports = here.schedule.get(name, ()), here.states.get(name, ())
        found = standing(snapshot, name, here, strict=True)
    away = bool(step.machine) and step.machine not in snapshot.machines
    override, leaving = snapshot.overrides.get(step.leaves), None
    machines = [line.machine for line in lines] + [report.machine for report in reports]
    placed = step.leaves in machines if step.leaves else bool(lines)
    if override is not None and override.drained_by == rollout.name:
        leaving = unit.leaves == rollout.name
    if unit.target is not Target.LAUNCHED or (step.machine and not lines):
        return _Seen(step, unit, reports, placed=placed, away=away, leaving=leaving)
    trouble = _trouble(found, reports, snapshot)
    checked = all(each.health in (UnitHealth.UNCHECKED, UnitHealth.HEALTHY) for each in reports)
    up = found.progress is Progress.REACHED and not trouble and bool(reports) and checked and not away
    reason = "its machine is not there" if away else trouble or found.reason or "it has not passed its health check"
    return _Seen(step, unit, reports, up, trouble, "" if up else reason, placed, away, leaving)


def _view(
    rollout: Rollout, seen: _Seen, well: WellSince, now: float, *, noted: bool, failure: StepFailure | None
) -> StepView:
    """The step as it stands, by what was seen of it and what the rollout's record notes."""
    step, unit = seen.step, seen.unit
    machine = step.machine or (seen.reports[0].machine if seen.reports else "")
    state, reason = _left(seen, noted=noted) if step.leaves else _turn_of(rollout, seen)
    view = StepView(step, state, unit, seen.up, reason or seen.reason, machine)
    launched = unit is not None and unit.target is Target.LAUNCHED
    leaving = bool(step.leaves) and seen.placed  # what it is like there is not what comes of the move
    if state is not StepState.UNDER_WAY:
        return view
    if noted or not (launched or leaving):
        return replace(view, state=StepState.SETTLED)
    if failure is None and launched and not leaving and (fault := seen.fault):
        failure = StepFailure(step.unit, fault, machine)
    if failure is not None:
        return replace(view, state=StepState.FAILED, reason=failure.reason, machine=failure.machine)
    if leaving or not seen.up:
        return view
    left_s = rollout.healthy_for_s - well.seconds(step.key, seen.run, now)
    settled = StepState.SETTLED if left_s <= 0 else state
    return replace(view, state=settled, reason="", settles_in_s=max(left_s, 0.0))


def _left(seen: _Seen, *, noted: bool) -> tuple[StepState, str]:
    """Whether a unit that is to leave a machine has had its turn."""
    if noted:
        return StepState.SETTLED, ""
    if seen.placed and seen.leaving is None:
        return StepState.CHANGED, "the machine is no longer being emptied by this"
    return (StepState.WAITING if seen.placed and not seen.leaving else StepState.UNDER_WAY), ""


def _turn_of(rollout: Rollout, seen: _Seen) -> tuple[StepState, str]:
    """Whether the unit has had its turn in the rollout's direction, by its record alone."""
    step, unit = seen.step, seen.unit
    if unit is None:
        return StepState.CHANGED, "it was destroyed"
    version = unit.version_on(step.machine) if step.machine else (unit.hash, unit.generation)
    before, given = (step.old, step.generation), (step.new, step.generation + 1)
    if rollout.back:
        if version == before:  # it never had the new file
            return StepState.SETTLED, ""
        before, given = given, (step.old, step.generation + 2)
    if version not in (before, given):
        return StepState.CHANGED, f"it was changed by {unit.by or 'somebody'}"
    if step.machine and not seen.placed:
        return StepState.CHANGED, "it is not on that machine any more"
    if seen.away:
        return StepState.AWAY, ""
    return (StepState.UNDER_WAY if version == given else StepState.WAITING), ""


def _trouble(found: UnitProgress, reports: Sequence[UnitState], snapshot: Snapshot) -> str:
    """Why a launched unit has come to nothing; "" while it has not.

    A unit that ended well has, unless its file says Type=oneshot: systemd.service(5).
    """
    if found.progress is Progress.FAILED:
        return found.reason
    over = [each for each in reports if ended(each)] if found.progress is Progress.REACHED else []
    files = [snapshot.files.get(each.hash) for each in over]
    if all(file is not None and parse(file.text).value("Service", "Type") == "oneshot" for file in files):
        return ""
    return "it ended, and should run on"


# -- deciding


@dataclass(frozen=True, slots=True)
class Group:
    """Steps that have their turn together."""

    views: tuple[StepView, ...]

    def has(self, *states: StepState) -> bool:
        """Whether one of its steps is in one of these states."""
        return any(each.state in states for each in self.views)

    @property
    def over(self) -> bool:
        """Whether nothing is left to do for it."""
        return not self.has(StepState.WAITING, StepState.UNDER_WAY)

    @property
    def down(self) -> bool:
        """Whether one of its units should run and does not."""
        return not all(each.up for each in self.views)


def is_called_off(rollout: Rollout, snapshot: Snapshot) -> bool:
    """Whether it is a drain whose machines are no longer emptied by it."""
    machines = {step.leaves for step in rollout.steps if step.leaves}
    found = [snapshot.overrides.get(each) for each in machines]
    return bool(machines) and not any(each and each.drained_by == rollout.name for each in found)


def advance(
    rollout: Rollout, views: Sequence[StepView], blocked_by: str = "", *, called_off: bool = False
) -> Advance:
    """Return what to do next. `blocked_by`: an earlier rollout that has one of its units.

    `called_off`: it empties machines that nobody wants emptied by it any more, so that it could not go on later.
    """
    if rollout.state is not RolloutState.RUNNING:
        return Advance(rollout)
    by_number: dict[int, list[StepView]] = {}
    for each in views:
        by_number.setdefault(each.step.group, []).append(each)
    groups = [Group(tuple(found)) for found in by_number.values()]  # in the order of their turns
    if (fault := _fault(views, groups)) is not None:
        return Advance(replace(rollout, state=RolloutState.PAUSED, note=f"it cannot be carried out: {fault}"))
    noted = _noted(rollout, views)
    if (stopped := _stopped(noted, groups)) is not None:
        if called_off:
            stopped = replace(stopped, state=RolloutState.ABORTED)
        return Advance(stopped)
    if all(group.over for group in groups):
        return Advance(replace(noted, state=RolloutState.FINISHED), units=tuple(_unified(noted, views)))
    if blocked_by:
        return Advance(noted, waits=f"rollout {blocked_by} has units of this one, and was begun earlier")
    chosen, waits = _choose(noted, groups)
    given = tuple(view for group in chosen for view in group.views if view.state is StepState.WAITING)
    return Advance(noted, given, tuple(_turned(noted, given)), waits)


def _turned(rollout: Rollout, given: Iterable[StepView]) -> Iterator[Unit]:
    """The records of the units whose turn it is."""
    units: dict[str, Unit] = {}
    for view in given:
        step, sha256 = view.step, view.step.old if rollout.back else view.step.new
        unit = units.get(step.unit, view.unit)
        if unit is None:
            continue
        if step.leaves:
            units[step.unit] = replace(unit, leaves=rollout.name)
        elif step.machine:
            version = sha256, step.generation + (2 if rollout.back else 1)
            units[step.unit] = unit.with_versions({**unit.versions, step.machine: version})
        else:
            turned = unit.with_file(sha256)
            units[step.unit] = turned.going_to(step.goes_to) if step.goes_to and not rollout.back else turned
    yield from units.values()


def _fault(views: Sequence[StepView], groups: Sequence[Group]) -> str | None:
    """What nobody who writes rollouts as he should would have written."""
    counts = Counter(each.step.key for each in views)
    counts.update((each.step.unit, "") for each in views if each.step.machine and (each.step.unit, "") in counts)
    if twice := next((unit for (unit, _), count in counts.items() if count > 1), None):
        return f"{twice} is in it twice"
    large = next((group for group in groups if len(group.views) > TURNS_AT_ONCE), None)
    if large is not None:
        return f"{len(large.views)} units have their turn together, more than {TURNS_AT_ONCE}"
    return None


def _noted(rollout: Rollout, views: Sequence[StepView]) -> Rollout:
    """The record with what has settled and failed since, and with the steps that have come to it."""
    known = {*((unit, "") for unit in rollout.settled), *rollout.settled_on, *failures(rollout)}
    fresh = [each for each in views if each.step.key not in known]
    settled = [each.step for each in fresh if each.state is StepState.SETTLED]
    failed = (
        StepFailure(each.step.unit, each.reason, each.machine) for each in fresh if each.state is StepState.FAILED
    )
    return replace(
        rollout,
        steps=tuple(each.step for each in views),
        settled=(*rollout.settled, *(step.unit for step in settled if not step.machine)),
        settled_on=(*rollout.settled_on, *(step.key for step in settled if step.machine)),
        failed=(*rollout.failed, *failed),
    )


def _unified(rollout: Rollout, views: Iterable[StepView]) -> Iterator[Unit]:
    """Global units whose record says from now on what most machines have; nothing is restarted by that.

    A machine that is away is left out: it has what the record says when it is back.
    """
    by_unit: dict[str, list[StepView]] = {}
    for view in views:
        if view.step.machine and view.state not in (StepState.CHANGED, StepState.AWAY):
            by_unit.setdefault(view.step.unit, []).append(view)
    for found in by_unit.values():
        unit = found[0].unit
        if unit is None or not unit.on:
            continue
        versions = {view.step.machine: unit.version_on(view.step.machine) for view in found}
        wanted = {view.step.old if rollout.back else view.step.new for view in found}
        counts = Counter(version for version in versions.values() if version[0] in wanted)
        sha256, generation = max(
            counts, key=lambda each: (counts[each], each[1]), default=(unit.hash, unit.generation)
        )
        record = replace(unit, hash=sha256, generation=generation, history=unit.history_with(sha256))
        yield record.with_versions(versions)


def _stopped(rollout: Rollout, groups: Sequence[Group]) -> Rollout | None:
    """The record of a rollout in which too much has failed; None while it may go on."""
    failed = [group for group in groups if group.has(StepState.FAILED)]
    in_canary = not rollout.back and any(group.has(StepState.FAILED) for group in groups[: rollout.canary])
    if not failed or (len(failed) <= rollout.max_failures and not in_canary):
        return None
    first = next(view for group in failed for view in group.views if view.state is StepState.FAILED)
    note = f"{first.name} failed: {first.reason}"
    if len(failed) > 1:
        note += f"; and {len(failed) - 1} more failed"
    if rollout.on_failure is OnFailure.ROLLBACK and not rollout.back:
        return going_back(rollout, note)
    return replace(rollout, state=RolloutState.PAUSED, note=f"{rollout.note}; {note}" if rollout.back else note)


def going_back(rollout: Rollout, note: str) -> Rollout:
    """The record of a rollout that gives every unit the file again that it had."""
    return replace(rollout, state=RolloutState.RUNNING, back=True, settled=(), settled_on=(), failed=(), note=note)


def _choose(rollout: Rollout, groups: Sequence[Group]) -> tuple[list[Group], str]:
    """The groups whose turn it is, and why it is nobody's though some wait and none is under way.

    A group that is down already goes first: its turn takes nothing down.
    """
    under_way = sum(group.has(StepState.UNDER_WAY) for group in groups)
    down = [group for group in groups if group.down and not group.has(StepState.UNDER_WAY, StepState.FAILED)]
    canary = () if rollout.back else groups[: rollout.canary]
    candidates = canary if not all(group.over for group in canary) else groups
    waiting = [group for group in candidates if group.has(StepState.WAITING)]
    chosen: list[Group] = []
    most, units, elsewhere = max(rollout.at_a_time, 1), 0, len(down)
    for group in sorted(waiting, key=lambda group: not group.down):
        units += len(group.views)
        if under_way + len(chosen) >= most or units > TURNS_AT_ONCE:
            break
        if not group.down and under_way + len(chosen) + elsewhere >= most:
            break
        elsewhere -= group.down
        chosen.append(group)
    if chosen or under_way or not waiting:
        return chosen, ""
    view = next(view for group in down for view in group.views if not view.up)
    return [], f"{view.name} is down already ({view.reason}), and no more than {most} may be"
