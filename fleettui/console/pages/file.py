"""The unit file as submitted, its earlier versions with what went and what came, and who changed it when. Pure."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from fleettui.console.pages.rich_text import BLANK, RichText, plain, rich_line
from fleettui.console.text.cells import Cell, Line, Tone
from fleettui.console.text.formatting import counted, since
from fleettui.escape import escape
from fleettui.verbs import INTRODUCING, Verb
from registry.mirror import Snapshot
from registry.model import Event
from registry.wording import listed

CONTEXT = 3
MAX_LINES = 20_000  # beyond this it is not read
MAX_WORK = 1_000_000
Kind = Literal["replace", "delete", "insert", "equal"]
SIGNS = {"-": Tone.BAD, "+": Tone.GOOD}


def diff_lines(old: str, new: str) -> list[Line]:
    """The differing lines with a few around them, marked as removed (-) or added (+)."""
    before, after = old.splitlines(), new.splitlines()
    if len(before) + len(after) > MAX_LINES:
        return [(Cell("too long to compare line by line", Tone.QUIET),)]
    found = list(_written(before, after))
    if found:
        return found
    same = "nothing differs" if old == new else "only the ends of lines or the end of the file differ"
    return [(Cell(same, Tone.QUIET),)]


def _written(before: Sequence[str], after: Sequence[str]) -> Iterator[Line]:
    matcher = difflib.SequenceMatcher(None, "", "")
    matcher.opcodes = list(_changes(before, after))  # type: ignore[attr-defined] # what follows groups them
    for number, group in enumerate(matcher.get_grouped_opcodes(CONTEXT)):
        if number:
            yield ()
        start, end = group[0][3], group[-1][4]
        yield (Cell(f"line {start + 1 if end > start else start}", Tone.QUIET),)
        for kind, from_, to, new_from, new_to in group:
            if kind == "equal":
                yield from ((Cell("  "), *unit_file_line(line)) for line in before[from_:to])
                continue
            for sign, lines in (("-", before[from_:to]), ("+", after[new_from:new_to])):
                yield from ((Cell(f"{sign} ", SIGNS[sign]), Cell(escape(line), SIGNS[sign])) for line in lines)


def change_counts(old: str, new: str) -> tuple[int, int]:
    """How many lines were added and how many removed."""
    changes = [each for each in _changes(old.splitlines(), new.splitlines()) if each[0] != "equal"]
    return sum(to - from_ for *_, from_, to in changes), sum(to - from_ for _, from_, to, *_ in changes)


def _changes(before: Sequence[str], after: Sequence[str]) -> Iterator[tuple[Kind, int, int, int, int]]:
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


WRITES = frozenset({*INTRODUCING, Verb.UNDO, "replace"})
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
    hashes = [record.hash, *record.history]
    found = []
    for sha, before in zip(hashes, [*hashes[1:], ""], strict=True):
        file, event = snapshot.files.get(sha), _submitted_by(events, before)
        found.append(
            Version(sha, file.text if file else None, event.actor if event else "", event.at if event else 0)
        )
    return found


def _submitted_by(events: Iterable[Event], before: str) -> Event | None:
    """The event that replaced the text `before`; without one before, the first submission."""
    if not before:
        return next((event for event in events if event.verb in WRITES - {"replace", "undo"}), None)
    told = f"was {before[:SHORT]}"
    return next((event for event in reversed(list(events)) if event.reason == told), None)


def file_page(
    snapshot: Snapshot, unit: str, now: float, older: int = 0, keys: tuple[str, str] = ("<", ">")
) -> RichText:
    """The text; with `older`, what changed from that many versions ago to the present one."""
    found = versions(snapshot, unit)
    if not found:
        return [plain(f"{escape(unit)} is not in the registry", Tone.BAD)]
    present = found[0]
    if present.text is None:
        told = f"the registry lacks the file {present.hash[:SHORT]}; submit it again with --replace"
        return [plain(told, Tone.BAD)]
    older = min(older, len(found) - 1)
    others = sharing(snapshot, unit, present.hash)
    same = [plain(f"the same text as {escape(listed(others, 4))}", Tone.QUIET)] if others else []
    head = [rich_line(*_head(found, older, now, keys)), *same, BLANK]
    if not older:
        return [*head, *((unit_file_line(line), None) for line in present.text.splitlines())]
    before = found[older]
    if before.text is None:
        return [*head, plain(f"the registry no longer has the text of {before.hash[:SHORT]}", Tone.WAIT)]
    return [*head, *((line, None) for line in diff_lines(before.text, present.text))]


def _head(found: list[Version], older: int, now: float, keys: tuple[str, str]) -> Line:
    earlier = len(found) - 1
    if older:
        return (
            Cell("changed from ", Tone.QUIET), *_named(found[older], now),
            Cell(" to the present ", Tone.QUIET), *_named(found[0], now),
            Cell(f"   {older} of {earlier} · {keys[0]} older · {keys[1]} newer", Tone.QUIET),
        )  # fmt: skip
    hint = f"{counted(earlier, 'earlier version')} · {keys[0]} shows what changed" if earlier else "never replaced"
    return (*_named(found[0], now), Cell(f"   {hint}", Tone.QUIET))


def _named(version: Version, now: float) -> Line:
    who = f" by {escape(version.by)}, {since(version.at, now)} ago" if version.by else ""
    return (Cell(version.hash[:SHORT], Tone.STRONG), Cell(who, Tone.QUIET))


def sharing(snapshot: Snapshot, unit: str, sha: str) -> list[str]:
    """The other units of this unit's template that have the same text, the template itself first."""
    prefix, at, _ = unit.partition("@")
    if not at:
        return []
    return sorted(
        (name for name, record in snapshot.units.items()
         if name != unit and record.hash == sha and name.startswith(f"{prefix}@")),
        key=lambda name: ("@." not in name, name),
    )  # fmt: skip


def unit_file_line(text: str) -> Line:
    """One line of a unit file, with sections, options and comments told apart."""
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
