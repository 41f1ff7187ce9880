"""The help: every key as it is bound now, those of this place first; what is typed searches it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Input

from fleettui.console.screens.page import PageScreen
from fleettui.console.text.cells import Line
from fleettui.console.widgets.drawing import Band
from fleettui.console.widgets.page import Lines


class HelpScreen(PageScreen):
    """Lines that a search narrows. `write` takes what is searched for."""

    DEFAULT_CSS = """
    HelpScreen Input { border: none; height: 1; padding: 0; background: $bar; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "scroll_lines(-1)", "up"),
        Binding("down", "scroll_lines(1)", "down"),
        Binding("pageup", "scroll_lines(-15)", "page up"),
        Binding("pagedown", "scroll_lines(15)", "page down"),
        Binding("escape,f1", "close", "close"),
    ]

    def __init__(self, write: Callable[[str], Sequence[Line]]) -> None:
        super().__init__("help", lambda: write(self._search), "Esc closes · fleetctl verbs: : and help")
        self._search = ""

    def compose(self) -> ComposeResult:
        """Title, search, lines."""
        with Vertical():
            yield Band(id="page-title", padding=0)
            yield Input(id="help-search", placeholder="type to search", compact=True)
            yield Lines(id="page-lines")

    def on_mount(self) -> None:
        """The search has the focus."""
        field = self.query_one(Input)
        field.cursor_blink = False
        self.call_after_refresh(field.focus)

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        self._search = event.value
        self.renew()

    @on(Input.Submitted)
    def _entered(self) -> None:
        self.action_close()

    def action_scroll_lines(self, lines: int) -> None:
        """Up or down in the lines."""
        self.query_one("#page-lines", Lines).scroll_relative(y=lines, animate=False)
