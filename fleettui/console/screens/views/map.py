"""Map: the whole fleet at a glance, a square a unit."""

from __future__ import annotations

from textual.app import ComposeResult

from fleettui.console.screens.views.units import UnitsView
from fleettui.console.sources.feed import Reading
from fleettui.console.tables.health import health_cell
from fleettui.console.tables.map import machine_labels
from fleettui.console.tables.row import Delta
from fleettui.console.tables.units import UnitRow
from fleettui.console.text.cells import Cell, Line, Tone
from fleettui.console.text.formatting import since
from fleettui.console.widgets.map import COLUMNS, Map
from fleettui.escape import escape
from registry.mirror import Snapshot


class MapView(UnitsView):
    """The rows of the Units table as squares. It folds nothing itself: the Units view has folded before."""

    name_ = "map"
    title = "Map"
    columns = COLUMNS
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
