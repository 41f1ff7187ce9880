"""Where the reader is: the views, what is selected in the open one, and the way through all places.

A detail is one more view: what acts on the chosen rows acts on its subject.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from textual.screen import Screen
from textual.widgets import ContentSwitcher

from fleettui.actions.versions import versions
from fleettui.console.journal import stem
from fleettui.console.screens.context import Context
from fleettui.console.screens.detail import DetailView
from fleettui.console.screens.journal_dock import JournalDock
from fleettui.console.screens.views import (
    ConfigsView,
    EventsView,
    MachinesView,
    MapView,
    PendingView,
    RolloutsView,
    UnitsView,
    View,
)
from fleettui.console.tables.configs import config_told
from fleettui.console.tables.fleet import NO_CHANGES, Changes, FleetModel
from fleettui.console.tables.query import parse_query
from fleettui.console.tables.rollouts import rollout_told
from fleettui.console.tables.rows import Column
from fleettui.console.text.cells import Cell, Line, Tone
from fleettui.console.text.formatting import counted
from fleettui.console.text.subject import (
    CONFIG_KINDS,
    Subject,
    SubjectKind,
    Tab,
    config_subject,
    machine_subject,
    rollout_subject,
    tab_of,
    unit_subject,
)
from registry.lifecycle import Progress, standing
from registry.mirror import Snapshot
from registry.units.name import parse

KEPT = 100


@dataclass(frozen=True, slots=True)
class Location:
    """One place: a view with its filter and the row under the cursor, or a detail with its tab."""

    view: str
    query: str = ""
    trouble: bool = False
    row: str = ""
    subject: Subject | None = None
    tab: Tab | None = None

    def same_place(self, other: Location) -> bool:
        """Whether it is the same place but for the row under the cursor."""
        return (self.view, self.query, self.trouble, self.subject, self.tab) == (
            other.view, other.query, other.trouble, other.subject, other.tab)  # fmt: skip


class Navigation:
    """Places in the order of their visits, with back and forward as in a browser. `here` is the present one."""

    def __init__(self, start: Location) -> None:
        self._locations = [start]
        self._at = 0

    @property
    def here(self) -> Location:
        """The present place as it was last noted."""
        return self._locations[self._at]

    def visit(self, location: Location) -> None:
        """Be at a place. The same one again only brings its row up to date; another one cuts off what was ahead."""
        if location.same_place(self.here):
            self._locations[self._at] = location
            return
        self._locations = [*self._locations[: self._at + 1], location][-KEPT:]
        self._at = len(self._locations) - 1

    def step(self, steps: int) -> Location | None:
        """Go back (negative) or forward; None when there is nothing there."""
        at = self._at + steps
        if not 0 <= at < len(self._locations):
            return None
        self._at = at
        return self.here

    def leave(self) -> Location | None:
        """Go back to the last place that is not about this one's subject; None when there is none."""
        subject = self.here.subject
        for at in range(self._at - 1, -1, -1):
            if self._locations[at].subject != subject:
                self._at = at
                return self.here
        return None

    def last_view(self) -> str:
        """Return the last view visited that is not a detail."""
        visited = self._locations[self._at :: -1]
        return next((each.view for each in visited if each.view != DetailView.name_), "units")

    def room(self) -> tuple[int, int]:
        """Return how many places lie behind, and ahead."""
        return self._at, len(self._locations) - 1 - self._at


class Switcher(ContentSwitcher):
    """Shows one of its views, and nothing of its own."""

    BLANK = True  # filled by the view: not looked for borders at each frame


