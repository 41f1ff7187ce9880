"""A rollout's next turns: what became of the units that had theirs, and which have theirs now. Pure.

Owns the rules of ADR 28. A rollout is read from its record and the snapshot alone, but for how long each unit has
been well, which the leader has to have seen itself. Invariants: at most `at_a_time` groups are down beside those
that failed within `max_failures`, whatever they are down for (13); a rollout that is not running has no turns (14).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from registry.lifecycle import Progress, UnitProgress, Whereabouts, ended, standing
from registry.mirror import Snapshot
from registry.model import (
    OnFailure,
    Rollout,
    RolloutState,
    RolloutStep,
    StepFailure,
    Target,
    Unit,
    UnitState,
)
from registry.units.file import parse

TURNS_AT_ONCE = 40  # units in one transaction; also the largest group


class StepState(StrEnum):
    """How far one unit of a rollout is."""

    WAITING = "waiting"  # its turn is to come
    UNDER_WAY = "under way"  # it has had its turn, and has not been well for long enough
    SETTLED = "settled"
    FAILED = "failed"
    CHANGED = "changed"  # somebody else changed it: the rollout leaves it alone


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


@dataclass(frozen=True, slots=True)
class Advance:
    """What the leader does next: the record as it is to be (`rollout`), and the units whose turn it is."""

    rollout: Rollout
    turns: tuple[Unit, ...] = ()
    waits: str = ""  # why nothing goes on, when only a change of the fleet or an operator can mend that


class WellSince:
    """For how long units have been well, as one leader saw it on its monotonic clock."""

    def __init__(self) -> None:
        self._since: dict[str, tuple[object, float]] = {}

    def seconds(self, unit: str, run: object, now: float) -> float:
        """For how long this run of the unit has been well, which it is now."""
        known = self._since.get(unit)
        if known is None or known[0] != run:
            known = self._since[unit] = (run, now)
        return now - known[1]

    def not_well(self, unit: str) -> None:
        """Forget the unit: it is not well now."""
        self._since.pop(unit, None)

    def keep(self, units: Iterable[str]) -> None:
        """Forget all other units."""
        kept = set(units)
        self._since = {unit: known for unit, known in self._since.items() if unit in kept}


def survey(
    rollout: Rollout, snapshot: Snapshot, where: Callable[[str], Whereabouts], well: WellSince, now: float
) -> tuple[StepView, ...]:
    """Return every step of the rollout as it stands. `where` finds the lines and states of a unit."""
    settled, failed = set(rollout.settled), {each.unit: each for each in rollout.failed}
    return tuple(
        _view(
            rollout,
            step,
            snapshot,
            where(step.unit),
            well,
            now,
            noted=step.unit in settled,
            failure=failed.get(step.unit),
        )
        for step in rollout.steps
    )


def _view(
    rollout: Rollout,
    step: RolloutStep,
    snapshot: Snapshot,
    where: Whereabouts,
    well: WellSince,
    now: float,
    *,
    noted: bool,
    failure: StepFailure | None,
) -> StepView:
    unit, name = snapshot.units.get(step.unit), step.unit
    if unit is None:
        return StepView(step, StepState.CHANGED, reason="it was destroyed")
    state, reason = _turn_of(rollout, step, unit)
    if unit.target is not Target.LAUNCHED:
        well.not_well(name)
        return StepView(step, StepState.SETTLED if state is StepState.UNDER_WAY else state, unit, reason=reason)
    found = standing(snapshot, name, where, strict=True)
    reports = where.states.get(name, ())
    machine = reports[0].machine if reports else ""
    trouble = _trouble(found, reports, snapshot)
    up = found.progress is Progress.REACHED and not trouble and bool(reports)
    if not up:
        well.not_well(name)
    if state is StepState.UNDER_WAY and noted:
        state = StepState.SETTLED
    elif state is StepState.UNDER_WAY and failure is not None:
        state, trouble, machine = StepState.FAILED, failure.reason, failure.machine
    elif state is StepState.UNDER_WAY:
        restarts = sum(each.restarts for each in reports if each.generation == unit.generation)
        if trouble or restarts:
            reason = trouble or f"systemd restarted it {restarts} times"
            return StepView(step, StepState.FAILED, unit, up, reason, machine)
        if up:
            run = tuple((each.machine, each.generation, each.attempt, each.since) for each in reports)
            left_s = rollout.healthy_for_s - well.seconds(name, run, now)
            state = StepState.SETTLED if left_s <= 0 else state
            return StepView(step, state, unit, up, "", machine, max(left_s, 0.0))
    return StepView(step, state, unit, up, reason or trouble or ("" if up else found.reason), machine)


def _turn_of(rollout: Rollout, step: RolloutStep, unit: Unit) -> tuple[StepState, str]:
    """Whether the unit has had its turn in the rollout's direction, by its record alone."""
    version, before = (unit.hash, unit.generation), (step.old, step.generation)
    given = (step.new, step.generation + 1)
    if rollout.back:
        if version == before:  # it never had the new file
            return StepState.SETTLED, ""
        before, given = given, (step.old, step.generation + 2)
    if version == given:
        return StepState.UNDER_WAY, ""
    if version == before:
        return StepState.WAITING, ""
    return StepState.CHANGED, f"it was changed by {unit.by or 'somebody'}"


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


