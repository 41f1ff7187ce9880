"""The views: Units, Machines, Pending, Events, Map. Each fills its table and knows what its rows are about.

A view that is not on the screen folds nothing; it catches up when it is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import ClassVar, Generic, TypeVar

from textual.app import ComposeResult
from textual.containers import Vertical

from fleettui.console.journal import Wanted, wanted_journals
from fleettui.console.sources.feed import Reading
from fleettui.console.tables.events import COLUMNS as EVENT_COLUMNS
from fleettui.console.tables.events import EventRow, EventRows
from fleettui.console.tables.health import health_cell
from fleettui.console.tables.machines import COLUMNS as MACHINE_COLUMNS
from fleettui.console.tables.machines import MachineRow, MachineRows
from fleettui.console.tables.map import machine_labels
from fleettui.console.tables.pending import COLUMNS as PENDING_COLUMNS
from fleettui.console.tables.pending import PendingRow, PendingRows
from fleettui.console.tables.row import Column, Delta, Row
from fleettui.console.tables.units import COLUMNS as UNIT_COLUMNS
from fleettui.console.tables.units import UnitRow, UnitRows, units_named
from fleettui.console.text.cells import Cell, Line, Tone
from fleettui.console.text.formatting import since
from fleettui.console.widgets.map import COLUMNS as MAP_COLUMNS
from fleettui.console.widgets.map import Map
from fleettui.console.widgets.table import RowTable
from fleettui.escape import escape
from registry.keys import Keys
from registry.mirror import Snapshot
from registry.sync.follow import ConnectionState

R = TypeVar("R", bound=Row)


class View(Vertical, Generic[R]):
    """One table over the whole middle of the screen."""

    name_: ClassVar[str]  # as in the keys table
    title: ClassVar[str]
    empty: ClassVar[tuple[str, ...]] = ()
    columns: ClassVar[tuple[Column, ...]]  # type: ignore[type-arg] # of this view's rows

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(id=self.name_)
        self._clock = clock
        self._behind = True  # changes went by unfolded

    def compose(self) -> ComposeResult:
        """The table."""
        yield RowTable(self.columns, self._clock, id=f"{self.name_}-table")

    @property
    def table(self) -> RowTable[R]:
        """The table."""
        return self.query_one(f"#{self.name_}-table", RowTable)

    def see(self, reading: Reading) -> None:
        """Take a reading in, when on the screen."""
        if not self.display:
            self._behind = True
            return
        self.table.apply(self.fold(reading, everything=self._behind))
        self._behind = False

    def fold(self, reading: Reading, *, everything: bool) -> Delta[R]:
        """The rows that changed."""
        raise NotImplementedError

    def units(self, rows: list[R]) -> list[str]:
        """The units that an action on these rows is about."""
        raise NotImplementedError

    def wanted(self, reading: Reading, rows: list[R]) -> tuple[Wanted, ...]:  # noqa: ARG002 - for views without
        """The journals to read for these rows."""
        return ()

    def about(self, rows: list[R]) -> tuple[Hashable, ...]:
        """What these rows stand for, and stay the same for while they change."""
        return (self.name_, *(row.key for row in rows))

    def told(self, row: R, now: float) -> Line:  # noqa: ARG002 - for views that count time
        """What is to be said of the row under the cursor, below the table."""
        reason = getattr(row, "reason", "")
        return (
            (Cell(f"{escape(getattr(row, 'unit', ''))}: ", Tone.STRONG), Cell(reason, Tone.QUIET)) if reason else ()
        )

    def notice(self) -> tuple[Line, ...]:
        """What to say where the table is empty."""
        if self.table.listing.order:
            return ()
        shown, total = self.table.listing.counts()
        if total and not shown:
            what = self.table.listing.query.text or "what is failed, pending or drifting"
            return (
                (Cell(f"nothing matches {what}", Tone.PLAIN),),
                (Cell(f"{total} hidden; Esc shows all", Tone.QUIET),),
            )
        return tuple((Cell(line, Tone.QUIET if number else Tone.PLAIN),) for number, line in enumerate(self.empty))


class UnitsView(View[UnitRow]):
    """One row per unit and place. Its rows are counted in the header, so they are folded also when out of sight."""

    name_ = "units"
    title = "Units"
    columns = UNIT_COLUMNS
    empty: ClassVar[tuple[str, ...]] = (
        "no units yet",
        "",
        "n submits a unit file from here",
        "on a command line: fleetctl start FILE.service",
    )

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self.rows = UnitRows()
        self.delta: Delta[UnitRow] = Delta({})  # what the last reading changed

    def see(self, reading: Reading) -> None:
        """Take a reading in, on the screen or not."""
        self.delta = self.fold(reading, everything=self._behind)
        self.table.apply(self.delta)
        self._behind = False

    def fold(self, reading: Reading, *, everything: bool) -> Delta[UnitRow]:
        """The rows that changed."""
        return self.rows.fold(reading.snapshot, None if everything else reading.changed)

    def units(self, rows: list[UnitRow]) -> list[str]:
        """A template's row means its instances."""
        return list(units_named(rows, self.rows))

    def wanted(self, reading: Reading, rows: list[UnitRow]) -> tuple[Wanted, ...]:
        """A global unit's row for one machine means that machine's journal."""
        if len(rows) == 1 and rows[0].is_global and rows[0].parent:
            return wanted_journals(reading.snapshot, [(rows[0].machine, rows[0].unit)])
        return wanted_journals(reading.snapshot, self.rows.places(self.units(rows)))


