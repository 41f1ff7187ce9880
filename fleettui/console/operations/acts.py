"""Actions under way: from the key press to the watch's word. Pure values; `conductor` carries them out.

An act is done when a snapshot at or after the revision it wrote says that each of its units has arrived, failed or
waits; until then it is pending, and nothing on the screen pretends otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from fleettui.actions.outcome import Did, Done, Outcome
from fleettui.actions.progress import judged
from fleettui.console.operations.machine_verbs import (
    BACK,
    WISHES,
    MachineVerb,
    availability,
    machine_command,
    machine_name,
    metadata_words,
)
from fleettui.console.operations.verbs import Verb, command
from fleettui.console.tables.drains import Drain
from fleettui.console.tables.units import host
from registry.lifecycle import Progress, Whereabouts
from registry.mirror import Snapshot
from registry.model import Target

if TYPE_CHECKING:
    from fleettui.actions.machines import MachineChange

Where = Callable[[Snapshot, str], Whereabouts]
SHOWN_S = 8.0  # how long a success stays on the screen


class OperationPhase(StrEnum):
    """How far an act is."""

    SENDING = "sending"  # not yet in the registry
    PENDING = "pending"  # written; the watch has not confirmed it
    DONE = "done"
    WAITING = "waiting"  # written, and nobody can carry it out until the fleet changes
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Operation:
    """One action of the operator."""

    number: int
    verb: Verb | MachineVerb
    names: tuple[str, ...]  # units, or machines as people name them
    began: float
    phase: OperationPhase = OperationPhase.SENDING
    ended: float = 0.0
    revision: int = 0
    open: tuple[str, ...] = ()  # units not yet judged
    written: tuple[Outcome, ...] = ()
    complaints: tuple[str, ...] = ()
    place: str = ""
    line: str = ""  # the command line, where it is not the verb with the names
    machines: tuple[str, ...] = ()  # ids, where it is about machines
    changes: tuple[MachineChange, ...] = ()  # what was written of machines
    progress: str = ""  # how far it is, where that can be said

    @property
    def settled(self) -> bool:
        """Whether nothing more will come of it."""
        return self.phase in (OperationPhase.DONE, OperationPhase.WAITING, OperationPhase.FAILED)

    @property
    def command(self) -> str:
        """The command line that does the same."""
        return self.line or line_of(self.verb, self.names)

    def fades(self, now: float) -> bool:
        """Whether it may leave the screen by itself: errors stay until dismissed."""
        return self.phase is OperationPhase.DONE and now - self.ended > SHOWN_S


def written(act: Operation, done: Done, now: float) -> Operation:
    """The act after its transactions."""
    complaints = tuple(each.note or f"{each.name}: {each.did}" for each in done.outcomes
                       if each.did in (Did.REFUSED, Did.UNKNOWN) or each.note)  # fmt: skip
    act = replace(act, revision=done.revision, written=done.written, complaints=complaints,
                  open=tuple(outcome.name for outcome in done.written))  # fmt: skip
    return replace(act, phase=OperationPhase.PENDING) if act.open else _close(act, now)


def changed(act: Operation, changes: Sequence[MachineChange], complaints: Sequence[str], now: float) -> Operation:
    """The act on machines after its transactions; `complaints` tell of those where nothing could be written."""
    wrote = tuple(each for each in changes if each.revision)
    revision = max((each.revision for each in wrote), default=0)
    ids = tuple(each.after.machine for each in changes)
    act = replace(act, revision=revision, changes=wrote, complaints=tuple(complaints), open=ids)
    return replace(act, phase=OperationPhase.PENDING) if wrote else _close(replace(act, open=()), now)


def failed(act: Operation, reason: str, now: float) -> Operation:
    """The act when nothing could be written, or it cannot be known."""
    return replace(act, phase=OperationPhase.FAILED, ended=now, complaints=(reason,))


def judge(act: Operation, snapshot: Snapshot, where: Where, now: float) -> Operation:
    """The act in the light of a newer snapshot."""
    if act.phase is not OperationPhase.PENDING or snapshot.revision < act.revision:
        return act
    still, complaints, waiting, place = [], list(act.complaints), False, act.place
    for name in act.open:
        found = judged(snapshot, name, where(snapshot, name))
        if found.under_way:
            still.append(name)
            continue
        waiting = waiting or found.progress is Progress.WAITING
        place = host(snapshot, found.machines[0]) if found.machines else place
        if found.progress is not Progress.REACHED:
            complaints.append(f"{name}: {found.reason}")
    act = replace(act, open=tuple(still), complaints=tuple(complaints), place=place)
    if still:
        return act
    return replace(act, phase=OperationPhase.WAITING, ended=now) if waiting else _close(act, now)


def _close(act: Operation, now: float) -> Operation:
    return replace(act, phase=OperationPhase.FAILED if act.complaints else OperationPhase.DONE, ended=now)


def judge_machines(act: Operation, snapshot: Snapshot, drains: Mapping[str, Drain], now: float) -> Operation:
    """The act on machines in the light of a newer snapshot; a drain lasts until nothing more moves."""
    if act.phase is not OperationPhase.PENDING or snapshot.revision < act.revision:
        return act
    still, complaints, waiting, progress = [], list(act.complaints), False, []
    for machine in act.open:
        drain, trouble = drains.get(machine), _thwarted(act, snapshot, machine)
        if trouble:
            complaints.append(f"{machine_name(snapshot, machine)}: {trouble}")
        elif act.verb is not MachineVerb.DRAIN or drain is None or (drain.left.done and not drain.left.stuck):
            continue
        elif drain.left.done:
            waiting = True
            complaints += [f"{unit} stays and blocks the drain: {reason}" for unit, reason in drain.left.stuck]
        else:
            still.append(machine)
            progress.append(drain.progress)
    act = replace(act, open=tuple(still), complaints=tuple(complaints), progress=", ".join(progress[:2]))
    if still:
        return act
    return replace(act, phase=OperationPhase.WAITING, ended=now) if waiting else _close(act, now)


def _thwarted(act: Operation, snapshot: Snapshot, machine: str) -> str:
    """What has become of the machine that the act cannot have meant."""
    wish = WISHES.get(act.verb) if isinstance(act.verb, MachineVerb) else None
    if wish is None:
        return ""
    if availability(snapshot, machine) is not wish:
        override = snapshot.overrides.get(machine)
        return f"it was changed since{f' by {override.by}' if override and override.by else ''}"
    if act.verb is MachineVerb.DRAIN and machine not in snapshot.machines:
        return "it was lost before it was drained"
    return ""


def undoing_machines(act: Operation) -> str:
    """The command lines that take an act on machines back, joined."""
    names = dict(zip(act.machines, act.names, strict=True))
    return "; ".join(_undoing_change(change, names[change.after.machine]) for change in act.changes)


def _undoing_change(change: MachineChange, name: str) -> str:
    before, after = change.before, change.after
    if before.availability is not after.availability:
        return machine_command(BACK[before.availability], [name])
    was, now = dict(before.metadata), dict(after.metadata)
    back = {key: value for key, value in was.items() if now.get(key) != value}
    verb = MachineVerb.SET_METADATA if back else MachineVerb.UNSET_METADATA
    ended = dict.fromkeys(now.keys() - was.keys())
    return machine_command(verb, [name], metadata_words(back or ended))


def line_of(verb: Verb | MachineVerb, names: Sequence[str], *, shown: int = 0) -> str:
    """The command line of a verb; `shown` cuts the names for people."""
    if isinstance(verb, MachineVerb):
        return machine_command(verb, names, shown=shown)
    return command(verb, names, shown=shown)


def replacing(names: Sequence[str]) -> str:
    """The command line that gives units another text."""
    return command(Verb.SUBMIT, names, shown=3).replace("submit", "submit --replace", 1)


def undoing(outcomes: Sequence[Outcome]) -> str:
    """The command lines that take these outcomes back, joined."""
    by_verb: dict[Verb, list[str]] = {}
    for outcome in outcomes:
        by_verb.setdefault(_undoing_verb(outcome), []).append(outcome.name)
    return "; ".join(command(verb, names, shown=3) for verb, names in by_verb.items())


def _undoing_verb(outcome: Outcome) -> Verb:
    before, after = outcome.before, outcome.after
    if before is None:
        return Verb.DESTROY
    was = after.target if after else Target.INACTIVE
    if before.target is Target.LOADED:
        return Verb.STOP if was is Target.LAUNCHED else Verb.LOAD
    if before.target is Target.LAUNCHED:
        return Verb.START
    return Verb.UNLOAD if after else Verb.SUBMIT


def undoable(act: Operation) -> bool:
    """Whether it can be taken back: not a restart or another attempt, since what ran before it is gone."""
    if act.verb in (Verb.RESTART, Verb.UNDO):
        return False
    return bool(act.changes) or any(outcome.reversible for outcome in act.written)
