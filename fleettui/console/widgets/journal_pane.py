"""The journal pane: a title that says what is followed and how, and the lines."""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import Vertical

from fleettui.console.cells import Cell, Line, Tone
from fleettui.console.phrases import counted
from fleettui.console.widgets.band import Band
from fleettui.console.widgets.lines import Lines
from fleettui.console.widgets.toned import width_of


class JournalPane(Vertical):
    """Shows lines that somebody else reads."""

    DEFAULT_CSS = """
    JournalPane { height: 40%; min-height: 4; background: $surface; }
    """

    def __init__(self, *, id: str) -> None:  # noqa: A002
        super().__init__(id=id)
        self._title, self._note = "", ""
        self._note_tone = Tone.QUIET

    def compose(self) -> ComposeResult:
        """Title and lines."""
        yield Band(id="journal-title", padding=0)
        yield Lines(id="journal-lines", follows=True)

    @property
    def lines(self) -> Lines:
        """The lines."""
        return self.query_one("#journal-lines", Lines)

    def begin(self, title: str, note: str = "", tone: Tone = Tone.QUIET) -> None:
        """Start over for another selection; `note` says why there is nothing to read."""
        self._title = title
        self.lines.wipe()
        self.note(note, tone)

    def note(self, note: str, tone: Tone = Tone.QUIET) -> None:
        """Say how it goes, at the end of the title."""
        self._note, self._note_tone = note, tone
        self._retitle()

    def add(self, lines: Sequence[Line]) -> None:
        """More lines."""
        self.lines.add(lines)

    def on_lines_flushed(self, message: Lines.Flushed) -> None:
        """The counts in the title."""
        message.stop()
        self._retitle()

    def _retitle(self) -> None:
        focus = self.lines.has_focus
        name = Cell(f" journal  {self._title} ", Tone.HEAD if focus else Tone.STRONG)
        right = self._status()
        rule = self.size.width - sum(width_of(cell.text) for cell in (name, *right)) - 3
        left: Line = (Cell("─", Tone.QUIET), name, Cell("─" * max(0, rule), Tone.QUIET))
        self.query_one("#journal-title", Band).put((left, (*right, Cell(" ─", Tone.QUIET))))

    def on_resize(self) -> None:
        """The rule is as long as the pane is wide."""
        self._retitle()

    def _status(self) -> Line:
        lines = self.lines
        parts: list[Cell] = [Cell(" ")]
        if self._note:
            return (*parts, Cell(self._note, self._note_tone))
        if lines.following:
            parts.append(Cell("following", Tone.GOOD))
        else:
            parts.append(Cell("paused", Tone.BUSY))
            parts.append(Cell(f" · {lines.unseen:,} new below (G)" if lines.unseen else " (G follows)", Tone.BUSY))
        parts.append(Cell(f" · {counted(len(lines.ring), 'line')}", Tone.QUIET))
        return tuple(parts)

    def on_descendant_focus(self) -> None:
        """The title shows the focus."""
        self._retitle()

    def on_descendant_blur(self) -> None:
        """The title shows the focus."""
        self._retitle()
