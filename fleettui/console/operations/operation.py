"""Operations of the operator, from the key press to what the watch says of them, and as lines to show. Pure.

An operation is done when a snapshot at or after the revision it wrote says that each of its units has arrived,
failed or waits; until then it is pending, and nothing on the screen pretends otherwise. `runner` carries them out.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from fleettui.actions.outcome import Did, Done, Outcome
from fleettui.actions.progress import judged
from fleettui.console.operations.verbs import (
    AVAILABILITY,
    VERB_TO,
    MachineVerb,
    RolloutVerb,
    availability,
    command,
    machine_name,
    metadata_words,
    rollout_command,
)
from fleettui.console.tables.machines import Drain
from fleettui.console.tables.rollouts import settled_count
from fleettui.console.tables.units import host
from fleettui.console.text.cells import Cell, Line, Tone
from fleettui.console.text.formatting import clock, counted, took
from fleettui.escape import escape
from fleettui.verbs import Verb, verb_between
from registry.lifecycle import Progress, Whereabouts
from registry.mirror import Snapshot
from registry.model import Rollout, RolloutState
from registry.wording import and_more

if TYPE_CHECKING:
    from fleettui.actions.machines import MachineChange

Where = Callable[[Snapshot, str], Whereabouts]
SHOWN_S = 8.0  # how long a success stays on the screen


class OperationPhase(StrEnum):
    """How far an operation is."""

    SENDING = "sending"  # not yet in the registry
    PENDING = "pending"  # written; the watch has not confirmed it
    DONE = "done"
    WAITING = "waiting"  # written, and nobody can carry it out until the fleet changes
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Operation:
    """One action of the operator."""

    number: int
    verb: Verb | MachineVerb | RolloutVerb
    names: tuple[str, ...]  # units, or machines as people name them
    began: float
    phase: OperationPhase = OperationPhase.SENDING
    ended: float = 0.0
    revision: int = 0
    open: tuple[str, ...] = ()  # units whose outcome is not known yet
    written: tuple[Outcome, ...] = ()
    complaints: tuple[str, ...] = ()
    place: str = ""
    line: str = ""  # the command line, where it is not the verb with the names
    machines: tuple[str, ...] = ()  # ids, where it is about machines
    changes: tuple[MachineChange, ...] = ()  # what was written of machines
    progress: str = ""  # how far it is, where that can be said
    rollout: str = ""  # its name, where it is about one
    before: Rollout | None = None  # the rollout's record before it
    back: bool = False  # of a rollout: whether it gives old files back
    reverts: bool = False  # of a rollout: whether what it does to files can be taken back
    again: bool = False  # it was taken back before, and is done again

    @property
    def settled(self) -> bool:
        """Whether nothing more will come of it."""
        return self.phase in (OperationPhase.DONE, OperationPhase.WAITING, OperationPhase.FAILED)

    @property
    def command(self) -> str:
        """The command line that does the same."""
        return self.line or _command(self)

    def fades(self, now: float) -> bool:
        """Whether it may leave the screen by itself: errors stay until dismissed."""
        return self.phase is OperationPhase.DONE and now - self.ended > SHOWN_S


def written(operation: Operation, done: Done, now: float) -> Operation:
    """Return the operation after its transactions."""
    complaints = tuple(each.note or f"{each.name}: {each.did}" for each in done.outcomes
                       if each.did in (Did.REFUSED, Did.UNKNOWN) or each.note)  # fmt: skip
    operation = replace(operation, revision=done.revision, written=done.written, complaints=complaints,
                  open=tuple(outcome.name for outcome in done.written))  # fmt: skip
    return replace(operation, phase=OperationPhase.PENDING) if operation.open else _close(operation, now)


def changed(
    operation: Operation, changes: Sequence[MachineChange], complaints: Sequence[str], now: float
) -> Operation:
    """Return the operation on machines after its transactions; `complaints` are of those not written."""
    wrote = tuple(each for each in changes if each.revision)
    revision = max((each.revision for each in wrote), default=0)
    ids = tuple(each.after.machine for each in changes)
    operation = replace(operation, revision=revision, changes=wrote, complaints=tuple(complaints), open=ids)
    return replace(operation, phase=OperationPhase.PENDING) if wrote else _close(replace(operation, open=()), now)


def rolling(operation: Operation, rollout: Rollout, before: Rollout | None) -> Operation:
    """Return the operation once it is written into a rollout's record; `before` None: into a new one's."""
    begins = operation.verb in (RolloutVerb.BEGIN, RolloutVerb.REDO)
    reverts = operation.verb is RolloutVerb.UNDO or (begins and any(step.old != step.new for step in rollout.steps))
    written = replace(operation, phase=OperationPhase.PENDING, rollout=rollout.name, before=before)
    return replace(written, back=rollout.back, reverts=reverts)


def failed(operation: Operation, reason: str, now: float) -> Operation:
    """Return the operation when nothing could be written, or when that is unknown."""
    return replace(operation, phase=OperationPhase.FAILED, ended=now, complaints=(reason,))


def judge(operation: Operation, snapshot: Snapshot, where: Where, now: float) -> Operation:
    """Return the operation as a newer snapshot shows it."""
    if operation.phase is not OperationPhase.PENDING or snapshot.revision < operation.revision:
        return operation
    still, complaints, waiting, place = [], list(operation.complaints), False, operation.place
    for name in operation.open:
        found = judged(snapshot, name, where(snapshot, name))
        if found.under_way:
            still.append(name)
            continue
        if operation.verb is Verb.STOP and found.progress is Progress.WAITING and not found.machines:
            continue  # it ran nowhere, and is asked to run nowhere
        waiting = waiting or found.progress is Progress.WAITING
        place = host(snapshot, found.machines[0]) if found.machines else place
        if found.progress is not Progress.REACHED:
            again = operation.verb is Verb.UNDO and found.progress is Progress.FAILED
            waiting = waiting or again  # what was asked is done: it has its earlier record, which is no better
            what = f"{name} is as it was, and fails as it did" if again else name
            complaints.append(f"{what}: {found.reason}")
    operation = replace(operation, open=tuple(still), complaints=tuple(complaints), place=place)
    if still:
        return operation
    return replace(operation, phase=OperationPhase.WAITING, ended=now) if waiting else _close(operation, now)


def _close(operation: Operation, now: float) -> Operation:
    return replace(
        operation, phase=OperationPhase.FAILED if operation.complaints else OperationPhase.DONE, ended=now
    )


def judge_rollout(operation: Operation, snapshot: Snapshot, now: float) -> Operation:
    """Return the operation on a rollout as a newer snapshot shows it: it ends when the rollout stops."""
    record = snapshot.rollouts.get(operation.rollout)
    if operation.phase is not OperationPhase.PENDING or record is None or record == operation.before:
        return operation
    if operation.verb in (RolloutVerb.PAUSE, RolloutVerb.ABORT):
        return _close(operation, now)
    back = operation.back
    settled = f"{settled_count(record)} of {counted(len(record.steps), 'unit')} done"
    operation = replace(operation, progress=settled)
    if record.state is RolloutState.RUNNING:
        return operation
    note = record.note or f"it is {record.state}"
    if record.state is RolloutState.PAUSED and (back or not record.failed):
        return replace(operation, phase=OperationPhase.WAITING, ended=now, complaints=(note,))
    well = record.state is RolloutState.FINISHED and record.back is back
    told = () if well else (f"went back: {note}" if record.back and not back else note,)
    return _close(replace(operation, complaints=told), now)


def judge_machines(operation: Operation, snapshot: Snapshot, drains: Mapping[str, Drain], now: float) -> Operation:
    """Return the operation on machines as a newer snapshot shows it; a drain lasts until nothing more moves."""
    if operation.phase is not OperationPhase.PENDING or snapshot.revision < operation.revision:
        return operation
    still, complaints, waiting, progress = [], list(operation.complaints), False, []
    for machine in operation.open:
        drain, trouble = drains.get(machine), _thwarted(operation, snapshot, machine)
        if trouble:
            complaints.append(f"{machine_name(snapshot, machine)}: {trouble}")
        elif operation.verb is not MachineVerb.DRAIN or drain is None or (drain.left.done and not drain.left.stuck):
            continue
        elif drain.left.done:
            waiting = True
            complaints += [f"{unit} stays and blocks the drain: {reason}" for unit, reason in drain.left.stuck]
        else:
            still.append(machine)
            progress.append(drain.progress)
    operation = replace(
        operation, open=tuple(still), complaints=tuple(complaints), progress=", ".join(progress[:2])
    )
    if still:
        return operation
    return replace(operation, phase=OperationPhase.WAITING, ended=now) if waiting else _close(operation, now)


def _thwarted(operation: Operation, snapshot: Snapshot, machine: str) -> str:
    """Say what happened to the machine that ends the operation without success; "" when nothing did."""
    wanted = AVAILABILITY.get(operation.verb) if isinstance(operation.verb, MachineVerb) else None
    if wanted is None:
        return ""
    if availability(snapshot, machine) is not wanted:
        override = snapshot.overrides.get(machine)
        return f"it was changed since{f' by {override.by}' if override and override.by else ''}"
    if operation.verb is MachineVerb.DRAIN and machine not in snapshot.machines:
        return "it was lost before it was drained"
    return ""


def undo_command(operation: Operation) -> str:
    """Return the command lines that take an operation back, joined."""
    if operation.rollout:
        return rollout_command(RolloutVerb.REDO if operation.back else RolloutVerb.UNDO, operation.rollout)
    if not operation.changes:
        return undo_units_command(operation.written)
    names = dict(zip(operation.machines, operation.names, strict=True))
    return "; ".join(_undo_change_command(change, names[change.after.machine]) for change in operation.changes)


def _undo_change_command(change: MachineChange, name: str) -> str:
    before, after = change.before, change.after
    if before.availability is not after.availability:
        return command(VERB_TO[before.availability], [name])
    was, now = dict(before.metadata), dict(after.metadata)
    back = {key: value for key, value in was.items() if now.get(key) != value}
    verb = MachineVerb.SET_METADATA if back else MachineVerb.UNSET_METADATA
    ended = dict.fromkeys(now.keys() - was.keys())
    return command(verb, [name], metadata_words(back or ended))


def replace_command(names: Sequence[str]) -> str:
    """Return the command line that gives units another text."""
    return command(Verb.SUBMIT, names, shown=3).replace("submit", "submit --replace", 1)


def rollback_command(names: Sequence[str], at_a_time: str) -> str:
    """Return the command lines that give units their earlier text again, a few at a time, joined."""
    shown = [f"fleetctl rollback {shlex.quote(name)} --at-a-time {at_a_time}" for name in names[:2]]
    return "; ".join([*shown, and_more(len(names) - 2)] if len(names) > 2 else shown)


def undo_units_command(outcomes: Sequence[Outcome]) -> str:
    """Return the command lines that take these outcomes back, joined."""
    by_verb: dict[Verb, list[str]] = {}
    for outcome in outcomes:
        old, new = (record.target if record else None for record in (outcome.after, outcome.before))
        by_verb.setdefault(verb_between(old, new), []).append(outcome.name)
    return "; ".join(command(verb, names, shown=3) for verb, names in by_verb.items())


def undoable(operation: Operation) -> bool:
    """Whether it can be taken back: not another attempt, since what ran before is gone."""
    if isinstance(operation.verb, Verb) and not operation.verb.rules.undoable:
        return False
    return operation.reverts or bool(operation.changes) or any(outcome.reversible for outcome in operation.written)


# As lines

LEAST_COMMAND = 24  # cells of a command beside its outcome
BACK_WIDTH = 36  # a longer command is not written beside its operation

MARKS = {
    OperationPhase.SENDING: Cell("◐ ", Tone.BUSY),
    OperationPhase.PENDING: Cell("◐ ", Tone.BUSY),
    OperationPhase.DONE: Cell("✓ ", Tone.GOOD),
    OperationPhase.WAITING: Cell("◌ ", Tone.WAIT),
    OperationPhase.FAILED: Cell("✖ ", Tone.BAD),
}


def operation_line(operation: Operation, now: float, room: int = 0) -> Line:
    """Return one line: mark, command and outcome; with `room` (cells) it is the command that gives way."""
    shown, outcome = escape(operation.line or _command(operation, shown=3)), _outcome(operation, now)
    lead_word = "undo: " if operation.verb is Verb.UNDO else "redo: " if operation.again else ""
    lead = (Cell(lead_word, Tone.QUIET),) if lead_word else ()
    most = max(LEAST_COMMAND, room - len(outcome.text) - sum(len(cell.text) for cell in lead) - 5)
    if room and len(shown) > most:
        shown = f"{shown[: most - 1]}…"
    return (MARKS[operation.phase], *lead, Cell(shown, Tone.STRONG), Cell("   "), outcome)


def _command(operation: Operation, shown: int = 0) -> str:
    """The command line of an operation that has none of its own."""
    if isinstance(operation.verb, RolloutVerb) and operation.rollout:
        return rollout_command(operation.verb, operation.rollout)
    return command(operation.verb, operation.names, shown=shown)


def _outcome(operation: Operation, now: float) -> Cell:
    duration = took((operation.ended or now) - operation.began)
    if operation.phase is OperationPhase.SENDING:
        return Cell(f"writing to the registry · {duration}", Tone.QUIET)
    if operation.phase is OperationPhase.PENDING:
        rest = f"{operation.progress} · " if operation.progress else ""
        if not operation.machines and not operation.rollout and len(operation.names) > 1:
            rest = f"{counted(len(operation.open), 'unit')} to go · "
        return Cell(f"{escape(rest)}under way · {duration}", Tone.QUIET)
    if operation.phase is OperationPhase.DONE:
        place = f"{operation.place} · " if operation.place and len(operation.names) == 1 else ""
        return Cell(f"{place}{duration}", Tone.QUIET)
    more = f" (and {len(operation.complaints) - 1} more)" if len(operation.complaints) > 1 else ""
    text = escape(operation.complaints[0].partition("\n")[0])
    return Cell(f"{text}{more}", Tone.BAD if operation.phase is OperationPhase.FAILED else Tone.WAIT)


def operation_lines(
    operations: Sequence[Operation], now: float, *, room: int, width: int, keys: tuple[str, str, str]
) -> list[tuple[Line, Line]]:
    """Return what stands above the footer: the newest operations, failed and waiting ones first, many as numbers.

    `room` is how many lines there are, `width` their cells; `keys` are those that dismiss, take back and list.
    """
    dismiss, undo, listing = keys
    ordered = sorted(operations, key=lambda each: (each.settled, each.number))
    bad = [each for each in ordered if each.phase in (OperationPhase.FAILED, OperationPhase.WAITING)]
    few = bad or ordered
    shown = ordered if len(ordered) <= room else few[max(len(few) - room + 1, 0) :]  # one line is for the numbers
    lines = []
    for each in shown:
        aside = _aside(each, dismiss, undo, listing)
        lines.append((operation_line(each, now, width - sum(len(cell.text) + 1 for cell in aside)), aside))
    if len(shown) < len(operations):
        lines.insert(0, (_tally(operations), (Cell(f"{listing} lists them", Tone.QUIET),)))
    return lines


def _tally(operations: Sequence[Operation]) -> Line:
    """ "12 actions, 3 under way, 1 failed"."""
    counts = Counter(each.phase for each in operations)
    busy = counts[OperationPhase.SENDING] + counts[OperationPhase.PENDING]
    cells = [Cell(f"  {counted(len(operations), 'action')}", Tone.STRONG)]
    for number, word, tone in (
        (busy, "under way", Tone.BUSY), (counts[OperationPhase.DONE], "done", Tone.GOOD),
        (counts[OperationPhase.WAITING], "waiting", Tone.WAIT), (counts[OperationPhase.FAILED], "failed", Tone.BAD),
    ):  # fmt: skip
        if number:
            cells.append(Cell(f", {number} {word}", tone))
    return tuple(cells)


def _aside(operation: Operation, dismiss: str, undo: str, listing: str) -> Line:
    """Return what can be done about an operation that has ended."""
    if operation.phase is OperationPhase.DONE and undoable(operation):
        back = undo_command(operation)
        text = f"{undo}: {escape(back)}" if len(back) <= BACK_WIDTH else f"{undo} takes it back"
        return (Cell(text, Tone.QUIET),)
    if operation.phase is OperationPhase.DONE:
        return ()
    if not operation.settled:
        return ()
    more = f"{listing} lists all {len(operation.complaints)} · " if len(operation.complaints) > 1 else ""
    return (Cell(f"  {more}{dismiss} dismisses", Tone.QUIET),)


def history_lines(operations: Sequence[Operation], now: float) -> list[Line]:
    """Return all operations, newest first: command, outcome, what failed and why, how to undo it."""
    if not operations:
        return [(Cell("no action yet", Tone.QUIET),)]
    lines: list[Line] = []
    for operation in sorted(operations, key=lambda each: -each.number):
        lines += [(Cell(f"{clock(operation.began)}  ", Tone.QUIET), *operation_line(operation, now))]
        several = len(operation.complaints) > 1 or "\n" in "".join(operation.complaints)
        for complaint in operation.complaints if several else ():
            lines += [(Cell(f"            {escape(part)}", Tone.BAD),) for part in complaint.splitlines()]
        if undoable(operation):
            lines.append((Cell(f"            taken back by: {escape(undo_command(operation))}", Tone.QUIET),))
    return lines