def advance(rollout: Rollout, views: Sequence[StepView], blocked_by: str = "") -> Advance:
    """Return what to do next. `blocked_by`: an earlier rollout that has one of its units."""
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
        return Advance(stopped)
    if all(group.over for group in groups):
        return Advance(replace(noted, state=RolloutState.FINISHED))
    if blocked_by:
        return Advance(noted, waits=f"rollout {blocked_by} has units of this one, and was begun earlier")
    chosen, waits = _choose(noted, groups)
    waiting = (view for group in chosen for view in group.views if view.state is StepState.WAITING)
    units = ((view.unit, view.step.old if noted.back else view.step.new) for view in waiting)
    return Advance(noted, tuple(unit.with_file(sha256) for unit, sha256 in units if unit), waits)


def _fault(views: Sequence[StepView], groups: Sequence[Group]) -> str | None:
    """What nobody who writes rollouts as he should would have written."""
    names = [each.step.unit for each in views]
    if len(set(names)) < len(names):
        return f"{next(name for name in names if names.count(name) > 1)} is in it twice"
    large = next((group for group in groups if len(group.views) > TURNS_AT_ONCE), None)
    if large is not None:
        return f"{len(large.views)} units have their turn together, more than {TURNS_AT_ONCE}"
    return None


def _noted(rollout: Rollout, views: Sequence[StepView]) -> Rollout:
    """The record with what has settled and failed since."""
    known = {*rollout.settled, *(each.unit for each in rollout.failed)}
    fresh = [each for each in views if each.step.unit not in known]
    settled = (each.step.unit for each in fresh if each.state is StepState.SETTLED)
    failed = (
        StepFailure(each.step.unit, each.reason, each.machine) for each in fresh if each.state is StepState.FAILED
    )
    return replace(rollout, settled=(*rollout.settled, *settled), failed=(*rollout.failed, *failed))


def _stopped(rollout: Rollout, groups: Sequence[Group]) -> Rollout | None:
    """The record of a rollout in which too much has failed; None while it may go on."""
    failed = [group for group in groups if group.has(StepState.FAILED)]
    in_canary = not rollout.back and any(group.has(StepState.FAILED) for group in groups[: rollout.canary])
    if not failed or (len(failed) <= rollout.max_failures and not in_canary):
        return None
    first = next(view for group in failed for view in group.views if view.state is StepState.FAILED)
    note = f"{first.step.unit} failed: {first.reason}"
    if len(failed) > 1:
        note += f"; and {len(failed) - 1} more failed"
    if rollout.on_failure is OnFailure.ROLLBACK and not rollout.back:
        return going_back(rollout, note)
    return replace(rollout, state=RolloutState.PAUSED, note=f"{rollout.note}; {note}" if rollout.back else note)


def going_back(rollout: Rollout, note: str) -> Rollout:
    """The record of a rollout that gives every unit the file again that it had."""
    return replace(rollout, state=RolloutState.RUNNING, back=True, settled=(), failed=(), note=note)


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
    return [], f"{view.step.unit} is down already ({view.reason}), and no more than {most} may be"
