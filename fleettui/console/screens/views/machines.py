"""Machines: every machine that is here, and every one that was and should be."""

from __future__ import annotations

from fleettui.console.journal import Wanted
from fleettui.console.screens.views.view import View
from fleettui.console.sources.feed import Reading
from fleettui.console.tables.machines import COLUMNS, MachineRow, MachineRows
from fleettui.console.tables.row import Delta
from registry.follow import ConnectionState
from registry.keys import Keys


class MachinesView(View[MachineRow]):
    """One row per machine. Folded also when out of sight: a machine that vanishes unseen would have no age."""

    name_ = "machines"
    title = "Machines"
    columns = COLUMNS
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
