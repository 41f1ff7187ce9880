"""Screens over the main one in which something is chosen: the palette, and the columns of a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input

from fleettui.console.tables.rows import Column
from fleettui.console.text.cells import Cell, Line, Tone
from fleettui.console.text.finding import Find, FinderSource, ranked
from fleettui.console.widgets.drawing import Band
from fleettui.console.widgets.prompt import OrderedInput, pass_on
from fleettui.console.widgets.table import RowTable
from fleettui.escape import escape

FOUND = 60  # that one may go down to
ROOM = 8  # lines of the screen that are not finds


class PaletteScreen(ModalScreen[Find | None]):
    """Finds one thing. `usable` says of an action whether it can be done now."""

    DEFAULT_CSS = """
    PaletteScreen { align: center top; background: $background 40%; }
    PaletteScreen > Vertical {
        width: 84; max-width: 94%; height: auto; margin-top: 2; padding: 0 1;
        background: $panel; border: round $primary;
    }
    PaletteScreen Band { background: $panel; }
    PaletteScreen Input { border: none; height: 1; padding: 0; background: $bar; margin-bottom: 1; }
    """
    AUTO_FOCUS = "#palette"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,ctrl+k,shift+tab", "move(-1)", "up"),
        Binding("down,ctrl+j,tab", "move(1)", "down"),
        Binding("pageup", "move(-10)", "page up"),
        Binding("pagedown", "move(10)", "page down"),
        Binding("escape,ctrl+p", "close", "close"),
    ]

    def __init__(
        self, sources: Sequence[FinderSource], usable: Callable[[Find], bool],
        what: str = "an action, a unit, a machine, a theme; drain core-2, journal web@3",
    ) -> None:  # fmt: skip
        super().__init__()
        self._sources, self._usable, self._what = sources, usable, what
        self._finds: list[Find] = []
        self._at = 0

    def compose(self) -> ComposeResult:
        """The line to type in and what was found."""
        with Vertical():
            yield OrderedInput(id="palette", placeholder=self._what)
            yield Band(id="finds", padding=0, pressed=self._pressed)

    def on_mount(self) -> None:
        """Begin with what can be done."""
        self.query_one(Input).cursor_blink = False
        self._look("")

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        self._look(event.value)

    @on(Input.Submitted)
    def _entered(self, event: Input.Submitted) -> None:
        self._take()
        pass_on(event)

    def _take(self) -> None:
        self.dismiss(self._finds[self._at] if self._finds else None)

    def _look(self, query: str) -> None:
        self._finds, self._at = ranked(query, self._sources, FOUND), 0
        self._write()

    @property
    def _room(self) -> int:
        return max(3, min(18, self.app.size.height - ROOM))

    @property
    def _top(self) -> int:
        return max(0, self._at - self._room + 1)

    def _write(self) -> None:
        shown = self._finds[self._top : self._top + self._room]
        lines: list[tuple[Line, Line]] = []
        for number, find in enumerate(shown, self._top):
            here = number == self._at
            tone = Tone.STRONG if here else Tone.PLAIN
            if find.kind == "action" and not self._usable(find):
                tone = Tone.OFF
            hint = Cell(f" {find.hint} ", Tone.HEAD if find.kind == "action" else Tone.QUIET)
            lines.append(((Cell("▌ " if here else "  ", Tone.HEAD), Cell(escape(find.label), tone)), (hint,)))
        self.query_one("#finds", Band).put(*(lines or [((Cell("nothing is called so", Tone.QUIET),), ())]))

    def _pressed(self, line: int, _: int) -> None:
        self._at = self._top + line
        self._take()

    def action_move(self, step: int) -> None:
        """Up or down."""
        if self._finds:
            at = self._at + step
            self._at = at % len(self._finds) if abs(step) == 1 else max(0, min(at, len(self._finds) - 1))
            self._write()

    def action_close(self) -> None:
        """Back, without doing anything."""
        self.dismiss(None)


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
        arrow = ("▾ descending" if listing.falls else "▴ ascending") if column is listing.sort_by else ""
        narrow = "no room" if column.id in shown and column.id not in fitting else ""
        here = number == at
        tone = Tone.STRONG if here else Tone.PLAIN if column.id in shown else Tone.QUIET
        lines.append((
            Cell("▌ " if here else "  ", Tone.HEAD),
            Cell(f"{box} {column.title:<16}", tone),
            Cell(arrow or narrow, Tone.HEAD if arrow else Tone.QUIET),
        ))  # fmt: skip
    return lines
