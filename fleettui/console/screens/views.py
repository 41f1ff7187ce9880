"""The views: Units, Machines, Pending, Events, Map, Rollouts, Configs.

Each fills its table and knows what a row is about.

Rows come from the `FleetModel`; a view holds what is drawn, scrolled and selected. One that is not on the screen
catches up when it is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import ClassVar, Generic, TypeVar

from textual.app import ComposeResult
from textual.containers import Vertical

from fleettui.console.journal import Wanted, wanted_journals
from fleettui.console.tables.configs import COLUMNS as CONFIG_COLUMNS
from fleettui.console.tables.configs import ConfigRow
from fleettui.console.tables.events import COLUMNS as EVENT_COLUMNS
from fleettui.console.tables.events import EventRow
from fleettui.console.tables.fleet import Changes, FleetModel
from fleettui.console.tables.machines import COLUMNS as MACHINE_COLUMNS
from fleettui.console.tables.machines import MachineRow
from fleettui.console.tables.pending import COLUMNS as PENDING_COLUMNS
from fleettui.console.tables.pending import PendingRow
from fleettui.console.tables.rollouts import COLUMNS as ROLLOUT_COLUMNS
from fleettui.console.tables.rollouts import RolloutRow, telling_units
from fleettui.console.tables.rows import Column, Delta, Row, health_cell
from fleettui.console.tables.units import COLUMNS as UNIT_COLUMNS
from fleettui.console.tables.units import UnitRow, units_named
from fleettui.console.text.cells import Cell, Line, Tone
from fleettui.console.text.formatting import since
from fleettui.console.widgets.map import COLUMNS as MAP_COLUMNS
from fleettui.console.widgets.map import Map
from fleettui.console.widgets.table import RowTable
from fleettui.escape import escape

R = TypeVar("R", bound=Row)


class View(Vertical, Generic[R]):
    """One table over the whole middle of the screen."""

    BLANK = True  # filled by the table: not looked for borders at each frame
    name_: ClassVar[str]  # as in the keys table
    title: ClassVar[str]
    empty: ClassVar[tuple[str, ...]] = ()
    columns: ClassVar[tuple[Column, ...]]  # type: ignore[type-arg] # of this view's rows
    always: ClassVar[bool] = False  # its table is kept also when out of sight

    def __init__(self, fleet: FleetModel, clock: Callable[[], float]) -> None:
        super().__init__(id=self.name_)
        self._fleet, self._clock = fleet, clock
        self._behind = True  # changes went by unseen

    def compose(self) -> ComposeResult:
        """The table."""
        yield RowTable(self.columns, self._clock, id=f"{self.name_}-table")

    @property
    def table(self) -> RowTable[R]:
        """The table."""
        return self.query_one(f"#{self.name_}-table", RowTable)

    def update(self, changes: Changes) -> None:
        """Show what changed, when on the screen; all that there is, when changes went by unseen."""
        if self.display or self.always:
            self.table.apply(Delta(self.rows(), reset=True) if self._behind else self.changed(changes))
        self._behind = not (self.display or self.always)

    def changed(self, changes: Changes) -> Delta[R]:
        """What changed in this view's rows."""
        raise NotImplementedError

    def rows(self) -> dict[str, R]:
        """All its rows."""
        raise NotImplementedError

    def units(self, rows: list[R]) -> list[str]:
        """The units that an action on these rows is about."""
        raise NotImplementedError

    def wanted(self, rows: list[R]) -> tuple[Wanted, ...]:  # noqa: ARG002 - for views without
        """The journals to read for these rows."""
        return ()

    def lost(self, rows: list[R]) -> list[str]:  # noqa: ARG002 - for views without
        """The machines among these rows that are lost, by id: their journals cannot be read any more."""
        return []

    def about(self, rows: list[R]) -> tuple[Hashable, ...]:
        """The identity of what these rows stand for, the same while they change."""
        return (self.name_, *(row.key for row in rows))

    def hint(self, row: R, now: float) -> Line:  # noqa: ARG002 - for views that count time
        """The line below the table on the row under the cursor."""
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
    """One row per unit and place. Its table is large, so that it is kept also when out of sight."""

    name_ = "units"
    title = "Units"
    columns = UNIT_COLUMNS
    empty: ClassVar[tuple[str, ...]] = (
        "no units yet",
        "",
        "n submits a unit file from here",
        "on a command line: fleetctl start FILE.service",
    )
    always = True

    def changed(self, changes: Changes) -> Delta[UnitRow]:
        """What changed in this view's rows."""
        return changes.units

    def rows(self) -> dict[str, UnitRow]:
        """All units, and the groups above them."""
        return self._fleet.units.rows()

    def units(self, rows: list[UnitRow]) -> list[str]:
        """A template's row means its instances."""
        return list(units_named(rows, self._fleet.units))

    def wanted(self, rows: list[UnitRow]) -> tuple[Wanted, ...]:
        """A global unit's row for one machine means that machine's journal."""
        snapshot = self._fleet.reading.snapshot
        if len(rows) == 1 and rows[0].is_global and rows[0].parent:
            return wanted_journals(snapshot, [(rows[0].machine, rows[0].unit)])
        return wanted_journals(snapshot, self._fleet.units.places(self.units(rows)))


