"""The main screen's keys: what looks, what narrows, what changes. It decides nothing about the cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from textual import on
from textual.binding import BindingType

from fleettui.console.act_lines import trail_lines
from fleettui.console.bindings import bound
from fleettui.console.help import help_lines
from fleettui.console.keys import JOURNAL, MAIN
from fleettui.console.radius import blast_radius
from fleettui.console.screens.confirm import ConfirmScreen
from fleettui.console.screens.journal_dock import JournalDock
from fleettui.console.screens.machine_keys import MachineKeys
from fleettui.console.screens.outside_keys import OutsideKeys
from fleettui.console.screens.page import PageScreen
from fleettui.console.screens.remembering import Remembering
from fleettui.console.verbs import ASKS, Verb, command
from fleettui.console.widgets.journal_pane import JournalPane
from fleettui.console.widgets.table import Table
from registry.errors import UserError
from registry.follow import Link
from registry.model import Target


class MainScreen(Remembering, MachineKeys, OutsideKeys, JournalDock):
    """Everything by key."""

    BINDINGS: ClassVar[list[BindingType]] = bound(MAIN)

    # Keys that look

    def action_view(self, name: str) -> None:
        """Open a view."""
        self.run_view(name)

    def action_journal(self) -> None:
        """Show or hide the journal pane; of a detail, open its tab."""
        if self.journal_key():
            return
        pane = self.query_one(JournalPane)
        pane.display = not pane.display
        if pane.display:
            self.follow_selection()
        else:
            self.reader.stop()
            self.view.table.focus()

    def show_journal(self) -> None:
        """Show the journal pane."""
        if not self.query_one(JournalPane).display:
            self.action_journal()

    def action_mark(self) -> None:
        """Mark the row."""
        self.view.table.mark()

    def action_mark_range(self) -> None:
        """Mark from the last mark to here."""
        self.view.table.mark_range()

    def action_mark_all(self) -> None:
        """Mark all that is shown."""
        self.view.table.mark_all()

    def action_back(self) -> None:
        """One thing less: the filter's line, the filter, what ended, the marks, the journal's focus."""
        listing = self.view.table.listing
        if listing.narrowed:
            self.filter_by("", trouble=False)
        elif self._refusal:
            self.refuse("")
        elif not self.conductor.dismiss():
            self._unmark_or_home()

    def _unmark_or_home(self) -> None:
        listing = self.view.table.listing
        if listing.marks:
            listing.marks.clear()
            self.view.table.restyle()
            self.refresh_all()
        elif self.in_detail:
            self.leave_detail()
        elif not self.view.table.has_focus:
            self.view.table.focus()
        elif self.view.name_ != "units":
            self.action_view("units")

    @on(Table.Opened)
    def _opened(self, event: Table.Opened) -> None:
        self.open_row(event.key)

    def action_help(self) -> None:
        """All keys, those of this place first."""
        from fleettui.console.screens.helping import HelpScreen  # noqa: PLC0415 - seldom opened

        view = self.view.name_
        where = JOURNAL if self.query_one(JournalPane).has_focus_within else MAIN
        read_only = self.desk.read_only
        self.app.push_screen(HelpScreen(
            lambda search: help_lines(self.desk.keymap, read_only=read_only, view=view, where=where, search=search)
        ))  # fmt: skip

    def action_copy(self) -> None:
        """Copy the page, the last action's command or the names of what is selected to the clipboard."""
        acts = self.conductor.acts
        text = acts[-1].command if acts else " ".join(self.chosen_units())
        text, name = self.copied() or (text, text if len(text) < 100 else text[:99] + "…")
        if text:
            self.app.copy_to_clipboard(text)
            self.refuse(f"copied: {name}")

    async def action_quit(self) -> None:
        """Leave."""
        await self.app.action_quit()

    async def leave(self) -> None:
        """Before the console ends."""
        self.reader.stop()
        await self.note_last()

    # Keys that change

    def action_verb(self, name: str) -> None:
        """Do something to the chosen units, after asking where that stops something."""
        self.act_on(Verb(name), self.chosen_units())

    def act_on(self, verb: Verb, names: Sequence[str]) -> None:
        """Carry a verb out on units, after asking where that stops something: the one way for keys and commands."""
        allowed = self.permit(verb, names)
        if allowed.refusal:
            self.refuse(allowed.refusal)
        elif verb in ASKS:
            self._ask(verb, allowed.names)
        else:
            self._perform(verb, allowed.names)

    def _ask(self, verb: Verb, names: tuple[str, ...]) -> None:
        what = names[0] if len(names) == 1 else f"{len(names)} units"
        told = blast_radius(verb, names, self.reading.snapshot)
        if len(names) > 1:
            told.insert(0, ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else ""))
        same, typed = command(verb, names, shown=3), self._typed(verb, names)
        question = ConfirmScreen(f"{verb.capitalize()} {what}?", verb, told, same, typed=typed)
        self.app.push_screen(question, lambda yes: self._perform(verb, names) if yes else None)

    def _typed(self, verb: Verb, names: tuple[str, ...]) -> tuple[str, ...]:
        """What must be typed before this is done: in a protected cluster, its name or the one unit's."""
        if verb is not Verb.DESTROY or not self.desk.place.protected:
            return ()
        return (*names, self.desk.place.cluster) if len(names) == 1 else (self.desk.place.cluster,)

    def _perform(self, verb: Verb, names: tuple[str, ...]) -> None:
        self.run_worker(self.conductor.perform(verb, names), name=f"{verb}", exit_on_error=False)

    def introduce(self, texts: Mapping[str, str], target: Target, *, replace: bool) -> None:
        """Submit units and raise their target, as one act."""
        if self.desk.read_only or self.reading.link is not Link.LIVE:
            why = "this console is read-only" if self.desk.read_only else "no connection to the registry"
            raise UserError(f"cannot submit: {why}")
        work = self.conductor.introduce(texts, target, replace=replace)
        self.run_worker(work, name="submit", exit_on_error=False)

    def action_actions(self) -> None:
        """Every action of this console."""
        self.app.push_screen(
            PageScreen("actions", lambda: trail_lines(list(self.conductor.history.values()), self.desk.clock()))
        )

    def action_undo(self) -> None:
        """Take the last action back."""
        if self.desk.read_only or self.conductor.can_undo is None:
            self.refuse("this console is read-only" if self.desk.read_only else "nothing to undo")
            return
        self.run_worker(self.conductor.undo(), name="undo", exit_on_error=False)
