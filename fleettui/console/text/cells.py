"""What a screen line is made of: text with a tone. Pure; knows no terminal and no colour.

A tone says what a piece of text means; the theme decides how that looks. No meaning is carried by tone alone:
states have a glyph and a word too.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias


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


SOURCE_TONES = (Tone.ONE, Tone.TWO, Tone.THREE, Tone.FOUR, Tone.FIVE, Tone.SIX, Tone.SEVEN, Tone.EIGHT)


@dataclass(frozen=True, slots=True)
class Cell:
    """A piece of text, already free of control characters, with its tone."""

    text: str
    tone: Tone = Tone.PLAIN


Line: TypeAlias = tuple[Cell, ...]


def line_text(line: Line) -> str:
    """The line as plain text, for copying and for tests."""
    return "".join(cell.text for cell in line)