class MachinesView(View[MachineRow]):
    """One row per machine. Folded also when out of sight: a machine that vanishes unseen would have no age."""

    name_ = "machines"
    title = "Machines"
    columns = MACHINE_COLUMNS
    empty = ("no machine has joined", "", "start fleet-agentd on each machine that shall run units")
    rows: MachineRows

    def on_mount(self) -> None:
        """Begin with no rows."""
        self.rows = MachineRows()

    def below(self, keys: Keys) -> None:
        """Before the first reading: where the registry's keys lie."""
        self.rows = MachineRows(keys)

    def see(self, reading: Reading) -> None:
        """Take a reading in, on the screen or not. What is stale tells nothing of who is here."""
        if reading.link is not ConnectionState.LIVE and reading.snapshot.revision == 0:
            return
        self.table.apply(self.fold(reading, everything=self._behind))
        self._behind = False

    def fold(self, reading: Reading, *, everything: bool) -> Delta[MachineRow]:
        """The rows that changed."""
        return self.rows.fold(reading.snapshot, None if everything else reading.changed, self._clock())

    def forget(self, machines: list[str], reading: Reading) -> None:
        """Take absent machines off the table until they are back."""
        for machine in machines:
            self.rows.forget(machine)
        self.table.apply(self.rows.fold(reading.snapshot, frozenset(), self._clock()))

    def units(self, rows: list[MachineRow]) -> list[str]:  # noqa: ARG002 - a machine is no unit
        """None: what is done to units is done in the other views."""
        return []

    def wanted(self, reading: Reading, rows: list[MachineRow]) -> tuple[Wanted, ...]:
        """Everything on the machine."""
        machines = (reading.snapshot.machines.get(row.key) for row in rows)
        return tuple(Wanted(machine, "") for machine in machines if machine)


class PendingView(View[PendingRow]):
    """One row per waiting unit; Enter opens the verdict machine by machine."""

    name_ = "pending"
    title = "Pending"
    columns = PENDING_COLUMNS
    empty = ("nothing is pending: every unit with a target has its machine",)
    rows: PendingRows

    def on_mount(self) -> None:
        """Begin with no rows."""
        self.rows = PendingRows()

    def fold(self, reading: Reading, *, everything: bool) -> Delta[PendingRow]:  # noqa: ARG002 - few rows
        """The rows that changed."""
        return self.rows.fold(reading.snapshot)

    def units(self, rows: list[PendingRow]) -> list[str]:
        """The units themselves."""
        return [row.unit for row in rows]


class EventsView(View[EventRow]):
    """One row per event, newest first."""

    name_ = "events"
    title = "Events"
    columns = EVENT_COLUMNS
    empty = ("nothing has happened yet",)
    rows: EventRows

    def on_mount(self) -> None:
        """Begin with no rows."""
        self.rows = EventRows()

    def fold(self, reading: Reading, *, everything: bool) -> Delta[EventRow]:  # noqa: ARG002 - events never change
        """The rows that changed."""
        return self.rows.fold(reading.snapshot)

    def units(self, rows: list[EventRow]) -> list[str]:
        """The units that the events are about."""
        return list(dict.fromkeys(row.unit for row in rows if row.unit != "-"))

    def wanted(self, reading: Reading, rows: list[EventRow]) -> tuple[Wanted, ...]:
        """The journals of these units."""
        unit_rows = self.screen.query_one("#units", UnitsView).rows
        return wanted_journals(reading.snapshot, unit_rows.places(self.units(rows)))


class MapView(UnitsView):
    """The rows of the Units table as squares. It folds nothing itself: the Units view has folded before."""

    name_ = "map"
    title = "Map"
    columns = MAP_COLUMNS
    empty = ("no units yet", "", "here each unit is a square beside its machine's name")

    def compose(self) -> ComposeResult:
        """The squares."""
        yield Map(self._clock, id="map-table")

    @property
    def table(self) -> Map:
        """The squares."""
        return self.query_one("#map-table", Map)

    def on_mount(self) -> None:
        """The rows are the Units view's."""
        self._units = self.screen.query_one("#units", UnitsView)
        self.rows = self._units.rows
        self._labelled: tuple[object, object] = (None, None)

    def see(self, reading: Reading) -> None:
        """Take a reading in, when on the screen."""
        if not self.display:
            self._behind = True
            return
        self._label(reading.snapshot)
        self.table.apply(self.fold(reading, everything=self._behind))
        self._behind = False

    def _label(self, snapshot: Snapshot) -> None:
        """Name the machines anew, when one of their tables is another."""
        tables = (snapshot.machines, snapshot.overrides)
        if any(new is not old for new, old in zip(tables, self._labelled, strict=True)):
            self._labelled = tables
            self.table.put_machines(machine_labels(snapshot))

    def fold(self, reading: Reading, *, everything: bool) -> Delta[UnitRow]:  # noqa: ARG002 - the Units view has
        """What the Units view found to have changed; of groups there are only the members here."""
        delta = self._units.delta
        if everything or delta.reset:
            return Delta({row.key: row for row in self.rows.every()}, frozenset(), reset=True)
        return Delta({key: row for key, row in delta.changed.items() if not row.is_group}, delta.removed)

    def told(self, row: UnitRow, now: float) -> Line:
        """Which unit the square is, and how it is."""
        where = f"on {row.host}" if row.machine else "on no machine"
        more = f" · {since(row.since, now)}" if row.since else ""
        cells = (Cell(f"{escape(row.unit)}  ", Tone.STRONG), health_cell(row.condition, row.word))
        reason = (Cell(f" · {row.reason}", Tone.QUIET),) if row.reason else ()
        return (*cells, Cell(f" {row.sub if row.sub != '-' else ''}  {where}{more}"), *reason)
