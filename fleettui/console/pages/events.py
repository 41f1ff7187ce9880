"""What happened to a unit or a machine, newest first. Pure."""

from __future__ import annotations

from fleettui.console.pages.rich_text import Passage, Written, in_words, plain, said
from fleettui.console.tables.events import GRAVE
from fleettui.console.tables.units import host
from fleettui.console.text.cells import Cell, Tone
from fleettui.console.text.formatting import since, when
from fleettui.console.text.subject import Subject, SubjectKind, machine_subject, unit_subject
from fleettui.escape import escape
from registry.mirror import Snapshot
from registry.model import Event

SHOWN = 500
VERB_WIDTH, OTHER_WIDTH = 10, 18


def event_page(snapshot: Snapshot, subject: Subject, now: float) -> Passage:
    """Who did what, and why; each line leads to the other party."""
    of_unit = subject.kind is SubjectKind.UNIT
    found = [
        event
        for _, event in sorted(snapshot.events.items(), reverse=True)
        if (event.unit == subject.name if of_unit else event.machine == subject.name)
    ]
    if not found:
        return [plain("nothing is known to have happened; the registry keeps the last 7 days", Tone.QUIET)]
    passage = [_event(snapshot, event, now, of_unit=of_unit) for event in found[:SHOWN]]
    if len(found) > SHOWN:
        passage.append(plain(f"and {len(found) - SHOWN:,} older ones", Tone.QUIET))
    return passage


def _event(snapshot: Snapshot, event: Event, now: float, *, of_unit: bool) -> Written:
    if of_unit:
        other, to = host(snapshot, event.machine), machine_subject(event.machine) if event.machine else None
    else:
        other, to = escape(event.unit) or "-", unit_subject(event.unit) if event.unit else None
    return said(
        Cell(f"{when(event.at, now)}  ", Tone.QUIET),
        Cell(f"{since(event.at, now):>6}  ", Tone.QUIET),
        Cell(f"{escape(event.verb):<{VERB_WIDTH}}", Tone.BAD if event.verb in GRAVE else Tone.STRONG),
        Cell(f"{other:<{OTHER_WIDTH}} "),
        Cell(f"{escape(event.actor)}  ", Tone.QUIET),
        Cell(in_words(snapshot, event.reason)),
        to=to,
    )
