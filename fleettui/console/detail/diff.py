"""Two texts as one, with what went and what came. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from fleettui.console.cells import Cell, Line, Tone
from fleettui.console.detail.file import unit_file_line
from fleettui.escape import escape

CONTEXT = 3
MAX_LINES = 20_000  # beyond this the comparison would take too long to wait for
SIGNS = {"-": Tone.BAD, "+": Tone.GOOD}


def diff_lines(old: str, new: str) -> list[Line]:
    """The differing lines with a few around them; a sign tells what went (-) and what came (+)."""
    before, after = old.splitlines(), new.splitlines()
    if len(before) + len(after) > MAX_LINES:
        return [(Cell("too long to compare line by line", Tone.QUIET),)]
    found = list(_written(difflib.unified_diff(before, after, n=CONTEXT, lineterm="")))
    if found:
        return found
    same = "nothing differs" if old == new else "only the ends of lines or the end of the file differ"
    return [(Cell(same, Tone.QUIET),)]


def _written(lines: Iterator[str]) -> Iterator[Line]:
    for number, line in enumerate(lines):
        if number < 2:  # the names of the files, which are none here
            continue
        if line.startswith("@@"):
            if number > 2:
                yield ()
            yield (Cell(f"line {line.split(' ')[2].lstrip('+').partition(',')[0]}", Tone.QUIET),)
        elif line[0] in SIGNS:
            tone = SIGNS[line[0]]
            yield (Cell(f"{line[0]} ", tone), Cell(escape(line[1:]), tone))
        else:
            yield (Cell("  "), *unit_file_line(line[1:]))


def change_counts(old: str, new: str) -> tuple[int, int]:
    """How many lines came and how many went."""
    lines = list(difflib.unified_diff(old.splitlines(), new.splitlines(), n=0, lineterm=""))[2:]
    return sum(line.startswith("+") for line in lines), sum(line.startswith("-") for line in lines)
