"""The palette: a few letters, and what they may mean. It finds; what is done with the find is the main screen's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input

from fleettui.console.text.cells import Cell, Line, Tone
from fleettui.console.text.finding import Find, FinderSource, ranked
from fleettui.console.widgets.drawing import Band
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
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,ctrl+k,shift+tab", "move(-1)", "up"),
        Binding("down,ctrl+j,tab", "move(1)", "down"),
        Binding("pageup", "move(-10)", "page up"),
        Binding("pagedown", "move(10)", "page down"),
        Binding("escape,ctrl+p", "close", "close"),
    ]

    def __init__(self, sources: Sequence[FinderSource], usable: Callable[[Find], bool]) -> None:
        super().__init__()
        self._sources, self._usable = sources, usable
        self._finds: list[Find] = []
        self._at = 0

    def compose(self) -> ComposeResult:
        """The line to type in and what was found."""
        with Vertical():
            yield Input(id="palette", placeholder="an action, a unit, a machine, a theme", compact=True)
            yield Band(id="finds", padding=0, pressed=self._pressed)

    def on_mount(self) -> None:
        """Begin with what can be done."""
        self.query_one(Input).cursor_blink = False
        self.query_one(Input).focus()
        self._look("")

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        self._look(event.value)

    @on(Input.Submitted)
    def _taken(self) -> None:
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
        lines = [self._line(find, here=number == self._at) for number, find in enumerate(shown, self._top)]
        self.query_one("#finds", Band).put(*(lines or [((Cell("nothing is called so", Tone.QUIET),), ())]))

    def _line(self, find: Find, *, here: bool) -> tuple[Line, Line]:
        tone = Tone.STRONG if here else Tone.PLAIN
        if find.kind == "action" and not self._usable(find):
            tone = Tone.OFF
        hint = Cell(f" {find.hint} ", Tone.HEAD if find.kind == "action" else Tone.QUIET)
        return (Cell("▌ " if here else "  ", Tone.HEAD), Cell(escape(find.label), tone)), (hint,)

    def _pressed(self, line: int, _: int) -> None:
        self._at = self._top + line
        self._taken()

    def action_move(self, step: int) -> None:
        """Up or down."""
        if self._finds:
            at = self._at + step
            self._at = at % len(self._finds) if abs(step) == 1 else max(0, min(at, len(self._finds) - 1))
            self._write()

    def action_close(self) -> None:
        """Back, without doing anything."""
        self.dismiss(None)
