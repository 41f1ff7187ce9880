"""Pages of text about one unit: why, its file, its events. Pure: a snapshot in, lines out."""

from __future__ import annotations

from collections.abc import Sequence

from fleettui.console.cells import Cell, Line, Tone
from fleettui.console.phrases import clock, counted, since
from fleettui.console.rows.events import event_rows
from fleettui.console.rows.units import host
from fleettui.escape import escape
from registry.explain import MachineVerdict, Verdict, explain
from registry.keys import Keys
from registry.lifecycle import Progress, applied, standing, whereabouts
from registry.mirror import Snapshot
from registry.model import Assignment, UnitState

NOTHING: Line = ()
DEFAULT_KEYS = Keys()


def _fact(name: str, value: str, tone: Tone = Tone.PLAIN) -> Line:
    return (Cell(f"{name:>12}  ", Tone.QUIET), Cell(value, tone))


def _title(text: str) -> Line:
    return (Cell(text, Tone.HEAD),)


PROGRESS_TONES = {
    Progress.REACHED: Tone.GOOD,
    Progress.UNDER_WAY: Tone.BUSY,
    Progress.WAITING: Tone.WAIT,
    Progress.FAILED: Tone.BAD,
}


def why_lines(snapshot: Snapshot, unit: str, now: float, keys: Keys = DEFAULT_KEYS) -> list[Line]:
    """Where the unit is, where it should be, and what stands between; machine by machine."""
    record = snapshot.units.get(unit)
    found, told = standing(snapshot, unit), explain(snapshot, unit, keys)
    lines: list[Line] = [
        (Cell(escape(told.summary), Tone.STRONG),),
        NOTHING,
        _fact("progress", found.progress.value, PROGRESS_TONES[found.progress]),
    ]
    if record:
        lines.append(_fact("target", record.target.value))
        lines.append(_fact("asked", f"{since(record.at, now)} ago by {escape(record.by) or 'somebody'}"))
        lines.append(_fact("file", f"{record.hash[:7]}, generation {record.generation}"))
    lines += _places(snapshot, unit, now)
    return lines + _verdict(told.machines, snapshot)


def _places(snapshot: Snapshot, unit: str, now: float) -> list[Line]:
    where = whereabouts(snapshot)
    schedule = {line.machine: line for line in where.schedule.get(unit, ())}
    states = {state.machine: state for state in where.states.get(unit, ())}
    lines: list[Line] = []
    for machine in sorted(schedule.keys() | states.keys()):
        lines += [NOTHING, _title(f"on {host(snapshot, machine)}")]
        lines += _place(schedule.get(machine), states.get(machine), now)
    return lines


def _place(line: Assignment | None, state: UnitState | None, now: float) -> list[Line]:
    facts = [_fact("scheduled", f"{line.target}, generation {line.generation}" if line else "no longer")]
    if state is None:
        return [*facts, _fact("agent", "has not taken it up yet", Tone.BUSY)]
    carried = line is not None and applied(line, state)
    facts.append(_fact("agent", "carried out" if carried else "at it", Tone.GOOD if carried else Tone.BUSY))
    words = " ".join(escape(word) for word in (state.load, state.active, state.sub) if word)
    facts.append(_fact("systemd", f"{words or 'not loaded'}, since {since(state.since, now)}"))
    if state.main_pid:
        facts.append(_fact("main pid", str(state.main_pid)))
    if state.restarts:
        facts.append(_fact("restarts", str(state.restarts), Tone.BUSY))
    if state.result and state.result != "success":
        code = f", exit status {state.exit_code}" if state.exit_code is not None else ""
        facts.append(_fact("result", escape(state.result) + code, Tone.BAD))
    if state.error:
        facts.append(_fact("error", escape(state.error), Tone.BAD))
    return facts


VERDICTS = {
    Verdict.HERE: Cell("● here      ", Tone.GOOD),
    Verdict.STOPPING: Cell("◐ stopping  ", Tone.BUSY),
    Verdict.ELIGIBLE: Cell("○ could     ", Tone.PLAIN),
    Verdict.REFUSED: Cell("◌ refuses   ", Tone.WAIT),
}


def _verdict(machines: Sequence[MachineVerdict], snapshot: Snapshot) -> list[Line]:
    """What every machine says to the unit."""
    if not machines:
        return [NOTHING, (Cell("no machine has joined", Tone.WAIT),)]
    lines: list[Line] = [NOTHING, _title("machine by machine")]
    for each in machines:
        name = Cell(f"  {host(snapshot, each.machine):<14}", Tone.STRONG)
        load = Cell(f"{counted(each.units, 'unit'):<11}", Tone.QUIET)
        first, *more = [escape(reason) for reason in each.reasons] or [""]
        lines.append((name, VERDICTS[each.verdict], load, Cell(first)))
        lines += [(Cell(" " * 39), Cell(reason)) for reason in more]
    return lines


def file_lines(snapshot: Snapshot, unit: str) -> list[Line]:
    """The unit file as submitted, with sections, options and comments told apart."""
    record = snapshot.units.get(unit)
    if record is None:
        return [(Cell(f"{escape(unit)} is not in the registry", Tone.BAD),)]
    file = snapshot.files.get(record.hash)
    if file is None:
        return [(Cell(f"the registry lacks the file {record.hash[:7]}; submit it again", Tone.BAD),)]
    return [unit_file_line(line) for line in file.text.splitlines()]


def unit_file_line(text: str) -> Line:
    """One line of a unit file."""
    shown = escape(text)
    stripped = shown.strip()
    if stripped.startswith(("#", ";")):
        return (Cell(shown, Tone.QUIET),)
    if stripped.startswith("[") and stripped.endswith("]"):
        return (Cell(shown, Tone.HEAD),)
    option, equals, value = shown.partition("=")
    if equals and option.strip().replace("-", "").isalnum():
        return (Cell(option, Tone.ONE), Cell("=", Tone.QUIET), Cell(value))
    return (Cell(shown),)


def event_lines(snapshot: Snapshot, unit: str = "", machine: str = "") -> list[Line]:
    """What happened to the unit or the machine, newest first."""
    rows = event_rows(snapshot, unit, machine)
    lines: list[Line] = [
        (
            Cell(f"{clock(row.at)}  ", Tone.QUIET),
            Cell(f"{row.verb:<10}", Tone.STRONG),
            Cell(f"{(row.host if unit else row.unit):<16} "),
            Cell(f"{row.actor}  ", Tone.QUIET),
            Cell(row.reason),
        )
        for row in rows
    ]
    return lines or [(Cell("nothing is known to have happened", Tone.QUIET),)]
