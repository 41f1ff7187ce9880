"""Units: the home view."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from fleettui.console.journal import Wanted, wanted_journals
from fleettui.console.screens.views.view import View
from fleettui.console.sources.feed import Reading
from fleettui.console.tables.row import Delta
from fleettui.console.tables.units import COLUMNS, UnitRow, UnitRows, units_named


class UnitsView(View[UnitRow]):
    """One row per unit and place. Its rows are counted in the header, so they are folded also when out of sight."""

    name_ = "units"
    title = "Units"
    columns = COLUMNS
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
