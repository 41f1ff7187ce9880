"""The main screen's keys: what looks, what narrows, what changes. It decides nothing about the cluster."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import ClassVar

from textual import on
from textual.binding import BindingType

from fleettui.console.operations.impact import Survey, impact_of, impact_of_restoring, impact_of_undoing
from fleettui.console.operations.operation import Operation, history_lines, undo_command
from fleettui.console.operations.radius import blast_radius, impact_lines, short, units_line
from fleettui.console.operations.verbs import READ_ONLY, command
from fleettui.console.pages.help import help_lines
from fleettui.console.screens.journal_dock import JournalDock
from fleettui.console.screens.machine_keys import MachineKeys
from fleettui.console.screens.outside_keys import OutsideKeys
from fleettui.console.screens.page import PageScreen
from fleettui.console.screens.remembering import Remembering
from fleettui.console.text.formatting import counted
from fleettui.console.text.keys import JOURNAL, MAIN
from fleettui.console.widgets.drawing import bound
from fleettui.console.widgets.journal_pane import JournalPane
from fleettui.console.widgets.table import RowTable
from fleettui.verbs import Verb
from registry.errors import UserError
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
        self.view.table.mark("range")

    def action_mark_all(self) -> None:
        """Mark all that is shown."""
        self.view.table.mark("all")

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

    @on(RowTable.Opened)
    def _opened(self, event: RowTable.Opened) -> None:
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
        done = self.conductor.operations
        text = done[-1].command if done else shlex.join(self.chosen_units())
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
        self.ask_first(lambda: self._surveyed(verb, names), lambda found: self._perform(verb, found.names))

    def _surveyed(self, verb: Verb, names: Sequence[str]) -> Survey:
        """What the verb would do to these units now."""
        allowed, snapshot = self.permit(verb, names), self.reading.snapshot
        if allowed.refusal:
            return Survey(refusal=allowed.refusal)
        impact = impact_of(verb, allowed.names, snapshot, self.desk.keys)
        told = blast_radius(verb, allowed.names, snapshot) if verb.rules.stops else impact_lines(impact, snapshot)
        what = short(allowed.names[0]) if len(allowed.names) == 1 else f"{len(allowed.names)} units"
        if verb.rules.stops and len(allowed.names) > 1:
            told.insert(0, units_line(allowed.names))
        return Survey(
            f"{verb.capitalize()} {what}?", verb, tuple(told), command(verb, allowed.names, shown=3), impact,
            allowed.names, always=0 < verb.rules.asks_from <= len(allowed.names),
        )  # fmt: skip

    def _perform(self, verb: Verb, names: tuple[str, ...]) -> None:
        self.run_worker(self.conductor.on_units(verb, names), name=f"{verb}", exit_on_error=False)

    def introduce(self, texts: Mapping[str, str], target: Target, *, replace: bool) -> None:
        """Submit units and raise their target, as one act, after asking where that stops what runs."""
        if why := self.why_no_change():
            raise UserError(f"cannot submit: {why}")

        def act(_: Survey) -> None:
            work = self.conductor.submit(texts, target, replace=replace)
            self.run_worker(work, name="submit", exit_on_error=False)

        self.ask_first(lambda: self.survey_texts(texts, target, replacing=replace), act)

    def action_undo(self) -> None:
        """Take the last action back, after asking where that stops something or starts much."""
        last = self.conductor.can_undo
        if last is None or self.desk.read_only:
            self.refuse(READ_ONLY if self.desk.read_only else "nothing to undo")
            return

        def act(_: Survey) -> None:
            self.run_worker(self.conductor.undo(last), name="undo", exit_on_error=False)

        self.ask_first(lambda: self._surveyed_undo(last), act)

    def _surveyed_undo(self, last: Operation) -> Survey:
        """What taking this act back would do now."""
        snapshot, keys = self.reading.snapshot, self.desk.keys
        if why := self.why_no_change():
            return Survey(refusal=f"cannot undo: {why}")
        if last.changes:
            impact = impact_of_restoring(last.changes, snapshot, keys)
        else:
            impact = impact_of_undoing(last.verb, last.written, snapshot, keys)
        lines = tuple(impact_lines(impact, snapshot))
        what = counted(len(last.changes), "machine") if last.changes else counted(len(last.written), "unit")
        return Survey(f"Undo: {last.verb} of {what}?", Verb.UNDO, lines, undo_command(last), impact)

    def action_actions(self) -> None:
        """Every action of this console."""
        self.app.push_screen(
            PageScreen("actions", lambda: history_lines(list(self.conductor.history.values()), self.desk.clock()))
        )
