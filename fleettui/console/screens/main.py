"""The main screen's keys: what looks, what narrows, what changes. It decides nothing about the cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual import on
from textual.binding import BindingType
from textual.widgets import ContentSwitcher, Input

from fleettui.console.bindings import bound
from fleettui.console.cells import Line
from fleettui.console.help import help_lines
from fleettui.console.keys import MAIN
from fleettui.console.pages import event_lines, file_lines, why_lines
from fleettui.console.query import parse_query
from fleettui.console.screens.confirm import ConfirmScreen
from fleettui.console.screens.frame import Frame
from fleettui.console.screens.page import PageScreen
from fleettui.console.verbs import ASKS, Verb, blast_radius, command
from fleettui.console.widgets.journal_pane import JournalPane
from fleettui.console.widgets.lines import Lines
from fleettui.console.widgets.table import Table


class MainScreen(Frame):
    """Everything by key."""

    BINDINGS: ClassVar[list[BindingType]] = bound(MAIN)

    # Keys that look

    def action_view(self, name: str) -> None:
        """Open a view."""
        self.query_one("#views", ContentSwitcher).current = name
        self.view.see(self.reading)
        self.view.table.focus()
        self.refresh_all()
        self.follow_selection()

    def action_journal(self) -> None:
        """Show or hide the journal pane."""
        pane = self.query_one(JournalPane)
        pane.display = not pane.display
        if pane.display:
            self.follow_selection()
        else:
            self.reader.stop()
            self.view.table.focus()

    def action_next_pane(self) -> None:
        """To the journal and back."""
        lines = self.query_one("#journal-lines", Lines)
        if lines.has_focus or not self.query_one(JournalPane).display:
            self.view.table.focus()
        else:
            lines.focus()

    def action_filter(self) -> None:
        """Open the filter's line."""
        field = self.query_one("#filter", Input)
        field.display = True
        field.value = self.view.table.listing.query.text
        field.focus()

    @on(Input.Changed, "#filter")
    def _filter_typed(self, event: Input.Changed) -> None:
        if self.query_one("#filter", Input).display:
            self._filter(event.value)

    @on(Input.Submitted, "#filter")
    def _filter_kept(self) -> None:
        self._close_filter()

    def _close_filter(self) -> None:
        self.query_one("#filter", Input).display = False
        self.view.table.focus()

    def _filter(self, text: str, *, trouble: bool | None = None) -> None:
        self.view.table.listing.filter(parse_query(text), trouble_only=trouble)
        self.view.table.rearrange()
        self.refresh_all()

    def action_trouble(self) -> None:
        """Only what is failed, pending or drifting, or all again."""
        listing = self.view.table.listing
        self._filter(listing.query.text, trouble=not listing.trouble_only)

    def action_columns(self) -> None:
        """Sort by the next column."""
        self.view.table.sort_next()

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
        if self.query_one("#filter", Input).display:
            self._close_filter()
            self._filter("")
        elif listing.narrowed:
            self._filter("", trouble=False)
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
        elif not self.view.table.has_focus:
            self.view.table.focus()
        elif self.view.name_ != "units":
            self.action_view("units")

    @on(Table.Opened)
    def _opened(self, event: Table.Opened) -> None:
        if self.view.name_ == "machines":
            self._open_machine(event.key)
        else:
            self.action_why()

    def _open_machine(self, machine: str) -> None:
        self.action_view("units")
        record = self.reading.snapshot.machines.get(machine)
        self._filter(f"machine={record.hostname if record else machine}")

    def action_why(self) -> None:
        """Why the unit is where it is."""
        self._page("why", lambda name: why_lines(self.reading.snapshot, name, self.desk.clock(), self.desk.keys))

    def action_file(self) -> None:
        """The unit's file."""
        self._page("file of", lambda name: file_lines(self.reading.snapshot, name))

    def action_unit_events(self) -> None:
        """The unit's events."""
        self._page("events of", lambda name: event_lines(self.reading.snapshot, name))

    def _page(self, title: str, write: Callable[[str], Sequence[Line]]) -> None:
        names = self.chosen_units()
        if not names:
            self.refuse("no unit is selected")
            return
        self.app.push_screen(PageScreen(f"{title} {names[0]}", lambda: write(names[0])))

    def action_help(self) -> None:
        """All keys."""
        lines = help_lines(self.desk.keymap, read_only=self.desk.read_only)
        self.app.push_screen(PageScreen("help", lambda: lines))

    def action_copy(self) -> None:
        """Copy the last action's command, or the names of what is selected, to the terminal's clipboard."""
        acts = self.conductor.acts
        text = acts[-1].command if acts else " ".join(self.chosen_units())
        if text:
            self.app.copy_to_clipboard(text)
            self.refuse(f"copied: {text if len(text) < 100 else text[:99] + '…'}")

    def action_quit(self) -> None:
        """Leave."""
        self.reader.stop()
        self.app.exit()

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
        question = ConfirmScreen(f"{verb.capitalize()} {what}?", verb, told, command(verb, names, shown=3))
        self.app.push_screen(question, lambda yes: self._perform(verb, names) if yes else None)

    def _perform(self, verb: Verb, names: tuple[str, ...]) -> None:
        self.run_worker(self.conductor.perform(verb, names), name=f"{verb}", exit_on_error=False)

    def action_undo(self) -> None:
        """Take the last action back."""
        if self.desk.read_only or self.conductor.can_undo is None:
            self.refuse("this console is read-only" if self.desk.read_only else "nothing to undo")
            return
        self.run_worker(self.conductor.undo(), name="undo", exit_on_error=False)

    def action_submit(self) -> None:
        """Submit a unit file."""
        if self.desk.read_only:
            self.refuse("cannot submit: this console is read-only")
            return
        from fleettui.console.screens.submit import Submission, SubmitScreen  # noqa: PLC0415 - loads the editor

        def submitted(what: Submission | None) -> None:
            if what:
                work = self.conductor.submit(what.name, what.text, what.target)
                self.run_worker(work, name="submit", exit_on_error=False)

        self.app.push_screen(SubmitScreen(), submitted)