class MachinesView(View[MachineRow]):
    """One row per machine."""

    name_ = "machines"
    title = "Machines"
    columns = MACHINE_COLUMNS
    empty = ("no machine has joined", "", "start fleet-agentd on each machine that shall run units")
    always = True

    def changed(self, changes: Changes) -> Delta[MachineRow]:
        """What changed in this view's rows."""
        return changes.machines

    def rows(self) -> dict[str, MachineRow]:
        """All machines, here or lost."""
        return self._fleet.machines.rows

    def units(self, rows: list[MachineRow]) -> list[str]:  # noqa: ARG002 - a machine is no unit
        """None: what is done to units is done in the other views."""
        return []

    def wanted(self, rows: list[MachineRow]) -> tuple[Wanted, ...]:
        """Everything on the machine."""
        machines = (self._fleet.reading.snapshot.machines.get(row.key) for row in rows)
        return tuple(Wanted(machine, "") for machine in machines if machine)

    def lost(self, rows: list[MachineRow]) -> list[str]:
        """Those that are not registered now."""
        return [row.key for row in rows if row.key not in self._fleet.reading.snapshot.machines]


class PendingView(View[PendingRow]):
    """One row per waiting unit; Enter opens the verdict machine by machine."""

    name_ = "pending"
    title = "Pending"
    columns = PENDING_COLUMNS
    empty = ("nothing is pending: every unit with a target has its machine",)

    def changed(self, changes: Changes) -> Delta[PendingRow]:
        """What changed in this view's rows."""
        return changes.pending

    def rows(self) -> dict[str, PendingRow]:
        """All that waits."""
        return self._fleet.pending.rows

    def units(self, rows: list[PendingRow]) -> list[str]:
        """The units themselves."""
        return [row.unit for row in rows]


class EventsView(View[EventRow]):
    """One row per event, newest first."""

    name_ = "events"
    title = "Events"
    columns = EVENT_COLUMNS
    empty = ("nothing has happened yet",)

    def changed(self, changes: Changes) -> Delta[EventRow]:
        """What changed in this view's rows."""
        return changes.events

    def rows(self) -> dict[str, EventRow]:
        """The newest events."""
        return self._fleet.events.rows

    def units(self, rows: list[EventRow]) -> list[str]:
        """The units that the events are about."""
        return list(dict.fromkeys(unit for row in rows for unit in row.units))

    def wanted(self, rows: list[EventRow]) -> tuple[Wanted, ...]:
        """The journals of these units."""
        return wanted_journals(self._fleet.reading.snapshot, self._fleet.units.places(self.units(rows)))


class MapView(UnitsView):
    """The rows of the Units table as squares."""

    name_ = "map"
    title = "Map"
    columns = MAP_COLUMNS
    empty = ("no units yet", "", "here each unit is a square beside its machine's name")
    always = False

    def compose(self) -> ComposeResult:
        """The squares."""
        yield Map(self._clock, id="map-table")

    @property
    def table(self) -> Map:
        """The squares."""
        return self.query_one("#map-table", Map)

    def update(self, changes: Changes) -> None:
        """Show what changed, when on the screen."""
        if self.display:
            self.table.put_machines(self._fleet.labels())
        super().update(changes)

    def changed(self, changes: Changes) -> Delta[UnitRow]:
        """What changed in this view's rows; of groups there are only the members here."""
        delta = changes.units
        if delta.reset:
            return Delta(self.rows(), reset=True)
        return Delta({key: row for key, row in delta.changed.items() if not row.is_group}, delta.removed)

    def rows(self) -> dict[str, UnitRow]:
        """All units; groups are left out."""
        return {row.key: row for row in self._fleet.units.every()}

    def hint(self, row: UnitRow, now: float) -> Line:
        """The unit of the square, and its state."""
        where = f"on {row.host}" if row.machine else "on no machine"
        more = f" · {since(row.since, now)}" if row.since else ""
        cells = (Cell(f"{escape(row.unit)}  ", Tone.STRONG), health_cell(row.condition, row.word))
        reason = (Cell(f" · {row.reason}", Tone.QUIET),) if row.reason else ()
        return (*cells, Cell(f" {row.sub if row.sub != '-' else ''}  {where}{more}"), *reason)


class RolloutsView(View[RolloutRow]):
    """One row per rollout; Enter opens it unit by unit."""

    name_ = "rollouts"
    title = "Rollouts"
    columns = ROLLOUT_COLUMNS
    empty: ClassVar[tuple[str, ...]] = (
        "no rollout yet",
        "",
        "R, an edit or an undo of several units asks how many at a time, and begins one",
        "on a command line: fleetctl rollout 'web@*' --file web@.service",
    )

    def changed(self, changes: Changes) -> Delta[RolloutRow]:
        """What changed in this view's rows."""
        return changes.rollouts

    def rows(self) -> dict[str, RolloutRow]:
        """All rollouts that are kept."""
        return self._fleet.rollouts.rows

    def units(self, rows: list[RolloutRow]) -> list[str]:  # noqa: ARG002 - a rollout is no unit
        """None: what is done to units is done in the other views."""
        return []

    def wanted(self, rows: list[RolloutRow]) -> tuple[Wanted, ...]:
        """The journals of what failed and of what is on its way."""
        snapshot = self._fleet.reading.snapshot
        names = [name for row in rows for name in telling_units(snapshot, row.key)]
        return wanted_journals(snapshot, self._fleet.units.places(names))


class ConfigsView(View[ConfigRow]):
    """One row per config or secret; Enter opens its versions and the units that have them."""

    name_ = "configs"
    title = "Configs"
    columns = CONFIG_COLUMNS
    empty: ClassVar[tuple[str, ...]] = (
        "no config and no secret yet",
        "",
        "on a command line: fleetctl config set web PORT=8080 --file web.toml",
        "and: fleetctl secret set db < FILE",
    )

    def changed(self, changes: Changes) -> Delta[ConfigRow]:
        """What changed in this view's rows."""
        return changes.configs

    def rows(self) -> dict[str, ConfigRow]:
        """All configs and secrets."""
        return self._fleet.configs.rows

    def units(self, rows: list[ConfigRow]) -> list[str]:  # noqa: ARG002 - a config is no unit
        """None: what is done to units is done in the other views."""
        return []
