"""Lines that were typed before: to go back to, and kept between runs in a file that only the user reads.

`History` is pure; `load` and `save` touch the disk and block. A history that cannot be read or written is none: the
command line goes on without.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fleettui.console.sources.keeping import read_private, write_private

KEPT = 500


class History:
    """The lines, oldest first, and where the reader is in them."""

    def __init__(self, lines: Sequence[str] = ()) -> None:
        self.lines = list(lines)[-KEPT:]
        self._at = len(self.lines)
        self._draft = ""

    def add(self, line: str) -> None:
        """Remember a line; the same again moves to the end."""
        line = line.strip()
        if line:
            self.lines = [*[each for each in self.lines if each != line][1 - KEPT :], line]
        self.leave()

    def leave(self) -> None:
        """Begin anew at the end."""
        self._at, self._draft = len(self.lines), ""

    def back(self, typed: str) -> str:
        """The line before this one that begins as what was typed when going back began."""
        return self._go(-1, typed)

    def forth(self, typed: str) -> str:
        """The next line; after the last what was typed."""
        return self._go(1, typed)

    def _go(self, step: int, typed: str) -> str:
        if self._at == len(self.lines):
            self._draft = typed
        at = self._at + step
        while 0 <= at < len(self.lines) and not self.lines[at].startswith(self._draft):
            at += step
        if at < 0:
            return typed
        self._at = min(at, len(self.lines))
        return self._draft if self._at == len(self.lines) else self.lines[self._at]

    def suggestion(self, typed: str) -> str:
        """The newest line that begins so; "" for none."""
        return next((line for line in reversed(self.lines) if typed and line.startswith(typed)), "")


def load(path: Path) -> History:
    """The history of this file; empty when there is none that can be read."""
    text = read_private(path) or ""
    return History([line for line in text.splitlines() if line.isprintable()])


def save(path: Path, history: History) -> None:
    """Write it. Blocks."""
    write_private(path, "\n".join(history.lines) + "\n")
