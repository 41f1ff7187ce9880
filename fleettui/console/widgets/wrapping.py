"""Lines that are too long for their place, in pieces: broken at blanks, what follows indented. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from rich.cells import chop_cells

from fleettui.console.text.cells import Cell, Line, Tone, line_text
from fleettui.console.widgets.toned import width_of

HANG = 2
CODES = 8  # code points looked at for each cell: more than that in one are cut in between


def wrapped(line: Line, width: int) -> list[Line]:
    """The line in pieces of at most `width` cells; those after the first are indented like its last column."""
    if sum(width_of(cell.text) for cell in line) <= width:
        return [line]
    folding = _Folding(width, _indent(line, width))
    for cell in line:
        for word in _words(cell.text):
            folding.add(word, cell.tone)
    return folding.lines()


def first_cells(text: str, width: int) -> str:
    """The beginning of a text that fits into so many cells, and at least one of its characters."""
    if width_of(text) <= width:
        return text
    return next(iter(chop_cells(text, width)), "") or text[:1]


def _indent(line: Line, width: int) -> int:
    """Where the last column begins, or where the text does; leaving room for what follows."""
    before = sum(width_of(cell.text) for cell in line[:-1])
    text = line_text(line)
    own = len(text) - len(text.lstrip()) + HANG
    most = width * 3 // 5
    return before if 0 < before <= most else min(own, most)


def _words(text: str) -> Iterator[str]:
    """Words, each with the blanks that follow it."""
    start = 0
    for end in range(1, len(text)):
        if text[end - 1] == " " and text[end] != " ":
            yield text[start:end]
            start = end
    yield text[start:]


class _Folding:
    """One line being folded."""

    def __init__(self, width: int, indent: int) -> None:
        self._width, self._indent = width, indent
        self._done: list[Line] = []
        self._cells: list[Cell] = []
        self._room = width
        self._empty = True  # nothing but the indent on this piece

    def add(self, word: str, tone: Tone) -> None:
        """Put a word on this piece if it fits there, else on the next; one that fits on none is cut."""
        if width_of(word.rstrip()) > self._room and not self._empty:
            self._break()
        at = 0
        while len(word) - at > self._room * CODES or width_of(word[at:].rstrip()) > self._room:
            piece = first_cells(word[at : at + max(2, self._room) * CODES], max(2, self._room))
            self._put(piece, tone)
            self._break()
            at += len(piece)
        self._put(word[at:], tone)

    def _put(self, piece: str, tone: Tone) -> None:
        self._cells.append(Cell(piece, tone))
        self._room -= width_of(piece)
        self._empty = False

    def _break(self) -> None:
        self._done.append(tuple(self._cells))
        self._cells = [Cell(" " * self._indent)] if self._indent else []
        self._room, self._empty = self._width - self._indent, True

    def lines(self) -> list[Line]:
        """All pieces."""
        return [*self._done, tuple(self._cells)]
