"""Two texts as one, with what went and what came. Pure."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal

from fleettui.console.pages.file import unit_file_line
from fleettui.console.text.cells import Cell, Line, Tone
from fleettui.escape import escape

CONTEXT = 3
MAX_LINES = 20_000  # beyond this nobody reads it
MAX_WORK = 1_000_000
Kind = Literal["replace", "delete", "insert", "equal"]
SIGNS = {"-": Tone.BAD, "+": Tone.GOOD}


def diff_lines(old: str, new: str) -> list[Line]:
    """The differing lines with a few around them; a sign tells what went (-) and what came (+)."""
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
    """How many lines came and how many went."""
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
    if _is_tangled(old, new):
        yield "replace", first, first + len(old), first, first + len(new)
    else:
        for kind, *places in difflib.SequenceMatcher(None, old, new).get_opcodes():
            one, two, three, four = (first + place for place in places)
            yield kind, one, two, three, four
    if last:
        yield "equal", len(before) - last, len(before), len(after) - last, len(after)


def _is_tangled(old: Sequence[str], new: Sequence[str]) -> bool:
    """Whether comparing takes long: how often lines of one stand in the other, times how often that is asked."""
    known = Counter(old)
    return sum(known[line] for line in new) * min(len(old), len(new)) > MAX_WORK
