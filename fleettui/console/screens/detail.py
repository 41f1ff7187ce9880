"""The detail of a unit, a machine or a rollout: a place with tabs. Shows and renews what `pages/detail` writes.

Its table has the subject itself as its one row (a machine: the units on it), so that whatever acts on the chosen
rows of a view acts on the subject of a detail in just the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import replace

from textual.app import ComposeResult

from fleettui.console.journal import Wanted, wanted_journals
from fleettui.console.pages.detail import NO_ROLLOUT, Order, is_heavy, places, write
from fleettui.console.pages.file import NO_CONFIG, ConfigOrder, config_record
from fleettui.console.pages.machine import machine_state
from fleettui.console.pages.rich_text import RichText
from fleettui.console.pages.rollout import RolloutOrder
from fleettui.console.screens.context import Context
from fleettui.console.screens.text_screens import Background
from fleettui.console.screens.views import View
from fleettui.console.sources.background import Contents, LastLines, Trend, Trends
from fleettui.console.sources.hosts import StatusReader
from fleettui.console.tables.fleet import Changes, FleetModel
from fleettui.console.tables.rollouts import state_cell, telling_units
from fleettui.console.tables.rows import Delta, health_cell
from fleettui.console.tables.units import COLUMNS, UnitRow, host, units_named
from fleettui.console.text.cells import Cell, Line, Tone
from fleettui.console.text.keys import BY_ID, ROLLOUT_KEYS, shown_key
from fleettui.console.text.subject import CONFIG_KINDS, Subject, SubjectKind, Tab, key_of
from fleettui.console.widgets.drawing import Band
from fleettui.console.widgets.page import Page
from fleettui.console.widgets.table import Roster
from fleettui.escape import escape
from registry.mirror import Snapshot
from registry.model import Machine, Target
from registry.sync.follow import ConnectionState
from registry.units.pins import NeedKind


class DetailView(View[UnitRow]):
    """One subject and its tabs."""

    name_ = "detail"
    title = ""
    columns = tuple(column for column in COLUMNS if column.id != "machine")  # of a machine's units that is plain
    empty = ("no unit is here",)

    def __init__(self, fleet: FleetModel, clock: Callable[[], float], context: Context) -> None:
        super().__init__(fleet, clock)
        self._keys, self._keymap = context.keys, context.keymap
        self.subject = Subject(SubjectKind.UNIT, "")
        self.tab = Tab.STATUS
        self.older = 0
        self._reader = StatusReader(
            context.hosts,
            clock,
            lambda work: self.run_worker(work, name="ask for the status", exit_on_error=False),
            self.renew,
        )
        self._background = Background(self)
        self._trends = Trends(
            context.trends,
            clock,
            lambda work: self.run_worker(work, name="read the record", exit_on_error=False),
            self.renew,
        )
        self._fresh = False  # just opened: the cursor may go to the first row
        self._contents = Contents(
            context.contents,
            lambda work: self.run_worker(work, name="read a config", exit_on_error=False),
            self.renew,
        )
        self._last_lines = LastLines(
            context.journals,
            lambda work: self.run_worker(work, name="read the last lines", exit_on_error=False),
            self.renew,
        )

    def compose(self) -> ComposeResult:
        """Tabs, and below them the page or the units of a machine."""
        yield Band(id="detail-tabs", pressed=self._pressed)
        yield Roster(self.columns, self._clock, id="detail-table", stand_in=lambda: self.page)
        yield Page(id="detail-page")

    @property
    def page(self) -> Page:
        """The text."""
        return self.query_one("#detail-page", Page)

    # Where it is

    def open(self, subject: Subject, tab: Tab) -> None:
        """Show a tab of a subject. The view itself must be on the screen, or be put there."""
        new = (subject, tab) != (self.subject, self.tab)
        if subject != self.subject:
            self.table.listing.marks.clear()
            self._fresh = True
        self.older = 0 if new else self.older
        self.subject, self.tab = subject, tab
        in_table = tab is Tab.UNITS
        self.table.display, self.page.display = in_table, not in_table and tab is not Tab.JOURNAL
        if new:
            self.page.put([], reset=True)
        if tab is not Tab.STATUS:
            self._reader.stop()

    def close(self) -> None:
        """Stop asking the machine."""
        self._reader.stop()

    def next_tab(self, step: int) -> Tab:
        """The tab after (1) or before (-1) this one."""
        tabs = self.subject.tabs
        return tabs[(tabs.index(self.tab) + step) % len(tabs)]

    def _pressed(self, _line: int, cell: int) -> None:
        if cell % 3 < 2 and cell // 3 < len(self.subject.tabs):
            key = key_of(self.subject.tabs[cell // 3], self.subject.kind)
            self.run_worker(self.screen.run_action(BY_ID[key].action), name=key, exit_on_error=False)

    # The data

    @property
    def _snapshot(self) -> Snapshot:
        return self._fleet.reading.snapshot

    def update(self, changes: Changes) -> None:  # noqa: ARG002 - few rows, all made again
        """Show the subject as it is now, when on the screen."""
        if not self.display:
            return
        rows, listing = self.rows(), self.table.listing
        if rows != listing.rows:
            self.table.apply(Delta(rows, reset=True))
        # The cursor is on the subject itself always; on a machine's first unit once, when it is opened.
        if (self._fresh or self.subject.kind is SubjectKind.UNIT) and listing.current() is None:
            self.table.move_to(0)
        self._fresh = False
        self.renew()

    def rows(self) -> dict[str, UnitRow]:
        """The rows of the subject."""
        snapshot = self._snapshot
        if self.subject.kind is SubjectKind.ROLLOUT or self.subject.kind in CONFIG_KINDS:
            return {}
        if self.subject.kind is SubjectKind.MACHINE:
            return self._fleet.units.rows_on(snapshot, self.subject.name)
        name, machine = self.subject.name, self.subject.machine
        if group := self._fleet.units.group(name):
            return {name: group}
        if name not in snapshot.units and not places(snapshot, name):
            return {}
        found = [row for row in self._fleet.units.rows_of(name) if not machine or row.machine == machine]
        if len(found) == 1:
            return {name: replace(found[0], key=name, parent="", is_group=False)}
        record = snapshot.units.get(name)
        return {name: UnitRow(name, name, target=record.target if record else Target.INACTIVE)}

    def units(self, rows: list[UnitRow]) -> list[str]:
        """The subject, or the chosen units of a machine."""
        on_page = self.subject.kind is SubjectKind.MACHINE and self.tab is not Tab.UNITS
        return [] if on_page else list(units_named(rows, self._fleet.units))

    def wanted(self, rows: list[UnitRow]) -> tuple[Wanted, ...]:
        """The subject's journal; of a machine's units, that of the chosen ones there."""
        if self.subject.kind is SubjectKind.UNIT:
            name, place = self.subject.name, self.subject.machine
            instances = self._fleet.units.instances(name) or (name,)
            return wanted_journals(
                self._snapshot, [(place, name)] if place else self._fleet.units.places(instances)
            )
        if self.subject.kind is SubjectKind.ROLLOUT:
            names = telling_units(self._snapshot, self.subject.name)
            return wanted_journals(self._snapshot, self._fleet.units.places(names))
        if self.subject.kind in CONFIG_KINDS:
            return ()
        if self.tab is Tab.UNITS and rows:
            return wanted_journals(self._snapshot, ((self.subject.name, row.unit) for row in rows))
        machine = self._snapshot.machines.get(self.subject.name)
        return (Wanted(machine, ""),) if machine else ()

    def lost(self, rows: list[UnitRow]) -> list[str]:  # noqa: ARG002 - it is about one
        """The machine, when it is not registered now."""
        about_machine = self.subject.kind is SubjectKind.MACHINE
        return [self.subject.name] if about_machine and self.subject.name not in self._snapshot.machines else []

    def about(self, rows: list[UnitRow]) -> tuple[Hashable, ...]:
        """The subject; of a machine's units, the chosen ones."""
        keys = (row.key for row in rows) if self.tab is Tab.UNITS else ()
        return (self.name_, self.subject, *keys)

    def hint(self, row: UnitRow, now: float) -> Line:
        """The line on the unit, unless the page says it."""
        return () if self.tab is Tab.PLACEMENT else super().hint(row, now)

    def machine(self) -> Machine | None:
        """The machine that the subject is, or is on; None when there is none, or several."""
        machines = self._snapshot.machines
        if self.subject.kind is SubjectKind.MACHINE:
            return machines.get(self.subject.name)
        if self.subject.kind is not SubjectKind.UNIT:
            return None
        homes = places(self._snapshot, self.subject.name, self.subject.machine)
        return machines.get(homes[0]) if len(homes) == 1 else None

    # The page

    def renew(self, *, ask: bool = False) -> None:
        """Write the page again; `ask` also asks the machine again."""
        if not self.display or not self.subject.name:
            return
        self._show_tabs()
        group = self._group()
        if self.tab is Tab.STATUS and group is None:
            self._want_status(force=ask)
        if self.tab in (Tab.UNITS, Tab.JOURNAL):
            return
        self.page.put_stale(self._fleet.reading.link is not ConnectionState.LIVE and self.tab is not Tab.STATUS)
        older, newer, restore = (shown_key(BY_ID[key], self._keymap) for key in ("older", "newer", "restore"))
        order = Order(
            self.subject,
            self.tab,
            self.older,
            self._reader.asked,
            self._keys,
            (older, newer, restore),
            self._rollout_order(),
            group,
            self._group_keys(),
            shown_key(BY_ID["run_now"], self._keymap),
            self._trends_here(),
            self._config_order(),
        )
        snapshot, now = self._snapshot, self._clock()
        heavy = is_heavy(order, snapshot)
        if heavy and not self.page.text:
            self.page.put([((Cell("◐ asking every machine …", Tone.BUSY),), None)])

        def show(page: RichText) -> None:
            if (order.subject, order.tab) == (self.subject, self.tab):
                self.page.put(page)

        self._background.write((order.subject, order.tab), lambda: write(order, snapshot, now), show, heavy=heavy)

    def _group(self) -> tuple[UnitRow, ...] | None:
        """The members of the template or the global unit that the status is of; None where it is of one place."""
        units, name = self._fleet.units, self.subject.name
        if self.tab is not Tab.STATUS or self.subject.kind is not SubjectKind.UNIT or self.subject.machine:
            return None
        if units.group(name) is not None:
            return tuple(row for each in units.instances(name) for row in units.rows_of(each))
        found = units.rows_of(name)
        return found if found and found[0].is_global else None

    def _group_keys(self) -> tuple[str, str, str]:
        more, less, roll = (shown_key(BY_ID[key], self._keymap) for key in ("more", "less", "roll_out"))
        return more, less, roll

    def _rollout_order(self) -> RolloutOrder:
        """What the page of a rollout needs beside the snapshot; nothing for any other page."""
        rollout = self._snapshot.rollouts.get(self.subject.name)
        if self.tab is not Tab.PROGRESS or rollout is None:
            return NO_ROLLOUT
        homes: dict[str, list[str]] = {step.unit: [] for step in rollout.steps}
        for machine, unit in self._fleet.units.places(homes):
            homes[unit].append(machine)
        crashes = self._last_lines.of(rollout)
        pause, abort, undo = (shown_key(BY_ID[key], self._keymap) for key in ROLLOUT_KEYS)
        return RolloutOrder(homes, crashes, (pause, abort, undo))

    def _config_order(self) -> ConfigOrder:
        """What the pages of a config or a secret need beside the snapshot; nothing for any other page."""
        kind = CONFIG_KINDS.get(self.subject.kind)
        record = config_record(self._snapshot, self.subject)
        if kind is None or record is None:
            return NO_CONFIG
        name, wanted = self.subject.name, record.versions[:1]
        if self.tab is Tab.CONTENT and self.older:
            wanted = (*wanted, record.versions[min(self.older, len(record.versions) - 1)])
        reads = self.tab is Tab.CONTENT or (self.tab is Tab.VERSIONS and kind is NeedKind.SECRET)
        contents = self._contents.of(kind, name, wanted) if reads else {}
        holders = self._fleet.configs.holders(str(self.subject.need))
        return ConfigOrder(dict(holders), contents, shown_key(BY_ID["roll_out"], self._keymap))

    def _trends_here(self) -> tuple[Trend, ...]:
        """How the use of the one machine, or of the unit on the one machine, went."""
        machine, sentinel = self.machine(), self._snapshot.cluster
        if machine is None or sentinel is None or self.tab not in (Tab.STATUS, Tab.FACTS):
            return ()
        unit = self.subject.name if self.subject.kind is SubjectKind.UNIT else ""
        return self._trends.of(sentinel.id, machine.id, unit)

    def _want_status(self, *, force: bool) -> None:
        machine = self.machine()
        if machine is None or self._fleet.reading.link is ConnectionState.CONNECTING:
            self._reader.stop()
            return
        state = self._snapshot.states.get((machine.id, self.subject.name))
        self._reader.want(machine, self.subject.name, state, force=force)

    @property
    def earlier(self) -> int:
        """How many earlier versions of the subject are known."""
        if self.subject.kind in CONFIG_KINDS:
            found = config_record(self._snapshot, self.subject)
            return len(found.versions) - 1 if found else 0
        record = self._snapshot.units.get(self.subject.name)
        return len(record.history) if record else 0

    def choose_version(self, step: int) -> None:
        """Compare with an older (1) or a newer (-1) text."""
        self.older = max(0, min(self.older + step, self.earlier))
        self.renew()

    # The bands

    def crumbs(self, source: str) -> Line:
        """Where the reader is: from which view, and what it is about, with its state."""
        lead = (Cell(f" {source} ", Tone.QUIET), Cell("> ", Tone.QUIET))
        if self.subject.kind is SubjectKind.MACHINE:
            here = self._snapshot.machines.get(self.subject.name)
            address = f"  {escape(here.address)}" if here else ""
            shown = self._fleet.machines.rows.get(self.subject.name)
            name = Cell(shown.hostname if shown else host(self._snapshot, self.subject.name), Tone.STRONG)
            state = machine_state(here, self._snapshot.overrides.get(self.subject.name))
            return (*lead, name, Cell("  "), state, Cell(address, Tone.QUIET))
        name = Cell(escape(self.subject.name), Tone.STRONG)
        if self.subject.kind is SubjectKind.ROLLOUT:
            known = self._fleet.rollouts.rows.get(self.subject.name)
            return (*lead, name, Cell("  "), state_cell(known) if known else Cell("✖ gone", Tone.BAD))
        if self.subject.kind in CONFIG_KINDS:
            held = self._fleet.configs.rows.get(str(self.subject.need))
            told = Cell(f"  {self.subject.kind} · version {held.version}", Tone.QUIET) if held else None
            return (*lead, name, told or Cell("  ✖ not in the registry", Tone.BAD))
        row = self.table.listing.rows.get(self.subject.name)
        if row is None:
            return (*lead, name, Cell("  ✖ not in the registry", Tone.BAD))
        if not row.word:
            return (*lead, name)
        sub = "" if row.sub in ("-", row.word) else row.sub  # systemd says failed failed
        where = f" {sub} · {row.host}" if row.machine else ""
        return (*lead, name, Cell("  "), health_cell(row.condition, row.word), Cell(where, Tone.QUIET))

    def _show_tabs(self) -> None:
        cells: list[Cell] = []
        room = self.app.size.width - 2
        brief = sum(len(tab) + 5 for tab in self.subject.tabs) > room > 0  # the names of the others go
        for tab in self.subject.tabs:
            key = shown_key(BY_ID[key_of(tab, self.subject.kind)], self._keymap)
            tone = Tone.CHOSEN if tab is self.tab else Tone.PLAIN
            name = "" if brief and tab is not self.tab else f" {tab.capitalize()} "
            cells += [Cell(name, tone), Cell(key, Tone.HEAD), Cell("  ")]
        self.query_one("#detail-tabs", Band).put((tuple(cells), ()))
