"""The versions of a unit, and what differs between two texts. Pure."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal

from fleettui.verbs import INTRODUCING, Verb
from registry.errors import UserError
from registry.frozen import dataclass
from registry.mirror import Snapshot
from registry.model import Event

CONTEXT = 3  # lines around a change
MAX_WORK = 1_000_000
Kind = Literal["replace", "delete", "insert", "equal"]
Opcode = tuple[Kind, int, int, int, int]

WRITES = frozenset({*INTRODUCING, Verb.UNDO, Verb.REDO, "replace"})
SHORT = 7


@dataclass(frozen=True, slots=True)
class Version:
    """One text that the unit has or had. `by` and `at` tell who submitted it; "" and 0 when that is not known."""

    hash: str
    text: str | None
    by: str = ""
    at: float = 0.0


def versions(snapshot: Snapshot, unit: str) -> list[Version]:
    """The present text and the earlier ones, newest first; none for a unit that is not in the registry."""
    record = snapshot.units.get(unit)
    if record is None:
        return []
    events = sorted((event for event in snapshot.events.values() if event.unit == unit), key=lambda event: event.at)
    told = _stored_by(events, record.hash[:SHORT])
    found = []
    for sha in (record.hash, *record.history):
        event, file = told.get(sha[:SHORT]), snapshot.files.get(sha)
        found.append(
            Version(sha, file.text if file else None, event.actor if event else "", event.at if event else 0)
        )
    return found


def _stored_by(events: Sequence[Event], present: str) -> dict[str, Event]:
    """By which event, of those of one unit in their order, each version came last, by the beginning of its hash.

    An event says which version it replaced: the next one that says another tells what it had stored.
    """
    replacing = [
        (event, was.removeprefix("was "))
        for event in events
        if (was := event.reason.partition(";")[0]).startswith("was ")
    ]
    told: dict[str, Event] = {}
    stored = present
    for event, old in reversed(replacing):
        if old != stored:  # else it replaced on one machine what a later one did on another
            told.setdefault(stored, event)
            stored = old
    first = next((event for event in events if event.verb in WRITES - {"replace", "undo"}), None)
    if first is not None and (not replacing or first.at <= replacing[0][0].at):
        told.setdefault(stored, first)
    return told


def choose(known: Sequence[Version], asked: str | None, name: str) -> Version:
    """The version whose hash begins as asked; by default the one before the present.

    UserError unless it is one, and when its text is gone.
    """
    if asked is None and len(known) == 1:
        raise UserError(f"{name} has had no other file; see: fleetctl history {name}")
    fitting = (
        [known[1]]
        if asked is None
        else [each for each in known if len(asked) >= 4 and each.hash.startswith(asked.lower())]
    )
    if len(fitting) != 1:
        listed = ", ".join(each.hash[:SHORT] for each in known)
        raise UserError(
            f"{asked!r} is not the beginning of one version of {name}, of four digits or more ({listed})"
        )
    if fitting[0].text is None:
        raise UserError(f"the text of version {fitting[0].hash[:SHORT]} of {name} is not in the registry any more")
    return fitting[0]


def changes(before: Sequence[str], after: Sequence[str]) -> Iterator[Opcode]:
    """What difflib calls opcodes. Where the same lines come back so often that it would take very long, all between
    the common beginning and the common end counts as changed.
    """
    least = min(len(before), len(after))
    first = next((at for at in range(least) if before[at] != after[at]), least)
    rest = least - first
    last = next((at for at in range(rest) if before[-1 - at] != after[-1 - at]), rest)
    old, new = before[first : len(before) - last], after[first : len(after) - last]
    if first:
        yield "equal", 0, first, 0, first
    known = Counter(old)  # comparing takes as long as lines of one stand in the other, for each of the shorter one
    if sum(known[line] for line in new) * min(len(old), len(new)) > MAX_WORK:
        yield "replace", first, first + len(old), first, first + len(new)
    else:
        for kind, *places in difflib.SequenceMatcher(None, old, new).get_opcodes():
            one, two, three, four = (first + place for place in places)
            yield kind, one, two, three, four
    if last:
        yield "equal", len(before) - last, len(before), len(after) - last, len(after)


def hunks(before: Sequence[str], after: Sequence[str]) -> Iterator[list[Opcode]]:
    """The changes in groups, each with a few equal lines around it."""
    matcher = difflib.SequenceMatcher(None, "", "")
    matcher.opcodes = list(changes(before, after))  # type: ignore[attr-defined] # what follows groups them
    yield from matcher.get_grouped_opcodes(CONTEXT)  # type: ignore[misc]


def unified(old: str, new: str, old_name: str, new_name: str) -> list[str]:
    """The lines of a unified diff; none when the texts have the same lines."""
    before, after = old.splitlines(), new.splitlines()
    lines: list[str] = []
    for group in hunks(before, after):
        _, start, _, new_start, _ = group[0]
        _, _, end, _, new_end = group[-1]
        lines.append(f"@@ -{start + 1},{end - start} +{new_start + 1},{new_end - new_start} @@")
        for kind, from_, to, new_from, new_to in group:
            if kind == "equal":
                lines += [f" {line}" for line in before[from_:to]]
                continue
            lines += [f"-{line}" for line in before[from_:to]]
            lines += [f"+{line}" for line in after[new_from:new_to]]
    return [f"--- {old_name}", f"+++ {new_name}", *lines] if lines else []
