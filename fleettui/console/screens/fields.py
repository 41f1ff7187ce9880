"""All that the journal knows of one line, over the main screen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen

from fleettui.console.journal.formatter import field_lines, field_text
from fleettui.console.text.cells import Cell, Tone
from fleettui.console.widgets.drawing import Band
from fleettui.console.widgets.page import Lines


class FieldsScreen(ModalScreen[None]):
    """An entry's fields, to read and to copy."""

    DEFAULT_CSS = """
    FieldsScreen { align: center middle; background: $background 60%; }
    FieldsScreen > Vertical {
        width: 94%; max-width: 130; height: 90%; padding: 0 1; background: $panel; border: round $primary;
    }
    FieldsScreen Band, FieldsScreen Lines { background: $panel; }
    FieldsScreen Lines { height: 1fr; margin-top: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter", "close", "close"),
        Binding("c", "copy", "copy"),
    ]

    def __init__(self, fields: Mapping[str, str]) -> None:
        super().__init__()
        self._fields = fields

    def compose(self) -> ComposeResult:
        """Title and fields."""
        with Vertical():
            yield Band(id="fields-title", padding=0)
            yield Lines(id="fields-lines")

    def on_mount(self) -> None:
        """Begin at the top."""
        self._title("c copies all · Esc closes")
        self.query_one(Lines).focus()

    def on_resize(self) -> None:
        """Long values are broken where the page ends."""
        self.call_after_refresh(self._write)

    def _write(self) -> None:
        lines = self.query_one(Lines)
        lines.show(field_lines(self._fields, max(30, lines.size.width - 1)))

    def _title(self, hint: str) -> None:
        title = (Cell("fields of a journal line", Tone.HEAD),)
        self.query_one("#fields-title", Band).put((title, (Cell(hint, Tone.QUIET),)))

    def action_copy(self) -> None:
        """Copy what is selected, else every field."""
        text = self.get_selected_text() or field_text(self._fields)
        self.app.copy_to_clipboard(text)
        self._title(f"copied {text.count(chr(10)) + 1} lines · Esc closes")

    def action_close(self) -> None:
        """Back."""
        self.dismiss(None)
