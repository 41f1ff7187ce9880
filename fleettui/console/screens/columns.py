"""The chooser of columns: which are shown, and which one the table is sorted by. What is chosen is seen at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen

from fleettui.console.tables.rows import Column
from fleettui.console.text.cells import Cell, Line, Tone
from fleettui.console.widgets.drawing import Band
from fleettui.console.widgets.table import RowTable

HINT = "Space shows or hides · Enter or s sorts, again turns round · a shows all · Esc closes"


class ColumnsScreen(ModalScreen[None]):
    """One line a column of this table."""

    DEFAULT_CSS = """
    ColumnsScreen { align: center middle; background: $background 40%; }
    ColumnsScreen > Vertical {
        width: 52; max-width: 94%; height: auto; max-height: 90%; padding: 0 1;
        background: $panel; border: round $primary;
    }
    ColumnsScreen Band { background: $panel; }
    ColumnsScreen #columns-hint { margin-top: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "up"),
        Binding("down,j", "move(1)", "down"),
        Binding("space,x", "show_or_hide", "show or hide"),
        Binding("enter,s", "sort", "sort"),
        Binding("a", "all", "all"),
        Binding("escape,o,q", "close", "close"),
    ]

    def __init__(self, table: RowTable[Any], title: str) -> None:
        super().__init__()
        self._table, self._heading = table, title
        sort_by = table.listing.sort_by.id
        self._at = next((n for n, column in enumerate(self._columns) if column.id == sort_by), 0)

    @property
    def _columns(self) -> tuple[Column[Any], ...]:
        return self._table.listing.columns

    def compose(self) -> ComposeResult:
        """Title, columns, hint."""
        with Vertical():
            yield Band(id="columns-title", padding=0)
            yield Band(id="columns-list", padding=0, pressed=self._pressed)
            yield Band(id="columns-hint", padding=0)

    def on_mount(self) -> None:
        """Write it for the first time."""
        self.query_one("#columns-title", Band).put(((Cell(f"columns of {self._heading}", Tone.HEAD),), ()))
        hints = [part.strip() for part in HINT.split("·")]
        self.query_one("#columns-hint", Band).put(*(((Cell(part, Tone.QUIET),), ()) for part in hints))
        self._write()

    def _write(self) -> None:
        lines = column_lines(self._table, self._at)
        self.query_one("#columns-list", Band).put(*((line, ()) for line in lines))

    def _pressed(self, line: int, _: int) -> None:
        self._at = line
        self.action_show_or_hide()

    def action_move(self, step: int) -> None:
        """Up or down."""
        self._at = (self._at + step) % len(self._columns)
        self._write()

    def action_show_or_hide(self) -> None:
        """Show or hide the column; the first one stays, since it says what a row is about."""
        if self._at:
            name = self._columns[self._at].id
            self._table.choose_columns(self._table.listing.hidden ^ {name})
        self._write()

    def action_sort(self) -> None:
        """Sort by the column, or turn the order round."""
        self._table.sort_by(self._columns[self._at].id)
        self._write()

    def action_all(self) -> None:
        """Show all columns."""
        self._table.choose_columns(frozenset())
        self._write()

    def action_close(self) -> None:
        """Back."""
        self.dismiss(None)


def column_lines(table: RowTable[Any], at: int) -> Sequence[Line]:
    """One line a column: whether it is shown, its name, the sort, and whether the screen is too narrow for it."""
    listing = table.listing
    shown = {column.id for column in listing.shown}
    fitting = table.painter.fitting
    lines: list[Line] = []
    for number, column in enumerate(listing.columns):
        box = "[x]" if column.id in shown else "[ ]"
        arrow = ("▾ descending" if listing.descending else "▴ ascending") if column is listing.sort_by else ""
        narrow = "no room" if column.id in shown and column.id not in fitting else ""
        here = number == at
        tone = Tone.STRONG if here else Tone.PLAIN if column.id in shown else Tone.QUIET
        lines.append((
            Cell("▌ " if here else "  ", Tone.HEAD),
            Cell(f"{box} {column.title:<16}", tone),
            Cell(arrow or narrow, Tone.HEAD if arrow else Tone.QUIET),
        ))  # fmt: skip
    return lines
