"""The application: themes, keymap and the main screen. Everything that the user sees is in `screens`."""

from __future__ import annotations

import os
from typing import ClassVar

from textual.app import App
from textual.binding import Binding, BindingType
from textual.events import Event, Key
from textual.widgets import Input

from fleettui.console.screens.context import Context
from fleettui.console.screens.main import MainScreen
from fleettui.console.terminal.driver import TerminalDriver, notice_keys
from fleettui.console.widgets.theme import THEMES


class Console(App[None]):
    """The console. `theme` is one of `THEMES`.

    With NO_COLOR in the environment it is drawn with bold, reverse and underlined text alone.
    """

    TITLE = "fleet"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [Binding("ctrl+q", "quit", "quit", id="quit", priority=True)]

    def __init__(self, context: Context, *, theme: str = "dark") -> None:
        colourless = "NO_COLOR" in os.environ
        drawn_elsewhere = "TEXTUAL_DRIVER" in os.environ  # by a web server
        super().__init__(
            driver_class=None if drawn_elsewhere else TerminalDriver, ansi_color=True if colourless else None
        )
        self.context = context
        for each in THEMES.values():
            self.register_theme(each)
        self.theme = THEMES["terminal" if colourless else theme].name
        self.set_keymap(context.keymap)

    def on_mount(self) -> None:
        """Open the main screen."""
        notice_keys(self, self.context.turns.typed)
        self.push_screen(MainScreen(self.context))

    async def on_event(self, event: Event) -> None:
        """Take an event in; changes of the fleet wait for what a key does."""
        if not isinstance(event, Key):
            await super().on_event(event)
            return
        back = event.is_forwarded  # from what has the focus, and nothing there has taken it
        if not back:
            self.context.turns.typed()  # a key of the terminal was noted when it was read
        await super().on_event(event)
        if back or isinstance(self.focused, Input):
            self.context.turns.done()
            if back and self.focused is not None:
                self.focused._check_refresh()  # noqa: SLF001 - what it draws is known to the screen at once

    def post_display_hook(self) -> None:
        """Note that the screen was drawn."""
        self.context.turns.shown()

    def on_key(self, event: Key) -> None:
        """What was typed before a line or a field had opened, and arrives after, belongs to it."""
        prompt = self.screen.prompts.asking if isinstance(self.screen, MainScreen) else None
        if prompt is not None and event is not prompt.passed:
            event.prevent_default()
            self.screen.set_focus(prompt)  # whatever has taken it, Enter and Esc are the line's too
            prompt._forward_event(Key(event.key, event.character))  # noqa: SLF001 - as the app itself does
        elif isinstance(self.focused, Input) and event.is_printable:  # it takes all that it is given itself
            event.prevent_default()
            self.focused._forward_event(Key(event.key, event.character))  # noqa: SLF001

    def warn(self, command: str, reason: str) -> None:
        """Show what the operator must know; it stays until it is dismissed."""
        for screen in self.screen_stack:
            if isinstance(screen, MainScreen):
                screen.runner.report(command, reason)

    def copy_to_clipboard(self, text: str) -> None:
        """Hand the text to the terminal; what cannot be encoded becomes a question mark."""
        super().copy_to_clipboard(text.encode("utf-8", "replace").decode("utf-8"))

    async def action_quit(self) -> None:
        """Leave; the fleet goes on."""
        for screen in self.screen_stack:
            if isinstance(screen, MainScreen):
                await screen.leave()
        self.exit()
