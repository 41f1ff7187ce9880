"""Events: who did what to what, and why."""

from __future__ import annotations

from fleettui.console.journal import Wanted, wanted_journals
from fleettui.console.screens.views.units import UnitsView
from fleettui.console.screens.views.view import View
from fleettui.console.sources.feed import Reading
from fleettui.console.tables.events import COLUMNS, EventRow, EventRows
from fleettui.console.tables.row import Delta


class EventsView(View[EventRow]):
    """One row per event, newest first."""

    name_ = "events"
    title = "Events"
    columns = COLUMNS
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
