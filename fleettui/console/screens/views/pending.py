"""Pending: every unit that waits, with the reason."""

from __future__ import annotations

from fleettui.console.screens.views.view import View
from fleettui.console.sources.feed import Reading
from fleettui.console.tables.pending import COLUMNS, PendingRow, PendingRows
from fleettui.console.tables.row import Delta


class PendingView(View[PendingRow]):
    """One row per waiting unit; Enter opens the verdict machine by machine."""

    name_ = "pending"
    title = "Pending"
    columns = COLUMNS
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
