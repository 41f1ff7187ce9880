"""What a screen line is made of: text with a tone; and terminal output as such lines. Pure; knows no colour.

A tone says what a piece of text means; the theme decides how that looks. No meaning is carried by tone alone:
states have a glyph and a word too. What a program printed in colours keeps its meaning in our theme.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from fleettui.escape import escape


class Tone(StrEnum):
    """What a piece of text means to the reader."""

    PLAIN = "plain"
    QUIET = "quiet"  # there when looked for
    STRONG = "strong"  # what the line is about
    GOOD = "good"
    BUSY = "busy"
    BAD = "bad"
    WAIT = "wait"
    HEAD = "head"  # titles, keys
    CHOSEN = "chosen"  # the tab that is open
    OFF = "off"  # cannot be done now
    ONE = "one"  # the colours that tell sources apart
    TWO = "two"
    THREE = "three"
    FOUR = "four"
    FIVE = "five"
    SIX = "six"
    SEVEN = "seven"
    EIGHT = "eight"
    LOUD_ONE = "loud-one"  # the same, for the name of a fleet
    LOUD_TWO = "loud-two"
    LOUD_THREE = "loud-three"
    LOUD_FOUR = "loud-four"
    LOUD_FIVE = "loud-five"
    LOUD_SIX = "loud-six"
    LOUD_SEVEN = "loud-seven"
    LOUD_EIGHT = "loud-eight"


SOURCE_TONES = (Tone.ONE, Tone.TWO, Tone.THREE, Tone.FOUR, Tone.FIVE, Tone.SIX, Tone.SEVEN, Tone.EIGHT)
FLEET_TONES = tuple(Tone(f"loud-{tone}") for tone in SOURCE_TONES)


@dataclass(frozen=True, slots=True)
class Cell:
    """A piece of text, already free of control characters, with its tone."""

    text: str
    tone: Tone = Tone.PLAIN


Line: TypeAlias = tuple[Cell, ...]


def line_text(line: Line) -> str:
    """The line as plain text, for copying and for tests."""
    return "".join(cell.text for cell in line)


_SGR = re.compile(r"\x1b\[([0-9;:]*)m")
_LINK = re.compile(r"\x1b\]8;[^\x07\x1b]*(?:\x07|\x1b\\)")
COLOURS = {
    1: Tone.BAD, 2: Tone.GOOD, 3: Tone.BUSY, 4: Tone.HEAD, 5: Tone.WAIT, 6: Tone.ONE,
}  # fmt: skip
GREYS = range(232, 256)
GREY = 8
DIGITS = 4  # of a number that may mean something


def ansi_lines(text: str) -> list[Line]:
    """The lines of a program's output. Colours become tones, anything else that a terminal would obey is shown."""
    tone = Tone.PLAIN
    lines: list[Line] = []
    for raw in _LINK.sub("", text).splitlines():
        cells: list[Cell] = []
        for index, part in enumerate(_SGR.split(raw)):
            if index % 2:
                tone = tone_of_codes(part)
            elif part:
                cells.append(Cell(escape(part), tone))
        lines.append(tuple(cells))
    return lines


def tone_of_codes(codes: str) -> Tone:
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
    """The tone of a colour out of 256; of any other, plain."""
    if len(rest) < 2 or rest[0] != 5:
        return Tone.PLAIN
    colour = rest[1]
    if colour == GREY or colour in GREYS:
        return Tone.QUIET
    return COLOURS.get(
        colour if colour < GREY else colour - GREY, Tone.BUSY if 178 <= colour <= 229 else Tone.PLAIN
    )