class Views:
    """All views of the main screen, and which of them is open."""

    def __init__(self, context: Context, fleet: FleetModel) -> None:
        clock = context.clock
        self.machines = MachinesView(fleet, clock)
        self.rollouts = RolloutsView(fleet, clock)
        self.configs = ConfigsView(fleet, clock)
        self.detail = DetailView(fleet, clock, context)
        others = (PendingView(fleet, clock), EventsView(fleet, clock), MapView(fleet, clock), self.rollouts)
        self.tables: tuple[View[Any], ...] = (UnitsView(fleet, clock), self.machines, *others, self.configs)
        self.by_name: dict[str, View[Any]] = {view.name_: view for view in (*self.tables, self.detail)}
        self.switcher = Switcher(*self.by_name.values(), initial="units", id="views")

    @property
    def open(self) -> View[Any]:
        """The open view."""
        return self.by_name[self.switcher.current or "units"]

    def update(self, changes: Changes) -> None:
        """Show what changed."""
        for view in self.by_name.values():
            view.update(changes)

    def focus_table(self) -> None:
        """Give the keys to the open table, at once: a line that is opened next keeps them."""
        table = self.open.table
        table.screen.set_focus(table.in_sight)

    @property
    def in_detail(self) -> bool:
        """Whether a detail is open."""
        return self.open is self.detail

    @property
    def on_page(self) -> bool:
        """Whether a page is shown where tables otherwise are, so that there is nothing to filter or to sort."""
        return self.in_detail and self.detail.tab is not Tab.UNITS

    @property
    def sortable_columns(self) -> tuple[Column, ...]:  # type: ignore[type-arg] # of the open view's rows
        """The columns of the open view; () where there is nothing to sort."""
        if self.open.name_ == "map" or self.on_page:
            return ()
        return self.open.table.listing.columns

    @property
    def machine_on_page(self) -> str:
        """The machine whose pages are open, by id; "" when none is. Its units are units."""
        about_machine = self.on_page and self.detail.subject.kind is SubjectKind.MACHINE
        return self.detail.subject.name if about_machine else ""

    @property
    def key_scope(self) -> str:
        """What the keys are about, by the name of a view: pages are about their machine, rollout or config."""
        if self.in_detail and self.detail.subject.kind is SubjectKind.ROLLOUT:
            return "rollouts"
        if self.in_detail and self.detail.subject.kind in CONFIG_KINDS:
            return "configs"
        return "machines" if self.machine_on_page else self.open.name_


class Selection:
    """What is chosen in the open view: the marked rows, else the one under the cursor."""

    def __init__(self, views: Views, fleet: FleetModel, on_change: Callable[[], None]) -> None:
        self._views, self._fleet, self._on_change = views, fleet, on_change

    def units(self) -> list[str]:
        """Return the units that an operation is about."""
        view = self._views.open
        return view.units(view.table.listing.chosen())

    def machines(self) -> list[str]:
        """Return the ids of the machines that an operation is about: the open detail's, else those of the view."""
        if machine := self._views.machine_on_page:
            return [machine]
        return [row.key for row in self._views.machines.table.listing.chosen()]

    def template(self) -> str:
        """Return the template that the selection is, or is an instance of; "" for none."""
        subject = self.subject_here()
        if subject is None or subject.kind is not SubjectKind.UNIT or "@" not in subject.name:
            return ""
        return parse(subject.name).template or ""

    def rollout(self) -> str:
        """Return the rollout that an operation is about: the open detail's, else the one under the cursor."""
        detail = self._views.detail
        if self._views.in_detail:
            return detail.subject.name if detail.subject.kind is SubjectKind.ROLLOUT else ""
        return self._views.rollouts.table.listing.cursor or "" if self._views.open is self._views.rollouts else ""

    def lagging(self) -> list[str] | None:
        """Return the units that have an older version of the chosen configs; None where none can be chosen."""
        detail, view = self._views.detail, self._views.configs
        if self._views.key_scope != view.name_:
            return None
        if self._views.in_detail:
            return self._fleet.configs.lagging([str(detail.subject.need)])
        return self._fleet.configs.lagging(row.key for row in view.table.listing.chosen())

    def subject(self) -> Subject | None:
        """Return what the row under the cursor is about; of a template's row: the template."""
        view, snapshot = self._views.open, self._fleet.reading.snapshot
        row = view.table.listing.current()
        if row is None:
            return None
        if view in (self._views.machines, self._views.rollouts):
            return machine_subject(row.key) if view is self._views.machines else rollout_subject(row.key)
        if view is self._views.configs:
            return config_subject(row.kind, row.name)
        is_group, is_global = getattr(row, "is_group", False), getattr(row, "is_global", False)
        if is_group and not is_global:
            return unit_subject(row.key)
        if is_global and not is_group:
            return unit_subject(row.unit, row.machine)
        names = view.units([row])
        return unit_subject(names[0]) if names else _subject_of(snapshot, row.key)

    def subject_here(self) -> Subject | None:
        """Return the open detail's subject (among a machine's units: the selected one), else the selection."""
        if not self._views.in_detail:
            return self.subject()
        if self._views.detail.tab is Tab.UNITS:
            return self.subject() or self._views.detail.subject
        return self._views.detail.subject

    def mark(self) -> None:
        """Mark the row under the cursor, or take its mark away."""
        self._views.open.table.mark()

    def mark_range(self) -> None:
        """Mark from the last mark to the row under the cursor."""
        self._views.open.table.mark("range")

    def mark_all(self) -> None:
        """Mark all that is shown, or take these marks away."""
        self._views.open.table.mark("all")

    def mark_only(self, names: Sequence[str]) -> None:
        """Mark the rows of these units and no others."""
        table, wanted = self._views.open.table, {*names}
        rows = table.listing.rows.items()
        table.listing.marks = {key for key, row in rows if not row.is_group and row.unit in wanted}
        table.restyle()
        self._on_change()


