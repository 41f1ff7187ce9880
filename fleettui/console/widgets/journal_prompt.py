"""The line in which the journal's search, filters, moment and file name are typed; faults are said at once."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Input

from fleettui.console.text.cells import Cell, Tone
from fleettui.console.widgets.drawing import Band

ASKS = {
    "search": ("search", "words as they stand, or a regular expression; n and N go on"),
    "include": ("only lines with", "all of these words, or a regular expression; empty shows all"),
    "exclude": ("lines without", "any of these words, or a regular expression; empty shows all"),
    "since": ("since", "-1h, 20min, 10:30, today, 2026-11-23 10:00; empty: the newest lines"),
    "save": ("save to", "a file that only you can read"),
}


class JournalPrompt(Vertical):
    """A question and its answer. `kind` is "" while it is closed."""

    DEFAULT_CSS = """
    JournalPrompt { height: 2; display: none; }
    #journal-answer { height: 1; border: none; padding: 0 1; background: $bar; }
    """

    def __init__(self, *, id: str) -> None:  # noqa: A002
        super().__init__(id=id)
        self.kind = ""

    def compose(self) -> ComposeResult:
        """The question and the line."""
        yield Band(id="journal-question")
        yield Input(id="journal-answer", compact=True)

    @property
    def text(self) -> str:
        """What is typed."""
        return self.query_one(Input).value

    def open(self, kind: str, text: str) -> None:
        """Ask."""
        self.kind = kind
        self.display = True
        field = self.query_one(Input)
        field.cursor_blink = False
        with self.prevent(Input.Changed):
            field.value = text
        field.cursor_position = len(text)
        field.focus()
        self.say("")

    def close(self) -> None:
        """Ask no more."""
        self.kind = ""
        self.display = False

    def say(self, text: str, tone: Tone = Tone.QUIET) -> None:
        """What is wrong with it, or what it means; with nothing to say, what may be written."""
        question, about = ASKS[self.kind]
        right = (Cell(text, tone),) if text else (Cell("Enter keeps, Esc undoes", Tone.QUIET),)
        room = max(0, self.size.width - 2 - len(question) - 2 - sum(len(cell.text) for cell in right) - 1)
        told = about if len(about) <= room else ""
        self.query_one("#journal-question", Band).put(
            ((Cell(question, Tone.HEAD), Cell(f"  {told}", Tone.QUIET)), right)
        )
