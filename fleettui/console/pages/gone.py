"""What a detail says whose subject went away meanwhile. Pure."""

from __future__ import annotations

from fleettui.console.pages.rich_text import BLANK, Passage, plain
from fleettui.console.text.cells import Tone
from fleettui.console.text.formatting import since
from fleettui.console.text.subject import Subject, SubjectKind
from fleettui.escape import escape
from fleettui.verbs import Verb
from registry.mirror import Snapshot

ENDS = frozenset({*(verb for verb in Verb if verb.rules.forgets), Verb.UNDO})


def gone_lines(snapshot: Snapshot, subject: Subject, now: float) -> Passage:
    """Lines for the top of the page; none while the subject is there."""
    if subject.kind is SubjectKind.MACHINE:
        known = subject.name in snapshot.machines
        return (
            []
            if known
            else [plain("✖ the machine is not registered: its agent is down or cut off", Tone.BAD), BLANK]
        )
    if subject.name in snapshot.units:
        return []
    held = any(unit == subject.name for _, unit in (*snapshot.schedule, *snapshot.states))
    rest = "; it is still being stopped" if held else ""
    told = f"✖ {escape(subject.name)} is no longer in the registry{_who(snapshot, subject, now)}{rest}"
    hint = "u takes the last action of this console back; n submits a unit file"
    return [plain(told, Tone.BAD), plain(hint, Tone.QUIET), BLANK]


def _who(snapshot: Snapshot, subject: Subject, now: float) -> str:
    ends = [event for event in snapshot.events.values() if event.unit == subject.name and event.verb in ENDS]
    last = max(ends, key=lambda event: event.at, default=None)
    return f": destroyed by {escape(last.actor)} {since(last.at, now)} ago" if last else ""
