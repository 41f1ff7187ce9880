"""Making a part of the registry equal to a folder of unit files: what differs, and the writing of it.

Owns the rule of what may be touched: units of the folder's owner that are as they were applied last. What somebody
changed by hand since, and what belongs to somebody else, is told and kept. Each unit is written only if it is still
as it was when the difference was shown.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from fleettui.actions.folder import Applied, UnitFolder
from fleettui.actions.operator import Operator
from fleettui.actions.outcome import Did, Done, Outcome
from fleettui.actions.reading import FoundUnit
from fleettui.actions.units import UnitStep, act
from fleettui.verbs import verb_between
from registry.frozen import dataclass, replace
from registry.mirror import Snapshot
from registry.model import Target, Unit
from registry.units.file import file_hash


class ChangeKind(StrEnum):
    """What an apply does to one unit."""

    CREATE = "create"
    REPLACE = "replace"
    TARGET = "target"  # it is to be started, loaded or stopped
    ADOPT = "adopt"  # it is as it should be, and becomes the owner's
    DESTROY = "destroy"
    KEEP = "keep"  # it is somebody else's, or was changed by hand: see the note
    LACKS = "lacks"  # it asks for what is not there: see the note


@dataclass(frozen=True, slots=True)
class UnitDifference:
    """One unit that differs. `before` is its record when that was found, None where there was none."""

    name: str
    kind: ChangeKind
    note: str = ""
    before: Unit | None = None
    wanted: Applied | None = None


def compare(folder: UnitFolder, snapshot: Snapshot, *, prune: bool, adopt: bool) -> list[UnitDifference]:
    """Every unit that differs, by name. `adopt` takes over what somebody else owns or has changed."""
    rolling = {step.unit for each in snapshot.rollouts.values() if not each.state.over for step in each.steps}
    found: list[UnitDifference] = []
    for name, wanted in folder.units.items():
        unit = snapshot.units.get(name)
        if unit is None:
            found.append(UnitDifference(name, ChangeKind.CREATE, f"{wanted.target}", None, wanted))
        elif (change := _compared(folder.owner, wanted, unit, rolling=name in rolling, adopt=adopt)) is not None:
            found.append(change)
    for name, unit in snapshot.units.items():
        if unit.owner == folder.owner and name not in folder.units:
            kind, note = lacking_in_folder(_by_hand(unit), prune=prune, adopt=adopt)
            found.append(UnitDifference(name, kind, note, unit))
    return sorted(found, key=lambda each: each.name)


def lacking_in_folder(hand: str, *, prune: bool, adopt: bool) -> tuple[ChangeKind, str]:
    """What becomes of what the owner has and the folder lacks, and why. `hand`: who changed it, if anybody."""
    if not prune:
        return ChangeKind.KEEP, "it is not in the folder; --prune destroys it"
    if hand and not adopt:
        return ChangeKind.KEEP, f"{hand}; --adopt destroys it all the same"
    return ChangeKind.DESTROY, "it is not in the folder"


def kept_from(owner: str, theirs: str, came: str, hand: str, *, adopt: bool) -> str:
    """Why something is not brought to what the folder has; "" where it may be.

    `theirs` is its owner, `came` says where it is from if it has none, and `hand` who changed it, if anybody.
    """
    if adopt:
        return ""
    if theirs != owner:
        return f"{f'it belongs to {theirs}' if theirs else came}; --adopt takes it over"
    return f"{hand}; --adopt goes by the folder" if hand else ""


def _compared(owner: str, wanted: Applied, unit: Unit, *, rolling: bool, adopt: bool) -> UnitDifference | None:
    same_file, same_target = unit.has_file(file_hash(wanted.text)), unit.target is wanted.target
    ours = unit.owner == owner
    if ours and unit.applied == wanted.version and (rolling or (same_file and same_target)):
        return None
    hand = "" if same_file and same_target else _by_hand(unit)
    kept = kept_from(owner, unit.owner, f"it was submitted by {unit.by or 'somebody'}", hand, adopt=adopt)
    if rolling:
        kept = "a rollout has it; apply again when that is over"
    if kept:
        kind, note = ChangeKind.KEEP, kept
    elif not same_file:
        kind, note = ChangeKind.REPLACE, f"was {unit.hash[:7]}"
    elif not same_target:
        kind, note = ChangeKind.TARGET, f"{unit.target}, should be {wanted.target}"
    else:
        kind, note = ChangeKind.ADOPT, f"it is {owner}'s from now on"
    return UnitDifference(unit.name, kind, note, unit, wanted)


def _by_hand(unit: Unit) -> str:
    """Who changed a unit since it was applied, and what; "" if nobody did."""
    sha, _, target = unit.applied.partition(":")
    if not unit.has_file(sha):
        return f"its file was changed by {unit.by or 'somebody'}"
    return f"it was made {unit.target} by {unit.by or 'somebody'}" if unit.target != target else ""


async def write(operator: Operator, owner: str, changes: Iterable[UnitDifference], *, roll: bool = False) -> Done:
    """Carry changes out. One whose unit was changed since it was compared is refused.

    With `roll` the files of running units are left to a rollout; only what is noted with them is written.
    """
    wanted = {each.name: each for each in changes if each.kind is not ChangeKind.KEEP}

    def decide(name: str, found: FoundUnit) -> UnitStep:
        return _step(wanted[name], found, owner, roll=roll)

    texts = {name: each.wanted.text for name, each in wanted.items() if each.wanted}
    return await act(operator, list(wanted), decide, texts)


def _step(change: UnitDifference, found: FoundUnit, owner: str, *, roll: bool) -> UnitStep:
    name, unit, wanted = change.name, found.unit, change.wanted
    if unit != change.before or found.corrupt:
        note = f"unit {name} was changed meanwhile; apply again to see what differs now"
        return UnitStep(Outcome(name, Did.REFUSED, note=note))
    if wanted is None:
        return UnitStep(Outcome(name, Did.DESTROYED, unit), "destroy", f"it is not in the folder of {owner}")
    sha = file_hash(wanted.text)
    if unit is None:
        after = Unit(name, sha, wanted.target, owner=owner, applied=wanted.version)
        return UnitStep(
            Outcome(name, Did.CREATED, None, after), verb_between(None, wanted.target), f"of {owner}", wanted.text
        )
    after = replace(unit, target=wanted.target, owner=owner, applied=wanted.version)
    if unit.has_file(sha) or (roll and rolls(change)):
        verb = verb_between(unit.target, wanted.target) if unit.target is not wanted.target else "apply"
        return UnitStep(Outcome(name, Did.CHANGED, unit, after), verb, f"of {owner}")
    return UnitStep(
        Outcome(name, Did.REPLACED, unit, after.with_file(sha)),
        "replace",
        f"was {unit.hash[:7]}; {owner}",
        wanted.text,
    )


def rolls(change: UnitDifference) -> bool:
    """Whether a change is one that a rollout can carry out: the new file of a unit that runs and goes on."""
    return (
        change.kind is ChangeKind.REPLACE
        and change.before is not None
        and change.wanted is not None
        and change.before.target is Target.LAUNCHED is change.wanted.target
    )
