"""The main screen's places: details and their tabs, the way back and forward, what is copied where.

A detail is one more view: what acts on the chosen rows acts on its subject. Owns the trail; knows nothing of pages.
"""

from __future__ import annotations

from typing import Any

from textual import on

from fleettui.console.pages.file import versions
from fleettui.console.screens.detail import DetailView
from fleettui.console.screens.frame import Frame
from fleettui.console.screens.trail import Location, Navigation
from fleettui.console.tables.fleet import NO_CHANGES
from fleettui.console.tables.query import parse_query
from fleettui.console.text.cells import Cell, Line, Tone
from fleettui.console.text.formatting import counted
from fleettui.console.text.subject import Subject, SubjectKind, Tab, machine_subject, tab_of, unit_subject
from fleettui.console.widgets.journal_pane import JournalPane
from fleettui.console.widgets.page import Page
from registry.lifecycle import Progress, standing

TALL = 30  # lines of a screen on which a page and the journal both have room


class PlaceKeys(Frame):
    """Details, and the trail through all places."""

    def __init__(self, *arguments: Any) -> None:  # noqa: ANN401 - the frame's
        super().__init__(*arguments)
        self.trail = Navigation(Location("units"))
        self._docked: bool | None = None  # whether the journal was shown before a detail was opened
        self._retracing = False

    @property
    def in_detail(self) -> bool:
        """Whether a detail is open."""
        return self.open_view == DetailView.name_

    @property
    def on_page(self) -> bool:
        """Whether a page is shown where tables otherwise are, so that there is nothing to filter or to sort."""
        return self.in_detail and self.detail.tab is not Tab.UNITS

    @property
    def view_name(self) -> str:
        """The open view, by what its keys are about: a machine's pages are about the machine."""
        return "machines" if self.subject_machine() else self.open_view

    def subject_machine(self) -> str:
        """The machine whose pages are open; its units are units."""
        about_machine = self.on_page and self.detail.subject.kind is SubjectKind.MACHINE
        return self.detail.subject.name if about_machine else ""

    # Opening

    def action_status(self) -> None:
        """The status of the selection; on it, ask the machine again."""
        if self.in_detail and self.detail.tab is Tab.STATUS:
            self.detail.renew(ask=True)
        else:
            self.open_tab("status")

    def action_why(self) -> None:
        """Why the unit is where it is; of a machine, what a drain meets."""
        self.open_tab("why")

    def action_file(self) -> None:
        """The unit's file; of a machine, its metadata."""
        self.open_tab("file")

    def action_unit_events(self) -> None:
        """What happened to the selection."""
        self.open_tab("unit_events")

    def action_dependencies(self) -> None:
        """Who needs whom; of a machine, its units."""
        self.open_tab("dependencies")

    def open_tab(self, key: str) -> None:
        """Open what a key stands for, of the open detail's subject or else of the selection."""
        subject = self.detail.subject if self.in_detail else self.selected()
        if subject is None:
            self.refuse("nothing is selected")
        else:
            self.show(subject, tab_of(key, subject.kind))

    def open_row(self, key: str) -> None:
        """What Enter opens: a machine's units, why a unit waits, else its status."""
        subject = self.selected()
        if subject is None:
            self.refuse(f"there is no detail of {key}")
        elif subject.kind is SubjectKind.MACHINE:
            self.show(subject, Tab.UNITS)
        else:
            waits = standing(self.reading.snapshot, subject.name).progress is Progress.WAITING
            self.show(subject, Tab.PLACEMENT if waits else Tab.STATUS)

    def selected(self) -> Subject | None:
        """What the row under the cursor is about; a template's row: the template, or its first instance."""
        row = self.view.table.listing.current()
        if row is None:
            return None
        if self.view.name_ == "machines":
            return machine_subject(row.key)
        if getattr(row, "is_group", False) and not getattr(row, "is_global", False):
            names = [row.key, *self.view.units([row])]
            return next((unit_subject(name) for name in names if name in self.reading.snapshot.units), None)
        if getattr(row, "is_global", False) and not row.is_group:
            return unit_subject(row.unit, row.machine)
        names = self.view.units([row])
        return unit_subject(names[0]) if names else self._machine_told(row.key)

    def _machine_told(self, key: str) -> Subject | None:
        """The machine that an event without a unit is about."""
        event = self.reading.snapshot.events.get(key)
        return machine_subject(event.machine) if event and event.machine else None

    def show(self, subject: Subject, tab: Tab) -> None:
        """Go to a tab of a subject."""
        self.note_place()
        self._put(subject, tab)
        self.note_place()

    def _put(self, subject: Subject, tab: Tab) -> None:
        self.detail.open(subject, tab)
        self._switcher.current = DetailView.name_
        self.detail.update(NO_CHANGES)
        self._arrange_journal()
        self._focus_place()
        self.refuse("")
        self.refresh_all()
        self.follow_selection()

    def _focus_place(self) -> None:
        if self.detail.tab is Tab.JOURNAL:
            pane = self.query_one(JournalPane)
            next((each for each in pane.query("*") if each.can_focus), self.detail.page).focus()
        else:
            self.detail.table.focus()

    def _arrange_journal(self) -> None:
        """The journal tab is the docked pane made large; beside other tabs it stays where both have room."""
        pane = self.query_one(JournalPane)
        inside = self.in_detail
        if inside and self._docked is None:
            self._docked = pane.display
        whole = inside and self.detail.tab is Tab.JOURNAL
        self.set_class(whole, "journal-whole")
        self._switcher.set_class(whole, "strip")
        pane.set_class(whole, "whole")
        if inside:
            shown = whole or (bool(self._docked) and self.app.size.height >= TALL)
        else:
            shown, self._docked = pane.display if self._docked is None else self._docked, None
        if pane.display and not shown:
            self.reader.stop()
        pane.display = shown

    @on(Page.Followed)
    def _followed(self, event: Page.Followed) -> None:
        subject = event.subject
        if subject.kind is SubjectKind.MACHINE:
            self.show(subject, Tab.UNITS)
        else:
            tab = self.detail.tab if self.detail.tab is Tab.DEPENDENCIES else Tab.STATUS
            self.show(subject, tab)

    @on(Page.Turned)
    def _turned(self, event: Page.Turned) -> None:
        self.show(self.detail.subject, self.detail.next_tab(event.step))

    def action_version(self, step: int) -> None:
        """Compare the file with an older (1) or a newer (-1) one."""
        if self.in_detail and self.detail.tab is Tab.FILE:
            if len(versions(self.reading.snapshot, self.detail.subject.name)) < 2:
                self.refuse("there is no earlier version")
            self.detail.choose_version(step)
        else:
            self.refuse("versions are compared on the file's page (f)")

    def journal_key(self) -> bool:
        """What the journal's key does on a detail: to its tab, or back from it. False where there is no detail."""
        if not self.in_detail:
            return False
        if self.detail.tab is Tab.JOURNAL:
            self.action_place(-1)
        else:
            self.open_tab("journal")
        return True

    # Back and forward

    def spot(self) -> Location:
        """Where the reader is."""
        listing = self.view.table.listing
        if self.in_detail:
            return Location(
                DetailView.name_, subject=self.detail.subject, tab=self.detail.tab, row=listing.cursor or ""
            )
        return Location(self.view.name_, listing.query.text, listing.trouble_only, listing.cursor or "")

    def note_place(self) -> None:
        """Remember where the reader is, as a place of its own if it is another one."""
        if not self._retracing:
            self.trail.visit(self.spot())

    def action_place(self, steps: int) -> None:
        """Back (negative) or forward."""
        self.note_place()
        spot = self.trail.step(steps)
        if spot is None:
            self.refuse("this is where you began" if steps < 0 else "there is nothing ahead")
        else:
            self._go(spot)

    def leave_detail(self) -> None:
        """Back to where the subject was opened from."""
        self.note_place()
        if not self.detail_has_focus and self.detail.tab is not Tab.JOURNAL:
            self._focus_place()
            return
        self._go(self.trail.leave() or Location("units"))

    @property
    def detail_has_focus(self) -> bool:
        """Whether the keys go to the detail, not to the journal beside it."""
        return bool(self.focused and self.detail in self.focused.ancestors)

    def _go(self, spot: Location) -> None:
        self._retracing = True
        try:
            if spot.subject is not None and spot.tab is not None:
                self._put(spot.subject, spot.tab)
                self.detail.table.select(spot.row)
            else:
                self._reopen(spot)
        finally:
            self._retracing = False
        self.refuse("")

    def _reopen(self, spot: Location) -> None:
        self.run_view(spot.view)
        listing = self.view.table.listing
        if (listing.query.text, listing.trouble_only) != (spot.query, spot.trouble):
            listing.filter(parse_query(spot.query), trouble_only=spot.trouble)
            self.view.table.rearrange()
        self.view.table.select(spot.row)
        self.refresh_all()

    def run_view(self, name: str) -> None:
        """Open one of the tables."""
        self.note_place()
        self.detail.close()
        self._switcher.current = name
        self._arrange_journal()
        self.view.update(NO_CHANGES)
        self.view.table.focus()
        self.refresh_all()
        self.follow_selection()
        self.note_place()

    # The bands

    def crumbs(self) -> tuple[Line, Line] | None:
        """What stands in the place of the views' names while a detail is open."""
        if not self.in_detail:
            return None
        behind, ahead = self.trail.room()
        way = f"{behind} back · {ahead} ahead" if ahead else ""
        marks = len(self.view.table.listing.marks)
        right = Cell(f"✓ {counted(marks, 'unit')} marked  " if marks else way, Tone.HEAD if marks else Tone.QUIET)
        return self.detail.crumbs(self._source()), (right,)

    def _source(self) -> str:
        """The title of the view that the detail was opened from."""
        name = self.trail.last_view(DetailView.name_) or "units"
        return self._views[name].title

    def _tick(self) -> None:
        super()._tick()
        if self.in_detail:
            self.detail.renew()

    def copied(self) -> tuple[str, str] | None:
        """What is worth copying of a page, and what it is called; None where no page is open."""
        if not self.on_page or self.detail.tab is Tab.JOURNAL:
            return None
        subject, tab = self.detail.subject, self.detail.tab
        if tab is Tab.FILE and not self.detail.older:
            found = versions(self.reading.snapshot, subject.name)
            if found and found[0].text is not None:
                return found[0].text, f"the file of {subject.name}"
        return self.detail.page.text, f"the page: {tab}"