def _subject_of(snapshot: Snapshot, key: str) -> Subject | None:
    """What an event without a unit is about: a rollout, a config, or a machine."""
    event = snapshot.events.get(key)
    if event and (name := rollout_told(event)) in snapshot.rollouts:
        return rollout_subject(name)
    if event and (about := config_told(event)):
        return config_subject(*about)
    return machine_subject(event.machine) if event and event.machine else None


class Navigator:
    """Opens views and details, filters them, and keeps the history of places."""

    def __init__(
        self, screen: Screen[None], views: Views, selection: Selection, fleet: FleetModel, dock: JournalDock, *,
        refresh: Callable[[], None], show_status: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._screen, self._views, self._selection, self._fleet, self._dock = screen, views, selection, fleet, dock
        self._refresh, self._show_status = refresh, show_status
        self.history = Navigation(Location("units"))
        self._retracing = False

    # Opening

    def open_view(self, name: str) -> None:
        """Open one of the tables."""
        self._note()
        self._views.detail.close()
        self._views.switcher.current = name
        self._arrange_journal()
        self._views.open.update(NO_CHANGES)
        self._views.focus_table()
        self._refresh()
        self.follow_selection()
        self._note()

    def open_status(self) -> None:
        """Open the status of the selection; on it, ask the machine again."""
        if self._views.in_detail and self._views.detail.tab is Tab.STATUS:
            self._views.detail.renew(ask=True)
        else:
            self.open_tab("status")

    def open_tab(self, key: str) -> None:
        """Open what a key stands for, of the open detail's subject or else of the selection."""
        subject = self._views.detail.subject if self._views.in_detail else self._selection.subject()
        if subject is None:
            self._show_status("nothing is selected")
        else:
            self.show(subject, tab_of(key, subject.kind))

    def open_row(self, key: str) -> None:
        """Open what Enter opens: a machine's units, why a unit waits, else its status."""
        subject = self._selection.subject()
        if subject is None:
            self._show_status(f"there is no detail of {key}")
        elif subject.kind is SubjectKind.MACHINE:
            self.show(subject, Tab.UNITS)
        elif subject.kind is not SubjectKind.UNIT:
            self.show(subject, subject.tabs[0])
        else:
            waits = standing(self._fleet.reading.snapshot, subject.name).progress is Progress.WAITING
            self.show(subject, Tab.PLACEMENT if waits else Tab.STATUS)

    def follow_link(self, subject: Subject) -> None:
        """Open what a link on a page leads to."""
        if subject.kind is SubjectKind.MACHINE:
            self.show(subject, Tab.UNITS)
        elif subject.kind in CONFIG_KINDS:
            self.show(subject, Tab.VERSIONS)
        else:
            tab = self._views.detail.tab
            self.show(subject, tab if tab is Tab.DEPENDENCIES else Tab.STATUS)

    def turn(self, step: int) -> None:
        """Open the next or the previous tab."""
        self.show(self._views.detail.subject, self._views.detail.next_tab(step))

    def show(self, subject: Subject, tab: Tab) -> None:
        """Go to a tab of a subject."""
        self._note()
        self._open_detail(subject, tab)
        self._note()

    def _open_detail(self, subject: Subject, tab: Tab) -> None:
        self._views.detail.open(subject, tab)
        self._views.switcher.current = DetailView.name_
        self._views.detail.update(NO_CHANGES)
        self._arrange_journal()
        self.focus()
        self._show_status("")
        self._refresh()
        self.follow_selection()

    def go_to(self, view: str, key: str) -> bool:
        """Put the cursor on a row of a view, whatever hides it; False when there is none."""
        self.open_view(view)
        table = self._views.open.table
        if key in table.listing.rows and key not in table.listing.order and table.listing.narrowed:
            self.filter_by("", trouble=False)
        return table.select(key)

    def focus(self) -> None:
        """Give the keys to what is open."""
        if not self._views.in_detail:
            self._views.focus_table()
        elif self._views.detail.tab is Tab.JOURNAL:
            self._dock.focus_inside(self._views.detail.page)
        else:
            self._screen.set_focus(self._views.detail.table.in_sight)

    def choose_version(self, step: int) -> None:
        """Compare the file with an older (1) or a newer (-1) one."""
        detail = self._views.detail
        if not self._views.in_detail or detail.tab not in (Tab.FILE, Tab.CONTENT):
            self._show_status("versions are compared on the file's page (f)")
            return
        if not detail.earlier:
            self._show_status("there is no earlier version")
        detail.choose_version(step)

    # Narrowing

    def filter_by(self, text: str, *, trouble: bool | None = None) -> None:
        """Show only the rows of the open view that match, and say what may be wrong with the words."""
        table = self._views.open.table
        table.filter(parse_query(text), trouble_only=trouble)
        self._refresh()
        self._show_status(table.listing.query.complaint(table.listing.rows.values()))

    def toggle_trouble(self) -> None:
        """Show only what is failed, pending or drifting, or all again."""
        listing = self._views.open.table.listing
        self.filter_by(listing.query.text, trouble=not listing.trouble_only)

    # Back and forward

    def _note(self) -> None:
        """Remember where the reader is, as a place of its own if it is another one."""
        if self._retracing:
            return
        view, listing = self._views.open, self._views.open.table.listing
        if self._views.in_detail:
            detail = self._views.detail
            here = Location(view.name_, subject=detail.subject, tab=detail.tab, row=listing.cursor or "")
        else:
            here = Location(view.name_, listing.query.text, listing.trouble_only, listing.cursor or "")
        self.history.visit(here)

    def step(self, steps: int) -> None:
        """Go back (negative) or forward."""
        self._note()
        location = self.history.step(steps)
        if location is None:
            self._show_status("this is where you began" if steps < 0 else "there is nothing ahead")
        else:
            self._go(location)

    def leave_detail(self) -> None:
        """Go back to where the subject was opened from; from the journal beside the detail only to the detail."""
        self._note()
        detail, focused = self._views.detail, self._screen.focused
        if detail.tab is not Tab.JOURNAL and not (focused and detail in focused.ancestors):
            self.focus()
        else:
            self._go(self.history.leave() or Location("units"))

    def _go(self, location: Location) -> None:
        self._retracing = True
        try:
            if location.subject is not None and location.tab is not None:
                self._open_detail(location.subject, location.tab)
                self._views.detail.table.select(location.row)
            else:
                self.open_view(location.view)
                table = self._views.open.table
                if (table.listing.query.text, table.listing.trouble_only) != (location.query, location.trouble):
                    table.filter(parse_query(location.query), trouble_only=location.trouble)
                table.select(location.row)
                self._refresh()
        finally:
            self._retracing = False
        self._show_status("")

    # The journal beside it

    def open_journal(self) -> None:
        """Give the journal of the selection the whole screen, and go back from it; of several rows, the pane."""
        pane, listing = self._dock.pane, self._views.open.table.listing
        if self._views.in_detail and self._views.detail.tab is Tab.JOURNAL:
            self.step(-1)
        elif pane.room.zoomed:
            pane.action_zoom()
            self.focus()
        elif len(listing.chosen()) > 1 or self._selection.subject_here() is None:
            self.show_journal()
            pane.action_zoom()
            self._screen.set_focus(pane.lines)
        else:
            self.open_tab("journal")

    def open_failure(self) -> None:
        """Show why it failed: what its agent kept of its last failure, wherever the machine is now."""
        on_tab = self._views.in_detail and self._views.detail.tab is Tab.JOURNAL
        if not on_tab and not self._dock.pane.room.zoomed:
            self.open_journal()
        self._dock.reader.show_failure()

    def toggle_dock(self) -> None:
        """Show or hide the pane below the table, or beside the page."""
        if self._views.in_detail and self._views.detail.tab is Tab.JOURNAL:
            self._show_status("it has the whole screen; l goes back")
            return
        self._dock.toggle()
        self.follow_selection()

    def fit(self, height: int) -> None:
        """Hide the pane below a table where a screen becomes too low for both, and bring it back after that."""
        if self._dock.crowded_out(height):
            self.toggle_dock()

    def show_journal(self) -> None:
        """Show the journal of what is selected."""
        if not self._dock.pane.display:
            self.toggle_dock()

    def follow_selection(self) -> None:
        """Show the journal of what is chosen, while the pane is open."""
        if not self._dock.pane.display:
            return
        view = self._views.open
        rows = view.table.listing.chosen()
        if wanted := view.wanted(rows):
            why_none = ""
        elif view.lost(rows):
            why_none = "the machine is lost: what is left of its journal here is shown"
        elif not rows:
            why_none = "nothing is selected"
        elif names := view.units(rows):
            why_none = f"{stem(names[0])} is on no machine: there is no journal to read"
        else:
            why_none = "no unit is selected"
        self._dock.reader.want(wanted, why_none, view.about(rows), view.units(rows), view.lost(rows))

    def _arrange_journal(self) -> None:
        whole = self._views.in_detail and self._views.detail.tab is Tab.JOURNAL
        self._views.switcher.set_class(whole, "strip")
        self._dock.arrange(in_detail=self._views.in_detail, whole=whole)

    # What is shown and copied of a detail

    def crumbs(self) -> tuple[Line, Line] | None:
        """Return what stands in the place of the views' names while a detail is open; None while none is."""
        if not self._views.in_detail:
            return None
        behind, ahead = self.history.room()
        way = f"{behind} back · {ahead} ahead" if ahead else ""
        marks = len(self._views.open.table.listing.marks)
        right = Cell(f"✓ {counted(marks, 'unit')} marked  " if marks else way, Tone.HEAD if marks else Tone.QUIET)
        opened_from = self._views.by_name[self.history.last_view()].title
        return self._views.detail.crumbs(opened_from), (right,)

    def copyable(self) -> tuple[str, str] | None:
        """Return what is worth copying of a page, and what it is called; None where no page is open."""
        detail = self._views.detail
        if not self._views.on_page or detail.tab is Tab.JOURNAL:
            return None
        if detail.tab is Tab.FILE and not detail.older:
            found = versions(self._fleet.reading.snapshot, detail.subject.name)
            if found and found[0].text is not None:
                return found[0].text, f"the file of {detail.subject.name}"
        return detail.page.text, f"the page: {detail.tab}"
