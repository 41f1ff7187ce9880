"""The line below the table: what came of the last key, else the hint of the selected row."""

from __future__ import annotations

from collections.abc import Callable

from fleettui.console.text.cells import Cell, Line, Tone
from fleettui.console.widgets.drawing import Band
from fleettui.escape import escape


class StatusLine(Band):
    """Shows a text, or while there is none what `hint` returns. Its place is kept: the table must not jump."""

    def __init__(self, hint: Callable[[], Line]) -> None:
        super().__init__(id="hint")
        self._hint = hint
        self.text = ""
        self._remark = ""  # stays until the next text

    def show(self, text: str, *, lasting: bool = False) -> None:
        """Show why a key did nothing, or what it did; `lasting`: also when the cursor moves."""
        self.text = escape(text)
        self._remark = self.text if lasting else ""
        self.renew()

    def clear_on_move(self) -> None:
        """Take the text away, unless it is lasting: the cursor is on another row."""
        self.text = self._remark

    def renew(self) -> None:
        """Show the text, else the hint as it is now."""
        self.put(((Cell(self.text, Tone.BUSY),) if self.text else self._hint(), ()))
