"""The journal pane on the main screen: how one gets into it and out of it, and what it opens."""

from __future__ import annotations

from textual import on

from fleettui.console.pages.footer import footer_line, journal_footer_keys
from fleettui.console.screens.frame import Frame
from fleettui.console.widgets.drawing import Band
from fleettui.console.widgets.journal_pane import JournalPane


class JournalDock(Frame):
    """A frame whose pane has a way in and out."""

    @on(JournalPane.Focused)
    def _journal_focused(self) -> None:
        self._show_footer()

    def _show_footer(self) -> None:
        """The keys of whatever has the focus."""
        pane = self.query_one(JournalPane)
        if not pane.has_focus_within:
            super()._show_footer()
            return
        self._footer_keys = journal_footer_keys(self.app.size.width - 2, self.desk.keymap)
        line = footer_line(self._footer_keys, self.desk.keymap, lambda _: True)
        self.query_one("#footer", Band).put((line, ()))

    def key_pressed(self, line: int, cell: int) -> None:
        """Do what the clicked key does, where it works."""
        pane = self.query_one(JournalPane)
        if not pane.has_focus_within:
            super().key_pressed(line, cell)
        elif cell // 2 < len(self._footer_keys):
            action = self._footer_keys[cell // 2].action
            self.run_worker(pane.run_action(action), name=action, exit_on_error=False)

    def action_next_pane(self) -> None:
        """To the journal and back."""
        pane = self.query_one(JournalPane)
        if pane.has_focus_within and pane.zoomed:
            pane.action_zoom()
        if pane.has_focus_within or not pane.display:
            self.view.table.focus()
        else:
            pane.lines.focus()

    @on(JournalPane.Released)
    def _journal_left(self) -> None:
        """Esc where nothing is left to undo: one step back on the main screen."""
        if self.has_class("journal-whole"):
            self.run_worker(self.run_action("back"), name="back", exit_on_error=False)
        else:
            self.view.table.focus()

    @on(JournalPane.FieldsRead)
    def _journal_opened(self, event: JournalPane.FieldsRead) -> None:
        from fleettui.console.screens.fields import FieldsScreen  # noqa: PLC0415 - only when a line is opened

        self.app.push_screen(FieldsScreen(event.fields))
