"""The main screen as it is seen: header, tabs, the open view, the journal pane, what became of actions, footer.

Owns the one entrance of everything known about the cluster (`see`) and hands it to the views. What keys do is
in `main`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from textual import on
from textual.app import ComposeResult
from textual.screen import Screen
from textual.widgets import ContentSwitcher
from textual.worker import Worker, WorkerState

from fleettui.console.journal import Journals, stem
from fleettui.console.operations.impact import CONFIRM_FROM
from fleettui.console.operations.operation import operation_lines
from fleettui.console.operations.runner import OperationPort, OperationRunner
from fleettui.console.operations.verbs import READ_ONLY, Permit, permit
from fleettui.console.pages import footer
from fleettui.console.pages.header import FleetIdentity, Totals, banner, blank_notice, header_line
from fleettui.console.screens.detail import DetailView
from fleettui.console.screens.journal_reader import JournalReader
from fleettui.console.screens.page import Renewing
from fleettui.console.screens.views import EventsView, MachinesView, MapView, PendingView, UnitsView, View
from fleettui.console.sources.feed import Feed
from fleettui.console.sources.hosts import NO_HOSTS, Hosts
from fleettui.console.sources.saved_state import LineHistory, Notebook, SavedState
from fleettui.console.tables.fleet import FleetModel, Reading
from fleettui.console.text.cells import Cell, Line, Tone, line_text
from fleettui.console.text.formatting import age
from fleettui.console.text.keys import BY_ID, Key, shown_key
from fleettui.console.widgets.drawing import Band
from fleettui.console.widgets.journal_pane import JournalPane
from fleettui.console.widgets.prompt import Prompt
from fleettui.console.widgets.table import RowTable
from fleettui.escape import escape
from fleettui.verbs import Verb
from placement.explain import DEFAULT_KEYS
from registry.errors import FleetError
from registry.keys import Keys
from registry.sync.follow import ConnectionState

TICK_S = 1.0
FOLLOWING = "following the registry"
ACTS_SHOWN = 3
NEEDS_UNIT = frozenset({"edit"})
NEEDS_TERMINAL = frozenset({"edit", "shell"})


@dataclass(frozen=True, slots=True)
class Context:
    """All that the console works with, and where it is."""

    feed: Feed
    hands: OperationPort
    journals: Journals
    place: FleetIdentity
    clock: Callable[[], float]
    keymap: dict[str, str]
    read_only: bool = False
    keys: Keys = DEFAULT_KEYS
    history: LineHistory = field(default_factory=LineHistory)  # of the command line
    memory: SavedState | None = None  # how the console was left
    notebook: Notebook | None = None  # where it is kept
    remark: str = ""  # what is to be said first
    has_terminal: bool = True  # False in a browser: no shell and no editor there
    hosts: Hosts = NO_HOSTS
    confirm_from: int = CONFIRM_FROM  # running units that stop, from which on a word must be typed


class Frame(Screen[None]):
    """Everything at a glance."""

    CSS = """
    Frame { background: $surface; }
    #header { background: $panel; }
    ContentSwitcher { height: 1fr; }
    View { height: 1fr; }
    Table { height: 1fr; }
    Prompt { height: 1; border: none; padding: 0 1 0 3; background: $bar; display: none; }
    #acts, #banner, #candidates { display: none; }
    #footer { background: $panel; }
    #views.strip { height: 1; }
    JournalPane.whole { height: 1fr !important; }
    """
    AUTO_FOCUS = "#units-table"

    def __init__(self, desk: Context) -> None:
        super().__init__()
        self.desk = desk
        self.fleet = FleetModel(desk.keys)
        barred = READ_ONLY if desk.read_only else ""
        self.conductor = OperationRunner(desk.hands, desk.clock, self._show_acts, desk.keys, barred)
        self._refusal = ""
        self._remark = ""  # what stays below the table until the next word of that kind
        self.reader: JournalReader
        self._footer_keys: tuple[Key, ...] = ()
        self._units_view, self._machines_view = (
            UnitsView(self.fleet, desk.clock),
            MachinesView(self.fleet, desk.clock),
        )
        self.detail = DetailView(self.fleet, desk.clock, desk.hosts, desk.keys, desk.keymap)
        others = tuple(view(self.fleet, desk.clock) for view in (PendingView, EventsView, MapView))
        self.tables: tuple[View[Any], ...] = (self._units_view, self._machines_view, *others)
        self._views: dict[str, View[Any]] = {view.name_: view for view in (*self.tables, self.detail)}
        self._switcher = ContentSwitcher(*self._views.values(), initial="units", id="views")

    # Building

    def compose(self) -> ComposeResult:
        """From top to bottom."""
        yield Band(id="header")
        yield Band(id="tabs", pressed=self.tab_pressed)
        yield Band(id="banner")
        yield self._switcher
        foreign = self.desk.read_only and not self.desk.has_terminal
        yield JournalPane(id="journal", clock=self.desk.clock, saves=not foreign)
        yield Band(id="acts")
        yield Band(id="hint")
        yield Band(id="candidates")
        yield Prompt("/", id="filter", placeholder="filter: words, state:failed, machine:core-2, !word")
        yield Prompt(":", id="command", placeholder="command: what fleetctl understands; help explains")
        yield Band(id="footer", pressed=self.key_pressed)

    def on_mount(self) -> None:
        """Paint what there is, then begin to follow."""
        self.reader = JournalReader(self.desk.journals, self.query_one(JournalPane))
        self.query_one(JournalPane).display = self.app.size.height >= 20
        self.recall()
        self.refresh_all()
        self.follow_selection()  # nothing is selected yet: no journal is followed, and the pane must not say so
        self.set_interval(TICK_S, self._tick)
        self.call_after_refresh(self._begin)

    def recall(self) -> None:
        """Open as it was left, before anything is painted."""

    def _begin(self) -> None:
        self.run_worker(self._follow(), name=FOLLOWING, exit_on_error=False)

    async def _follow(self) -> None:
        try:
            async for reading in self.desk.feed.readings():
                self.see(reading)
        except FleetError as error:
            self.see(Reading(self.reading.snapshot, None, ConnectionState.LOST, f"{error}; restart the console"))

    @on(Worker.StateChanged)
    def _worker_changed(self, event: Worker.StateChanged) -> None:
        """A task that broke is told; without the feed's, what is shown is no longer live, and says so."""
        if event.state is not WorkerState.ERROR:
            return
        error = event.worker.error
        told = f"{event.worker.name} broke ({type(error).__name__}: {error}); restart the console and report it"
        if event.worker.name == FOLLOWING:
            self.fleet.lose(told, self.desk.clock())
            self.refresh_all()
        self.refuse(escape(told))

    # The data flow

    def see(self, reading: Reading) -> None:
        """Show a reading: the one entrance of everything known about the cluster."""
        changes = self.fleet.apply(reading, self.desk.clock())
        for view in self._views.values():
            view.update(changes)
        self.conductor.apply(reading.snapshot, self.fleet.units.where)
        self.refresh_all()
        self.follow_selection()
        page = self.app.screen
        if isinstance(page, Renewing):
            page.renew()

    def _tick(self) -> None:
        self.view.table.tick()
        self.conductor.fade()
        self._show_header()
        self._show_notices()
        self._show_acts()

    # What is on the screen

    @property
    def reading(self) -> Reading:
        """The newest reading."""
        return self.fleet.reading

    @property
    def view(self) -> View[Any]:
        """The open view."""
        return self._views[self.open_view]

    @property
    def view_name(self) -> str:
        """What the keys are about, by the name of a view."""
        return self.open_view

    @property
    def open_view(self) -> str:
        """The name of the open view."""
        return self._switcher.current or "units"

    def refresh_all(self) -> None:
        """Draw all bands anew."""
        self._show_header()
        self._show_tabs()
        self._show_notices()
        self._show_hint()
        self._show_footer()

    def _show_header(self) -> None:
        snapshot = self.reading.snapshot
        now = self.desk.clock()
        totals = Totals(
            self.fleet.units.counts(),
            len(snapshot.machines),
            self.fleet.machines.known(),
            self.fleet.leaderless_s(now),
            self.fleet.clocks.status_text(),
            self.desk.feed.retry_s(),
        )
        quiet_s = self.desk.feed.quiet_s()
        place = replace(self.desk.place, read_only=self.desk.read_only)
        self.query_one("#header", Band).put(
            header_line(place, self.reading, totals, quiet_s, self.app.size.width - 2)
        )
        line = banner(self.reading, self.desk.place, self._lost_s, totals)
        self.query_one("#banner", Band).put(*([(line, ())] if line else []))

    @property
    def _lost_s(self) -> float:
        """How long the link has not been live."""
        return self.fleet.lost_s(self.desk.clock())

    def _show_tabs(self) -> None:
        snapshot = self.reading.snapshot
        counts = {
            "Units": len(snapshot.units),
            "Machines": len(snapshot.machines),
            "Pending": len(snapshot.pending),
        }
        if crumbs := self.crumbs():
            self.query_one("#tabs", Band).put(crumbs)
            return
        titles = [(view.title, counts.get(view.title)) for view in self.tables]
        listing = self.view.table.listing
        right = footer.narrowing(
            listing.query.text, trouble=listing.trouble_only,
            counts=listing.counts() if listing.narrowed else (0, 0),
            marks=len(listing.marks), hidden=listing.hidden_marks(),
        )  # fmt: skip
        room = self.app.size.width - 2 - len(line_text(right))
        self.query_one("#tabs", Band).put((footer.tabs_line(titles, self.view.title, room), right))

    def crumbs(self) -> tuple[Line, Line] | None:
        """What stands in the place of the views' names; None: they do."""
        return None

    def _show_notices(self) -> None:
        stale = self.reading.link is not ConnectionState.LIVE and bool(self.reading.snapshot.revision)
        notice = blank_notice(self.reading, self.desk.place) or self.view.notice()
        self.view.table.put_state(notice, stale=stale, text=f"as of {age(self._lost_s)} ago" if stale else "")

    def _show_acts(self) -> None:
        now = self.desk.clock()
        back, undo, listing = (shown_key(BY_ID[name], self.desk.keymap) for name in ("back", "undo", "actions"))
        self.query_one("#acts", Band).put(
            *operation_lines(self.conductor.operations, now, room=ACTS_SHOWN, keys=(back, undo, listing))
        )

    def _show_hint(self) -> None:
        """Why the last key did nothing, else the selected row's reason in full."""
        line: Line = (Cell(escape(self._refusal), Tone.BUSY),) if self._refusal else ()
        row = self.view.table.listing.current()
        if not line and row is not None:
            line = self.hint_of(row)
        self.query_one("#hint", Band).put((line, ()))  # its place is kept: the table must not jump under the hand

    def hint_of(self, row: Any) -> Line:  # noqa: ANN401 - a row of any view
        """What is to be said of the selected row."""
        return self.view.hint(row, self.desk.clock())

    def subject_machine(self) -> str:
        """The machine whose detail is open, by id; "" when none is."""
        return ""

    def _show_footer(self) -> None:
        self._footer_keys = footer.footer_keys(
            self.app.size.width - 2, self.desk.keymap, hide_changes=self.desk.read_only, view=self.view_name
        )
        names = self.chosen_units()
        line = footer.footer_line(
            self._footer_keys, self.desk.keymap, lambda key: self.usable(key, names), self.label_of
        )
        self.query_one("#footer", Band).put((line, ()))

    def label_of(self, key: Key) -> str:
        """What the footer calls a key."""
        return key.label

    def usable(self, key: Key, names: Sequence[str]) -> bool:
        """Whether a key would do something now."""
        if key.action.startswith("verb("):
            return not self.permit(Verb(key.id), names).refusal
        if key.id == "undo":
            return self.conductor.can_undo is not None
        if key.id in NEEDS_TERMINAL and (self.desk.read_only or not self.desk.has_terminal):
            return False
        return bool(names) if key.id in NEEDS_UNIT else True

    def on_resize(self) -> None:
        """Other widths say other things."""
        self.refresh_all()

    # Mouse

    def tab_pressed(self, _line: int, cell: int) -> None:
        """Open the view whose tab was clicked."""
        if cell % 2 == 0 and cell // 2 < len(self.tables):
            self._run(f"view('{self.tables[cell // 2].name_}')")

    def key_pressed(self, _line: int, cell: int) -> None:
        """Do what the clicked key does."""
        if cell // 2 < len(self._footer_keys):
            self._run(self._footer_keys[cell // 2].action)

    def _run(self, action: str) -> None:
        self.run_worker(self.run_action(action), name=action, exit_on_error=False)

    # Selection

    def chosen_units(self) -> list[str]:
        """The units that an action is about: of the marked rows, else of the selected one."""
        return self.view.units(self.view.table.listing.chosen())

    @on(RowTable.Moved)
    def _moved(self, event: RowTable.Moved) -> None:
        if event.table is not self.view.table:
            return
        if self.view.table.listing.current() is not None:  # else its row went by itself
            self._refusal = self._remark
        self._show_tabs()
        self._show_hint()
        self._show_footer()
        self.follow_selection()

    def follow_selection(self) -> None:
        """Show the journal of what is chosen, while the pane is open."""
        if not self.query_one(JournalPane).display:
            return
        rows = self.view.table.listing.chosen()
        wanted = self.view.wanted(rows)
        why_none = "" if wanted else self._why_no_journal(rows)
        self.reader.want(wanted, why_none, self.view.about(rows))

    def _why_no_journal(self, rows: Sequence[Any]) -> str:
        if not rows:
            return "nothing is selected"
        names = self.view.units(list(rows))
        return f"{stem(names[0])} is on no machine: there is no journal to read" if names else "no unit is selected"

    def permit(self, verb: Verb, names: Sequence[str]) -> Permit:
        """Whether a verb can be carried out on these units now."""
        return permit(verb, names, self.reading.snapshot, link=self.reading.link, read_only=self.desk.read_only)

    def refuse(self, why: str) -> None:
        """Say why a key did nothing."""
        self._refusal, self._remark = escape(why), ""
        self._show_hint()
