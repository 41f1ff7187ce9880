"""The application: themes, keymap and the main screen. Everything that the user sees is in `screens`."""

from __future__ import annotations

from typing import ClassVar

from textual.app import App
from textual.binding import Binding, BindingType

from fleettui.console.screens.frame import Desk
from fleettui.console.screens.main import MainScreen
from fleettui.console.theme import THEMES


class Console(App[None]):
    """The console. `theme` is "dark" or "light"."""

    TITLE = "fleet"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [Binding("ctrl+q", "quit", "quit", id="quit", priority=True)]

    def __init__(self, desk: Desk, *, theme: str = "dark") -> None:
        super().__init__()
        self.desk = desk
        for each in THEMES.values():
            self.register_theme(each)
        self.theme = THEMES[theme].name
        self.set_keymap(desk.keymap)

    def on_mount(self) -> None:
        """Open the main screen."""
        self.push_screen(MainScreen(self.desk))
