"""Text with terminal colours as cells with tones: what a program printed keeps its meaning in our theme. Pure."""

from __future__ import annotations

import re

from fleettui.console.text.cells import Cell, Line, Tone
from fleettui.escape import escape

_SGR = re.compile(r"\x1b\[([0-9;:]*)m")
_LINK = re.compile(r"\x1b\]8;[^\x07\x1b]*(?:\x07|\x1b\\)")
COLOURS = {
    1: Tone.BAD, 2: Tone.GOOD, 3: Tone.BUSY, 4: Tone.HEAD, 5: Tone.WAIT, 6: Tone.ONE,
}  # fmt: skip
GREYS = range(232, 256)
GREY = 8
DIGITS = 4  # of a number that may mean something


def sgr_lines(text: str) -> list[Line]:
    """The lines of a program's output. Colours become tones, anything else that a terminal would obey is shown."""
    tone = Tone.PLAIN
    lines: list[Line] = []
    for raw in _LINK.sub("", text).splitlines():
        cells: list[Cell] = []
        for index, part in enumerate(_SGR.split(raw)):
            if index % 2:
                tone = toned(part)
            elif part:
                cells.append(Cell(escape(part), tone))
        lines.append(tuple(cells))
    return lines


def toned(codes: str) -> Tone:
    """The tone that a colour sequence's numbers stand for; a sequence always replaces what was before."""
    numbers = [int(each[:DIGITS] or 0) for each in re.split("[;:]", codes)] or [0]
    if 38 in numbers:
        where = numbers.index(38)
        return _indexed(numbers[where + 1 :])
    for number in numbers:
        if 31 <= number <= 36:
            return COLOURS[number - 30]
        if 91 <= number <= 96:
            return COLOURS[number - 90]
        if number == 90:
            return Tone.QUIET
    return Tone.STRONG if 1 in numbers else Tone.QUIET if 2 in numbers else Tone.PLAIN


def _indexed(rest: list[int]) -> Tone:
    """A colour out of 256; others are not worth telling apart."""
    if len(rest) < 2 or rest[0] != 5:
        return Tone.PLAIN
    colour = rest[1]
    if colour == GREY or colour in GREYS:
        return Tone.QUIET
    return COLOURS.get(
        colour if colour < GREY else colour - GREY, Tone.BUSY if 178 <= colour <= 229 else Tone.PLAIN
    )
