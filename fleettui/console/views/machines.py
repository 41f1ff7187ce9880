"""Machines: every machine that is here, and every one that should be."""

from __future__ import annotations

from fleettui.console.feed import Reading
from fleettui.console.journal import Wanted
from fleettui.console.rows.machines import COLUMNS, MachineRow, MachineRows
from fleettui.console.rows.row import Delta
from fleettui.console.views.view import View


class MachinesView(View[MachineRow]):
    """One row per machine."""

    name_ = "machines"
    title = "Machines"
    columns = COLUMNS
    empty = ("no machine has joined", "", "start fleet-agentd on each machine that shall run units")
    rows: MachineRows

    def on_mount(self) -> None:
        """Begin with no rows."""
        self.rows = MachineRows()

    def fold(self, reading: Reading, *, everything: bool) -> Delta[MachineRow]:  # noqa: ARG002 - few rows
        """The rows that changed."""
        return self.rows.fold(reading.snapshot)

    def units(self, rows: list[MachineRow]) -> list[str]:  # noqa: ARG002 - a machine is no unit
        """None: what is done to units is done in the other views."""
        return []

    def wanted(self, reading: Reading, rows: list[MachineRow]) -> tuple[Wanted, ...]:
        """Everything on the machine."""
        machines = (reading.snapshot.machines.get(row.key) for row in rows)
        return tuple(Wanted(machine, "") for machine in machines if machine)
