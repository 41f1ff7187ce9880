"""Text for a page: lines, each of which may lead to a unit or a machine. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from fleettui.console.text.cells import Cell, Line, Tone
from fleettui.console.text.subject import Subject

RichLine: TypeAlias = tuple[Line, Subject | None]
RichText: TypeAlias = list[RichLine]
BLANK: RichLine = ((), None)
FACT_WIDTH = 12


def rich_line(*cells: Cell, to: Subject | None = None) -> RichLine:
    """One line."""
    return cells, to


def plain(text: str, tone: Tone = Tone.PLAIN, to: Subject | None = None) -> RichLine:
    """One line of one tone; `text` must be escaped."""
    return (Cell(text, tone),), to


def fact(name: str, value: str, tone: Tone = Tone.PLAIN, to: Subject | None = None) -> RichLine:
    """A name and its value, in two columns."""
    return (Cell(f"{name:>{FACT_WIDTH}}  ", Tone.QUIET), Cell(value, tone)), to


def title(text: str) -> RichText:
    """The heading of a section, with a line above it."""
    return [BLANK, plain(text, Tone.HEAD)]


def lines_of(page: Iterable[RichLine]) -> list[Line]:
    """The lines without where they lead."""
    return [line for line, _ in page]
