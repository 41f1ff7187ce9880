"""Actions under way: from the key press to the watch's word. Pure values; `conductor` carries them out.

An act is done when a snapshot at or after the revision it wrote says that each of its units has arrived, failed or
waits; until then it is pending, and nothing on the screen pretends otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from fleettui.actions.outcome import Did, Done, Outcome
from fleettui.actions.progress import judged
from fleettui.console.cells import Cell, Line, Tone
from fleettui.console.phrases import counted, took
from fleettui.console.rows.units import host
from fleettui.console.verbs import Verb, command
from fleettui.escape import escape
from registry.lifecycle import Progress, Whereabouts
from registry.mirror import Snapshot
from registry.model import Target

Where = Callable[[Snapshot, str], Whereabouts]
SHOWN_S = 8.0  # how long a success stays on the screen


class Phase(StrEnum):
    """How far an act is."""

    SENDING = "sending"  # not yet in the registry
    PENDING = "pending"  # written; the watch has not confirmed it
    DONE = "done"
    WAITING = "waiting"  # written, and nobody can carry it out until the fleet changes
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Act:
    """One action of the operator."""

    number: int
    verb: Verb
    names: tuple[str, ...]
    began: float
    phase: Phase = Phase.SENDING
    ended: float = 0.0
    revision: int = 0
    open: tuple[str, ...] = ()  # units not yet judged
    written: tuple[Outcome, ...] = ()
    complaints: tuple[str, ...] = ()
    place: str = ""
    line: str = ""  # the command line, where it is not the verb with the names

    @property
    def settled(self) -> bool:
        """Whether nothing more will come of it."""
        return self.phase in (Phase.DONE, Phase.WAITING, Phase.FAILED)

    @property
    def command(self) -> str:
        """The command line that does the same."""
        return self.line or command(self.verb, self.names)

    def fades(self, now: float) -> bool:
        """Whether it may leave the screen by itself: errors stay until dismissed."""
        return self.phase is Phase.DONE and now - self.ended > SHOWN_S


def written(act: Act, done: Done, now: float) -> Act:
    """The act after its transactions."""
    complaints = tuple(each.note or f"{each.name}: {each.did}" for each in done.outcomes
                       if each.did in (Did.REFUSED, Did.UNKNOWN) or each.note)  # fmt: skip
    act = replace(act, revision=done.revision, written=done.written, complaints=complaints,
                  open=tuple(outcome.name for outcome in done.written))  # fmt: skip
    return replace(act, phase=Phase.PENDING) if act.open else _close(act, now)


def failed(act: Act, reason: str, now: float) -> Act:
    """The act when nothing could be written, or it cannot be known."""
    return replace(act, phase=Phase.FAILED, ended=now, complaints=(reason,))


def judge(act: Act, snapshot: Snapshot, where: Where, now: float) -> Act:
    """The act in the light of a newer snapshot."""
    if act.phase is not Phase.PENDING or snapshot.revision < act.revision:
        return act
    still, complaints, waiting, place = [], list(act.complaints), False, act.place
    for name in act.open:
        found = judged(snapshot, name, where(snapshot, name))
        if found.progress is Progress.UNDER_WAY:
            still.append(name)
            continue
        waiting = waiting or found.progress is Progress.WAITING
        place = host(snapshot, found.machines[0]) if found.machines else place
        if found.progress is not Progress.REACHED:
            complaints.append(f"{name}: {found.reason}")
    act = replace(act, open=tuple(still), complaints=tuple(complaints), place=place)
    if still:
        return act
    return replace(act, phase=Phase.WAITING, ended=now) if waiting else _close(act, now)


def _close(act: Act, now: float) -> Act:
    return replace(act, phase=Phase.FAILED if act.complaints else Phase.DONE, ended=now)


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


MARKS = {
    Phase.SENDING: Cell("◐ ", Tone.BUSY),
    Phase.PENDING: Cell("◐ ", Tone.BUSY),
    Phase.DONE: Cell("✓ ", Tone.GOOD),
    Phase.WAITING: Cell("◌ ", Tone.WAIT),
    Phase.FAILED: Cell("✖ ", Tone.BAD),
}


def act_line(act: Act, now: float) -> Line:
    """One line: the mark, the command, and what came of it."""
    shown = act.line or command(act.verb, act.names, shown=3)
    lead = (Cell("undo: ", Tone.QUIET),) if act.verb is Verb.UNDO else ()
    return (MARKS[act.phase], *lead, Cell(escape(shown), Tone.STRONG), Cell("   "), _outcome(act, now))


def _outcome(act: Act, now: float) -> Cell:
    duration = took((act.ended or now) - act.began)
    if act.phase is Phase.SENDING:
        return Cell(f"writing to the registry · {duration}", Tone.QUIET)
    if act.phase is Phase.PENDING:
        rest = counted(len(act.open), "unit") + " to go · " if len(act.names) > 1 else ""
        return Cell(f"{rest}pending · {duration}", Tone.QUIET)
    if act.phase is Phase.DONE:
        place = f"{act.place} · " if act.place and len(act.names) == 1 else ""
        return Cell(f"{place}{duration}", Tone.QUIET)
    more = f" (and {len(act.complaints) - 1} more)" if len(act.complaints) > 1 else ""
    text = escape(act.complaints[0].partition("\n")[0])
    return Cell(f"{text}{more}", Tone.BAD if act.phase is Phase.FAILED else Tone.WAIT)
