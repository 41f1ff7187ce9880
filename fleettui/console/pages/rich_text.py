"""Text for a page: lines, each of which may lead to a unit or a machine. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TypeAlias

from fleettui.console.tables.units import host
from fleettui.console.text.cells import Cell, Line, Tone
from fleettui.console.text.subject import Subject
from fleettui.escape import escape
from registry.mirror import Snapshot

RichLine: TypeAlias = tuple[Line, Subject | None]
RichText: TypeAlias = list[RichLine]
BLANK: RichLine = ((), None)
FACT_WIDTH = 12
_ID = re.compile(r"\b([0-9a-f]{8,})(\.\.\.)?")


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


def in_words(snapshot: Snapshot, text: str) -> str:
    """Text of the registry, escaped, with machines called by their host names instead of their ids."""

    def name(match: re.Match[str]) -> str:
        machine, cut = match[1], match[2]
        if cut:
            machine = next((each for each in snapshot.machines if each.startswith(machine)), machine)
        return host(snapshot, machine) if machine in snapshot.machines else match[0]

    return _ID.sub(name, escape(text))
