"""Actions as lines: those above the footer, and the page of all of them. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from fleettui.console.operations.acts import Operation, OperationPhase, line_of, undoable, undoing, undoing_machines
from fleettui.console.operations.verbs import Verb
from fleettui.console.text.cells import Cell, Line, Tone
from fleettui.console.text.formatting import clock, counted, took
from fleettui.escape import escape

BACK_WIDTH = 36  # a longer command is not written beside its act

MARKS = {
    OperationPhase.SENDING: Cell("◐ ", Tone.BUSY),
    OperationPhase.PENDING: Cell("◐ ", Tone.BUSY),
    OperationPhase.DONE: Cell("✓ ", Tone.GOOD),
    OperationPhase.WAITING: Cell("◌ ", Tone.WAIT),
    OperationPhase.FAILED: Cell("✖ ", Tone.BAD),
}


def act_line(act: Operation, now: float) -> Line:
    """One line: the mark, the command, and what came of it."""
    shown = act.line or line_of(act.verb, act.names, shown=3)
    lead = (Cell("undo: ", Tone.QUIET),) if act.verb is Verb.UNDO else ()
    return (MARKS[act.phase], *lead, Cell(escape(shown), Tone.STRONG), Cell("   "), _outcome(act, now))


def _outcome(act: Operation, now: float) -> Cell:
    duration = took((act.ended or now) - act.began)
    if act.phase is OperationPhase.SENDING:
        return Cell(f"writing to the registry · {duration}", Tone.QUIET)
    if act.phase is OperationPhase.PENDING:
        rest = f"{act.progress} · " if act.progress else ""
        if not act.machines and len(act.names) > 1:
            rest = f"{counted(len(act.open), 'unit')} to go · "
        return Cell(f"{escape(rest)}pending · {duration}", Tone.QUIET)
    if act.phase is OperationPhase.DONE:
        place = f"{act.place} · " if act.place and len(act.names) == 1 else ""
        return Cell(f"{place}{duration}", Tone.QUIET)
    more = f" (and {len(act.complaints) - 1} more)" if len(act.complaints) > 1 else ""
    text = escape(act.complaints[0].partition("\n")[0])
    return Cell(f"{text}{more}", Tone.BAD if act.phase is OperationPhase.FAILED else Tone.WAIT)


def acts_lines(
    acts: Sequence[Operation], now: float, *, room: int, keys: tuple[str, str, str]
) -> list[tuple[Line, Line]]:
    """What stands above the footer: the newest acts, those that need an eye first; many fold into their numbers.

    `keys` are those that dismiss, take back and list.
    """
    dismiss, undo, listing = keys
    ordered = sorted(acts, key=lambda act: (act.settled, act.number))
    bad = [act for act in ordered if act.phase in (OperationPhase.FAILED, OperationPhase.WAITING)]
    shown = ordered if len(ordered) <= room else (bad or ordered)[-(room - 1) :]
    lines = [(act_line(act, now), _aside(act, dismiss, undo, listing)) for act in shown]
    if len(shown) < len(acts):
        lines.insert(0, (_tally(acts), (Cell(f"{listing} lists them", Tone.QUIET),)))
    return lines


def _tally(acts: Sequence[Operation]) -> Line:
    """ "12 actions, 3 under way, 1 failed"."""
    counts = Counter(act.phase for act in acts)
    busy = counts[OperationPhase.SENDING] + counts[OperationPhase.PENDING]
    cells = [Cell(f"  {counted(len(acts), 'action')}", Tone.STRONG)]
    for number, word, tone in (
        (busy, "under way", Tone.BUSY), (counts[OperationPhase.DONE], "done", Tone.GOOD),
        (counts[OperationPhase.WAITING], "waiting", Tone.WAIT), (counts[OperationPhase.FAILED], "failed", Tone.BAD),
    ):  # fmt: skip
        if number:
            cells.append(Cell(f", {number} {word}", tone))
    return tuple(cells)


def _aside(act: Operation, dismiss: str, undo: str, listing: str) -> Line:
    """What can be done about an act that has ended."""
    if act.phase is OperationPhase.DONE and undoable(act):
        back = _taking_back(act)
        told = f"{undo}: {escape(back)}" if len(back) <= BACK_WIDTH else f"{undo} takes it back"
        return (Cell(told, Tone.QUIET),)
    if act.phase is OperationPhase.DONE:
        return ()
    if not act.settled:
        return ()
    more = f"{listing} lists all {len(act.complaints)} · " if len(act.complaints) > 1 else ""
    return (Cell(f"{more}{dismiss} dismisses", Tone.QUIET),)


def trail_lines(acts: Sequence[Operation], now: float) -> list[Line]:
    """Every action of this console, newest first: command, outcome, what failed and why, how to take it back."""
    if not acts:
        return [(Cell("no action yet", Tone.QUIET),)]
    lines: list[Line] = []
    for act in sorted(acts, key=lambda each: -each.number):
        lines += [(Cell(f"{clock(act.began)}  ", Tone.QUIET), *act_line(act, now))]
        told = act.complaints if len(act.complaints) > 1 or "\n" in "".join(act.complaints) else ()
        for complaint in told:
            lines += [(Cell(f"            {escape(part)}", Tone.BAD),) for part in complaint.splitlines()]
        if undoable(act):
            lines.append((Cell(f"            taken back by: {escape(_taking_back(act))}", Tone.QUIET),))
    return lines


def _taking_back(act: Operation) -> str:
    """What undoing it would do."""
    return undoing_machines(act) if act.changes else undoing(act.written)
