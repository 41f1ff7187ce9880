"""How a unit or a machine is: its status, what happened to it, and that it is gone. Pages of a detail. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from fleettui.console.pages.placement import place_facts
from fleettui.console.pages.rich_text import BLANK, Passage, Written, in_words, plain, said, title
from fleettui.console.sources.hosts import Asked
from fleettui.console.tables.events import GRAVE
from fleettui.console.tables.units import host
from fleettui.console.text.cells import Cell, Tone, ansi_lines
from fleettui.console.text.formatting import age, since, when
from fleettui.console.text.subject import Subject, SubjectKind, machine_subject, unit_subject
from fleettui.escape import escape
from fleettui.verbs import Verb
from registry.lifecycle import Progress, standing, standing_here
from registry.mirror import Snapshot
from registry.wording import and_more

ENDS = frozenset({*(verb for verb in Verb if verb.rules.forgets), Verb.UNDO})


def gone_lines(snapshot: Snapshot, subject: Subject, now: float) -> Passage:
    """Lines for the top of the page; none while the subject is there."""
    if subject.kind is SubjectKind.MACHINE:
        told = "✖ the machine is not registered: its agent is down or cut off"
        return [] if subject.name in snapshot.machines else [plain(told, Tone.BAD), BLANK]
    if subject.name in snapshot.units:
        return []
    held = any(unit == subject.name for _, unit in (*snapshot.schedule, *snapshot.states))
    rest = "; it is still being stopped" if held else ""
    ends = [event for event in snapshot.events.values() if event.unit == subject.name and event.verb in ENDS]
    last = max(ends, key=lambda event: event.at, default=None)
    who = f": destroyed by {escape(last.actor)} {since(last.at, now)} ago" if last else ""
    told = f"✖ {escape(subject.name)} is no longer in the registry{who}{rest}"
    hint = "u takes the last action of this console back; n submits a unit file"
    return [plain(told, Tone.BAD), plain(hint, Tone.QUIET), BLANK]


PLACES_SHOWN = 40


def places(snapshot: Snapshot, unit: str, machine: str = "") -> list[str]:
    """The machines that schedule or hold the unit, those that can be asked first; `machine` narrows it to one."""
    ids = sorted(each for each, name in {*snapshot.schedule, *snapshot.states} if name == unit)
    found = [each for each in ids if not machine or each == machine]
    return sorted(found, key=lambda each: (each not in snapshot.machines, (each, unit) not in snapshot.schedule))


def status_page(snapshot: Snapshot, unit: str, homes: Sequence[str], asked: Asked, now: float) -> Passage:
    """The page of a status: what systemctl printed, or what the registry knows."""
    if len(homes) > 1:
        return _many(snapshot, unit, homes)
    if not homes:
        return _nowhere(snapshot, unit, now)
    head = _age(snapshot, homes[0], asked, now)
    if asked.text is not None and asked.machine == homes[0]:
        return [head, BLANK, *((line, None) for line in ansi_lines(asked.text))]
    pair = (homes[0], unit)
    known = place_facts(snapshot.schedule.get(pair), snapshot.states.get(pair), now)
    return [head, *title("what the registry knows"), *known]


def _age(snapshot: Snapshot, machine: str, asked: Asked, now: float) -> Written:
    name = host(snapshot, machine)
    if machine not in snapshot.machines:
        return plain(f"✖ {name} is lost: what it does now is not known", Tone.BAD)
    old = age(now - asked.at) if asked.text is not None and asked.machine == machine else ""
    if asked.error:
        shown = f"  what follows is {old} old" if old else "  what follows is from the registry"
        return said(Cell(f"✖ {escape(asked.error)}", Tone.BAD), Cell(shown, Tone.BUSY))
    if asked.asking or not old:
        doing = Cell(f"◐ asking {name} …", Tone.BUSY)
        return said(doing, Cell(f"  what follows is {old} old" if old else "", Tone.QUIET))
    return said(Cell(f"systemctl status on {name}", Tone.QUIET), Cell(f" · {old} old", Tone.QUIET),
                to=machine_subject(machine))  # fmt: skip


def _nowhere(snapshot: Snapshot, unit: str, now: float) -> Passage:
    record = snapshot.units.get(unit)
    if record is None:
        return [plain(f"{escape(unit)} is not in the registry", Tone.BAD)]
    passage = [plain(f"○ {escape(unit)} is on no machine, so no systemd knows it", Tone.STRONG)]
    if reason := standing(snapshot, unit).reason:
        passage.append(plain(in_words(snapshot, reason), Tone.WAIT))
    told = f"its target is {record.target}, asked {since(record.at, now)} ago by {escape(record.by) or 'somebody'}"
    return [*passage, plain(told, Tone.QUIET)]


def _many(snapshot: Snapshot, unit: str, homes: Sequence[str]) -> Passage:
    """A global unit: one line a machine; each leads to what systemctl says there."""
    passage = [plain(f"{escape(unit)} is on {len(homes)} machines; Enter asks one", Tone.STRONG), BLANK]
    for machine in homes[:PLACES_SHOWN]:
        state = snapshot.states.get((machine, unit))
        words = " ".join(escape(word) for word in (state.load, state.active, state.sub) if word) if state else ""
        here = standing_here(snapshot, unit, snapshot.schedule.get((machine, unit)), state, strict=True)
        words += f": {in_words(snapshot, here.reason)}" if words and here.reason else ""
        tone = Tone.BAD if here.progress is Progress.FAILED else Tone.PLAIN
        passage.append(said(Cell(f"  {host(snapshot, machine):<20} ", Tone.STRONG),
                            Cell(words or "not taken up yet", tone), to=unit_subject(unit, machine)))  # fmt: skip
    if len(homes) > PLACES_SHOWN:
        passage.append(plain(f"  {and_more(len(homes) - PLACES_SHOWN)}; open one from the Units view", Tone.QUIET))
    return passage


SHOWN = 500
VERB_WIDTH, OTHER_WIDTH = 10, 18


def event_page(snapshot: Snapshot, subject: Subject, now: float) -> Passage:
    """The page of events: who did what, and why; each line leads to the unit or machine."""
    of_unit = subject.kind is SubjectKind.UNIT
    found = [
        event
        for _, event in sorted(snapshot.events.items(), reverse=True)
        if (event.unit == subject.name if of_unit else event.machine == subject.name)
    ]
    if not found:
        return [plain("nothing is known to have happened; the registry keeps the last 7 days", Tone.QUIET)]
    passage: Passage = []
    for event in found[:SHOWN]:
        if of_unit:
            other, to = host(snapshot, event.machine), machine_subject(event.machine) if event.machine else None
        else:
            other, to = escape(event.unit) or "-", unit_subject(event.unit) if event.unit else None
        passage.append(said(
            Cell(f"{when(event.at, now)}  ", Tone.QUIET),
            Cell(f"{since(event.at, now):>6}  ", Tone.QUIET),
            Cell(f"{escape(event.verb):<{VERB_WIDTH}}", Tone.BAD if event.verb in GRAVE else Tone.STRONG),
            Cell(f"{other:<{OTHER_WIDTH}} "),
            Cell(f"{escape(event.actor)}  ", Tone.QUIET),
            Cell(in_words(snapshot, event.reason)),
            to=to,
        ))  # fmt: skip
    if len(found) > SHOWN:
        passage.append(plain(f"and {len(found) - SHOWN:,} older ones", Tone.QUIET))
    return passage
